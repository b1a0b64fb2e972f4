"""Write docs/reference.md from the docstrings of the public names: make docs.

    reference.py [--check]      --check writes nothing, and fails if the page is not current

Signatures come from the source, so that they say the same under every Python. What a docstring
says under Args, Attributes and Raises becomes lists, its examples become programs.
"""

import ast
import importlib
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "reference.md"
MODULES = ("penstock", "penstock.serde", "penstock.patterns", "penstock.testing")
ALIASES = {  # what stands in signatures for something longer
    "Duration": "penstock.durations",
    "Emit": "penstock.topology.node",
    "GroupProtocol": "penstock.runtime.settings",
    "Guarantee": "penstock.runtime.settings",
    "Names": "penstock.app",
    "OnError": "penstock.operators.on_error",
    "Schema": "penstock.serde.avro_serde",
    "Setting": "penstock.runtime.settings",
    "Spec": "penstock.serde.types",
    "Start": "penstock.operators.source",
    "Subject": "penstock.serde.avro_serde",
    "Unit": "penstock.operators.source",
}
SECTION = re.compile(r"^(Args|Attributes|Returns|Raises):$")
ENTRY = re.compile(r"^(\*{0,2}\w+): (.*)$")
INTRODUCTION = """\
# Reference

Every public name, from its docstring. `make docs` writes this page; a test holds it to the code.
Times and timestamps are milliseconds where nothing else is said, timestamps since the epoch, UTC;
sizes are bytes. All errors are in [errors.md](errors.md).
"""


def page() -> str:
    """Return the whole page."""
    return "\n".join([INTRODUCTION, *_modules(), *_aliases()])


def _modules() -> Iterator[str]:
    told: set[Any] = set()
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        yield f"## {module_name}\n"
        for name in sorted(module.__all__, key=str.lower):
            found = getattr(module, name)
            if name == "__version__":
                yield "### `__version__`\n\nThe version, as text.\n"
            elif inspect.ismodule(found):
                yield f"### `{name}`\n\nThe module [{found.__name__}](#penstockserde), below.\n"
            elif name not in ALIASES and found not in told:
                told.add(found)
                yield from _class(name, found) if inspect.isclass(found) else _function(found)


def _aliases() -> Iterator[str]:
    yield "## Types in signatures\n\n| Name | What it is |\n| --- | --- |"
    for name, module_name in ALIASES.items():
        module = importlib.import_module(module_name)
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name:
                assert node.value is not None
                value = ast.unparse(node.value).replace("|", "\\|")
                yield f"| `{name}` | `{value}` |"
    yield ""


def _class(name: str, found: type) -> Iterator[str]:
    tree = _tree(found)
    doc = inspect.getdoc(found) or ""
    yield f"### {name}\n"
    if issubclass(found, Exception):
        yield f"`class {name}({', '.join(base.__name__ for base in found.__bases__)})`\n"
    elif "\nArgs:" in doc or "dataclass" in ast.unparse(tree.decorator_list or ast.Pass()):
        yield f"```pyi\n{_wrapped(name, _constructor(tree))}\n```\n"
    yield _prose(doc)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_") and _doc(node):
            yield from _method(name, node)


def _method(owner: str, node: ast.FunctionDef) -> Iterator[str]:
    kinds = {ast.unparse(decorator) for decorator in node.decorator_list}
    yield f"#### {owner}.{node.name}\n"
    if "property" in kinds:
        returned = f": {ast.unparse(node.returns)}" if node.returns else ""
        yield f"```pyi\n{node.name}{returned}\n```\n"
    else:
        yield f"```pyi\n{_wrapped(node.name, _parameters(node), node.returns)}\n```\n"
    yield _prose(_doc(node) or "")


def _function(found: Any) -> Iterator[str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(found))).body[0]
    assert isinstance(tree, ast.FunctionDef)
    yield f"### {tree.name}\n"
    yield f"```pyi\n{_wrapped(tree.name, _parameters(tree), tree.returns)}\n```\n"
    yield _prose(inspect.getdoc(found) or "")


