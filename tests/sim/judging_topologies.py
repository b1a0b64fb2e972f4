"""Whether what a drawn application has left is what a clean run of it leaves.

A clean run has one worker and no mishaps, and reads the records that were committed, in the order
of their partitions. What depends on who was how far is left out of the comparison: the order of
records of several inputs, what windows behind a new key take for late.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from penstock.testing.sim.log import Row
from tests.kafka.checking import Record
from tests.sim import applications
from tests.sim.invariants import ANY_APPLICATION
from tests.sim.judging import check_nothing_open, check_stores, read
from tests.sim.topologies import DrawnWorld, End, Means

Comparable = dict[bytes | None, Any]


def judge(world: DrawnWorld) -> None:
    """Raise an AssertionError if it is not the same."""
    clean = clean_run(world)
    for end in world.drawn.ends:
        check_end(end, read(world.broker, end.topic), read(clean.broker, end.topic))
    letters = each(read(world.broker, applications.DEAD))
    assert letters == each(read(clean.broker, applications.DEAD)), "I11: other dead letters"
    for slot in world.slots:
        check_stores(world.broker, slot.disk)
    check_nothing_open(world.broker)
    for check in ANY_APPLICATION:
        check(world)


def check_end(end: End, found: list[Record], clean: list[Record]) -> None:
    """Compare what an end has left."""
    meaning = MEANINGS[end.means]
    ours, theirs = meaning(found), meaning(clean)
    other = [key for key in {**ours, **theirs} if ours.get(key) != theirs.get(key)]
    assert not other, (
        f"I13: {end} differs from a clean run: {len(other)} keys, such as {other[0]!r}:"
        f" {ours.get(other[0])}, not {theirs.get(other[0])}"
    )


def clean_run(world: DrawnWorld) -> DrawnWorld:
    """Let the same application process the same records without any mishap."""
    plan = replace(world.plan, workers=1, moves=0, rolls=False, jumps=False, favourite=None)
    clean = DrawnWorld(plan)
    for topic in world.inputs:
        for record in read(world.broker, topic):
            row = Row(record.key, record.value, record.timestamp)
            clean.broker.log((topic, record.partition)).append(row)
    try:
        clean.run()
    finally:
        clean.end()
    return clean


def records(rows: Iterable[Record]) -> Comparable:
    """The values of each key, in their order."""
    found: Comparable = defaultdict(list)
    for row in rows:
        found[row.key].append(row.value)
    return found


def each(rows: Iterable[Record]) -> Comparable:
    """The values of each key, in any order."""
    return {key: Counter(values) for key, values in records(rows).items()}


def last(rows: Iterable[Record]) -> Comparable:
    """The last value of each key; one that was deleted is as one that never was."""
    found = {row.key: row.value for row in rows}
    return {key: value for key, value in found.items() if value is not None}


MEANINGS: dict[Means, Callable[[Iterable[Record]], Comparable]] = {
    Means.RECORDS: records,
    Means.EACH: each,
    Means.LAST: last,
}
