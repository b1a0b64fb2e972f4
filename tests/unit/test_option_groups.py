"""Options in groups: a dataclass is shown as its fields, and given to the command whole."""

from dataclasses import dataclass
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from penstock.cli.option_groups import grouped


@dataclass(frozen=True, kw_only=True)
class Size:
    width: Annotated[int, typer.Option(min=1, help="How wide.")] = 3
    unit: Annotated[str | None, typer.Option("--in")] = None


@pytest.fixture
def called():
    """A command with a group, and what it was called with."""
    app, calls = typer.Typer(), []

    @app.command()
    @grouped
    def draw(
        name: Annotated[str, typer.Argument()],
        *,
        size: Size,
        loud: Annotated[bool, typer.Option("--loud")] = False,
    ) -> None:
        """Draw something."""
        calls.append((name, size, loud))

    def call(*arguments):
        done = CliRunner().invoke(app, list(arguments))
        return done.exit_code, calls, done.output

    return call


def test_a_group_is_filled(called):
    """From its options, and its defaults."""
    assert called("a")[1] == [("a", Size(), False)]
    assert called("b", "--width", "5", "--in", "cm", "--loud")[1][1:] == [
        ("b", Size(width=5, unit="cm"), True)
    ]


def test_options_are_typers(called):
    """Bounds and help are those of the fields."""
    assert called("a", "--width", "0")[0] == 2
    code, _, text = called("--help")
    assert code == 0
    for part in ("Draw something.", "--width", "How wide.", "--in", "--loud"):
        assert part in text
    assert "--size" not in text
