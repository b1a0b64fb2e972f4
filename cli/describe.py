"""`penstock describe`: the topology of an application, without a broker."""

from enum import StrEnum
from typing import Annotated

import typer

from penstock.cli.run import TARGET


class Format(StrEnum):
    """How a topology is shown."""

    TEXT = "text"
    MERMAID = "mermaid"


def describe(
    target: Annotated[str, TARGET],
    *,
    format: Annotated[Format, typer.Option(help="Text, or a diagram for Mermaid.")] = Format.TEXT,
) -> None:
    """Show what an application reads, does and writes, with its stores and internal topics.

    It needs no broker.

    Example:
      penstock describe shop.py --format mermaid
    """
    from penstock.runtime.loading import load

    typer.echo(load(target).describe(format=format.value), nl=False)
