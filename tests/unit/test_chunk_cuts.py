"""Chunk cuts never matter: any cutting into chunks and batches means what the records mean.

Random programs run over random records, cut at random, with aborts, restarts, restores and
functions that fail once in between, and are compared with a naive interpreter: the same state,
clocks and changelogs; per key and in order the same records where nothing coalesces, and the
last record per key and batch where something does.
"""

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import penstock.engine.steps
import penstock.operators.count
from penstock.operators.aggregation import Aggregation
from penstock.operators.chunk import Chunk
from penstock.operators.count import Count
from penstock.operators.merge import Merge
from penstock.operators.reduce import Reduce
from penstock.state.overlay import Overlay
from penstock.testing import TestDriver
from penstock.topology.graph import Topology
from tests.unit.interpreter import Interpreter, Written, decoded
from tests.unit.programs import Program, Sent, Step, build, programs, records
from tests.unit.runner import Cut, OneRecord, Runner

# PENSTOCK_EXAMPLES=100 looks a hundred times as long.
EXAMPLES = int(os.environ.get("PENSTOCK_EXAMPLES", "1"))
CUTS = st.lists(
    st.builds(
        Cut,
        st.integers(1, 8),
        st.sampled_from(["go", "go", "go", "commit", "commit", "abort", "restart", "restore"]),
    ),
    max_size=10,
)
SETTINGS = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Program, list[Sent], list[Cut]]:
    """A program, its input, and how it is cut."""
    program = draw(programs())
    return program, draw(records(program)), draw(CUTS)


class Failing:
    """User functions of which one fails, once."""

    def __init__(self, call: int) -> None:
        self.calls_left = call

    def __call__(self, number: int, f: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any) -> Any:
            self.calls_left -= 1
            if self.calls_left == 0:
                raise RuntimeError("once")
            return f(*args)

        return wrapped


def check(
    program: Program, sent: Sequence[Sent], cuts: Sequence[Cut], *, call: int = 0, cache: int = 100
) -> None:
    """Run a program and compare everything that it leaves with the interpreter."""
    runner = Runner(build(program, Failing(call)).topology(), cache_entries=cache)
    runner.run(sent, cuts)
    meaning = Interpreter(program)
    for one in sent:
        meaning.feed(one)
    check_state(program, meaning, runner)
    stops = [0, *(batch.stop for batch in runner.batches)]
    for at, step in enumerate(program.steps):
        if step.kind in ("to", "route"):
            check_sink(program, at, meaning, runner, stops)


def check_state(program: Program, meaning: Interpreter, runner: Runner) -> None:
    """The stores, their clocks and the fold of their changelogs are the interpreter's."""
    for at, expected in meaning.state.items():
        name, kind = f"store-{at}", program.kind(at)
        found = {
            key: (decoded(kind, data[8:]), int.from_bytes(data[:8], "big"))
            for key, data in runner.stores[name].scan()
        }
        assert plain_rows(found) == plain_rows(expected), f"state of step {at}"
        assert runner.clocks.get(name, -1) == meaning.clocks.get(at, -1), f"clock of step {at}"
        folded = list(runner._restored(f"cuts-{name}-changelog").scan())
        assert folded == list(runner.stores[name].scan()), f"changelog of step {at}"


def check_sink(
    program: Program, at: int, meaning: Interpreter, runner: Runner, stops: Sequence[int]
) -> None:
    """A sink's topics hold the interpreter's records, or the last per key where steps coalesce."""
    prefix, kind = program.topic(at), program.kind(at)
    written = {topic for batch in runner.batches for topic in batch.outputs}
    for topic in written | set(meaning.topics):
        if topic != prefix and not topic.startswith(f"{prefix}-"):
            continue
        expected = meaning.topics[topic]
        found = [
            [as_written(row, kind, number) for row in batch.outputs[topic]]
            for number, batch in enumerate(runner.batches)
        ]
        if not program.coalesces(at):
            assert by_key(row for rows in found for row in rows) == by_key(expected), topic
        for number, (start, stop) in enumerate(pairwise(stops)):
            due = [row for row in expected if start <= row.cause < stop]
            assert last_by_key(found[number]) == last_by_key(due), (topic, number)


def as_written(row: OneRecord, kind: str, cause: int) -> Written:
    """A record as the interpreter writes it."""
    return Written(cause, row.key, decoded_plain(kind, row.value), row.timestamp, row.headers)


def decoded_plain(kind: str, data: bytes | None) -> Any:
    return decoded("dict" if kind == "row" else kind, data)


def plain_rows(state: dict[bytes, tuple[Any, int]]) -> dict[bytes, tuple[str, int]]:
    shown = {key: (value, at) for key, (value, at) in state.items()}
    return {key: (repr_of(value), at) for key, (value, at) in shown.items()}


