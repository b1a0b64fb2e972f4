"""Deduplication against a naive interpreter that remembers everything, however the input is cut."""

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock as ps
from penstock.engine import task
from penstock.errors import DataError, TopologyError
from penstock.operators import drop_duplicates
from penstock.operators.chunk import Chunk
from penstock.operators.drop_duplicates import KNOWN, DropDuplicates
from penstock.operators.known_spans import KnownSpans
from penstock.operators.source import Fetched
from penstock.serde.primitives import INT, STR
from penstock.serde.seen import SeenKeySerde
from penstock.serde.types import data_type
from penstock.state.definition import StoreDefinition
from penstock.state.memory import MemoryStore
from penstock.state.overlay import Overlay
from penstock.state.store import Store
from penstock.testing import TestDriver
from tests.unit.programs import Sent
from tests.unit.runner import Cut, Runner
from tests.unit.test_windows import cut

WITHIN = 5
Row = tuple[str, int, int]  # key, value, event time
# Close together, now and then far ahead; two keys with two values each.
TIMES = st.integers(0, 12) | st.integers(0, 40) | st.integers(0, 200)
ROWS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 1), TIMES), max_size=30)
CUTS = st.lists(
    st.builds(
        Cut, st.integers(1, 6), st.sampled_from(["go", "commit", "abort", "restart", "restore"])
    ),
    max_size=10,
)


