"""Loading: the App that is meant, or one paragraph with what was looked for and what is there."""

import sys
import traceback

import pytest

from penstock.errors import TopologyError
from penstock.operators.each import EachFailed, each
from penstock.runtime.loading import from_own_code, load, refuse_while_loading
from penstock.serde.primitives import STR

ONE = "import penstock as ps\napp = ps.App('one')\n"
TWO = ONE + "other = ps.App('two')\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty current folder; what is imported from it is forgotten afterwards."""
    known = set(sys.modules)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in set(sys.modules) - known:
        module = sys.modules[name]
        places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
        if any(str(place).startswith(str(tmp_path)) for place in places):
            del sys.modules[name]


def refused(target):
    """What loading says, which is always one paragraph."""
    with pytest.raises(TopologyError) as caught:
        load(target)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("target", ["shop", "shop:app", "shop.py", "shop.py:app", "./shop.py"])
def test_each_way_of_naming_it_finds_the_app(folder, target):
    """Modules and files, with and without the name of the App."""
    (folder / "shop.py").write_text(ONE)
    assert load(target).id == "one"


def test_a_file_finds_its_neighbours_and_its_types(folder):
    """The file's folder is on the path, and the module can be found by its name."""
    (folder / "jobs").mkdir()
    (folder / "jobs" / "views.py").write_text(
        "import msgspec\nclass View(msgspec.Struct):\n  at: int"
    )
    text = "from __future__ import annotations\nfrom views import View\n" + ONE
    (folder / "jobs" / "job.py").write_text(text + "app.stream('t', value=View, timestamp='at')")
    assert load("jobs/job.py").topology().sub_topologies
    assert sys.modules["job"].View is sys.modules["views"].View


def test_a_module_of_a_package(folder):
    """Dotted names, with imports relative to the package."""
    (folder / "shop").mkdir()
    (folder / "shop" / "name.py").write_text("NAME = 'nested'")
    text = "import penstock as ps\nfrom .name import NAME\napp = ps.App(NAME)"
    (folder / "shop" / "jobs.py").write_text(text)
    assert load("shop.jobs").id == "nested"


def test_a_file_named_like_a_known_module(folder):
    """The file is loaded, and the module stays what it is."""
    before = sys.modules["json"]
    (folder / "json.py").write_text(ONE)
    assert load("json.py").id == "one"
    assert sys.modules["json"] is before


def test_the_main_part_does_not_run(folder):
    """A script's last lines are for `python shop.py` alone."""
    (folder / "shop.py").write_text(ONE + "if __name__ == '__main__':\n  raise SystemExit(9)")
    assert load("shop.py").id == "one"


def test_app_run_at_the_top_level_is_refused(folder):
    """It would run the application inside of its own loading."""
    (folder / "shop.py").write_text(ONE + "app.run()")
    text = refused("shop.py")
    assert "line 3 (app.run())" in text
    assert 'under if __name__ == "__main__"' in text
    refuse_while_loading()  # and later it is not


def test_a_missing_file_names_those_that_are_there(folder):
    """A misspelled file is found by its neighbours."""
    (folder / "shop.py").write_text(ONE)
    text = refused("shob.py")
    assert "shob.py does not exist" in text
    assert f"Python files in {folder}: shop.py." in text
    assert "There is no folder" in refused("nowhere/shop.py")
    assert "is a folder. Python files in" in refused(f"{folder}/")


def test_a_missing_module_names_where_it_was_looked_for(folder):
    """The current folder, Python's own, and what is there."""
    (folder / "shop.py").write_text(ONE)
    text = refused("shob:app")
    for part in ("no module shob", str(folder), sys.prefix, "shop.py", "penstock run shop:app"):
        assert part in text


def test_the_likeliest_file_is_named_first(folder):
    """However many there are."""
    for number in range(20):
        (folder / f"a{number}.py").write_text("")
    (folder / "shop.py").write_text(ONE)
    for target in ("shpo.py", "shpo"):
        assert "shop.py, a0.py" in refused(target)


def test_a_folder_that_is_no_package(folder):
    """Python would import it, and find nothing in it."""
    (folder / "jobs").mkdir()
    (folder / "jobs" / "shop.py").write_text(ONE)
    assert "jobs is a folder. Python files in" in refused("jobs")


@pytest.mark.parametrize(
    ("step", "name"), [("group_by_key().count()", "count"), ("group_by(len, key=int)", "group_by")]
)
def test_a_missing_name_is_asked_for(folder, step, name):
    """In words of the step, not of Python's calls."""
    (folder / "shop.py").write_text(f"{ONE}app.stream('t', key=str, value=str).{step}")
    assert f"{name} has no name" in refused("shop.py")


@pytest.mark.parametrize("target", ["no such thing", "", ":app", "a-b"])
def test_what_is_neither_module_nor_file(target):
    """It is shown as it was given."""
    assert "is neither a module nor a file" in refused(target)


