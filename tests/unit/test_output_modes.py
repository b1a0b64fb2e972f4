"""Each output takes its modes and no other ones, and shows what is committed and nothing else."""

import io
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock as ps
from penstock.console import Console, shown_partitions, table
from penstock.engine.delivery import deliver
from penstock.engine.task import Task
from penstock.errors import DataError, TopologyError
from penstock.memory import Memory
from penstock.operators.deliver import Deliver, Row
from penstock.operators.source import Fetched
from penstock.state.memory import MemoryStore
from penstock.state.overlay import Overlay
from penstock.state.store import Position
from penstock.testing import TestDriver
from penstock.windows import Windowed
from tests.unit.runner import AnyCluster
from tests.unit.test_windows import cut

MODES = ("append", "update", "complete", "overwrite")
TAKEN = {
    ("stream", "to_console"): {"append", "update"},
    ("stream", "to_memory"): {"append", "update"},
    ("table", "to"): {"update"},
    ("table", "to_console"): {"update", "complete"},
    ("table", "to_memory"): {"update", "complete"},
    ("windows", "to"): {"append", "update"},
    ("windows", "to_stream"): {"append", "update"},
    ("windows", "to_console"): {"append", "update", "complete"},
    ("windows", "to_memory"): {"append", "update", "complete"},
    ("sessions", "to"): {"append", "update"},
    ("sessions", "to_stream"): {"append", "update"},
    ("sessions", "to_console"): {"append", "update", "complete"},
    ("sessions", "to_memory"): {"append", "update", "complete"},
}
WHY = {
    ("stream", "complete"): "Aggregate it first",
    ("table", "append"): "Gather it by windows",
    ("table", "complete"): "to_console\\(\\) and to_memory",
    ("windows", "complete"): "to_console\\(\\) and to_memory",
    ("sessions", "complete"): "to_console\\(\\) and to_memory",
}


def kinds(app: ps.App) -> dict[str, Any]:
    stream = app.stream("in", key=str, value=int)
    grouped = stream.group_by_key()
    return {
        "stream": stream,
        "table": grouped.count(name="counts"),
        "windows": grouped.window(ps.tumbling("10ms")).count(name="windows"),
        "sessions": grouped.window(ps.session("5ms")).count(name="sessions"),
    }


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("kind", "method"), TAKEN)
def test_the_matrix(kind: str, method: str, mode: str) -> None:
    """What is taken runs; what is not is refused with a reason and what is to be used."""
    app = ps.App("app")
    write = getattr(kinds(app)[kind], method)
    topics = ("out",) if method == "to" else ()
    if mode in TAKEN[kind, method]:
        write(*topics, output_mode=mode)
        with TestDriver(app) as driver:
            driver.topic("in").send(1, key="a")
        return
    with pytest.raises(TopologyError, match=WHY.get((kind, mode), "no such mode")) as told:
        write(*topics, output_mode=mode)
    use = str(told.value).split(" Use ")[1]
    assert {each for each in MODES if f"'{each}'" in use} == TAKEN[kind, method]


@pytest.mark.parametrize("kind", ["stream", "table", "windows"])
def test_no_rows_make_no_sense(kind: str) -> None:
    handle = kinds(ps.App("app"))[kind]
    with pytest.raises(TopologyError, match=r"num_rows=0\): use 1 or more"):
        handle.to_console(num_rows=0)
    with pytest.raises(TopologyError, match=r"max_rows=-1\): use 1 or more"):
        handle.to_memory(max_rows=-1)


ROWS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 60)), max_size=25)