def repr_of(value: Any) -> str:
    fields = {n: getattr(value, n) for n in getattr(value, "__struct_fields__", ())}
    return json.dumps(fields or value, sort_keys=True)


def by_key(rows: Iterable[Written]) -> dict[bytes | None, list[tuple[Any, ...]]]:
    """What each key has got, in order."""
    found: dict[bytes | None, list[tuple[Any, ...]]] = defaultdict(list)
    for row in rows:
        found[row.key].append(row[2:])
    return dict(found)


def last_by_key(rows: Iterable[Written]) -> dict[bytes | None, tuple[Any, ...]]:
    return {row.key: row[2:] for row in rows}


@settings(SETTINGS, max_examples=150 * EXAMPLES)
@given(cases())
def test_cuts_never_matter(case):
    """Chunks, batches, aborts, restarts and restores change neither state nor records."""
    check(*case)


@settings(SETTINGS, max_examples=60 * EXAMPLES)
@given(cases(), st.integers(1, 3))
def test_chunks_of_one_record_mean_the_same(case, every):
    """One record per chunk, committed now and then, is what the interpreter does."""
    program, sent, _ = case
    plan = [Cut(1, "commit" if number % every == 0 else "go") for number in range(len(sent))]
    check(program, sent, plan)


@settings(SETTINGS, max_examples=150 * EXAMPLES)
@given(cases(), st.integers(1, 60))
def test_a_function_that_fails_once_changes_nothing(case, call):
    """A chunk that is rolled back and run again record by record leaves what it would have left."""
    check(*case, call=call)


@settings(SETTINGS, max_examples=60 * EXAMPLES)
@given(cases(), st.integers(0, 2))
def test_a_small_cache_changes_nothing(case, entries):
    """Entries that leave the clean cache come back from the store as they were."""
    check(*case, cache=entries)


@settings(SETTINGS, max_examples=60 * EXAMPLES)
@given(st.data())
def test_the_driver_means_the_same(data):
    """Batches and crashes of the TestDriver leave what the interpreter leaves."""
    program = data.draw(programs(topics=1))
    sent = data.draw(records(program))
    topic = program.steps[0].name.split(",")[0]
    program = replace(program, steps=(Step("source", (), topic), *program.steps[1:]))
    sent = [one for one in sent if one.topic == topic]
    meaning = Interpreter(program)
    with TestDriver(build(program)) as driver:
        while sent:
            size = data.draw(st.integers(1, 4))
            with driver.batch():
                for one in sent[:size]:
                    driver.topic(topic).send_bytes(
                        one.value, key=one.key, at=one.timestamp, headers=one.headers
                    )
                    meaning.feed(one)
            sent = sent[size:]
            if data.draw(st.booleans()):
                driver.crash()
        check_driver(program, meaning, driver)


def check_driver(program: Program, meaning: Interpreter, driver: TestDriver) -> None:
    """The driver's stores and topics are the interpreter's."""
    for at, expected in meaning.state.items():
        kind = program.kind(at)
        overlay = next(t for t in driver._tasks if f"store-{at}" in t.overlays)
        found = overlay.overlays[f"store-{at}"].store.scan()
        assert {key: repr_of(decoded(kind, data[8:])) for key, data in found} == {
            key: repr_of(value) for key, (value, _) in expected.items()
        }
    for at, step in enumerate(program.steps):
        if step.kind != "to" or program.coalesces(at):
            continue
        topic, kind = program.topic(at), program.kind(at)
        read = [
            Written(0, key, decoded_plain(kind, value), timestamp, tuple(headers or ()))
            for key, value, timestamp, headers in driver._committed(topic)
        ]
        assert by_key(read) == by_key(meaning.topics[topic])


# Negative controls: builds that are broken on purpose, and a case in which the check sees it.


def _losing_fold(self: Count, group: Any, overlay: Overlay) -> None:
    group.keys, group.timestamps = group.keys[:-1], group.timestamps[:-1]
    _COUNT_FOLD(self, group, overlay)


def _last_timestamp(keys: Sequence[Any], timestamps: Sequence[int]) -> dict[Any, int]:
    return dict(zip(keys, timestamps, strict=True))


def _losing_merge(self: Merge, chunk: Chunk) -> Chunk:
    return chunk.select([True] * (len(chunk) - 1) + [len(chunk) < 3])


def _one_per_chunk(self: Aggregation, group: Any, chunk: Chunk) -> Chunk:
    made = _EVERY_UPDATE(self, group, chunk)
    last = {key: at for at, key in enumerate(made.raw_keys)}
    return made.select([last[key] == at for at, key in enumerate(made.raw_keys)])


