"""What workers have told on their progress topic, and whether it can be."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from penstock.query.progress import Progress
from tests.kafka import checking
from tests.kafka.checking import Partition


class Range(NamedTuple):
    """What a record of progress says of one partition: read from one offset to another."""

    start: int
    end: int
    rows: int
    run: str


def told(servers: str, topic: str) -> list[Progress]:
    """Read all records of progress, and leave out the events."""
    found: list[Progress] = []
    for record in checking.read(servers, topic).records:
        decoded: dict[str, Any] = msgspec.json.decode(record.value or b"")
        if "event" not in decoded:
            found.append(msgspec.convert(decoded, Progress))
    return found


def ranges(records: Iterable[Progress]) -> dict[Partition, list[Range]]:
    """Return what was read of each partition, in the order of offsets."""
    found: dict[Partition, list[Range]] = {}
    for one in records:
        for source in one.sources:
            for topic, starts in source.start_offset.items():
                for number, start in starts.items():
                    end = source.end_offset[topic][number]
                    rows = source.partitions[topic][number].num_input_rows
                    if end > start:
                        at = (topic, int(number))
                        found.setdefault(at, []).append(Range(start, end, rows, str(one.run_id)))
    return {at: sorted(those) for at, those in found.items()}


def flat(offsets: Any) -> dict[Partition, int]:
    """Offsets as Spark nests them, by topic and partition."""
    return {
        (topic, int(number)): offset
        for topic, by_number in offsets.items()
        for number, offset in by_number.items()
    }


def gaps(those: list[Range]) -> dict[tuple[int, int], tuple[str | None, str]]:
    """Return what nobody has told of, with the runs before and behind it."""
    found: dict[tuple[int, int], tuple[str | None, str]] = {}
    reached, run = 0, None
    for of in those:
        assert of.start >= reached, f"{of} is told twice: up to {reached} by {run}"
        if of.start > reached:
            found[reached, of.start] = (run, of.run)
        reached, run = of.end, of.run
    return found
