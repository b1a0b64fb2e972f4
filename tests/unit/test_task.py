"""Tasks: outputs that wait for their chunk, culprits that are named, and what a flush hands on."""

import struct
from typing import Any

import pytest

import penstock as ps
from penstock.engine.task import FlushFailed, Task
from penstock.errors import BrokerError, DataError
from penstock.operators.source import Fetched
from penstock.runtime.destinations import ClusterDestinations
from penstock.serde.windowed import unpack_start
from penstock.state.memory import MemoryStore
from penstock.state.overlay import Overlay
from penstock.state.store import Position
from tests.unit.runner import AnyCluster


class Narrow(AnyCluster):
    """A cluster with several partitions, whose topics take small records."""

    def partitions(self, topic, keys):
        return [len(key or b"") for key in keys]

    def max_message_bytes(self, topic):
        return 1_000


def task_of(app: ps.App, cluster: Any = None, partition: int = 0) -> Task:
    """The only task of an application."""
    topology = app.topology()
    (part,) = topology.sub_topologies
    overlays = {store.name: Overlay(store, MemoryStore()) for store in part.stores}
    return Task(topology, part, partition, overlays, cluster or AnyCluster())


def fetched(*numbers: int | bytes | None, key: bytes | None = b"k", at: int = 0) -> Fetched:
    """Records of integers, or of bytes that are none."""
    values = [n.to_bytes(8, "big") if isinstance(n, int) else n for n in numbers]
    offsets = list(range(10, 10 + len(numbers)))
    times = [at + n for n in range(len(numbers))]
    return Fetched("in", 3, [key] * len(values), values, times, offsets, None, 10 + len(values))


def fails_on(bad: int, *, times: int = 10**9):
    """A function that fails on a number, so many times."""
    left = [times]

    def function(n: int) -> int:
        if n == bad and left[0]:
            left[0] -= 1
            raise ValueError("poison")
        return n

    return function


def outputs(task: Task) -> list[tuple[str, list[Any]]]:
    """Topics and values of a task's outputs, which are taken."""
    taken, task.outputs = task.outputs, []
    return [(out.topic, [v and int.from_bytes(v, "big") for v in out.values]) for out in taken]


def commit(task: Task) -> None:
    """Flush and commit."""
    task.flush()
    task.outputs = []
    for overlay in task.overlays.values():
        overlay.commit(Position(1, "t", 0))


def test_outputs_wait_for_the_end_of_their_chunk():
    """Sinks of all branches are there together, in the order of the steps."""
    app = ps.App("app")
    stream = app.stream("in", key=str, value=int)
    stream.to("first")
    stream.map(lambda n: n * 2, value=int).to("second")
    task = task_of(app)
    task.process(fetched(1, 2))
    assert outputs(task) == [("first", [1, 2]), ("second", [2, 4])]


def test_a_failed_chunk_leaves_nothing():
    """Neither outputs of earlier steps nor changes of stores survive a chunk that fails."""
    app = ps.App("app")
    stream = app.stream("in", key=str, value=int)
    stream.to("first")
    stream.group_by_key().count(name="c")
    stream.map(fails_on(1), value=int).to("second")
    task = task_of(app)
    with pytest.raises(DataError):
        task.process(fetched(1, 2))
    assert task.outputs == []
    assert task.overlays["c"].get(b"k") in (None, (1, 0))  # the batch is discarded next
    task.discard({})
    assert task.overlays["c"].get(b"k") is None
    assert task.clocks == {}


def test_the_culprit_is_named_and_its_neighbours_are_not():
    """Of a chunk with one bad record the error has that record's offset and its step."""
    app = ps.App("app")
    app.stream("in", key=str, value=int).filter(bool).map(fails_on(3), value=int).to("out")
    task = task_of(app)
    with pytest.raises(DataError) as caught:
        task.process(fetched(1, 2, 3, 4))
    error = caught.value
    assert (error.topic, error.partition, error.offset) == ("in", 3, 12)
    assert (error.operator, error.store) == ("map-2", None)
    assert isinstance(error.__cause__, ValueError)
    assert "in/3 offset 12: ValueError: poison" in str(error)
    assert "test_task.py" in str(error)


