"""Reading a table: keys, ranges, prefixes and windows, of what is committed and nothing else."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock as ps
from penstock.errors import StateError, TopologyError
from penstock.query.layout import deciding, layout_of, plain
from penstock.query.leases import Unavailable
from penstock.query.reading import Holdings
from penstock.query.store import Store
from penstock.serde.json_serde import JsonSerde
from penstock.serde.primitives import BYTES, FLOAT, INT, STR
from penstock.serde.types import Serde
from penstock.state.definition import StoreDefinition
from penstock.state.memory import MemoryStore
from penstock.state.overlay import Overlay
from penstock.state.rocksdb import RocksMemory, RocksStore
from penstock.state.store import Position
from penstock.testing import TestDriver
from penstock.topics.partitioner import partition_for
from penstock.windows import SessionWindows, SlidingWindows, Windowed

PARTITIONS = 3


class Totals:
    """A store of several partitions, written as tasks write it."""

    def __init__(
        self,
        key: Serde[Any],
        value: Serde[Any] = INT,
        folder: Path | None = None,
        *,
        here: tuple[int, ...] = tuple(range(PARTITIONS)),
        write_behind: int = 2,
    ) -> None:
        definition = StoreDefinition("totals", key, value)
        self.holdings = Holdings("shop", [definition])
        self.holdings.partitions["totals"] = PARTITIONS
        self.key = key
        memory = RocksMemory(8 * 1024 * 1024)
        self.overlays: dict[int, Overlay] = {}
        for number in here:
            store = RocksStore(folder / str(number), memory) if folder else MemoryStore()
            overlay = Overlay(definition, store, write_behind=write_behind)
            self.overlays[number] = overlay
            self.holdings.open(("totals", number), overlay)
        self.store: Store[Any, Any] = Store(self.holdings, "totals")

    def put(self, rows: dict[Any, Any], *, commit: bool = True) -> None:
        changed: dict[int, dict[bytes, Any]] = {number: {} for number in self.overlays}
        for key, value in rows.items():
            raw = self.key.encode(key)
            changed[partition_for(raw, PARTITIONS)][raw] = (value, 7)
        for number, entries in changed.items():
            overlay = self.overlays[number]
            overlay.touch(entries)
            overlay.put(entries)
            overlay.savepoint()
            if commit:
                overlay.flush()
                overlay.commit(Position(1, "topic", 0))


@pytest.fixture(params=["memory", "rocksdb"])
def folder(request: Any, tmp_path: Path) -> Path | None:
    return tmp_path if request.param == "rocksdb" else None


def test_only_what_is_committed_is_read(folder: Path | None) -> None:
    of = Totals(STR, folder=folder)
    of.put({"a": 1, "b": 2})
    of.put({"a": 10, "b": None, "c": 3}, commit=False)
    assert [of.store.get(key) for key in "abc"] == [1, 2, None]
    assert list(of.store) == [("a", 1), ("b", 2)]
    for overlay in of.overlays.values():
        overlay.flush()
        overlay.commit(Position(2, "topic", 0))
    assert [of.store.get(key) for key in "abc"] == [10, None, 3]
    assert list(of.store) == [("a", 10), ("c", 3)]


def test_a_read_is_of_one_moment(folder: Path | None) -> None:
    of = Totals(STR, folder=folder)
    keys = [f"{number:03}" for number in range(300)]
    of.put(dict.fromkeys(keys, 1))
    rows = of.store.range()
    first = next(rows)
    of.put(dict.fromkeys(keys, 2))
    of.put(dict.fromkeys(keys[:100], None))
    assert [first, *rows] == [(key, 1) for key in keys]
    assert list(of.store) == [(key, 2) for key in keys[100:]]


INTEGERS = st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-3, 3))
FLOATS = st.one_of(st.floats(allow_nan=False), st.sampled_from([-1.5, 0.0, 2.5]))
KINDS: dict[str, tuple[Serde[Any], Any, Any]] = {
    "str": (STR, st.text(max_size=2), lambda key: key.encode()),
    "bytes": (BYTES, st.binary(max_size=2), lambda key: key),
    "int": (INT, INTEGERS, lambda key: key),
    "float": (FLOAT, FLOATS.map(lambda x: x + 0.0), lambda key: (key >= 0, key if key >= 0 else -key)),
    "json": (JsonSerde(tuple[str, int], sort_fields=True),
             st.tuples(st.sampled_from(["", "a", "b", "ab"]), st.integers(0, 30)),
             lambda key: msgspec.json.encode(key)),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_range_is_what_a_sorted_dict_says(kind: str, data: Any) -> None:
    serde, keys, order = KINDS[kind]
    rows = data.draw(st.dictionaries(keys, st.one_of(st.integers(0, 9), st.none()), max_size=12))
    more = data.draw(st.dictionaries(keys, st.one_of(st.integers(0, 9), st.none()), max_size=6))
    of = Totals(serde, write_behind=data.draw(st.integers(0, 5)))
    of.put(rows)
    of.put(more)
    held = {key: value for key, value in {**rows, **more}.items() if value is not None}
    start, stop = data.draw(st.one_of(st.none(), keys)), data.draw(st.one_of(st.none(), keys))
    limit = data.draw(st.one_of(st.none(), st.integers(0, 5)))

    def within(key: Any) -> bool:
        if kind in ("int", "float"):
            return (start is None or key >= start) and (stop is None or key < stop)
        at = order(key)
        return (start is None or at >= order(start)) and (stop is None or at < order(stop))

    expected = [(key, held[key]) for key in sorted(held, key=order) if within(key)]
    assert list(of.store.range(start, stop, limit=limit)) == expected[:limit]
    assert {key: of.store.get(key) for key in {**rows, **more}} == {
        key: held.get(key) for key in {**rows, **more}
    }


def test_a_prefix_is_of_text_bytes_and_tuples(folder: Path | None) -> None:
    text = Totals(STR, folder=folder and folder / "s")
    text.put({"": 0, "a": 1, "ab": 2, "b": 3, "ä": 4})
    assert [key for key, _ in text.store.prefix("a")] == ["a", "ab"]
    assert [key for key, _ in text.store.prefix("", limit=2)] == ["", "a"]
    raw = Totals(BYTES, folder=folder and folder / "b")
    raw.put({b"\xff": 1, b"\xff\xff": 2, b"\xfe": 3})
    assert [key for key, _ in raw.store.prefix(b"\xff")] == [b"\xff", b"\xff\xff"]
    pairs = Totals(JsonSerde(tuple[str, int], sort_fields=True), folder=folder and folder / "t")
    pairs.put({("eu", 1): 1, ("eu", 2): 2, ("eur", 1): 3})
    assert [key for key, _ in pairs.store.prefix(("eu",))] == [("eu", 1), ("eu", 2)]
    with pytest.raises(TypeError, match="which have no prefix"):
        Totals(INT).store.prefix(5)


def test_what_is_read_is_the_readers_own(folder: Path | None) -> None:
    of = Totals(STR, JsonSerde(list[int]), folder)
    of.put({"a": [1]})
    of.store.get("a").append(2)
    next(of.store.range())[1].append(3)
    assert of.store.get("a") == [1]
    assert of.overlays[partition_for(b"a", PARTITIONS)].get(b"a") == ([1], 7)


@pytest.mark.parametrize(
    ("serde", "key"), [(STR, 5), (INT, "5"), (INT, 2**63), (BYTES, "a"), (JsonSerde(tuple[str, int]), 5)]
)  # fmt: skip
def test_a_key_of_another_type_says_so(serde: Serde[Any], key: Any) -> None:
    of = Totals(serde)
    for read in (of.store.get, of.store.range):
        with pytest.raises(
            TypeError, match=f"{type(key).__name__} cannot be a key of the store totals"
        ):
            read(key)


def test_a_key_of_another_worker_says_where(folder: Path | None) -> None:
    of = Totals(STR, folder=folder, here=(0, 2))
    at = {partition_for(key.encode(), PARTITIONS): key for key in "abcdefgh"}
    of.put({at[0]: 1, at[2]: 2})
    assert of.store.partitions == [0, 2]
    assert of.store.get(at[2]) == 2
    with pytest.raises(StateError, match="totals/1 is not with this worker") as caught:
        of.store.get(at[1])
    assert (caught.value.store, caught.value.partition) == ("totals", 1)
    of.holdings.owner = lambda at: f"worker w of {at}"
    with pytest.raises(StateError, match=r"worker w of \('totals', 1\) has it"):
        of.store.get(at[1])
    of.holdings.restore([("totals", 1)])
    with pytest.raises(StateError, match="is being restored"):
        of.store.get(at[1])
    with pytest.raises(StateError, match="totals/1 is being restored"):
        of.store.range()


def put_elsewhere(of: Totals, key: bytes, value: int) -> None:
    """Put a row where Kafka's default partitioner would not."""
    number = next(n for n in of.overlays if n != partition_for(key, PARTITIONS))
    overlay = of.overlays[number]
    overlay.put({key: (value, 0)})
    overlay.flush()
    overlay.commit(Position(1, "topic", 0))


