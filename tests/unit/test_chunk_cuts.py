"""Chunk cuts never matter: any cutting into chunks and batches means what the records mean.

Random programs run over random records, cut at random, with aborts, restarts, restores and
functions that fail once in between, and are compared with a naive interpreter: the same state,
clocks and changelogs; per key and in order the same records where nothing coalesces, and the
last record per key and batch where something does.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import penstock.operators.count
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from penstock.operators.aggregation import Aggregation
from penstock.operators.chunk import Chunk
from penstock.operators.count import Count
from penstock.operators.filter import Filter
from penstock.operators.merge import Merge
from penstock.state.overlay import Overlay
from penstock.testing import TestDriver
from tests.unit.interpreter import Interpreter, Written, decoded
from tests.unit.programs import Program, Sent, Step, build, programs, records
from tests.unit.runner import Cut, OneRecord, Runner

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
    """The topics of a sink hold the interpreter's records, as far as the steps must not coalesce."""
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


@settings(SETTINGS, max_examples=200)
@given(cases())
def test_cuts_never_matter(case):
    """Chunks, batches, aborts, restarts and restores change neither state nor records."""
    check(*case)