def test_a_failure_that_passes_changes_nothing():
    """A chunk that fails once is run record by record and then counts once."""
    app = ps.App("app")
    stream = app.stream("in", key=str, value=int)
    stream.group_by_key().count(name="c").to("counts")
    stream.map(fails_on(3, times=1), value=int).to("out")
    task = task_of(app)
    task.process(fetched(1, 2, 3))
    task.flush()
    assert task.overlays["c"].get(b"k") == (3, 2)
    values = [value for topic, column in outputs(task) if topic == "out" for value in column]
    assert values == [1, 2, 3]


class Away(AnyCluster):
    """A cluster that does not say how large records may be."""

    def __init__(self, *topics):
        self.error = BrokerError("No answer.")
        self._topics = topics

    def max_message_bytes(self, topic):
        if topic in self._topics:
            raise self.error
        return super().max_message_bytes(topic)


@pytest.mark.parametrize("topic", ["out", "app-c-changelog", "counts"])
def test_a_record_is_not_blamed_for_the_cluster(topic):
    """Whatever asks it: a sink, a store at the flush, or the sink behind that."""
    app = ps.App("app")
    stream = app.stream("in", key=str, value=int)
    stream.group_by_key().count(name="c").to("counts")
    stream.to("out")
    cluster = Away(topic)
    task = task_of(app, cluster)
    for careful in (False, True):
        with pytest.raises(BrokerError) as caught:
            task.process(fetched(1, 2), careful=careful)
            task.flush()
        assert caught.value is cluster.error


def test_a_record_is_blamed_for_a_topic_that_it_has_named():
    """Nothing but the record knows of it, so the error names both."""
    app = ps.App("app")
    app.stream("in", key=str, value=int).to(lambda n: f"out-{n}")
    cluster = ClusterDestinations({"out-1": 1}, {}, lambda _: 1_000, lambda: {"out-1": 1})
    with pytest.raises(DataError, match=r"in/3 offset 11.*out-2") as caught:
        task_of(app, cluster).process(fetched(1, 2))
    assert (caught.value.topic, caught.value.offset) == ("in", 11)


@pytest.mark.parametrize(
    ("declare", "bad", "operator"),
    [
        (lambda s: s.to("out"), b"no int", "stream-0"),
        (lambda s: s.filter(fails_on(9)).to("out"), 9, "filter-1"),
        (lambda s: s.peek(fails_on(9)).to("out"), 9, "peek-1"),
        (lambda s: s.flat_map(fails_on(9), value=int).to("out"), 9, "flat_map-1"),
        (lambda s: s.branch(fails_on(9))[0].to("out"), 9, "branch-1"),
        (
            lambda s: s.map_record(lambda r: r.value, key=str, value=int).to("out"),
            9,
            "map_record-1",
        ),
        (lambda s: s.map(str, value=int).to("out"), 9, "to-2"),
        (lambda s: s.to(lambda n: fails_on(9)(n) and "out"), 9, "to-1"),
        (lambda s: s.group_by_key().reduce(lambda a, b: fails_on(9)(b), name="r"), 9, "reduce-1"),
        (
            lambda s: s.group_by_key().aggregate(int, lambda a, b: fails_on(9)(b), name="r"),
            9,
            "aggregate-1",
        ),
        (
            lambda s: s.group_by_key().aggregate(int, lambda a, b: "no int", name="r"),
            9,
            "aggregate-1",
        ),
        (
            lambda s: (
                s.group_by_key()
                .reduce(lambda a, b: b, name="r")
                .to_stream()
                .map(fails_on(9), value=int)
                .to("out")
            ),
            9,
            "map-3",
        ),
    ],
)
def test_every_step_that_fails_is_named(declare, bad, operator):
    """Decoding, functions, serdes, topics and what is behind a store all name their step."""
    app = ps.App("app")
    declare(app.stream("in", key=str, value=int))
    task = task_of(app)
    with pytest.raises(DataError) as caught:
        task.process(fetched(1), careful=True)
        task.process(fetched(2, bad), careful=True)
    assert caught.value.operator == operator
    assert (caught.value.topic, caught.value.partition) == ("in", 3)
    assert caught.value.offset in (10, 11)