def test_keys_of_another_partitioner_are_found_where_all_partitions_are_here() -> None:
    of = Totals(STR)
    put_elsewhere(of, b"a", 5)
    assert of.store.get("a") == 5
    assert of.store.get("b") is None


def test_keys_of_another_partitioner_may_be_with_another_worker() -> None:
    of = Totals(STR, here=(0, 1))
    at = {partition_for(key.encode(), PARTITIONS): key for key in "abcdefgh"}
    with pytest.raises(StateError, match="totals may have the key in a partition elsewhere"):
        of.store.get(at[0])  # nothing is here that tells
    of.put({at[0]: 1})
    absent = [key for key in "ijklmnop" if partition_for(key.encode(), PARTITIONS) == 0]
    assert of.store.get(absent[0]) is None
    put_elsewhere(of, at[1].encode(), 5)
    assert of.store.get(at[1]) == 5
    with pytest.raises(StateError, match="may have the key in a partition elsewhere"):
        of.store.get(absent[0])
    of.holdings._hashed = frozenset(["totals"])
    assert of.store.get(absent[0]) is None


def test_nothing_is_known_before_the_cluster_has_been_asked() -> None:
    store: Store[str, int] = Store(
        Holdings("shop", [StoreDefinition("totals", STR, INT)]), "totals"
    )
    for read in (lambda: store.get("a"), store.range):
        with pytest.raises(StateError, match="not open yet: the worker is starting"):
            read()


