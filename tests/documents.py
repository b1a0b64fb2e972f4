"""The blocks of the project's pages, and what each kind of block has to hold.

Rule 1. Every block is found: fenced ones, whatever their language, and indented ones.
Rule 2. Every block has exactly one kind. One of no kind, and a line in a block of commands that
        is no command, are faults; what cannot be checked stands in `EXPLAINED` with its reason.
Rule 3. An explanation without its block or command is a fault too.
"""

import ast
import contextlib
import doctest
import io
import json
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import typer.main
from ruamel.yaml import YAML
from typer.core import TyperGroup

import penstock
import penstock.serde
import penstock.testing
from penstock.cli.main import app as commands

ROOT = Path(__file__).parent.parent
NAMED = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "bench/README.md")
PAGES = sorted([*(ROOT / name for name in NAMED), *(ROOT / "docs").glob("*.md")])
LOG = re.compile(r"\d\d:\d\d:\d\d\.\d{3} (DEBUG|INFO|WARNING|ERROR|CRITICAL) +\S+  \S")
FENCE = re.compile(r"^( *)```(\w*)\s*$")
SHELL = {"sh", "shell", "bash", "console"}
PROGRAMS = {"penstock", "make", "python", "python3", "pip", "docker", "useradd", "printf"}
TEXT_TOOLS = {"printf", "cat", "head", "tail"}  # they may feed a command or a file

# Where a page is run as a whole, if not by tests/unit/test_docs.py.
NEEDS_BROKER = {"operations.md", "testing.md"}  # tests/kafka/test_pages.py
# Pages whose outputs, of commands too, are compared by a test of their own.
FOLLOWED = {
    "quickstart.md": "tests/kafka/test_quickstart.py",
    "troubleshooting.md": "tests/kafka/test_troubleshooting.py",
}

# What is not run here, and why: blocks by page and first line, commands by how they begin.
EXPLAINED = {
    "design.md: streams/   → penstock          app, stream, table, grouped: the fluent surface"
    " (declares, runs nothing)": "a map of folders",
    "errors.md: PenstockError": "the tree of penstock.errors, which test_errors.py compares",
    "reference.md: ps.run(orders, refunds)": "a call that needs applications",
    "reference.md: first = ps.wait_any(orders.start(), refunds.start())":
        "a call that needs applications",
    'time.md: tumbling("10m")           |---1---|---2---|---3---|        each instant is in one':
        "a picture of windows",
    "running.md: shop/.slots/0.id                     the identity of this host's first worker":
        "a map of folders",
    "running.md: Restoring views-per-user/0,3: 1200000 records in 3.0 s (400000 records/s), at most"
    " 800000 left, time left 0:00:02.": "lines of a log, with times in them",
}  # fmt: skip
NOT_PARSED = {
    "penstock --install-completion": "it writes to the shell's own files at once",
    "docker compose": "there are no containers where the tests run",
    "useradd": "it changes the machine",
    "systemctl": "it changes the machine",
    "cp deploy/penstock@.service": "it changes the machine",
    "pip install": "it needs the network; .ci/run installs the wheel",
    "python3 -m venv": ".ci/setup makes one in each run",
    "source .venv/bin/activate": "it is for a person's shell",
}


def name(file: Path) -> str:
    """How a page is named in messages."""
    return str(file.relative_to(ROOT))


@dataclass
class Block:
    """A block of a page.

    Attributes:
        line: where its text begins.
        language: what its fence says; None for an indented one.
        gap: whether prose stands between it and the block before.
    """

    page: str
    line: int
    language: str | None
    text: str
    gap: bool = True

    @property
    def first(self) -> str:
        """How explanations name it."""
        return f"{self.page}: {self.text.strip().splitlines()[0].strip()}"

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str, text: str) -> list[Block]:
    """Find the blocks of a page."""
    found: list[Block] = []
    lines = text.splitlines()
    number, prose = 0, True
    while number < len(lines):
        fence = FENCE.match(lines[number])
        if fence:
            end = next(n for n in range(number + 1, len(lines)) if lines[n].strip() == "```")
            body = "\n".join(line[len(fence[1]) :] for line in lines[number + 1 : end])
            found.append(Block(page, number + 2, fence[2], body, prose))
            number, prose = end + 1, False
        elif _begins_indented(lines, number):
            end = _end_of_indented(lines, number)
            body = "\n".join(line[4:] for line in lines[number:end])
            found.append(Block(page, number + 1, None, body, prose))
            number, prose = end, False
        else:
            prose = prose or bool(lines[number].strip())
            number += 1
    return found


