"""Random programs for the chunk-cut property: steps as plain data, and the application of them.

A program is a list of steps, each naming its parents by number and its function by name, so
that a failing example prints as something a person can read. `build` declares it through the
public surface; `interpreter.py` gives it its meaning without using any of Penstock.

A stream is described by the kind of its values: a primitive, plain data or a Struct, and by
whether nulls may be among them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from hypothesis import strategies as st

import penstock as ps


class Row(msgspec.Struct):
    """A value that can be changed in place."""

    n: int
    tag: str
    items: list[int]


class Pair(msgspec.Struct):
    """What `select` builds of a row."""

    n: int
    t: str


class Key(msgspec.Struct, frozen=True):
    """A key whose JSON can be written in several ways."""

    b: int
    a: int


TYPES: dict[str, Any] = {
    "int": int,
    "dict": dict[str, Any],
    "row": Row,
    "exploded": dict[str, Any],
    "picked": dict[str, Any],
    "pair": Pair,
    "bytes": bytes,
    "list": list[int],
}
KEY_TYPES: dict[str, Any] = {"bytes": None, "str": str, "json": Key}
ROWS = ("dict", "row")
ANY = tuple(TYPES)


def number(value: Any) -> int:
    """A number of any value, so that every function works on every kind."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value
    if isinstance(value, bytes):
        return len(value)
    if isinstance(value, list):
        return sum(value)
    return value["n"] if isinstance(value, dict) else value.n


def _put(value: Any, n: int) -> Any:
    if isinstance(value, dict):
        value["n"] = n
    else:
        value.n = n
    return value


def _bump(value: Any) -> Any:
    if isinstance(value, dict):
        return {**value, "n": value["n"] + 1}
    return Row(value.n + 1, value.tag, [*value.items, value.n])


def _absorb(so_far: Any, value: Any) -> Any:
    return _put(so_far, (number(so_far) * 3 - number(value)) % 101)


def _overtake(so_far: Any, value: Any) -> Any:
    return _put(value, (number(so_far) * 3 - number(value)) % 101)


def _expire(so_far: Any, value: Any) -> Any:
    return None if (number(so_far) + number(value)) % 3 == 0 else _absorb(so_far, value)


def _recent(so_far: list[int], value: Any) -> list[int]:
    so_far.append(number(value))
    del so_far[:-3]
    return so_far


def _forget(so_far: list[int], value: Any) -> list[int] | None:
    return None if sum(_recent(so_far, value)) % 3 == 0 else so_far


def _tally(so_far: dict[str, Any], value: Any) -> dict[str, Any]:
    so_far["n"] = (so_far["n"] * 2 + number(value)) % 97
    so_far["t"] += "."
    return so_far


def _describe(record: Any) -> tuple[str | None, int]:
    n = number(record.value)
    headers = sum(len(value or b"") + 1 for _, value in record.headers)
    shown = 0 if record.key is None else len(str(record.key))
    return (
        None if n % 4 == 3 else str(n % 3),
        n + 10 * shown + 1_000 * record.timestamp + 100_000 * record.offset + 7 * headers,
    )