def test_a_windowed_key_is_where_its_key_is() -> None:
    app = ps.App("shop")
    stream = app.stream("in", key=str, value=int).group_by_key()
    days = stream.window(ps.tumbling("1d")).count(name="days")
    chained = days.to_stream(output_mode="append").group_by_key()
    chained.window(ps.session("1d")).count(name="weeks")
    layouts = {store.name: layout_of(store) for store in app.topology().stores}
    window = Windowed("ä", 0, 5)
    days_layout, weeks_layout = layouts["days"], layouts["weeks"]
    assert deciding(days_layout, plain(days_layout, window)) == "ä".encode()
    again = Windowed(window, 0, 5)
    assert deciding(weeks_layout, plain(weeks_layout, again)) == "ä".encode()
    with TestDriver(app) as driver:
        for at in (0, 86_400_000, 2 * 86_400_000):
            driver.topic("in").send(1, key="ä", at=at)
        day = Windowed("ä", 0, 86_400_000)
        [(week, count)] = driver.store("weeks").fetch(day)
        assert (week.key, count) == (day, 1)
        assert driver.store("weeks").get(week) == 1


def test_an_unknown_store_names_those_that_exist() -> None:
    of = Totals(STR)
    with pytest.raises(TopologyError, match=r"no store named 'total'. Did you mean 'totals'\?"):
        Store(of.holdings, "total")
    with pytest.raises(TopologyError, match="declares: totals"):
        Store(of.holdings, "else")


def test_nothing_is_read_of_a_query_that_has_ended() -> None:
    of = Totals(STR)
    of.holdings.end()
    for read in (lambda: of.store.get("a"), of.store.range):
        with pytest.raises(StateError, match="the query has ended"):
            read()


def test_a_worker_that_stands_still_is_not_read() -> None:
    of = Totals(STR)
    now = 100.0
    of.holdings.lease(lambda: now, 10.0)
    of.put({"a": 1})
    now = 110.0
    assert of.store.get("a") == 1
    now = 111.0
    for read in (lambda: of.store.get("a"), of.store.range):
        with pytest.raises(Unavailable, match="stands still for 11 s"):
            read()
    of.holdings.renew()
    assert of.store.get("a") == 1


WINDOWS = {
    "tumbling": ps.tumbling("10ms"),
    "hopping": ps.hopping("10ms", "4ms"),
    "zone": ps.tumbling("1d", zone="Europe/Madrid"),
    "session": ps.session("5ms"),
    "sliding": ps.sliding("5ms"),
}
TIMES = st.integers(0, 60)


def expected_windows(windows: Any, events: list[tuple[str, int]]) -> dict[Windowed[str], int]:
    """Return how many records each window has, none of them late."""
    found: dict[Windowed[str], int] = {}
    for key in {key for key, _ in events}:
        times = sorted(at for other, at in events if other == key)
        if isinstance(windows, SessionWindows):
            sessions = [[times[0]]]
            for at in times[1:]:
                if at - sessions[-1][-1] > windows.gap_ms:
                    sessions.append([])
                sessions[-1].append(at)
            found |= {Windowed(key, of[0], of[-1]): len(of) for of in sessions}
        elif isinstance(windows, SlidingWindows):
            size = windows.size_ms
            for start in {max(0, at - size) for at in times} | {at + 1 for at in times}:
                if count := sum(start <= at <= start + size for at in times):
                    found[Windowed(key, start, start + size)] = count
        else:
            for at in times:
                for start in windows.starts(at):
                    of = Windowed(key, start, windows.end(start))
                    found[of] = found.get(of, 0) + 1
    return found