def _tree(found: type) -> ast.ClassDef:
    module = inspect.getmodule(found)
    assert module is not None
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef) and node.name == found.__name__:
            return node
    raise AssertionError(found)


def _doc(node: ast.FunctionDef) -> str | None:
    """The docstring of a function; an overload has none."""
    return ast.get_docstring(node)


def _constructor(tree: ast.ClassDef) -> list[str]:
    """The parameters of `__init__`, of the last one where it is overloaded; else the fields."""
    made = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
    if made:
        return _parameters(made[-1])
    fields = [node for node in tree.body if isinstance(node, ast.AnnAssign)]
    return ["*", *(_field(node) for node in fields)] if fields else []


def _field(node: ast.AnnAssign) -> str:
    default = ast.unparse(node.value) if node.value else ""
    factory = re.search(r"default_factory=(\w+)", default)
    shown = f"{factory[1]}()" if factory else default
    return f"{ast.unparse(node.target)}: {ast.unparse(node.annotation)}" + (shown and f" = {shown}")


def _parameters(node: ast.FunctionDef) -> list[str]:
    """Names, types but Any, and defaults."""
    for argument in ast.walk(node.args):
        if isinstance(argument, ast.arg) and argument.annotation is not None:
            if ast.unparse(argument.annotation) == "Any":
                argument.annotation = None
            elif isinstance(argument.annotation, ast.Constant):  # a forward reference
                argument.annotation = ast.Name(str(argument.annotation.value))
    if node.args.posonlyargs and node.args.posonlyargs[0].arg == "self":
        del node.args.posonlyargs[0]
    elif node.args.args and node.args.args[0].arg == "self":
        del node.args.args[0]
    text = ast.unparse(node.args)
    return [] if not text else _split(text)


def _split(text: str) -> list[str]:
    """Split at the commas that are in no bracket."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return [re.sub(r"^([*\w]+: .+?)=", r"\1 = ", part.strip()) for part in parts]


def _wrapped(name: str, parameters: list[str], returns: ast.expr | None = None) -> str:
    given = "" if returns is None else ast.unparse(returns).strip("'\"")
    tail = f" -> {given}" if given and given not in {"None", "Any"} else ""
    line = f"{name}({', '.join(parameters)}){tail}"
    if len(line) <= 100:
        return line
    return "\n".join([f"{name}(", *(f"    {parameter}," for parameter in parameters), f"){tail}"])


def _prose(doc: str) -> str:
    """Turn a docstring into Markdown."""
    found: list[str] = []
    section, example = "", False
    for line in doc.splitlines():
        heading = SECTION.match(line)
        if heading:
            section = heading[1]
            found.append(f"**{section}**\n")
        elif section and line.startswith("    "):
            _add_entry(found, line)
        else:
            section = section if not line else ""
            if line.startswith(">>> ") and not example:
                found.append("```pycon")
                example = True
            elif example and not line:
                found.append("```")
                example = False
            found.append(line)
    if example:
        found.append("```")
    return "\n".join(found).strip() + "\n"


def _add_entry(found: list[str], line: str) -> None:
    """An entry of a section begins at four spaces, what continues it stands deeper."""
    text = line[4:]
    entry = ENTRY.match(text)
    if entry:
        found.append(f"- `{entry[1]}`: {entry[2]}")
    elif found[-1].startswith("- ") or text.startswith(" "):
        found.append(f"  {text.strip()}")
    else:
        found.append(text)


def main(arguments: list[str]) -> int:
    """Write the page, or compare it; the result is the exit code."""
    text = page()
    if "--check" not in arguments:
        PAGE.write_text(text)
        return 0
    if PAGE.exists() and PAGE.read_text() == text:
        return 0
    print(f"{PAGE.name} is not what the docstrings say: make docs")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