MAPS: dict[str, tuple[tuple[str, ...], str, bool, Callable[[Any], Any]]] = {
    # name: kinds that it takes, kind that it gives ("" for the same), makes nulls, function
    "number": (ANY, "int", False, number),
    "double": (("int",), "int", False, lambda n: None if n is None else n * 2),
    "nullify": (("int",), "int", True, lambda n: None if n is None or n % 3 == 0 else n),
    "bump": (ROWS, "", False, lambda row: None if row is None else _bump(row)),
}
FLAT_MAPS: dict[str, tuple[tuple[str, ...], Callable[[Any], Any]]] = {
    "upto": (("int",), lambda n: [] if n is None else [n, n + 1][: n % 3]),
    "twice": (ROWS, lambda row: [] if row is None else [row, _bump(row)]),
}
PREDICATES: dict[str, Callable[[Any], object]] = {
    "even": lambda value: number(value) % 2 == 0,
    "positive": lambda value: number(value) > 0,
    "any": lambda value: True,
}
REDUCES: dict[str, tuple[tuple[str, ...], bool, Callable[[Any, Any], Any]]] = {
    # name: kinds, may delete, function; on rows they change their arguments in place
    "mix": (("int",), False, lambda so_far, n: (so_far * 3 - n) % 101),
    "drop": (("int",), True, lambda so_far, n: None if (so_far + n) % 3 == 0 else so_far + n),
    "absorb": (ROWS, False, _absorb),
    "overtake": (ROWS, False, _overtake),
    "expire": (ROWS, True, _expire),
}
AGGREGATES: dict[str, tuple[str, bool, Callable[[], Any], Callable[[Any, Any], Any]]] = {
    # name: kind of the accumulator, may delete, init, add
    "sum": ("int", False, int, lambda so_far, value: so_far + number(value)),
    "odd": ("int", True, int, lambda so_far, v: None if (so_far + number(v)) % 2 else so_far + 2),
    "recent": ("list", False, list, _recent),
    "forget": ("list", True, list, _forget),
    "tally": ("picked", False, lambda: {"n": 0, "t": ""}, _tally),
}
SELECTS: dict[str, tuple[str, tuple[Any, ...], dict[str, str]]] = {
    "picked": ("picked", ("n",), {"t": "tag"}),
    "pair": ("pair", (Pair,), {"t": "tag"}),
}


def function_of(step: "Step") -> Callable[..., Any] | None:
    """The user's function of a step, where it has one."""
    tables: dict[str, Any] = {
        "map": MAPS,
        "flat_map": FLAT_MAPS,
        "reduce": REDUCES,
        "aggregate": AGGREGATES,
    }
    if step.kind in tables:
        return tables[step.kind][step.name][-1]
    if step.kind == "filter":
        return PREDICATES[step.name]
    return {"map_record": _describe, "peek": number, "route": number}.get(step.kind)


@dataclass(frozen=True)
class Step:
    """One step: what it does, to which steps, with the function or topic of that name."""

    kind: str
    parents: tuple[int, ...] = ()
    name: str = ""
    emit: str = "commit"


@dataclass(frozen=True)
class Program:
    """Steps, parents first, and what the input topics hold.

    Attributes:
        key: "bytes" (raw, also null), "str" or "json".
        kinds: of the values of the topics in-0 and in-1.
        event_time: whether the rows' field `n` is their timestamp.

    """

    key: str
    kinds: tuple[str, str]
    event_time: bool
    steps: tuple[Step, ...]

    def kind(self, number: int) -> str:
        """The kind of the values that a step hands on."""
        step = self.steps[number]
        if step.kind == "source":
            return self.kinds[int(step.name.split(",")[0][-1])]
        if step.kind == "map":
            return MAPS[step.name][1] or self.kind(step.parents[0])
        made = {"count": "int", "map_record": "int", "explode": "exploded"}.get(step.kind)
        if step.kind == "aggregate":
            made = AGGREGATES[step.name][0]
        if step.kind == "select":
            made = SELECTS[step.name][0]
        return made or self.kind(step.parents[0])

    def key_kind(self, number: int) -> str:
        """The kind of the keys that a step hands on."""
        step = self.steps[number]
        if step.kind == "map_record":
            return "str"
        return self.key_kind(step.parents[0]) if step.parents else self.key

    def coalesces(self, number: int) -> bool:
        """Whether some step at or above a step may hand on one change per batch."""
        step = self.steps[number]
        if step.kind in AGGREGATIONS and step.emit == "commit":
            return True
        return any(map(self.coalesces, step.parents))

    def topic(self, number: int) -> str:
        """The topic of a sink, or the beginning of its topics."""
        return self.steps[number].name or f"out-{number}"


AGGREGATIONS = ("count", "reduce", "aggregate")
Wrap = Callable[[int, Callable[..., Any]], Callable[..., Any]]


