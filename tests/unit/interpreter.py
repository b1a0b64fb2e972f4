"""A naive interpreter of programs: record by record, over plain dicts, knowing nothing of chunks.

It is the oracle of the chunk-cut property and shares no code with the operators: keys and
values are decoded by the standard library, state is a dict per step, and every value that a
function gets is a deep copy, so that nothing is ever shared. What a record of the input turns
into moves through the steps in the order of their declaration.

The rules it follows are those of the documents: null values mean nothing in a typed stream;
records without key or value belong to no group; a result's timestamp is the largest of its
contributors since the key last came to be (Kafka Streams); aggregates drop headers.
"""

import copy
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import msgspec

from tests.unit.programs import (
    AGGREGATES,
    AGGREGATIONS,
    PREDICATES,
    SELECTS,
    Key,
    Pair,
    Program,
    Row,
    Sent,
    Step,
    function_of,
)

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True)
class Moving:
    """A record on its way."""

    key: Any
    value: Any
    timestamp: int
    headers: Headers
    offset: int


class Written(NamedTuple):
    """A record in an output topic or changelog, and the number of the input that caused it."""

    cause: int
    key: bytes | None
    value: Any
    timestamp: int
    headers: Headers = ()


class Interpreter:
    """The meaning of a program.

    Attributes:
        state: per stateful step, value and timestamp by key.
        clocks: per stateful step, the largest timestamp that came to it.
        topics: what each output topic holds, in order.
        changelogs: per stateful step, each update in order.

    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.state: dict[int, dict[bytes, tuple[Any, int]]] = {
            at: {} for at, step in enumerate(program.steps) if step.kind in AGGREGATIONS
        }
        self.clocks: dict[int, int] = {}
        self.topics: dict[str, list[Written]] = defaultdict(list)
        self.changelogs: dict[int, list[Written]] = defaultdict(list)
        self._causes = 0
        self._offsets: dict[str, int] = defaultdict(int)

    def feed(self, sent: Sent) -> None:
        """Interpret one record of the input."""
        offset = self._offsets[sent.topic]
        self._offsets[sent.topic] += 1
        for at, step in enumerate(self.program.steps):
            if step.kind == "source" and sent.topic in step.name.split(","):
                self._hand_on(at, self._decoded(at, sent, offset))
        self._causes += 1

    def _decoded(self, at: int, sent: Sent, offset: int) -> list[Moving]:
        kind = self.program.kind(at)
        if sent.value is None and kind != "bytes":
            return []
        value, timestamp = decoded(kind, sent.value), sent.timestamp
        if self.program.event_time and kind in ("dict", "row"):
            timestamp = value["n"] if kind == "dict" else value.n
        key = _key(self.program.key, sent.key)
        return [Moving(key, value, timestamp, sent.headers, offset)]

    def _hand_on(self, at: int, records: list[Moving]) -> None:
        if not records:
            return
        for child, step in enumerate(self.program.steps):
            for parent in step.parents:
                if parent == at:
                    self._hand_on(child, [m for r in records for m in self._do(child, step, r)])

    def _do(self, at: int, step: Step, record: Moving) -> list[Moving]:
        record = copy.deepcopy(record)
        if step.kind in AGGREGATIONS:
            return self._aggregate(at, step, record)
        if step.kind in ("to", "route"):
            self._write(at, step, record)
            return []
        return [replace(record, **new) for new in _STATELESS[step.kind](step, record)]

    def _aggregate(self, at: int, step: Step, record: Moving) -> list[Moving]:
        self.clocks[at] = max(self.clocks.get(at, -1), record.timestamp)
        if record.key is None or record.value is None:
            return []
        key = encoded_key(record.key)
        before = self.state[at].get(key)
        value = _updated(step, before, record.value)
        timestamp = record.timestamp if before is None else max(before[1], record.timestamp)
        if value is None:
            self.state[at].pop(key, None)
        else:
            self.state[at][key] = (copy.deepcopy(value), timestamp)
        self.changelogs[at].append(Written(self._causes, key, plain(value), timestamp))
        return [Moving(record.key, value, timestamp, (), -1)]

    def _write(self, at: int, step: Step, record: Moving) -> None:
        topic = self.program.topic(at)
        if step.kind == "route":
            topic = f"{topic}-{function_of(step)(record.value) % 2}"
        key = None if record.key is None else encoded_key(record.key)
        self.topics[topic].append(
            Written(self._causes, key, plain(record.value), record.timestamp, record.headers)
        )


def _updated(step: Step, before: tuple[Any, int] | None, value: Any) -> Any:
    so_far = None if before is None else copy.deepcopy(before[0])
    if step.kind == "count":
        return 1 if so_far is None else so_far + 1
    if step.kind == "reduce":
        return value if so_far is None else function_of(step)(so_far, value)
    init = AGGREGATES[step.name][2]
    return function_of(step)(init() if so_far is None else so_far, value)


def _exploded(value: Any) -> list[dict[str, Any]]:
    fields = plain(value)
    items = fields.pop("items")
    return [{**fields, "items": item} for item in items]


def _selected(name: str, value: Any) -> Any:
    fields = plain(value)
    n, tag = fields["n"], fields["tag"]
    return Pair(n, tag) if SELECTS[name][0] == "pair" else {"n": n, "t": tag}


def _branch(step: Step, value: Any) -> int:
    holds = [bool(PREDICATES[name](value)) for name in step.name.split(",")]
    return holds.index(True) if True in holds else -1


_STATELESS: dict[str, Callable[[Step, Moving], list[dict[str, Any]]]] = {
    "map": lambda step, r: [{"value": function_of(step)(r.value)}],
    "flat_map": lambda step, r: [{"value": value} for value in function_of(step)(r.value)],
    "filter": lambda step, r: [{}] if function_of(step)(r.value) else [],
    "peek": lambda step, r: [{}],
    "merge": lambda step, r: [{}],
    "to_stream": lambda step, r: [{}],
    "explode": lambda step, r: [{"value": value} for value in _exploded(r.value)],
    "select": lambda step, r: [{"value": _selected(step.name, r.value)}],
    "map_record": lambda step, r: [
        dict(zip(("key", "value"), function_of(step)(r), strict=True)),
    ],
    "branch": lambda step, r: [{"value": (_branch(step, r.value), r.value)}],
    "port": lambda step, r: [{"value": r.value[1]}] if r.value[0] == int(step.name) else [],
}


def decoded(kind: str, data: bytes | None) -> Any:
    """A value of its bytes."""
    if data is None or kind == "bytes":
        return data
    if kind == "int":
        return int.from_bytes(data, "big", signed=True)
    value = json.loads(data)
    return Row(**value) if kind == "row" else value


def plain(value: Any) -> Any:
    """A value as plain data, to be compared with decoded JSON."""
    return value if isinstance(value, bytes) else msgspec.to_builtins(value)


def _key(kind: str, data: bytes | None) -> Any:
    if data is None or kind == "bytes":
        return data
    return data.decode() if kind == "str" else Key(**json.loads(data))


def encoded_key(key: Any) -> bytes:
    """The bytes of a key: one form for equal keys."""
    if isinstance(key, bytes):
        return key
    if isinstance(key, str):
        return key.encode()
    return json.dumps({"a": key.a, "b": key.b}, separators=(",", ":")).encode()