def test_a_failure_of_a_store_names_it():
    """A step with a store that fails carries the store's name."""
    app = ps.App("app")
    app.stream("in", key=str, value=int).group_by_key().reduce(
        lambda a, b: fails_on(2)(b), name="r"
    )
    task = task_of(app)
    with pytest.raises(DataError) as caught:
        task.process(fetched(1, 2))
    assert caught.value.store == "r"


def test_a_flush_hands_on_one_change_per_key():
    """The changelog and the topic behind a table get each changed key once, with its time."""
    app = ps.App("app")
    app.stream("in", key=str, value=int).group_by_key().count(name="c").to("out")
    task = task_of(app, partition=3)
    task.process(fetched(1, 1, at=5))
    task.process(fetched(1, key=b"l", at=1))
    task.flush()
    out, changelog = task.outputs
    assert (changelog.topic, changelog.store) == ("app-c-changelog", "c")
    assert (out.topic, out.store) == ("out", None)
    for written in (changelog, out):
        assert list(written.keys) == [b"k", b"l"]
        assert [int.from_bytes(v or b"") for v in written.values] == [2, 1]
        assert list(written.timestamps) == [6, 1]
    assert list(changelog.partitions) == [3, 3]


def test_windows_within_a_batch_are_in_no_changelog():
    """The one that stays open is, and the one that was open before is deleted in it."""
    app = ps.App("app")
    words = app.stream("in", key=str, value=int).group_by_key()
    words.window(ps.tumbling("10ms"), grace="0ms").count(name="c").to("out")
    task = task_of(app)

    def told(first: int, records: int) -> dict[int, int | None]:
        """Return what a batch, one record per millisecond, writes of each window."""
        task.process(fetched(*[1] * records, at=first))
        task.flush()
        (changelog,) = (out for out in task.outputs if out.store)
        commit(task)
        starts = map(unpack_start, filter(None, changelog.keys))
        return dict(zip(starts, map(count_in, changelog.values), strict=True))

    assert told(0, 2) == {0: 2}
    assert told(2, 24) == {0: None, 20: 6}


def count_in(data: bytes | None) -> int | None:
    """What a record of a changelog says."""
    return None if data is None else int.from_bytes(data)


def test_a_flush_without_changes_is_silent():
    """No partition hears of a batch that changed nothing."""
    app = ps.App("app")
    app.stream("in", key=str, value=int).group_by_key().count(name="c").to("out")
    task = task_of(app)
    task.flush()
    assert task.outputs == []
    task.process(fetched(1))
    commit(task)
    task.flush()
    assert task.outputs == []


def test_clocks_are_the_largest_times():
    """A store's clock never goes back, except to the committed one by a discard."""
    app = ps.App("app")
    stream = app.stream("in", key=str, value=int)
    stream.group_by_key().count(name="all")
    stream.filter(lambda n: n > 1).group_by_key().count(name="some")
    task = task_of(app)
    task.process(fetched(1, 2, at=7))
    task.process(fetched(1, at=3))
    assert task.clocks == {"all": 8, "some": 8}
    task.process(fetched(1, at=50))
    assert task.clocks == {"all": 50, "some": 8}
    task.discard({"all": 8})
    assert task.clocks == {"all": 8}