@settings(max_examples=60)
@given(ROWS, st.data())
def test_memory_holds_what_topics_and_stores_hold(
    rows: list[tuple[str, int]], data: st.DataObject
) -> None:
    """In every mode, whatever the batches and crashes."""
    app = ps.App("app")
    of = kinds(app)
    records = of["stream"].to_memory()
    latest = {name: of[name].to_memory() for name in ("table", "windows", "sessions")}
    whole = {name: of[name].to_memory(output_mode="complete") for name in latest}
    final = {name: of[name].to_memory(output_mode="append") for name in ("windows", "sessions")}
    for name, handle in of.items():
        handle.to(f"{name}-out")
    for name in final:
        of[name].to(f"{name}-final", output_mode="append")
    held = {"table": "counts", "windows": "windows", "sessions": "sessions"}
    with TestDriver(app) as driver:
        topics = {name: driver.topic(f"{name}-out") for name in of}
        finals = {name: driver.topic(f"{name}-final") for name in final}
        seen: dict[str, dict[Any, Any]] = {name: {} for name in latest}
        closed: dict[str, list[Any]] = {name: [] for name in final}
        for part, crashes in cut(rows, data):
            with driver.batch():
                for key, at in part:
                    driver.topic("in").send(at, key=key, at=at)
            for name, memory in latest.items():
                for key, value in topics[name].read():
                    seen[name][key] = value
                    if value is None:
                        del seen[name][key]
                assert dict(memory.rows()) == seen[name]
            for name, memory in final.items():
                closed[name] += finals[name].read()
                assert memory.rows() == closed[name]
            if crashes:
                driver.crash()
        assert records.rows() == topics["stream"].read()
        driver.topic("in").send(0, key="z", at=1_000)  # closes all, and changes all tables
        driver.topic("in").send(0, key="z", at=1_000)
        for name, memory in whole.items():
            assert len(memory.rows()) == len(dict(memory.rows()))
            if name == "table":
                assert dict(memory.rows()) == seen[name] | {"z": 2}
            else:
                (row,) = memory.rows()
                assert (row[0].key, row[1]) == ("z", 2)
            assert held[name] in {n for task in driver._tasks for n in task.overlays}


def test_what_is_aborted_is_never_shown() -> None:
    """Neither what a failed chunk has made nor what its batch had before."""

    def fragile(value: int) -> int:
        return 10 // value

    app = ps.App("app")
    stream = app.stream("in", key=str, value=int)
    memory = stream.to_memory()
    counts = stream.group_by_key().count(name="n")
    whole = counts.to_memory(output_mode="complete")
    stream.map(fragile).to("out")
    with TestDriver(app) as driver:
        driver.topic("in").send(1, key="a")
        with pytest.raises(DataError), driver.batch():
            driver.topic("in").send(2, key="b")
            driver.topic("in").send(0, key="c")
        assert memory.rows() == [("a", 1)]
        assert whole.rows() == [("a", 1)]
        driver.topic("in").send(5, key="d")
        assert memory.rows() == [("a", 1), ("d", 5)]
        assert whole.rows() == [("a", 1), ("d", 1)]


def test_a_batch_that_is_discarded_shows_nothing() -> None:
    app = ps.App("app")
    memory = app.stream("in", key=str, value=int).to_memory()
    with TestDriver(app) as driver:
        (task,) = driver._tasks
        task.process(Fetched("in", 0, [b"a"], [bytes(8)], [1], [0], None, 1))
        task.discard({})
        driver.topic("in").send(7, key="b")
        assert memory.rows() == [("b", 7)]