def _remembering_step(self: Reduce, entry: Any, value: Any, timestamp: int, overlay: Any) -> Any:
    before = -1 if entry is None else entry[1]
    value, _ = _REDUCE_STEP(self, entry, value, timestamp, overlay)
    return value, max(timestamp, before)


_COUNT_FOLD = Count.fold
_REDUCE_STEP = Reduce.step
_EVERY_UPDATE = Aggregation._every_update

IN = Step("source", (), "in-0")
THREE = [Sent("in-0", b"a", n.to_bytes(8, "big"), 9 - n) for n in (2, 1, 3)]
ROWS = [replace(one, value=b'{"n":%d,"tag":"","items":[]}' % n) for n, one in enumerate(THREE)]


class Control(NamedTuple):
    """What is broken, and a case that shows it."""

    target: Any
    name: str
    broken: Any
    steps: list[Step]
    kind: str = "int"
    cuts: tuple[Cut, ...] = (Cut(3, "commit"),)
    call: int = 0
    sent: Sequence[Sent] = THREE


CONTROLS = {
    "a count that loses the last record of a chunk": Control(
        Count, "fold", _losing_fold, [IN, Step("count", (0,))]
    ),
    "the last timestamp instead of the largest": Control(
        penstock.operators.count, "newest", _last_timestamp, [IN, Step("count", (0,))]
    ),
    "a merge that loses the last of three": Control(
        Merge,
        "process",
        _losing_merge,
        [IN, Step("source", (), "in-1"), Step("merge", (0, 1)), Step("to", (2,))],
    ),
    "one update per chunk instead of every one": Control(
        Aggregation,
        "_every_update",
        _one_per_chunk,
        [IN, Step("count", (0,), "", "every_update"), Step("to", (1,))],
    ),
    "coalescing in front of a filter": Control(
        Topology,
        "coalesces",
        lambda self, node: node.emit == "commit",
        [
            IN,
            Step("aggregate", (0,), "sum"),
            Step("to_stream", (1,)),
            Step("filter", (2,), "positive"),
            Step("map", (3,), "nullify"),
            Step("flat_map", (4,), "upto"),
            Step("to", (5,)),
        ],
    ),
    "chunks where ways meet again": Control(
        Topology,
        "interleaves",
        lambda self, part: False,
        [IN, Step("map", (0,), "double"), Step("merge", (0, 1)), Step("to", (2,))],
    ),
    "slices of other keys than those that meet": Control(
        penstock.engine.steps,
        "_keeps_keys",
        lambda node: True,
        [
            IN,
            Step("map_record", (0,)),
            Step("map", (1,), "double"),
            Step("merge", (1, 2)),
            Step("to", (3,)),
        ],
        sent=[
            replace(one, key=b"%d" % n, value=n.to_bytes(8, "big"), timestamp=0)
            for n, one in zip((6, 9, 12), THREE, strict=True)
        ],
    ),
    "chunks where ways meet in a topic": Control(
        Topology,
        "interleaves",
        lambda self, part: False,
        [IN, Step("map", (0,), "double"), Step("to", (1,), "shared"), Step("to", (0,), "shared")],
    ),
    "values that are shared": Control(
        Topology,
        "shares_values",
        lambda self, node: False,
        [IN, Step("reduce", (0,), "overtake"), Step("to", (0,))],
        kind="row",
        sent=ROWS,
    ),
    "a rollback that forgets": Control(
        Overlay,
        "rollback",
        lambda self: self._pending.clear(),
        [IN, Step("count", (0,)), Step("map", (0,), "double")],
        call=1,
    ),
    "a discard that forgets": Control(
        Overlay,
        "discard",
        lambda self: None,
        [IN, Step("count", (0,))],
        cuts=(Cut(2, "abort"),),
    ),
    "a deletion that is remembered": Control(
        Reduce,
        "step",
        _remembering_step,
        [IN, Step("reduce", (0,), "drop")],
        cuts=(Cut(2, "commit"),),
    ),
}


@pytest.mark.parametrize("fault", CONTROLS)
def test_the_check_notices(fault, monkeypatch):
    """A case that passes fails on a build that is broken on purpose."""
    control = CONTROLS[fault]
    program = Program("bytes", (control.kind, "int"), event_time=False, steps=(*control.steps,))
    check(program, control.sent, control.cuts, call=control.call)
    monkeypatch.setattr(control.target, control.name, control.broken)
    with pytest.raises(AssertionError):
        check(program, control.sent, control.cuts, call=control.call)


def test_random_cases_notice(monkeypatch):
    """The random cases find a count that loses the last record of a chunk by themselves."""
    monkeypatch.setattr(Count, "fold", _losing_fold)

    @settings(
        SETTINGS,
        max_examples=1_000,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        report_multiple_bugs=False,
    )
    @given(cases())
    def run(case: Any) -> None:
        check(*case)

    with pytest.raises(AssertionError):
        run()
