"""docs/metrics.md is what the catalogue says."""

import importlib.util
from types import ModuleType

import pytest

from penstock.query.web.metrics import CATALOGUE
from tests.documents import ROOT


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("metrics_page", ROOT / ".ci" / "metrics.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


metrics = load()


def test_the_page_is_current() -> None:
    assert metrics.PAGE.read_text() == metrics.page(), "make docs"


def test_a_change_of_the_catalogue_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(CATALOGUE, "penstock_ready")
    assert metrics.main(["--check"]) == 1


def test_every_section_begins_with_a_metric_that_is_there() -> None:
    assert set(metrics.SECTIONS) <= set(CATALOGUE)
