"""`penstock explain`: what an application promises, keeps and needs, without a broker."""

from typing import Annotated

import typer

from penstock.cli.run import TARGET


def explain(
    target: Annotated[str, TARGET],
    *,
    extended: Annotated[
        bool, typer.Option("--extended", help="List the steps and the changelogs too.")
    ] = False,
) -> None:
    """Explain what an application will do: what is exactly once, what it keeps, and when.

    It needs no broker.

    Examples:
      penstock explain shop.py
      penstock explain shop.py --extended
    """
    from penstock.runtime.loading import load

    typer.echo(load(target).explain(extended=extended), nl=False)