def build(program: Program, wrap: Wrap = lambda number, f: f) -> ps.App:
    """Declare a program; `wrap` may replace each user function by another."""
    app = ps.App("cuts")
    made: list[Any] = []
    for at, step in enumerate(program.steps):
        f = function_of(step)
        if f is not None:
            f = wrap(at, f)
        made.append(_declare(app, program, at, [made[parent] for parent in step.parents], f))
    return app


def _declare(app: ps.App, program: Program, at: int, parents: list[Any], f: Any) -> Any:
    step = program.steps[at]
    kind, type_of = step.kind, TYPES[program.kind(at)]
    if kind == "source":
        return _source(app, program, step, type_of)
    parent = parents[0]
    if kind in ("map", "flat_map"):
        return getattr(parent, kind)(f, value=type_of)
    if kind in ("filter", "peek"):
        return getattr(parent, kind)(f)
    if kind == "explode":
        return parent.explode("items")
    if kind == "select":
        _, paths, renamed = SELECTS[step.name]
        return parent.select(*paths, **renamed)
    if kind == "map_record":
        return parent.map_record(f, key=str, value=int)
    if kind == "merge":
        return parent.merge(*parents[1:])
    if kind == "branch":
        return parent.branch(*[PREDICATES[name] for name in step.name.split(",")])
    if kind == "port":
        return parent[int(step.name)]
    if kind == "to_stream":
        return parent.to_stream()
    if kind == "to":
        return parent.to(program.topic(at))
    if kind == "route":
        return parent.to(lambda value: f"out-{at}-{f(value) % 2}")
    return _aggregation(parent.group_by_key(), step, at, f, type_of)


def _source(app: ps.App, program: Program, step: Step, type_of: Any) -> Any:
    topics, declared = step.name.split(","), {}
    if type_of is not bytes:
        declared["value"] = type_of
    if KEY_TYPES[program.key] is not None:
        declared["key"] = KEY_TYPES[program.key]
    if program.event_time and type_of in (Row, TYPES["dict"]):
        declared["timestamp"] = "n"
    return app.stream(topics if len(topics) > 1 else topics[0], **declared)


def _aggregation(grouped: Any, step: Step, at: int, f: Any, type_of: Any) -> Any:
    name, emit = f"store-{at}", step.emit
    if step.kind == "count":
        return grouped.count(name=name, emit=emit)
    if step.kind == "reduce":
        return grouped.reduce(f, name=name, emit=emit)
    return grouped.aggregate(AGGREGATES[step.name][2], f, name=name, value=type_of, emit=emit)


# Random programs


@dataclass
class _Stream:
    """What the generator has to know of a step's output to choose what may follow it."""

    at: int
    kind: str
    null: bool = False
    rekeyed: bool = False
    table: bool = False
    coalesced: bool = False


