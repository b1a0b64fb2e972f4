"""Worlds that listen to what their workers tell, and whether that is true."""

from collections import defaultdict

from penstock.query.events import Told
from penstock.query.progress import Progress
from penstock.runtime.worker import Worker
from tests.sim import applications
from tests.sim.judging import bad_ones, read
from tests.sim.world import Plan, World

At = tuple[str, int]


class TellingWorld(World):
    """A world of the usual application.

    Attributes:
        told: what each run has told, in order.
    """

    def __init__(self, plan: Plan, *, ill: bool = True) -> None:
        super().__init__(plan)
        self.ill = ill
        self.told: dict[object, list[Progress]] = defaultdict(list)

    def made(self, worker: Worker) -> None:
        """Listen to a worker, and look at its stores each time that it tells."""
        monitor = worker._reporter.monitor

        def take(told: Told) -> None:
            if isinstance(told, Progress):
                self.told[monitor.run_id].append(told)
                check_rows(worker, told)

        monitor.attach(take)


def check_rows(worker: Worker, told: Progress) -> None:
    """The rows of a store are those that are committed in it."""
    for store in told.state_operators:
        rows = 0
        for owned in worker._tasks.values():
            if owned.task is None or store.operator_name not in owned.stores:
                continue
            overlay = owned.task.overlays[store.operator_name]
            there = dict(overlay.store.scan()) | overlay._unwritten
            rows += sum(data is not None for data in there.values())
        assert "numRowsTotalIsEstimate" not in store.custom_metrics
        assert store.num_rows_total == rows, f"{store.operator_name} has {rows} rows: {store}"


def judge_progress(world: TellingWorld, *, whole: bool) -> None:
    """Raise an AssertionError if what was told is not what has happened.

    Args:
        world: one that has come to rest.
        whole: whether nobody died, so that all has to be told.
    """
    records = [one for told in world.told.values() for one in told]
    for one in records:
        check_sums(one)
    written = {
        (record.topic, record.partition, record.offset)
        for topic in world.inputs
        for record in read(world.broker, topic)
    }
    for at, ranges in read_ranges(records).items():
        if at[0] not in world.inputs:
            continue
        reached = 0
        for start, end, rows in sorted(ranges):
            assert start >= reached, f"{at}: {start} to {end} is told twice"
            assert not whole or start == reached, f"{at}: nobody tells of {reached} to {start}"
            there = sum((*at, offset) in written for offset in range(start, end))
            assert rows == there, f"{at}: {rows} records from {start} to {end}, which has {there}"
            reached = end
        assert not whole or reached == world.broker.topics[at[0]].partitions[at[1]].end
    if not whole:
        return
    assert sum(count(one, world.inputs) for one in records) == len(written)
    dead = len(bad_ones(world.broker))
    assert sum(one.num_failed_rows for one in records) == dead
    assert sum(one.num_dead_letters for one in records) == dead
    outputs = (applications.UPPER, applications.LOUD, applications.COUNTS, applications.LETTERS)
    for topic in outputs:
        told = sum(
            sink.num_output_rows for one in records for sink in one.sinks
            if sink.description == topic
        )  # fmt: skip
        assert told == len(read(world.broker, topic)), topic
    for store in applications.STORES:
        changes = len(read(world.broker, f"{applications.ID}-{store}-changelog"))
        told = sum(
            of.num_rows_updated + of.num_rows_removed for one in records
            for of in one.state_operators if of.operator_name == store
        )  # fmt: skip
        assert told == changes, store


def check_sums(one: Progress) -> None:
    """What is told of parts adds up to what is told of all."""
    phases = dict(one.duration_ms)
    whole = phases.pop("triggerExecution")
    assert whole == one.batch_duration
    assert abs(sum(phases.values()) - whole) <= len(phases) / 2 + 0.5
    assert one.num_input_rows == sum(source.num_input_rows for source in one.sources)
    assert one.sink.num_output_rows == sum(sink.num_output_rows for sink in one.sinks)
    for source in one.sources:
        parts = [of for found in source.partitions.values() for of in found.values()]
        assert source.num_input_rows == sum(of.num_input_rows for of in parts)
        assert source.start_offset.keys() == source.end_offset.keys()
        for topic, ends in source.latest_offset.items():
            for partition, end in ends.items():
                assert end >= source.end_offset[topic][partition]
    if one.latency_ms is not None:
        assert 0 <= one.latency_ms.p50 <= one.latency_ms.p95 <= one.latency_ms.p99
        assert one.latency_ms.p99 <= one.latency_ms.max


def count(one: Progress, topics: tuple[str, ...]) -> int:
    """The records of some topics that were read."""
    return sum(
        of.num_input_rows
        for source in one.sources
        for topic, found in source.partitions.items()
        if topic in topics
        for of in found.values()
    )


def read_ranges(records: list[Progress]) -> dict[At, list[tuple[int, int, int]]]:
    """What was read: first position, the one behind the last, and how many records."""
    found: dict[At, list[tuple[int, int, int]]] = defaultdict(list)
    for one in records:
        for source in one.sources:
            for topic, starts in source.start_offset.items():
                for partition, start in starts.items():
                    end = source.end_offset[topic][partition]
                    rows = source.partitions[topic][partition].num_input_rows
                    if end > start or rows:
                        found[topic, int(partition)].append((start, end, rows))
    return found
