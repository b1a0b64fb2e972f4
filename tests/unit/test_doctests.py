"""The examples in docstrings are true, and every operator has one."""

import doctest
import importlib
import pkgutil
from types import ModuleType

import pytest

import penstock
import penstock.operators

OPERATORS = [info.name for info in pkgutil.iter_modules(penstock.operators.__path__)]
NO_OPERATOR = {
    "agg",
    "aggregate",
    "aggregation",
    "bound",
    "by_key",
    "chunk",
    "declared_process",
    "expiry",
    "matching",
    "moment",
    "operator",
    "record",
    "reduce",
    "sessions",
    "sink",
    "sliding",
    "source",
    "states",
    "timers",
    "windowed",
}


def modules() -> list[str]:
    """Every module of the package."""
    found = pkgutil.walk_packages(penstock.__path__, "penstock.")
    return ["penstock", *(info.name for info in found if not info.name.endswith("__main__"))]


def run(module: ModuleType) -> doctest.TestResults:
    """Run the examples of a module."""
    return doctest.testmod(module, optionflags=doctest.ELLIPSIS)


@pytest.mark.parametrize("name", modules())
def test_examples_are_true(name, capsys):
    """What a docstring shows is what happens."""
    failed, _ = run(importlib.import_module(name))
    assert failed == 0, capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(set(OPERATORS) - NO_OPERATOR))
def test_every_operator_has_an_example(name):
    """One glance says what a step does."""
    assert run(importlib.import_module(f"penstock.operators.{name}")).attempted > 0


def test_a_false_example_is_noticed():
    """The check fails for a docstring that lies."""
    module = ModuleType("lying", ">>> 1 + 1\n3\n")
    assert doctest.testmod(module, report=False, verbose=False).failed == 1


def test_the_first_program_is_a_program(monkeypatch):
    """The example in the package's docstring declares what it shows."""
    text = penstock.__doc__.partition("\n\n")[2]
    program = "\n".join(line[4:] for line in text.splitlines() if line.startswith("    "))
    monkeypatch.setattr(penstock.App, "run", lambda app: described.append(app.describe()))
    described: list[str] = []
    exec(program, {})
    assert "to-2 lower <- map-1" in described[0]