@dataclass
class Naive:
    """Every record that was handed on, for ever."""

    clock: int = -1
    late: int = 0
    duplicates: int = 0
    first: list[Row] = field(default_factory=list[Row])

    def add(self, row: Row) -> None:
        *equal, at = row
        self.clock = max(self.clock, at)
        if at < self.clock - WITHIN:
            self.late += 1
        elif any([*same] == equal and abs(at - of) <= WITHIN for *same, of in self.first):
            self.duplicates += 1
        else:
            self.first.append(row)

    def remembered(self) -> list[Row]:
        """What is left of it: whole spans of six milliseconds."""
        span = WITHIN + 1
        return [row for row in self.first if row[2] // span * span + 3 * WITHIN >= self.clock]


def app_of(*by: Any, **kinds: Any) -> ps.App:
    app = ps.App("cuts")
    stream = app.stream("in", **({"key": str, "value": int} | kinds))
    stream.drop_duplicates(*by, within=f"{WITHIN}ms", name="seen").to("out")
    return app


def written(driver: TestDriver) -> list[Row]:
    """Everything that has gone out."""
    out = driver.topic("out")
    return [(*row, at) for row, at in zip(out.read(), out.read_timestamps(), strict=True)]


def remembered(driver: TestDriver) -> list[Row]:
    """What is on disk, in the order of the spans."""
    (overlay,) = [t.overlays["seen"] for t in driver._tasks if "seen" in t.overlays]
    return in_store(overlay.definition, overlay.store)


def in_store(definition: StoreDefinition, store: Store) -> list[Row]:
    serde = definition.key
    rows = [(serde.decode(key), data) for key, data in store.scan()]
    values = [int.from_bytes(data[8:], "big") for _, data in rows]
    assert [span for (span, _, _), _ in rows] == [at // (WITHIN + 1) for at in values]
    return [(key, *of, at) for ((_, key, of), _), at in zip(rows, values, strict=True)]


@pytest.mark.parametrize(("slice_size", "known"), [(task.CLOSED_AT_ONCE, KNOWN), (1, 1)])
@settings(max_examples=300)
@given(rows=ROWS, data=st.data())
def test_records_are_those_of_the_naive_interpreter(
    slice_size: int, known: int, rows: list[Row], data: st.DataObject
) -> None:
    """The same records whatever the batches and crashes, all others counted, no more on disk."""
    naive, late, duplicates = Naive(), 0, 0
    with pytest.MonkeyPatch.context() as patch, TestDriver(app_of()) as driver:
        patch.setattr(task, "CLOSED_AT_ONCE", slice_size)
        patch.setattr(drop_duplicates, "KNOWN", known)
        for part, crashes in cut(rows, data):  # type: ignore[arg-type]
            with driver.batch():
                for row in part:
                    key, value, at = row
                    naive.add(row)
                    driver.topic("in").send(value, key=key, at=at)
            tally = driver._tasks[0].take_tally()
            late += sum(tally.late.values())
            duplicates += sum(tally.duplicates.values())
            assert sorted(remembered(driver)) == sorted(naive.remembered())
            if crashes:
                driver.crash()
        assert written(driver) == naive.first
        assert (late, duplicates) == (naive.late, naive.duplicates)


@settings(max_examples=300)
@given(ROWS, CUTS, st.integers(0, 3), st.sampled_from([2, 4, KNOWN]))
def test_chunks_aborts_and_restores_change_nothing(
    rows: list[Row], cuts: list[Cut], cache: int, known: int
) -> None:
    naive = Naive()
    for row in rows:
        naive.add(row)
    runner = Runner(app_of().topology(), cache_entries=cache)
    sent = [Sent("in", key.encode(), value.to_bytes(8, "big"), at) for key, value, at in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drop_duplicates, "KNOWN", known)
        runner.run(sent, cuts)
    out = [row for batch in runner.batches for row in batch.outputs["out"]]
    assert [
        ((of.key or b"").decode(), int.from_bytes(of.value or b"", "big"), of.timestamp)
        for of in out
    ] == naive.first
    assert runner.clocks.get("seen", -1) == naive.clock
    folded = list(runner._restored("cuts-seen-changelog").scan())
    assert folded == list(runner.stores["seen"].scan())
    held = in_store(runner.topology.stores[0], runner.stores["seen"])
    assert sorted(held) == sorted(naive.remembered())


@settings(max_examples=200)
@given(ROWS, st.data())
def test_behind_a_repartition_topic_nothing_comes_twice(
    rows: list[Row], data: st.DataObject
) -> None:
    """Time goes by the slowest writer there: fewer are late, and what is not late is exact."""
    app = ps.App("app")
    words = app.stream("in", key=str, value=int).rekey(lambda of: of, key=int, name="by-value")
    words.drop_duplicates(within=f"{WITHIN}ms", name="seen").to("out")
    late, sent = 0, list[Row]()
    with TestDriver(app) as driver:
        for part, crashes in cut(rows, data):  # type: ignore[arg-type]
            with driver.batch():
                for key, value, at in part:
                    sent.append((str(value), value, at))
                    driver.topic("in").send(value, key=key, at=at)
            late += sum(driver._tasks[1].take_tally().late.values())
            if crashes:
                driver.crash()
        times = [(value, at) for _, value, at in written(driver)]
    for number, (value, at) in enumerate(times):
        assert all(of != value or abs(at - t) > WITHIN for of, t in times[:number])
    if not late:
        for _, value, at in sent:
            assert any(of == value and abs(at - t) <= WITHIN for of, t in times)


@pytest.mark.parametrize(
    ("by", "values", "kept"),
    [
        ((), [{"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1}], [0, 2]),
        (("a",), [{"a": 1}, {"a": "1"}, {"a": 1.0}, {"a": True}, {"a": None}, {"a": [1]}], None),
        (("a",), [{"a": [1, 2]}, {"a": [1, 2]}, {"a": [12]}], [0, 2]),
        (("a", "b"), [{"a": 1, "b": 1}, {"a": 1, "b": 2}, {"a": 2, "b": 2}], [0, 1, 2]),
        (("a", "b"), [{"a": "x", "b": "yz"}, {"a": "xy", "b": "z"}, {"a": "x", "b": "yz"}], [0, 1]),
        ((lambda of: of["a"] // 10,), [{"a": 11}, {"a": 12}, {"a": 21}], [0, 2]),
        ((lambda of: str(of["a"]).encode(), "b.c"), [{"a": 1, "b": {"c": 2}}] * 2, [0]),
        ((lambda of: b"x" if of["a"] else "x",), [{"a": 1}, {"a": 0}, {"a": 1}], [0, 1]),
    ],
)
def test_equal_is_what_is_of_one_value_and_type(by: Any, values: Any, kept: Any) -> None:
    with TestDriver(app_of(*by, value=dict)) as driver:
        with driver.batch():
            for value in values:
                driver.topic("in").send(value, key="k", at=7)
        read = [value for _, value in driver.topic("out").read()]
    assert read == ([values[at] for at in kept] if kept is not None else values)


@pytest.mark.parametrize(
    ("times", "kept"),
    [
        ([100, 105], [100]),
        ([100, 106], [100, 106]),
        ([105, 100], [105]),
        ([100, 101, 106], [100, 106]),  # what was dropped makes no other one a duplicate
        ([100, 111, 106], [100, 111]),
        ([100, 112, 106], [100, 112]),  # late
        ([100, 94], [100]),
        ([0, 0, 5, 6], [0, 6]),
    ],
)
def test_duplicates_are_at_most_within_apart(times: list[int], kept: list[int]) -> None:
    with TestDriver(app_of()) as driver:
        for at in times:
            driver.topic("in").send(1, key="k", at=at)
        assert driver.topic("out").read_timestamps() == kept


def test_a_key_and_a_value_are_told_apart() -> None:
    with TestDriver(app_of(value=str)) as driver:
        for key, value in (("ab", "c"), ("a", "bc"), ("", "abc"), ("ab", "c")):
            driver.topic("in").send(value, key=key, at=1)
        assert driver.topic("out").read() == [("ab", "c"), ("a", "bc"), ("", "abc")]


def test_headers_and_failures_behind_it_are_those_of_their_record() -> None:
    """What fails behind it was not there: its duplicate takes its place."""
    calls: list[int] = []

    def once(value: int) -> int:
        calls.append(value)
        if len(calls) == 1:
            raise ValueError("not yet")
        return value

    app = ps.App("app", on_error="skip")
    stream = app.stream("in", key=str, value=int)
    stream.drop_duplicates(within="1s", name="seen").map(once).to("out")
    with TestDriver(app) as driver:
        with driver.batch():
            for number in range(3):
                driver.topic("in").send(7, key="a", headers=[("n", b"%d" % number)])
        assert driver.topic("out").read() == [("a", 7)]
        assert driver.topic("out").read_headers() == [{"n": b"1"}]
        assert driver._tasks[0].take_tally().duplicates == {"seen": 1}
        assert [failure.offset for failure in driver._tasks[0].take_failures()] == [0]


def test_a_selector_that_fails_leaves_no_trace() -> None:
    app = ps.App("app", on_error="skip")
    stream = app.stream("in", key=str, value=dict)
    stream.drop_duplicates("id", within="5ms", name="seen").to("out")
    with TestDriver(app) as driver:
        with driver.batch():
            driver.topic("in").send({"id": 1}, key="a", at=10)
            driver.topic("in").send({}, key="a", at=1_000)  # would make the next one late
            driver.topic("in").send({"id": 2}, key="a", at=10)
        assert len(driver.topic("out").read()) == 2
        assert driver._tasks[0].clocks["seen"] == 10


class Event(msgspec.Struct):
    user: str
    event_time: int
    latency_ms: float


def test_duplicates_of_a_user_are_counted_once() -> None:
    """One repartition topic serves the deduplication and what follows."""
    app = ps.App("dedup")
    (
        app.stream("events", value=Event, timestamp="event_time")
        .rekey("user", key=str, name="by-user")
        .drop_duplicates("event_time", within="5s", name="seen")
        .group_by_key()
        .count(name="per-user")
        .to("per-user")
    )
    assert list(app.topology().repartitions) == ["dedup-by-user-repartition"]
    with TestDriver(app) as driver:
        for user, at, latency in (("ann", 1, 0.5), ("bob", 1, 1.5), ("ann", 1, 2.5), ("ann", 2, 0)):
            driver.topic("events").send(Event(user, at, latency))
        assert dict(driver.topic("per-user").read()) == {"ann": 2, "bob": 1}


def test_what_is_in_front_of_it_hands_on_every_update() -> None:
    app = ps.App("app")
    counts = app.stream("in", key=str, value=int).group_by_key().count(name="n")
    counts.to_stream().drop_duplicates(within="1h", name="seen").to("out")
    with TestDriver(app) as driver:
        with driver.batch():
            for _ in range(3):
                driver.topic("in").send(7, key="a")
        assert driver.topic("out").read() == [("a", 1), ("a", 2), ("a", 3)]


def test_aggregations_behind_it_share_no_values() -> None:
    """Two of them may each change a value in place, and a sink sees it as it came."""
    app = ps.App("app")
    stream = app.stream("in", key=str, value=dict[str, int])
    once = stream.drop_duplicates("id", within="1h", name="seen")
    grouped = once.group_by_key()
    for name in ("one", "other"):
        grouped.reduce(spoil, name=name).to(name)
    once.to("out")
    with TestDriver(app) as driver:
        with driver.batch():
            for number in (1, 2):
                driver.topic("in").send({"id": number}, key="a")
        assert [value["id"] for _, value in driver.topic("out").read()] == [1, 2]
        for name in ("one", "other"):
            assert driver.topic(name).read()[-1][1] == {"id": 102}


def spoil(_: dict[str, int], new: dict[str, int]) -> dict[str, int]:
    new["id"] += 100
    return new


def test_what_shares_its_values_with_others_is_not_changed() -> None:
    """An aggregation behind it may change values in place; a sink beside it sees them as is."""
    app = ps.App("app")
    stream = app.stream("in", key=str, value=dict[str, int])
    once = stream.drop_duplicates("id", within="1h", name="seen")
    once.group_by_key().aggregate(dict, spoil, name="one", value=dict[str, int])
    stream.to("out")
    with TestDriver(app) as driver:
        driver.topic("in").send({"id": 1}, key="a")
        assert driver.topic("out").read() == [("a", {"id": 1})]


def test_headers_are_read_for_what_is_behind_it() -> None:
    topology = app_of().topology()
    source, step, _ = topology.nodes
    assert topology.reads(source, "headers")
    assert not topology.coalesces(step)


def test_all_is_forgotten_where_time_goes_on_without_records() -> None:
    app = ps.App("app")
    some = app.stream("in", key=str, value=int).filter(lambda of: of > 0)
    words = some.rekey(lambda of: of, key=int, name="by-value")
    words.drop_duplicates(within=f"{WITHIN}ms", name="seen").to("out")
    with TestDriver(app) as driver:
        for start in (0, 1_000, 2_000):
            driver.topic("in").send(1, key="a", at=start + 10)
            assert len(remembered(driver)) == 1
            driver.topic("in").send(0, key="a", at=start + 900)
            assert remembered(driver) == []
        assert len(driver.topic("out").read()) == 3


def test_what_an_aborted_batch_has_forgotten_is_forgotten_again() -> None:
    with TestDriver(app_of()) as driver:
        driver.topic("in").send(1, key="a", at=10)
        (running,) = driver._tasks
        clocks = dict(running.clocks)
        running.process(Fetched("in", 0, [b"a"], [bytes(8)], [1_000], [1], None, 2))
        running.flush()
        running.discard(clocks)
        driver.topic("in").send(0, key="a", at=11)
        driver.topic("in").send(0, key="a", at=1_000)
        assert remembered(driver) == [("a", 0, 1_000)]


def test_what_an_aborted_batch_has_forgotten_is_known_again() -> None:
    with TestDriver(app_of()) as driver:
        driver.topic("in").send(1, key="a", at=3)
        (running,) = driver._tasks
        clocks = dict(running.clocks)
        running.process(Fetched("in", 0, [b"b"], [bytes(8)], [1_000], [1], None, 2))
        running.flush()
        running.discard(clocks)
        driver.topic("in").send(1, key="a", at=8)
        assert driver.topic("out").read_timestamps() == [3]


def test_the_store_is_asked_only_for_what_may_be_there() -> None:
    """Else each record costs two looks in vain."""
    with TestDriver(app_of()) as driver:
        overlay = driver._tasks[0].overlays["seen"]
        asked: list[int] = []
        touch = overlay.touch
        overlay.touch = lambda keys: asked.append(len(keys)) or touch(keys)  # type: ignore
        with driver.batch():
            for at in range(100, 200):
                driver.topic("in").send(at, key="a", at=at)
        with driver.batch():
            driver.topic("in").send(199, key="a", at=199)
            driver.topic("in").send(200, key="a", at=199)
        assert asked == [0, 1]


def test_what_stands_beside_what_was_forgotten_is_known() -> None:
    with TestDriver(app_of()) as driver:
        for key, at in (("x", 0), ("a", 11), ("b", 21), ("a", 16)):
            driver.topic("in").send(1, key=key, at=at)
        assert driver.topic("out").read_timestamps() == [0, 11, 21]


def test_no_more_is_known_than_the_limit() -> None:
    """What goes beyond it is looked up, and the next span is known again."""
    known = KnownSpans(0, 3)
    known.add([0, 0, 1], [10, 11, 12])
    assert 99 not in known.of(1)
    known.add([1], [13])
    assert [99 in known.of(span) for span in (0, 1, 2)] == [True, True, False]
    assert not known._spans
    known.add([0] * 4, [14, 15, 16, 17])
    assert 99 in known.of(1), "what was unknown is known again"


def test_a_record_beside_what_was_forgotten_is_no_duplicate() -> None:
    with TestDriver(app_of()) as driver:
        for key, at in (("a", 3), ("b", 16), ("a", 11)):
            driver.topic("in").send(1, key=key, at=at)
        assert driver.topic("out").read_timestamps() == [3, 16, 11]


def test_a_null_key_goes_by_the_policy() -> None:
    app = ps.App("app")
    stream = app.stream("in", value=int)
    stream.drop_duplicates(within="1s", name="seen").to("out")
    with TestDriver(app) as driver, pytest.raises(DataError, match="the key is null: equal"):
        driver.topic("in").send(1)


def test_a_key_that_is_none_never_becomes_state() -> None:
    with TestDriver(app_of()) as driver, pytest.raises(DataError, match="UnicodeDecodeError"):
        driver.topic("in").send_bytes(bytes(8), key=b"\xff")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: app_of("nope"), "has no field 'nope'"),
        (lambda: app_of(5), "goes by 5. Pass field paths"),
        (lambda: declare(within="0s"), "within='0s'. Use 1 ms or more"),
        (lambda: declare(within="soon"), "is not a duration"),
        (lambda: declare(name="a/b"), "cannot be the name"),
        (lambda: declare(rekeyed=True), "drop_duplicates behind it needs equal keys"),
        (lambda: declare(unknown=True), "the type of the keys is not known"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, told: str) -> None:
    with pytest.raises(TopologyError, match=told):
        make()


def declare(
    *, within: str = "1s", name: str = "s", rekeyed: bool = False, unknown: bool = False
) -> None:
    stream: Any = ps.App("app").stream("in", key=str, value=int)
    if rekeyed:
        stream = stream.rekey(lambda of: of, key=int)
    if unknown:
        stream = stream.merge(ps.App("app").stream("other", key=int, value=int))
    stream.drop_duplicates(within=within, name=name)


@given(st.integers(-(2**40), 2**40), st.text(), st.lists(st.integers() | st.text()))
def test_what_is_remembered_can_be_read(span: int, key: str, by: list[Any]) -> None:
    """And stands in the order of time, before 1970 too."""
    by = [of if isinstance(of, str) else of % 2**32 for of in by]
    serde = SeenKeySerde(data_type(str).serde, "")  # type: ignore[arg-type]
    data = serde.encode((span, key, (*by,)))
    assert serde.decode(data) == (span, key, (*by,))
    assert data < serde.encode((span + 1, "", ()))


def test_what_is_asked_for_in_the_middle_of_a_batch_is_forgotten_none_the_less() -> None:
    store = StoreDefinition("seen", SeenKeySerde(STR, "seen"), INT)
    overlay = Overlay(store, MemoryStore())
    step = DropDuplicates((), WITHIN, STR, store).open(overlay, coalesce=False)
    step.process(Chunk([7], [10], keys=["a"]))
    assert not step.is_due(10)
    overlay.flush()
    step.close(1_000, 0, 100)
    assert overlay.flush().values == [None]
