"""What CI has time for: the first of several cases; `make chaos` runs them all."""

from collections.abc import Sequence
from typing import Any

import pytest


def sample(names: str, cases: Sequence[Any], *, first: int = 1) -> pytest.MarkDecorator:
    """Parametrize a test with cases; those behind the first ones are marked full.

    Args:
        names: as those of `pytest.mark.parametrize`.
        cases: their values; tuples where there are several names.
        first: how many of them run in CI.
    """
    several = "," in names
    rest = (
        pytest.param(*case if several else (case,), marks=pytest.mark.full)
        for case in cases[first:]
    )
    return pytest.mark.parametrize(names, [*cases[:first], *rest])
