"""`penstock explain`: what an application promises, keeps and needs, without a broker."""

from typing import Annotated

import typer

from penstock.cli.run import TARGET


def explain(target: Annotated[str, TARGET]) -> None:
    """Explain an application: its parts, its stores and topics, and what it promises.

    It needs no broker.

    Example:
      penstock explain shop.py
    """
    from penstock.runtime.loading import load

    typer.echo(load(target).describe(), nl=False)
