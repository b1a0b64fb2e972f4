"""The command `penstock example`: list the programs of `penstock.examples`, run one, copy one.

What runs one on a broker is `example_run`. The examples are read as files, and are imported by what
runs them alone.
"""

import ast
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from penstock.cli.terminal import print_table

WORKERS = {"several_workers": 2}  # where one would show nothing; also of a copy

NAME = typer.Argument(help="An example, or a file of yours with its events beside it, in a .tsv.")
COPY = typer.Option(metavar="DIR", help="Copy it there, with its events, instead of running it.")
BROKERS = typer.Option(
    metavar="HOST:PORT,...",
    help="Run it on these brokers, and delete its topics at the end. Default: an embedded one.",
)


def example(
    name: Annotated[str | None, NAME] = None,
    *,
    copy: Annotated[Path | None, COPY] = None,
    brokers: Annotated[str | None, BROKERS] = None,
) -> None:
    """List the examples; run one on an embedded broker, to its end; or copy one.

    Example: penstock example word-count --copy .
    """
    if name is None:
        _list()
    elif copy is not None:
        _copy(_find(name), copy)
    else:
        _run(_find(name), brokers)


def files() -> dict[str, Path]:
    """Return the programs by their names."""
    from penstock import examples

    folder = Path(str(examples.__file__)).parent
    found = sorted(folder.glob("[a-z]*.py"))
    return {file.stem.replace("_", "-"): file for file in found}


def docstring(program: Path) -> str:
    """Return what a program says of itself, without running it."""
    return ast.get_docstring(ast.parse(program.read_text())) or ""


def is_test(program: Path) -> bool:
    """Whether a program is tests for pytest, which need no broker."""
    return "\ndef test_" in program.read_text()


def _find(name: str) -> Path:
    known = files()
    if name.endswith(".py"):
        if not Path(name).is_file():
            raise typer.BadParameter(f"There is no file {name}.", param_hint="NAME")
        return Path(name)
    program = known.get(name.replace("_", "-"))
    if program is None:
        raise typer.BadParameter(
            f"There is no example {name}. There are: {', '.join(known)}.", param_hint="NAME"
        )
    return program


def _list() -> None:
    print_table(
        ["Example", "What it shows"],
        [(name, docstring(file).partition("\n")[0]) for name, file in files().items()],
    )
    typer.echo("\nRun one with 'penstock example NAME', take one with --copy DIR.")


def _copy(program: Path, folder: Path) -> None:
    wanted = [file for file in (program, program.with_suffix(".tsv")) if file.exists()]
    there = [file.name for file in wanted if (folder / file.name).exists()]
    if there:
        raise typer.BadParameter(
            f"{' and '.join(there)} exist in {folder} already, and stay as they are."
            " Name another folder.",
            param_hint="--copy",
        )
    folder.mkdir(parents=True, exist_ok=True)
    for file in wanted:
        shutil.copyfile(file, folder / file.name)
    typer.echo("\n".join(_after_copy(folder / program.name, wanted)))


def _after_copy(copy: Path, files: Sequence[Path]) -> list[str]:
    said = [f"Copied to {copy.parent}: {', '.join(file.name for file in files)}"]
    if is_test(copy):
        return [*said, f"Run it:  python -m pytest {copy}"]
    return [
        *said,
        f"Change it, and run it again on its events:  penstock example {copy}",
        f"On a cluster, where its topics exist:       penstock run {copy} --brokers HOST:PORT",
    ]


def _run(program: Path, brokers: str | None) -> None:
    from penstock.cli import example_run

    typer.echo(f"{docstring(program)}\n\nIts source is {program}")
    if is_test(program):
        example_run.run_tests(program)
    else:
        example_run.run(program, workers=WORKERS.get(program.stem, 1), brokers=brokers)