def _begins_indented(lines: list[str], number: int) -> bool:
    """Indented by four behind an empty line, and not a paragraph of a list."""
    if not lines[number].startswith("    ") or not lines[number].strip():
        return False
    if number == 0 or lines[number - 1].strip():
        return False
    before = next((line for line in reversed(lines[:number]) if line[:1].strip()), "")
    return not re.match(r"([-*+]|\d+\.) ", before)


def _end_of_indented(lines: list[str], number: int) -> int:
    end = number
    while number < len(lines) and (not lines[number].strip() or lines[number].startswith("    ")):
        number += 1
        if lines[number - 1].strip():
            end = number
    return end


def kind_of(block: Block) -> str:
    """Say what a block is; "" is a fault."""
    if block.first in EXPLAINED:
        return "explained"
    if block.language in {"python", "pycon", "pyi", "json", "yaml"}:
        return block.language
    if not block.language and all(LOG.match(line) for line in block.text.splitlines()):
        return "log"  # as penstock.runtime.logs writes it
    if block.language in {"", "text"} and (not block.gap or block.page in FOLLOWED):
        return "output"
    if block.language in SHELL or (not block.language and is_command(block.text)):
        return "shell"
    return ""


def is_command(text: str) -> bool:
    """Whether a block begins with a command that is known here."""
    first = next(iter(command_lines(text)), "")
    return first.split(" ")[0] in PROGRAMS


def command_lines(text: str) -> list[str]:
    """Return the commands of a block, without comments, continued lines joined."""
    joined = re.sub(r"\\\n\s*", "", text)
    found = [shlex.join(shlex.split(line, comments=True)) for line in joined.splitlines()]
    return [line for line in found if line]


@dataclass
class Page:
    """A page whose programs run in one namespace, one after the other, as a reader types them."""

    name: str
    blocks: list[Block]
    names: dict[str, Any] = field(default_factory=lambda: {"__name__": "page"})

    @property
    def pairs(self) -> Iterator[tuple[Block, Block | None]]:
        """Each block, with the output that stands right behind it."""
        for block, after in zip(self.blocks, [*self.blocks[1:], None], strict=False):
            yield block, after if after and kind_of(after) == "output" else None

    def check(self) -> list[str]:
        """Return what is wrong with its blocks."""
        faults: list[str] = []
        modules: list[str] = []
        for block, output in self.pairs:
            try:
                self._check(block, output, modules)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the block's fault
                faults.append(f"{block}: {type(error).__name__}: {error}{_line(error, block)}")
        for name in modules:
            sys.modules.pop(name, None)
        return faults

    def _check(self, block: Block, output: Block | None, modules: list[str]) -> None:
        kind = kind_of(block)
        assert kind, "a block of no kind: make it one, or explain it in EXPLAINED"
        if kind == "python":
            self._run(block, output, modules)
        elif kind == "pycon":
            self._try(block)
        elif kind == "pyi":
            ast.parse(block.text if re.match(r"\w+: ", block.text) else f"def {block.text}: ...")
        elif kind == "shell":
            assert output is None or self.name in FOLLOWED, "an output that nobody compares"
            for line in command_lines(block.text):
                check_command(line)
        elif kind == "json":
            for line in block.text.splitlines():
                json.loads(line)
        elif kind == "yaml":
            assert YAML(typ="safe").load(block.text)

    def _try(self, block: Block) -> None:
        """Run an example of the interactive interpreter."""
        modules = (penstock, penstock.serde, penstock.testing)
        names = {name: getattr(module, name) for module in modules for name in module.__all__}
        test = doctest.DocTestParser().get_doctest(
            block.text, {"ps": penstock, **names}, str(block), None, None
        )
        said = io.StringIO()
        failed, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test, out=said.write)
        assert not failed, said.getvalue()

    def _run(self, block: Block, output: Block | None, modules: list[str]) -> None:
        """Run a program; one that is a file can be imported by those behind it."""
        file = named_file(block)
        if file is not None:
            module = ModuleType(file.removesuffix(".py"))
            sys.modules[module.__name__] = module
            modules.append(module.__name__)
            self.names = module.__dict__
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            exec(compile(block.text, file or self.name, "exec"), self.names)
            for name in [name for name in self.names if name.startswith("test_")]:
                self.names.pop(name)()
        if output is not None:
            assert same(output.text, said.getvalue()), said.getvalue()


def same(shown: str, said: str) -> bool:
    """Whether an output is what is shown; an ellipsis there stands for anything."""
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(shown, said, options)