def test_records_outside_groups_are_counted():
    """Records without a key or a value belong to no group; each aggregation counts its own."""
    app = ps.App("app")
    stream = app.stream("in")
    stream.group_by_key().count(name="one")
    stream.group_by_key().count(name="two")
    task = task_of(app)
    task.process(fetched(None, 1, None))
    task.process(fetched(1, 2, key=None))
    assert task.take_tally().dropped == 8
    assert task.take_tally().dropped == 0


def test_null_values_of_typed_streams_are_counted():
    """A null value means nothing in a typed stream: it is dropped, and counted with its batch."""
    app = ps.App("app")
    app.stream("in", key=str, value=int).map(lambda n: n, value=int).to("out")
    task = task_of(app)
    task.process(fetched(1, None, None))
    task.discard({})
    task.process(fetched(1, None, 2))
    assert task.take_tally().dropped == 1


def test_a_chunk_that_is_run_again_counts_its_drops_once():
    """The drops of a failed chunk are those of its second run."""
    failures = [ValueError("once")]

    def once(n: int) -> int:
        if failures:
            raise failures.pop()
        return n

    app = ps.App("app")
    app.stream("in", key=str, value=int).map(once).to("out")
    task = task_of(app)
    task.process(fetched(None, 1, 2))
    assert task.take_tally().dropped == 1


def test_large_records_are_refused_before_they_are_produced():
    """A record beyond its topic's limit names itself; one that fits, in its company, passes."""
    app = ps.App("app")
    app.stream("in").to("out")
    task = task_of(app, Narrow())
    with pytest.raises(
        DataError, match=r"larger than topic out takes.*max\.message\.bytes"
    ) as caught:
        task.process(fetched(b"x", b"x" * 1_001))
    assert caught.value.offset == 11
    task.discard({})
    mixed = fetched(b"x" * 600, b"y")._replace(keys=[b"k", b"k" * 600])
    task.process(mixed)
    assert [len(value or b"") for out in task.outputs for value in out.values] == [600, 1]


def test_partitions_are_the_clusters_choice():
    """The sink asks for each key's partition; the task's own number is for changelogs."""
    app = ps.App("app")
    app.stream("in").to("out")
    task = task_of(app, Narrow(), partition=9)
    task.process(fetched(b"v", b"v")._replace(keys=[b"abc", None]))
    assert list(task.outputs[0].partitions) == [3, 0]


def test_a_count_beyond_64_bits_is_an_error():
    """A number that its format cannot hold is named, never wrapped."""
    app = ps.App("app")
    app.stream("in", key=str, value=int).map(lambda n: n * 2**60, value=int).to("out")
    task = task_of(app)
    task.process(fetched(7))
    with pytest.raises(DataError) as caught:
        task.process(fetched(7, 8))
    assert isinstance(caught.value.__cause__, struct.error)
    assert caught.value.offset == 11


def test_what_fails_at_a_flush_is_told_by_its_class_until_its_record_is_known():
    """The message may quote a record, and nobody knows yet whose policy holds."""
    app = ps.App("app", on_error="skip")
    stream = app.stream("in", key=str, value=int).group_by_key()
    stream.reduce(lambda a, b: b, name="n").to_stream().map(fails_on(13)).to("out")
    task = task_of(app)
    task.process(fetched(13))
    with pytest.raises(FlushFailed) as caught:
        task.flush()
    assert str(caught.value) == "ValueError"


def test_of_several_failures_of_one_record_the_first_is_told():
    """What it was split into fails in more than one place, where another step has seen it."""

    def refuse(n: int) -> int:
        raise ValueError(f"{n} is refused")

    app = ps.App("app", on_error="skip")
    split = app.stream("in", key=str, value=int).flat_map(lambda n: [n, n + 1], value=int)
    split.to("all")
    split.map(refuse).to("out")
    task = task_of(app)
    task.process(fetched(1, 5))
    assert [str(failure.error) for failure in task.failures] == ["1 is refused", "5 is refused"]
