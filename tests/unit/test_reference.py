"""docs/reference.md is what the docstrings say, and they tell every argument."""

import importlib
import importlib.util
import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from tests.documents import ROOT

# Handles that others make, and protocols: nobody calls their constructors.
MADE = {
    "Aggregator", "Grouped", "Pattern", "Query", "Record", "Serde", "Store", "Stream", "Table", "TestTopic",
    "WindowedGrouped", "WindowedTable",
}  # fmt: skip
EVIDENT = {"node", "self"}
FOR_THE_ENGINE = {"TestDriver.partitions", "TestDriver.max_message_bytes"}


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", ROOT / ".ci" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = load()


def test_the_page_is_current() -> None:
    assert reference.PAGE.read_text() == reference.page(), "make docs"


def test_a_change_of_a_docstring_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from penstock.operators import on_error

    monkeypatch.setattr(on_error.dead_letter, "__doc__", "Do something else.")
    assert reference.PAGE.read_text() != reference.page()
    assert reference.main(["--check"]) == 1


@pytest.mark.parametrize("module", reference.MODULES)
def test_every_public_name_is_there(module: str) -> None:
    page = reference.PAGE.read_text()
    for name in importlib.import_module(module).__all__:
        told = f"### {name}\n" in page or f"### `{name}`\n" in page or f"| `{name}` |" in page
        assert told, name


def functions() -> Iterator[tuple[str, Any]]:
    for module in reference.MODULES:
        for name in importlib.import_module(module).__all__:
            found = getattr(importlib.import_module(module), name)
            if inspect.isfunction(found):
                yield name, found
            elif inspect.isclass(found):
                if "__init__" in vars(found) and name not in MADE:
                    yield name, found
                for method, function in vars(found).items():
                    public = inspect.isfunction(function) and not method.startswith("_")
                    if public and name != "Serde" and inspect.getdoc(function):
                        yield f"{name}.{method}", function


@pytest.mark.parametrize(
    ("name", "function"), list(functions()), ids=[name for name, _ in functions()]
)
def test_every_argument_is_told(name: str, function: Any) -> None:
    doc = inspect.getdoc(function) or ""
    for argument in (
        () if name in FOR_THE_ENGINE else set(inspect.signature(function).parameters) - EVIDENT
    ):
        assert f"\n    {argument}: " in doc, f"{name}: {argument}"


def test_a_section_becomes_a_list() -> None:
    doc = "Do it.\n\nArgs:\n    a: what\n        it is.\n    *b: more.\n\n>>> 1\n1\n\nRaises:\n    E: if."
    assert reference._prose(doc) == (
        "Do it.\n\n**Args**\n\n- `a`: what\n  it is.\n- `*b`: more.\n\n```pycon\n>>> 1\n1\n```\n\n"
        "**Raises**\n\n- `E`: if.\n"
    )
