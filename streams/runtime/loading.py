"""From what stands on the command line to the App that it means.

    shop           the one App of the module shop
    shop:orders    the App of that name in it
    jobs/shop.py   the one App of a file
    jobs/shop.py:orders

The module is imported under its own name, never as `__main__`: what stands under `if __name__ ==
"__main__"` does not run. The folder of the file, or the current one for a module, comes first
on sys.path, as it does for a script.
"""

import difflib
import importlib
import importlib.util
import re
import sys
import sysconfig
import traceback
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType, TracebackType

import penstock
from penstock import serde, state, topics
from penstock.app import App
from penstock.errors import PenstockError, TopologyError
from penstock.secret import without_values

MOST_SHOWN = 8
_NAMELESS = re.compile(r"(\w+)\(\) missing 1 required keyword-only argument: 'name'")
_EXAMPLE = "'penstock run shop.py' or 'penstock run shop:app'"
_loading: ContextVar[str | None] = ContextVar("penstock_loading", default=None)


def load(target: str) -> App:
    """Import what a target names, and return its App.

    Raises:
        TopologyError: if there is no such file or module, it fails, or it is not clear which
            App is meant.
    """
    place, _, name = target.partition(":")
    module = load_module(place)
    return _named(module, place, name) if name else _only(module, place)


def load_module(place: str, example: str = _EXAMPLE) -> ModuleType:
    """Import a module or a file.

    Args:
        place: its name or path.
        example: a command that names one, for messages.

    Raises:
        TopologyError: if there is no such thing, or it fails.
    """
    with _marked(place):
        return _from_file(Path(place), example) if _is_file(place) else _from_module(place, example)


def refuse_while_loading() -> None:
    """Refuse to run an application whose file is only being imported.

    Raises:
        TopologyError: inside of `load`.
    """
    if _loading.get():
        raise TopologyError(
            "app.run() was called while the application was being loaded. Put the call under"
            ' if __name__ == "__main__":, so that penstock run can start the workers.'
        )


@contextmanager
def _marked(target: str) -> Generator[None]:
    token = _loading.set(target)
    try:
        yield
    finally:
        _loading.reset(token)


def _is_file(place: str) -> bool:
    path = Path(place)
    is_bare_folder = bool(place) and path.is_dir() and not (path / "__init__.py").exists()
    return place.endswith(".py") or "/" in place or path.is_file() or is_bare_folder