EVENTS = st.lists(st.tuples(st.sampled_from(["a", "b", "ab"]), TIMES), max_size=20)


@pytest.mark.parametrize("kind", WINDOWS)
@settings(max_examples=40, deadline=None)
@given(events=EVENTS, start=st.one_of(st.none(), TIMES), stop=st.one_of(st.none(), TIMES))
def test_windows_are_what_their_records_say(
    kind: str, events: list[tuple[str, int]], start: int | None, stop: int | None
) -> None:
    app = ps.App("shop")
    stream = app.stream("in", key=str, value=int)
    table = stream.group_by_key().window(WINDOWS[kind], grace="1h").count(name="counts")
    with TestDriver(app) as driver:
        for key, at in events:
            driver.topic("in").send(1, key=key, at=at)
        store = driver.store(table)
        expected = expected_windows(WINDOWS[kind], events)
        assert dict(store.range()) == expected
        assert {key: store.get(key) for key in expected} == expected
        assert store.get(Windowed("none", 0, 10)) is None
        assert dict(store.prefix("a")) == {
            key: count for key, count in expected.items() if key.key.startswith("a")
        }
        for key in ("a", "b", "ab", "none"):
            found = sorted(
                (window, count)
                for window, count in expected.items()
                if window.key == key
                and (start is None or window.start >= start)
                and (stop is None or window.start < stop)
            )
            assert store.fetch(key, start, stop) == found
        for bound in list(expected)[:3]:
            rows = list(store.range())
            index = [window for window, _ in rows].index(bound)
            assert list(store.range(bound)) == rows[index:]
            assert list(store.range(stop=bound)) == rows[:index]


def test_a_window_with_another_end_is_none() -> None:
    app = ps.App("shop")
    stream = app.stream("in", key=str, value=int).group_by_key()
    table = stream.window(ps.tumbling("10ms")).count(name="counts")
    with TestDriver(app) as driver:
        driver.topic("in").send(1, key="a", at=3)
        store = driver.store(table)
        assert store.get(Windowed("a", 0, 10)) == 1
        assert store.get(Windowed("a", 0, 11)) is None
        with pytest.raises(TypeError, match=r"has windows\. Pass ps"):
            store.get("a")  # type: ignore[arg-type]


def test_a_table_without_windows_has_none_to_fetch() -> None:
    with pytest.raises(TypeError, match="has no windows to fetch"):
        Totals(STR).store.fetch("a")


def test_what_is_aggregated_is_read_as_it_comes_out() -> None:
    """A store of an agg holds the states of its columns; the table is what they result in."""
    app = ps.App("shop")
    stream = app.stream("in", key=str, value=int).group_by_key()
    mean = stream.agg(ps.mean(lambda amount: amount), name="mean")
    both = stream.agg(name="both", n=ps.count(), most=ps.max(lambda amount: amount))
    windowed = stream.window(ps.session("1s")).agg(name="sessions", n=ps.count())
    with TestDriver(app) as driver:
        for amount in (1, 5, 3):
            driver.topic("in").send(amount, key="a", at=amount)
        assert driver.store(mean).get("a") == 3.0
        assert driver.store(both).get("a") == {"n": 3, "most": 5}
        assert driver.store("both").get("a") == {"n": 3, "most": 5}
        assert driver.store(windowed).fetch("a") == [(Windowed("a", 1, 5), {"n": 3})]
        assert list(driver.store(windowed)) == [(Windowed("a", 1, 5), {"n": 3})]


class Remember(ps.Processor[str, int, str]):
    """Keep the values of a key."""

    last = ps.ValueState(int)
    seen = ps.ValueState(dict[str, int])

    def process(self, ctx: ps.Context[str], value: int) -> list[str]:
        self.last.set(value)
        self.seen.set({**(self.seen.get() or {}), str(value): value})
        return []


def test_values_of_a_processor_are_read_by_the_name_of_their_store() -> None:
    app = ps.App("shop")
    app.stream("in", key=str, value=int).process(Remember, name="remember")
    with TestDriver(app) as driver:
        driver.topic("in").send(4, key="a")
        driver.topic("in").send(5, key="a")
        assert driver.store("remember-last").get("a") == 5
        assert driver.store("remember-seen").get("a") == {"4": 4, "5": 5}


def test_a_store_of_the_driver_outlives_a_crash() -> None:
    app = ps.App("shop")
    table = app.stream("in", key=str, value=int).group_by_key().count(name="counts")
    with TestDriver(app) as driver:
        store = driver.store(table)
        driver.topic("in").send(1, key="a")
        driver.crash()
        assert store.get("a") == 1
        driver.topic("in").send(1, key="a")
        assert store.get("a") == 2