class _Writer:
    """Grow a program step by step."""

    def __init__(self, draw: st.DrawFn, kinds: tuple[str, str]) -> None:
        self.draw = draw
        self.kinds = kinds
        self.steps: list[Step] = []
        self.streams: list[_Stream] = []
        self.used: set[int] = set()
        self.meeting = False

    def source(self) -> None:
        first = not self.steps
        names = ["in-0"] if first else ["in-1", "in-1", "in-0"]
        names += ["in-0,in-1"] if len(set(self.kinds)) == 1 else []
        name = self.draw(st.sampled_from(names))
        kind = self.kinds[int(name.split(",")[0][-1])]
        self._add(Step("source", (), name), _Stream(0, kind, null=kind == "bytes"))

    def step(self) -> None:
        self.meeting = self.draw(st.integers(0, 5)) == 5
        stream = self.draw(st.sampled_from(self.streams))
        kind = self.draw(st.sampled_from(self._choices(stream)))
        getattr(self, f"_{kind}", self._same)(stream, kind)

    def sinks(self) -> None:
        for stream in list(self.streams):
            if stream.at not in self.used:
                self._to(stream, "to")

    def _choices(self, stream: _Stream) -> list[str]:
        if stream.table:
            return ["to_stream", "to_stream", "to"]
        found = ["map", "filter", "peek", "map_record", "branch", "to", "route"]
        if stream.kind in ("int", *ROWS):
            found.append("flat_map")
        if stream.kind in ROWS and not stream.null:
            found += ["explode", "select"]
        if self._mergeable(stream):
            found += ["merge"] * 4
        if not stream.rekeyed:
            found += ["count", "aggregate"] * 2
            found += ["reduce"] * 3 if stream.kind in ("int", *ROWS) else []
        return found

    def _mergeable(self, stream: _Stream) -> list[_Stream]:
        """What it can be merged with: streams of another input, sometimes of the same."""
        found = [
            other
            for other in self.streams
            if not other.table and (other.kind, other.rekeyed) == (stream.kind, stream.rekeyed)
        ]
        if self.meeting:
            return found
        return [other for other in found if not self._origins(other.at) & self._origins(stream.at)]

    def _origins(self, at: int) -> set[str]:
        step = self.steps[at]
        if not step.parents:
            return set(step.name.split(","))
        return set().union(*map(self._origins, step.parents))

    def _add(self, step: Step, stream: _Stream) -> None:
        stream.at = len(self.steps)
        self.used.update(step.parents)
        self.steps.append(step)
        self.streams.append(stream)

    def _same(self, stream: _Stream, of: str, name: str = "", /, **changed: Any) -> None:
        self._add(Step(of, (stream.at,), name), _Stream(**{**vars(stream), **changed}))

    def _named(self, table: dict[str, Any], kind: str) -> str:
        names = [name for name, entry in table.items() if kind in entry[0]]
        return self.draw(st.sampled_from(names))

    def _map(self, stream: _Stream, kind: str) -> None:
        name = self._named(MAPS, stream.kind)
        _, made, nulls, _ = MAPS[name]
        null = nulls or (stream.null and name != "number")
        self._same(stream, kind, name, kind=made or stream.kind, null=null)

    def _flat_map(self, stream: _Stream, kind: str) -> None:
        self._same(stream, kind, self._named(FLAT_MAPS, stream.kind), null=False)

    def _filter(self, stream: _Stream, kind: str) -> None:
        self._same(stream, kind, self.draw(st.sampled_from(["even", "positive"])))

    def _explode(self, stream: _Stream, kind: str) -> None:
        self._same(stream, kind, kind="exploded")

    def _select(self, stream: _Stream, kind: str) -> None:
        name = self.draw(st.sampled_from(list(SELECTS)))
        self._same(stream, kind, name, kind=SELECTS[name][0])

    def _map_record(self, stream: _Stream, kind: str) -> None:
        self._same(stream, kind, kind="int", null=False, rekeyed=True)

    def _merge(self, stream: _Stream, kind: str) -> None:
        others = st.lists(st.sampled_from(self._mergeable(stream)), min_size=1, max_size=2)
        merged = [stream, *self.draw(others)]
        step = Step(kind, tuple(one.at for one in merged))
        null, coalesced = (any(getattr(one, of) for one in merged) for of in ("null", "coalesced"))
        self._add(step, _Stream(0, stream.kind, null, stream.rekeyed, coalesced=coalesced))

    def _branch(self, stream: _Stream, kind: str) -> None:
        names = self.draw(st.lists(st.sampled_from(list(PREDICATES)), min_size=1, max_size=3))
        at = len(self.steps)
        self.steps.append(Step(kind, (stream.at,), ",".join(names)))
        self.used.add(stream.at)
        for port in range(len(names)):
            self._add(Step("port", (at,), str(port)), _Stream(**vars(stream)))

    def _to_stream(self, stream: _Stream, kind: str) -> None:
        self._same(stream, kind, table=False)

    def _to(self, stream: _Stream, kind: str) -> None:
        shared = stream.kind == "int" and not stream.coalesced and not stream.rekeyed
        name = "shared" if shared and self.draw(st.integers(0, 5)) == 5 else ""
        self.used.add(stream.at)
        self.steps.append(Step(kind, (stream.at,), name))

    def _route(self, stream: _Stream, kind: str) -> None:
        self.used.add(stream.at)
        self.steps.append(Step(kind, (stream.at,)))

    def _count(self, stream: _Stream, kind: str) -> None:
        self._aggregation(stream, kind, "", "int", null=False)

    def _reduce(self, stream: _Stream, kind: str) -> None:
        name = self._named(REDUCES, stream.kind)
        self._aggregation(stream, kind, name, stream.kind, null=REDUCES[name][1])

    def _aggregate(self, stream: _Stream, kind: str) -> None:
        name = self.draw(st.sampled_from(list(AGGREGATES)))
        self._aggregation(stream, kind, name, AGGREGATES[name][0], null=AGGREGATES[name][1])

    def _aggregation(self, stream: _Stream, kind: str, name: str, made: str, *, null: bool) -> None:
        emit = self.draw(st.sampled_from(["commit", "every_update"]))
        coalesced = stream.coalesced or emit == "commit"
        self._add(
            Step(kind, (stream.at,), name, emit),
            _Stream(0, made, null, table=True, coalesced=coalesced),
        )