def test_no_app_in_it(folder):
    """What was looked for, and what is there."""
    (folder / "shop.py").write_text("import os\norders = 'orders'\ndef main(): ...\n_hidden = 1")
    text = refused("shop.py")
    assert "shop.py has no App" in text
    assert "app = penstock.App(...)" in text
    assert "orders (str), main (function)" in text
    assert "os" not in text.split("found")[1].split("Move")[0].replace("orders", "")
    (folder / "empty.py").write_text("")
    assert "found nothing at all" in refused("empty.py")


def test_two_apps(folder):
    """Both are named, with the words that choose one; an alias is no second one."""
    (folder / "shop.py").write_text(TWO)
    text = refused("shop.py")
    assert "has 2 Apps: app, other" in text
    assert "penstock run shop.py:app or penstock run shop.py:other" in text
    assert load("shop.py:other").id == "two"
    (folder / "alias.py").write_text(ONE + "same = app")
    assert load("alias.py").id == "one"


def test_a_name_that_is_not_there_or_no_app(folder):
    """The Apps that are there are named."""
    (folder / "shop.py").write_text(TWO + "def main(): ...")
    assert "has no 'ap'. Apps at its top level: app, other." in refused("shop.py:ap")
    assert "has main (function), which is no App" in refused("shop.py:main")


def test_an_error_in_the_file_names_its_line(folder):
    """The user's line, not ours and not the library's that it calls."""
    text = ONE + "import json\ndef parse():\n    return json.loads('{')\nparse()\n"
    (folder / "shop.py").write_text(text)
    said = refused("shop.py")
    assert "shop.py cannot be loaded" in said
    assert f"{folder / 'shop.py'}, line 5 (return json.loads('{{'))" in said
    assert "JSONDecodeError: Expecting property name" in said


def test_a_wrong_declaration_names_its_line(folder):
    """Penstock's own error, with where it was made."""
    (folder / "shop.py").write_text(ONE + "app.stream('')\n")
    text = refused("shop")
    assert "line 3 (app.stream(''))" in text
    assert "names no topic" in text


def test_a_line_is_named_without_the_values_in_it(folder):
    """One of them may be a password, and the message goes into logs."""
    wrong = """penstock.KafkaSettings(client={"sasl.password": "swordfish", 'group.id': f'x'})\n"""
    (folder / "shop.py").write_text("import penstock\n" + wrong)
    text = refused("shop.py")
    assert (
        """line 2 (penstock.KafkaSettings(client={"sasl.password": "...", 'group.id': f'...'})"""
        in text
    )
    assert "'group.id' belongs to Penstock" in text
    (folder / "shop.py").write_text('password = "swordfish" +\n')
    assert 'line 1 (password = "..." +): SyntaxError' in refused("shop.py")


def test_a_missing_import_is_not_a_missing_module(folder):
    """The module is there; what it imports is not."""
    (folder / "shop.py").write_text("import nothing_of_that_name\n")
    for target in ("shop", "shop.py"):
        text = refused(target)
        assert "shop.py, line 1 (import nothing_of_that_name): ModuleNotFoundError" in text


def test_wrong_syntax_names_its_line(folder):
    """It has no stack, but a line."""
    (folder / "shop.py").write_text(ONE + "app.stream(\n")
    assert f"{folder / 'shop.py'}, line 3 (app.stream(): SyntaxError" in refused("shop.py")


def test_a_script_that_ends_the_process(folder):
    """It does not end ours."""
    (folder / "shop.py").write_text("import sys\nsys.exit(3)\n")
    assert "line 2 (sys.exit(3)): it ends the process, with exit code 3" in refused("shop.py")


# The stack of a user's function


def raised(function, *arguments):
    """What a function raises where our own code has called it, itself met for the second time."""
    with pytest.raises(EachFailed) as caught:
        each(function, arguments)
    [error] = caught.value.errors.values()
    error.__context__ = LookupError("the first time")
    return error


def test_a_stack_begins_with_the_users_own_code(folder):
    """Our frames before it are cut off, those behind it stay."""
    (folder / "shop.py").write_text(ONE + "def half(n):\n  return int(n) // 0")
    load("shop.py")
    error = from_own_code(raised(sys.modules["shop"].half, "1"))
    text = "".join(traceback.format_exception(error))
    assert "shop.py" in text
    assert "each.py" not in text
    assert "the first time" not in text


def test_a_stack_without_the_users_code_is_none():
    """As where a record cannot be decoded: the message says it all."""
    assert from_own_code(raised(STR.decode, b"\xff")) is None


def test_what_a_module_is_told_by_us_names_its_own_line(folder):
    """Also where one of the packages beside `streams` says it, in an editable install."""
    (folder / "shop.py").write_text(
        ONE + "app.stream('t', key=str).group_by_key().count(name='a b')"
    )
    assert "shop.py, line 3 (app.stream(" in refused("shop.py")