def _line(error: Exception, block: Block) -> str:
    """Name the last line of a program that was being run."""
    names = {block.page, named_file(block)}
    ran = [at.lineno for at in traceback.extract_tb(error.__traceback__) if at.filename in names]
    if not ran or ran[-1] is None:
        return ""
    return f" at line {block.line + ran[-1] - 1}: {block.text.splitlines()[ran[-1] - 1].strip()}"


def named_file(block: Block) -> str | None:
    """Return the file that a program is to be put into, if its first line is its name."""
    found = re.match(r"# (\w+\.py)\b", block.text)
    return found[1] if found else None


def load(file: Path) -> Page:
    """Read a page."""
    return Page(file.name, blocks(file.name, file.read_text()))


def check_command(line: str) -> None:
    """Hold a command against the command line, the Makefile or the tree.

    Raises:
        AssertionError: if it is none of what is known.
        Exception: typer's usage error, if `penstock` does not take it.
    """
    if any(line.startswith(start) for start in NOT_PARSED):
        return
    *sources, line = (shlex.join(stage) for stage in _stages(shlex.split(line)))
    for source in sources:
        check_command(f"{source} > a-pipe")
    program, *arguments = shlex.split(line)
    if arguments[-2:-1] == [">"]:
        arguments = arguments[:-2]
        if program in TEXT_TOOLS:
            return
    checks: dict[str, Callable[[list[str]], None]] = {
        "penstock": parse,
        "make": _check_make,
        "python": _check_python,
    }
    assert program in checks, f"{program!r} is no command that is known here: {line}"
    checks[program](arguments)


def _stages(words: list[str]) -> Iterator[list[str]]:
    """The commands of a pipe."""
    stage: list[str] = []
    for word in [*words, "|"]:
        if word == "|":
            yield stage
            stage = []
        else:
            stage.append(word)


def parse(arguments: list[str]) -> None:
    """Let the real command line take its arguments, up to calling the command."""
    command = typer.main.get_command(commands)
    context = command.make_context("penstock", list(arguments))
    with context:
        while isinstance(command, TyperGroup):
            left = [*context._protected_args, *context.args]
            name, found, left = command.resolve_command(context, left)
            assert found is not None, name
            command = found
            context = command.make_context(str(name), left, parent=context)


def inline_faults(text: str) -> list[str]:
    """Return what is wrong with the commands that stand in the prose of a page.

    The command has to be there, and its options. (Arguments may be left out or stand for others.)
    """
    prose = re.sub(r"^( *)```.*?^ *```", "", text, flags=re.M | re.S)
    faults: list[str] = []
    for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", prose):
        words = span.split()
        if words[0] == "make" and len(words) > 1:
            faults += _fault(lambda words=words: _check_make(words[1:2]))
        elif words[0] == "penstock" and len(words) > 1:
            faults += _fault(lambda words=words: _check_named(words[1:]))
    return faults


def _fault(check: Callable[[], None]) -> list[str]:
    try:
        check()
    except AssertionError as error:
        return [str(error)]
    return []


def _check_named(words: list[str]) -> None:
    command: Any = typer.main.get_command(commands)
    options = {"--help"} | {option for param in command.params for option in param.opts}
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in options, f"penstock {' '.join(words)}: no {word}"
        elif isinstance(command, TyperGroup) and word.isascii() and word[0].islower():
            assert word in command.commands, f"penstock {' '.join(words)}: no command {word}"
            command = command.commands[word]
            options |= {option for param in command.params for option in param.opts}


def stray_lines(text: str, found: list[Block]) -> list[str]:
    """Return indented commands that are in no block, as in a list, where nobody would check them."""
    lines = text.splitlines()
    inside = {block.line + n for block in found for n in range(len(block.text.splitlines()))}
    starts = tuple(f"{program} " for program in PROGRAMS)
    return [
        line
        for number, line in enumerate(lines, 1)
        if line.startswith("  ") and line.strip().startswith(starts) and number not in inside
    ]


def _check_make(arguments: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    verbs = re.findall(r"^(\w+):", makefile, re.M)
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name == "ARGS":
            missing = [p for p in value.split() if "/" in p and not (ROOT / p).exists()]
            assert not missing, f"there is no {missing}"
        else:
            assert name in verbs or f"$({name})" in makefile, f"the Makefile has no {name}"


def _check_python(arguments: list[str]) -> None:
    if arguments[0] == "-m":
        assert arguments[1] in {"pytest", "bench", "bench.publish"}, arguments
    else:
        assert re.fullmatch(r"\w+\.py", arguments[0]), arguments