@st.composite
def programs(draw: st.DrawFn, *, topics: int = 2, max_steps: int = 9) -> Program:
    """Any program; each stream that leads nowhere gets a sink."""
    kind = draw(st.sampled_from(["int", "dict", "row", "bytes"]))
    kinds = (kind, draw(st.sampled_from([kind, kind, "int", "dict", "row"])))
    writer = _Writer(draw, kinds)
    for _ in range(draw(st.integers(1, topics))):
        writer.source()
    for _ in range(draw(st.integers(1, max_steps))):
        writer.step()
    writer.sinks()
    key = draw(st.sampled_from(list(KEY_TYPES)))
    return Program(key, kinds, draw(st.booleans()), tuple(writer.steps))


@dataclass(frozen=True)
class Sent:
    """A record as its producer sends it."""

    topic: str
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: tuple[tuple[str, bytes | None], ...] = ()


KEYS = {
    "bytes": [None, b"", b"a", b"b"],
    "str": [b"", b"a", "ä".encode()],
    "json": [b'{"a":1,"b":2}', b'{"b": 2, "a": 1}', b'{"b":2,"a":2}'],
}
_ROW = st.builds(
    lambda n, tag, items: msgspec.json.encode({"n": n, "tag": tag, "items": items}),
    st.integers(0, 6),
    st.sampled_from("ab"),
    st.lists(st.integers(0, 3), max_size=2),
)
VALUES = {
    "int": st.integers(-3, 6).map(lambda n: n.to_bytes(8, "big", signed=True)),
    "bytes": st.sampled_from([b"", b"x", b"xy"]),
    "dict": _ROW,
    "row": _ROW,
}
_HEADERS = st.sampled_from([(), (), (("h", b"1"),), (("h", None), ("i", b""))])


@st.composite
def records(draw: st.DrawFn, program: Program, max_size: int = 25) -> list[Sent]:
    """Records for a program's inputs: nulls, empty keys, any order of timestamps, headers."""
    topics = sorted({t for s in program.steps if s.kind == "source" for t in s.name.split(",")})

    def one(topic: str) -> st.SearchStrategy[Sent]:
        value = VALUES[program.kinds[int(topic[-1])]]
        return st.builds(
            Sent,
            st.just(topic),
            st.sampled_from(KEYS[program.key]),
            st.one_of(value, value, value, st.none()),
            st.integers(0, 20),
            _HEADERS,
        )

    size = draw(st.integers(0, max_size))
    # Runs of one topic, so that chunks of several records are as common as small ones.
    runs = st.lists(st.sampled_from(topics), min_size=size, max_size=size)
    order = draw(runs.map(sorted) if draw(st.booleans()) else runs)
    return [draw(one(topic)) for topic in order]
