"""The command line: `penstock` and its commands.

A command is a function in the module of its name; this file registers them and decides how
they end:

    0    done
    1    an error, printed as one paragraph on stderr (with its traceback by --debug)
    2    wrong usage, printed by typer
    130  Ctrl-C

`penstock run` has more of them, one for each kind of error: `penstock.runtime.exits`.

Commands import Kafka, RocksDB and the framework inside their functions, so that `--help`
answers at once.
"""

import os
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from penstock.cli.broker import broker
from penstock.cli.client_file import VARIABLE
from penstock.cli.consume import consume
from penstock.cli.dead_letters import dead_letters
from penstock.cli.demo import demo
from penstock.cli.describe import describe
from penstock.cli.example import example
from penstock.cli.explain import explain
from penstock.cli.lag import lag
from penstock.cli.produce import produce
from penstock.cli.progress import progress
from penstock.cli.reset import reset
from penstock.cli.run import run
from penstock.cli.state import state
from penstock.cli.status import status
from penstock.cli.terminal import printable
from penstock.cli.topics import topics
from penstock.cli.watch import watch
from penstock.errors import PenstockError
from penstock.version import __version__

_DEBUG = "--debug"
_HOW_TYPER_ENDS: tuple[Any, ...] = (
    typer.Exit,
    typer.Abort,
    *typer.BadParameter.__bases__,
    BrokenPipeError,
)
_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


class _Commands(TyperGroup):
    """The commands, with their errors made readable."""

    def parse_args(self, ctx: Any, args: list[str]) -> Any:
        """Take --debug wherever it stands: it is wanted once a command has failed."""
        own = [arg for arg in args if arg == _DEBUG]
        return super().parse_args(ctx, own[:1] + [arg for arg in args if arg != _DEBUG])

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except _HOW_TYPER_ENDS:
            raise
        except KeyboardInterrupt:
            raise typer.Exit(_INTERRUPTED) from None
        except Exception as error:
            if ctx.params["debug"]:
                raise
            _print_error(error)
            raise typer.Exit(1) from None


def _print_error(error: Exception) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    safe = "\n".join(map(printable, _said(error).split("\n")))  # it may quote what a record says
    text = Text.assemble(("Error: ", "bold red"), safe)
    console.print(text, soft_wrap=not console.is_terminal)


def _said(error: Exception) -> str:
    if isinstance(error, PenstockError):
        return str(error)
    what = f"{type(error).__name__}: {error}"
    if isinstance(error, OSError):
        return f"The operating system refuses: {what}. Check the path, its owner and its space."
    return f"A fault of Penstock: {what}. Please report it with what 'penstock --debug' shows."


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Kafka-native stream processing for Python.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"penstock {__version__}")
        raise typer.Exit


def _name_client_file(path: str | None) -> None:
    if path:
        os.environ[VARIABLE] = path


@app.callback()
def _options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
    debug: Annotated[bool, typer.Option(_DEBUG, help="Show tracebacks of errors.")] = False,
    client_config: Annotated[
        str | None,
        typer.Option(
            envvar=VARIABLE,
            metavar="FILE",
            callback=_name_client_file,
            help="Settings of the Kafka client, name=value, for the commands that look at a"
            " cluster; an application has its own.",
        ),
    ] = None,
) -> None:
    """Take the options that stand before the command."""


app.command()(run)
app.command()(describe)
app.command()(explain)
app.command()(status)
app.command()(watch)
app.command()(progress)
app.command()(lag)
app.command()(reset)
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(state, name="state")
app.command()(topics)
app.command()(produce)
app.command()(consume)
app.command()(broker)
app.command()(demo)
app.command()(example)


def main() -> None:
    """Run the command line."""
    app(prog_name="penstock")
