"""Every message of an error says what to do: it has a word that asks for something.

What is looked at is the text that stands in the source of what an application is made of and runs
on; commands and serdes are not looked at yet.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.installed import ROOT

KINDS = {"BrokerError", "DataError", "StateError", "TopologyError"}
ASKS = re.compile(
    r"\b(add|annotate|call|change|check|choose|convert|correct|create|declare|delete|give|leave|"
    r"make|move|name|name one|pass|pip install|point|put|raise|read it once|rename|replace|report|"
    r"restart|restore|run it|run [\w ]+ again|send|set|shorten|split|start|stop|take|use|write)\b",
    re.IGNORECASE,
)
# Where what to do stands in a part that is put in, and which.
PUT_IN = {
    "state/directories.py: The lock {} cannot be opened: {}. {}": "the last part is the advice",
    "streams/aggregations.py: The columns of agg {} are wrong: it {}": "what it says ends with it",
    "streams/engine/failures.py: {}. {}": "every caller says what now",
    "streams/observing.py: observe {} {}": "every caller says what to do",
    "streams/operators/declared_process.py: Process {} {}": "every caller says what to do",
    "streams/operators/fields.py: {} has no field {} (in path {}). Its fields are: {}.":
        "the fields are what to take",
    "streams/operators/on_error.py: max_ratio={} is no share of records; it is above 0, up to 1.":
        "the bounds are what to take",
    "streams/runtime/loading.py: {} cannot be loaded. {}: {}": "it is the error of the user's file",
    "streams/runtime/watch.py: The topic {} {} while the application was running. {}":
        "the last part is the advice",
    "streams/testing/kafka_jars.py: Cannot fetch {} of Apache Kafka {} ({}). The embedded Kafka needs"
    " the network the first time. {}": "the last part is the ways out",
    "streams/testing/sim/disk.py: {} is locked by {}": "it is seen by the simulation alone",
    "topics/admin.py: No Kafka at {}: tried for up to {} s, the last answer was: {}. {}":
        "the last part is the advice",
    "streams/runtime/loading.py: {} has {}. Apps at its top level: {}. Other names: {}.":
        "the names are what to take",
    "streams/testing/kafka_server.py: Node {} of the embedded Kafka {} {}. Its log, {}, ends with:\n":
        "it is the log that tells",
}  # fmt: skip
PACKAGES = ("state", "streams", "topics")


def messages(file: Path) -> Iterator[str]:
    """The texts of errors that a file makes, with {} for what is put in."""
    for node in ast.walk(ast.parse(file.read_text())):
        called = node.func if isinstance(node, ast.Call) and node.args else None
        if isinstance(called, ast.Name) and called.id in KINDS:
            yield text(node.args[0])


def text(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(text(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return text(node.left)
    return str(node.value) if isinstance(node, ast.Constant) else "{}"


def weak(file: Path, name: str) -> list[str]:
    found = [f"{name}: {message}" for message in messages(file)]
    return [one for one in found if not ASKS.search(one.split(": ", 1)[1]) and one not in PUT_IN]


FILES = [file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py"))]


def test_messages_are_found() -> None:
    assert sum(len(list(messages(file))) for file in FILES) > 80


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_message_says_what_to_do(file: Path) -> None:
    assert weak(file, str(file.relative_to(ROOT))) == []


def test_a_message_that_only_complains_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "weak.py"
    file.write_text('raise TopologyError(f"The topic {name} is wrong.")\n')
    assert weak(file, "weak.py") == ["weak.py: The topic {} is wrong."]
    file.write_text('raise TopologyError(f"The topic {name} is wrong." " Create it anew.")\n')
    assert weak(file, "weak.py") == []


def test_no_explanation_outlives_its_message() -> None:
    every = {f"{file.relative_to(ROOT)}: {m}" for file in FILES for m in messages(file)}
    assert set(PUT_IN) - every == set()