def test_rows_that_are_let_go_are_not_shown() -> None:
    app = ps.App("app", on_error="skip")
    stream = app.stream("in", key=str, value=int)
    memory = stream.to_memory()
    stream.map(lambda value: 1 // value, value=int).to("out")
    with TestDriver(app) as driver:
        with driver.batch():
            for value in (1, 0, 2):
                driver.topic("in").send(value, key="a")
        assert memory.rows() == [("a", 1), ("a", 2)]


def test_rows_are_not_changed_by_what_follows() -> None:
    app = ps.App("app")
    stream = app.stream("in", key=str, value=dict[str, int])
    memory = stream.to_memory()
    stream.map(spoil).to_console()
    with TestDriver(app) as driver:
        driver.topic("in").send({"n": 1}, key="a")
        assert memory.rows() == [("a", {"n": 1})]


def spoil(value: dict[str, int]) -> dict[str, int]:
    value["n"] = 0
    return value


def test_update_coalesces_and_every_update_does_not() -> None:
    app = ps.App("app")
    grouped = app.stream("in", key=str, value=int).group_by_key()
    console = Recorder()
    for name, emit in (("once", "commit"), ("each", "every_update")):
        counts = grouped.count(name=name, emit=emit)  # type: ignore[arg-type]
        counts._declaration.add("to_console", Deliver(console, "update"), counts._node)
    with TestDriver(app) as driver, driver.batch():
        for _ in range(3):
            driver.topic("in").send(1, key="a")
    assert sorted(map(len, console.taken)) == [1, 3]


class Recorder:
    most = 100

    def __init__(self) -> None:
        self.taken: list[Sequence[Row]] = []
        self.partitions: list[Sequence[int]] = []

    def take(self, batch: int, partitions: Sequence[int], rows: Sequence[Row]) -> None:
        self.taken.append(rows)
        self.partitions.append(partitions)


def test_complete_has_all_partitions_of_a_worker_also_where_nothing_came() -> None:
    app = ps.App("app")
    counts = app.stream("in", key=str, value=int).group_by_key().count(name="n")
    whole, changed = Recorder(), Recorder()
    for output, mode in ((whole, "complete"), (changed, "update")):
        counts._declaration.add("to_console", Deliver(output, mode), counts._node)  # type: ignore[arg-type]
    topology = app.topology()
    (part,) = topology.sub_topologies
    tasks = [
        Task(topology, part, number, {"n": Overlay(part.stores[0], MemoryStore())}, AnyCluster())
        for number in (2, 0, 1)
    ]
    for offset, keys in enumerate(("ab", "c", "b")):
        task = tasks[offset % 2]
        raw: list[Any] = [key.encode() for key in keys]
        at = list(range(offset * 10, offset * 10 + len(raw)))
        fetched = Fetched("in", task.partition, raw, [bytes(8)] * len(raw), at, at, None, 99)
        task.process(fetched)
        task.flush()
        task.overlays["n"].commit(Position(0, "t", 0))
        deliver(offset, [task], tasks)
    rows = [[(row.key, row.value) for row in taken] for taken in whole.taken]
    assert rows == [
        [("a", 1), ("b", 1)],
        [("c", 1), ("a", 1), ("b", 1)],
        [("c", 1), ("a", 1), ("b", 2)],
    ]
    assert whole.partitions == [[0, 1, 2]] * 3
    assert [[row.key for row in taken] for taken in changed.taken] == [["a", "b"], ["c"], ["b"]]
    assert changed.partitions == [[2], [0], [2]]


def test_complete_has_results_and_not_what_a_store_holds() -> None:
    """Also behind a repartition topic, where other tasks know nothing of the table."""
    app = ps.App("app")
    grouped = app.stream("in", value=int).group_by(
        lambda value: value % 2, key=int, name="by-parity"
    )
    table = grouped.agg(Stats, name="stats", n=ps.count(), mean=ps.mean(lambda value: value))
    memory = table.to_memory(output_mode="complete")
    first = table.to_memory(output_mode="complete", max_rows=1)
    with TestDriver(app) as driver:
        for value in (1, 2, 3, 5):
            driver.topic("in").send(value)
    assert memory.rows() == [(0, Stats(1, 2.0)), (1, Stats(3, 3.0))]
    assert first.rows() == [(0, Stats(1, 2.0))]


@pytest.mark.parametrize("kind", ["windows", "sessions"])
def test_complete_loses_what_has_closed(kind: str) -> None:
    """Also where no record of the table comes with it."""
    app = ps.App("app")
    grouped = app.stream("in", key=str, value=int).filter(lambda of: of > 0).rekey(
        lambda of: of, key=int, name="by-value"
    ).group_by_key()  # fmt: skip
    window: Any = ps.tumbling("10ms") if kind == "windows" else ps.session("5ms")
    memory = grouped.window(window).agg(name="n", n=ps.count()).to_memory(output_mode="complete")
    with TestDriver(app) as driver:
        driver.topic("in").send(1, key="a", at=5)
        assert len(memory.rows()) == 1
        driver.topic("in").send(0, key="a", at=1_000)
        assert memory.rows() == []


def test_complete_has_the_first_sessions() -> None:
    app = ps.App("app")
    sessions = app.stream("in", key=str, value=int).group_by_key()
    table = sessions.window(ps.session("5ms"), grace="1h").count(name="sessions")
    first = table.to_memory(output_mode="complete", max_rows=2)
    with TestDriver(app) as driver:
        for key, at in (("a", 0), ("b", 9), ("a", 20), ("a", 21), ("c", 30)):
            driver.topic("in").send(1, key=key, at=at)
    assert first.rows() == [(Windowed("a", 0, 0), 1), (Windowed("a", 20, 21), 2)]


class Stats(msgspec.Struct):
    n: int
    mean: float | None


@dataclass
class Point:
    x: int
    tags: list[str]


@pytest.mark.parametrize(
    ("rows", "options", "expected"),
    [
        (
            [("cat", 1), ("dog", None)],
            {},
            [
                "+---+-----+",
                "|key|value|",
                "+---+-----+",
                "|cat|    1|",
                "|dog| NULL|",
                "+---+-----+",
            ],
        ),
        (
            [("cat", 1), ("dog", 25)],
            {"truncate": False},
            [
                "+---+-----+",
                "|key|value|",
                "+---+-----+",
                "|cat|1    |",
                "|dog|25   |",
                "+---+-----+",
            ],
        ),
        (
            [(None, "a" * 20), (None, "b" * 21)],
            {},
            [
                "+--------------------+",
                "|               value|",
                "+--------------------+",
                f"|{'a' * 20}|",
                f"|{'b' * 17}...|",
                "+--------------------+",
            ],
        ),
        (
            [(1, Stats(2, None)), (2, None), (3, Stats(4, 0.5))],
            {},
            [
                "+---+----+----+",
                "|key|   n|mean|",
                "+---+----+----+",
                "|  1|   2|NULL|",
                "|  2|NULL|NULL|",
                "|  3|   4| 0.5|",
                "+---+----+----+",
            ],
        ),
        (
            [(("a", 1), Point(1, ["x"])), (("b", 2), Point(2, []))],
            {"num_rows": 1},
            [
                "+-------+---+-----+",
                "|    key|  x| tags|",
                "+-------+---+-----+",
                '|["a",1]|  1|["x"]|',
                "+-------+---+-----+",
                "only showing top 1 row",
            ],
        ),
        (
            [(Windowed("k", 0, 60_000), True)],
            {"truncate": False},
            [
                "+------------------------------------------+---+-----+",
                "|window                                    |key|value|",
                "+------------------------------------------+---+-----+",
                "|{1970-01-01 00:00:00, 1970-01-01 00:01:00}|k  |true |",
                "+------------------------------------------+---+-----+",
            ],
        ),
        (
            [("日本", b"\x01\xff"), ("\x1b[2J\n", {"key": 1})],
            {"truncate": False},
            [
                "+---------+---------+",
                "|key      |value    |",
                "+---------+---------+",
                "|日本     |[01 FF]  |",
                '|\\x1b[2J\\n|{"key":1}|',
                "+---------+---------+",
            ],
        ),
        (
            [("a", {"key": 1, "b": 2}), ("b", {"c": 3})],
            {},
            [
                "+---+---------+----+----+",
                "|key|value.key|   b|   c|",
                "+---+---------+----+----+",
                "|  a|        1|   2|NULL|",
                "|  b|     NULL|NULL|   3|",
                "+---+---------+----+----+",
            ],
        ),
    ],
)
def test_tables_are_laid_out_as_sparks(rows: Any, options: Any, expected: list[str]) -> None:
    settings = {"num_rows": 20, "truncate": True} | options
    made = [Row(None, *row) for row in rows]
    assert table(made, settings.pop("num_rows"), **settings).splitlines() == expected


def test_a_batch_is_printed_with_its_number_and_its_partitions(
    capsys: pytest.CaptureFixture[str],
) -> None:
    app = ps.App("app")
    counts = app.stream("in", key=str, value=int).group_by_key().count(name="counts")
    counts.to_console(output_mode="complete", num_rows=2)
    with TestDriver(app) as driver, driver.batch():
        for key in ("b", "a", "b", "c"):
            driver.topic("in").send(1, key=key)
    rule = "-" * 43
    shown = capsys.readouterr()
    assert shown.err == ""
    assert shown.out == (
        f"{rule}\nBatch: 0\ncounts complete: partition 0 of worker {os.getpid()}\n{rule}\n"
        "+---+-----+\n|key|value|\n+---+-----+\n|  a|    1|\n|  b|    2|\n+---+-----+\n"
        "only showing top 2 rows\n\n"
    )


def test_a_console_that_is_gone_is_told_once_and_stops_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    closed = io.StringIO()
    closed.close()
    console = Console("n", "update", stream=closed)
    with caplog.at_level(logging.WARNING, "penstock"):
        for batch in range(3):
            console.take(batch, [0], [Row(None, "a", 1)])
    (record,) = caplog.records
    assert "cannot be written to" in record.message


def test_what_the_terminal_cannot_encode_is_escaped() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    Console("n", "update", stream=out).take(0, [0], [Row(None, "日", 1)])
    assert b"\\u65e5" in raw.getvalue()


def test_memory_keeps_the_newest() -> None:
    appended: Memory[str, int] = Memory("append", 2)
    appended.take(0, [0], [Row(None, "a", 1), Row(None, "a", 2), Row(None, "a", 3)])
    assert appended.rows() == [("a", 2), ("a", 3)]
    updated: Memory[str, int] = Memory("update", 2)
    updated.take(0, [0], [Row(b"a", "a", 1), Row(b"b", "b", 2)])
    updated.take(1, [0], [Row(b"a", "a", 3), Row(b"c", "c", 4)])
    assert updated.rows() == [("a", 3), ("c", 4)]
    updated.rows().clear()
    assert len(updated.rows()) == 2


def test_partitions_are_named_by_their_runs() -> None:
    assert shown_partitions([3]) == "partition 3"
    assert shown_partitions([5, 0, 2, 1, 7, 6]) == "partitions 0-2, 5-7"