def _from_file(path: Path, example: str) -> ModuleType:
    if not path.is_file():
        folder = path.parent
        what = "is a folder" if path.is_dir() else "does not exist"
        there = _files(path if path.is_dir() else folder, path.name)
        raise TopologyError(f"{path} {what}. {there} Name a file, as in {example}.")
    _put_first(path.resolve().parent)
    name = path.stem if path.stem.isidentifier() and path.stem not in sys.modules else "__app__"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise TopologyError(f"{path} is not a Python file. Name one that ends with .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # types are resolved by it
    with _explained(str(path)):
        spec.loader.exec_module(module)
    return module


def _from_module(place: str, example: str) -> ModuleType:
    if not all(part.isidentifier() for part in place.split(".")):
        raise TopologyError(
            f"{place!r} is neither a module nor a file that exists. {_files(Path(), place)}"
            f" Name one or the other, as in {example}."
        )
    _put_first(Path.cwd())
    with _explained(place):
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{place}.".startswith(f"{error.name}."):
                raise  # it is there, and imports something that is not
        raise TopologyError(
            f"There is no module {place}: neither in {Path.cwd()} nor where Python is installed"
            f" ({sys.prefix}). {_files(Path(), f'{place}.py')} Name one or the other, as in"
            f" {example}."
        )


def _put_first(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _files(folder: Path, wanted: str) -> str:
    where = folder.resolve()
    if not where.is_dir():
        return f"There is no folder {where} either."
    files = sorted(file.name for file in where.glob("*.py"))
    like = difflib.get_close_matches(wanted, files, MOST_SHOWN)
    rest = [name for name in files if name not in like]
    return f"Python files in {where}: {_listed(like + rest) or 'none'}."


def _listed(names: list[str]) -> str:
    more = len(names) - MOST_SHOWN
    shown = ", ".join(names[:MOST_SHOWN])
    return f"{shown} and {more} more" if more > 0 else shown


# What goes wrong inside of the module


@contextmanager
def _explained(place: str) -> Generator[None]:
    """Turn whatever a module raises into one paragraph that names the line."""
    try:
        yield
    except (Exception, SystemExit) as error:
        if isinstance(error, TopologyError) and not _lines(error):
            raise
        raise TopologyError(f"{place} cannot be loaded. {_line(error)}: {_what(error)}") from error


def _what(error: BaseException) -> str:
    if isinstance(error, PenstockError):
        return str(error)
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}."
    if isinstance(error, SystemExit):
        return f"it ends the process, with exit code {error.code}."
    text = " ".join(str(error).split())
    if isinstance(error, TypeError) and (nameless := _NAMELESS.search(text)):
        step = nameless[1]
        return (
            f"{step} has no name. What it creates in Kafka or on disk is found again by that: pass"
            f" {step}(..., name='...'), a name that you do not change later."
        )
    return f"{type(error).__name__}: {text}." if text else f"{type(error).__name__}."


def _line(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        source = without_values((error.text or "").strip())
        return f"{error.filename}, line {error.lineno} ({source})"
    lines = _lines(error)
    if not lines:
        return "Importing it fails"
    return f"{lines[-1].filename}, line {lines[-1].lineno} ({without_values(lines[-1].line or '')})"


def from_own_code(error: BaseException) -> BaseException | None:
    """Cut what leads to the user's code off a stack; None where it never gets there.

    What was being handled meanwhile goes too: it is the same error, met for the first time.
    """
    stack = error.__traceback__
    while stack is not None and not _is_own(stack):
        stack = stack.tb_next
    if stack is None:
        return None
    error.__suppress_context__ = True
    return error.with_traceback(stack)


def _is_own(stack: TracebackType) -> bool:
    return not stack.tb_frame.f_code.co_filename.startswith(_foreign())


def _lines(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the stack without Python's own frames, ours, and those of installed packages."""
    stack = traceback.extract_tb(error.__traceback__)
    return [frame for frame in stack if not frame.filename.startswith(_foreign())]


def _foreign() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    ours = (package.__path__[0] for package in (penstock, serde, state, topics))
    return ("<", paths["stdlib"], paths["purelib"], *ours)


# Which App


def _apps(module: ModuleType) -> dict[str, App]:
    """Return each App once, under its first name."""
    found: dict[int, tuple[str, App]] = {}
    for name, value in vars(module).items():
        if isinstance(value, App):
            found.setdefault(id(value), (name, value))
    return dict(found.values())


def _only(module: ModuleType, place: str) -> App:
    apps = _apps(module)
    if len(apps) == 1:
        return next(iter(apps.values()))
    if apps:
        choices = " or ".join(f"penstock run {place}:{name}" for name in apps)
        raise TopologyError(
            f"{place} has {len(apps)} Apps: {', '.join(apps)}. Name one: {choices}."
        )
    raise TopologyError(
        f"{place} has no App. Looked for an object like app = penstock.App(...) at its top level,"
        f" and found {_contents(module)}. Move it there, or name another file."
    )


def _named(module: ModuleType, place: str, name: str) -> App:
    value: object = vars(module).get(name)
    if isinstance(value, App):
        return value
    wrong = f"no {name!r}" if value is None else f"{_described(name, value)}, which is no App"
    apps = ", ".join(_apps(module)) or "none"
    raise TopologyError(
        f"{place} has {wrong}. Apps at its top level: {apps}. Other names: {_contents(module)}."
    )


def _contents(module: ModuleType) -> str:
    found = [
        _described(name, value)
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, App | ModuleType)
    ]
    return _listed(found) or "nothing at all"


def _described(name: str, value: object) -> str:
    return f"{name} ({type(value).__name__})"
