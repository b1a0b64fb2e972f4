"""Whether what a world with memory has left is exact.

A naive interpreter takes the committed records of a partition one by one. What fires by the wall
clock fires when it likes: there every record is handed on once, in the order of its key.
"""

from collections import defaultdict
from collections.abc import Iterable

from tests.kafka.checking import Record
from tests.sim import remembering
from tests.sim.invariants import ANY_APPLICATION
from tests.sim.judging import check_nothing_open, check_stores, read, without_strange
from tests.sim.remembering import QUIET_MS, WITHIN_MS, RememberingWorld, kind


def judge(world: RememberingWorld) -> None:
    """Raise an AssertionError if something is missing, doubled, wrong or out of order."""
    inputs = _by_partition(without_strange(world, remembering.EVENTS))
    once = [record for records in inputs.values() for record in distinct(records)]
    found = _values(read(world.broker, remembering.ONCE))
    assert found == _values(once), "duplicates are handed on, or others are not"
    _check_quiet(inputs, read(world.broker, remembering.QUIET))
    _check_gathered(inputs, read(world.broker, remembering.GATHERED))
    for slot in world.slots:
        check_stores(world.broker, slot.disk)
    check_nothing_open(world.broker)
    for check in ANY_APPLICATION:
        check(world)


def distinct(records: Iterable[Record]) -> list[Record]:
    """Return the records of a partition that are no duplicates, and not late."""
    clock = -1
    handed_on: dict[tuple[str, str], list[int]] = defaultdict(list)
    found: list[Record] = []
    for record in records:
        clock = max(clock, record.timestamp)
        times = handed_on[_key(record), kind(_text(record))]
        near = any(abs(at - record.timestamp) <= WITHIN_MS for at in times)
        if record.timestamp + WITHIN_MS >= clock and not near:
            times.append(record.timestamp)
            found.append(record)
    return found


def quiet(records: Iterable[Record]) -> dict[str, list[str]]:
    """Return what timers of event time say of a partition, by key."""
    clock = -1
    counts: dict[str, int] = {}
    timers: dict[str, int] = {}
    said: dict[str, list[str]] = defaultdict(list)

    def fire() -> None:
        for key in [key for key, at in timers.items() if at <= clock]:
            del timers[key]
            said[key].append(str(counts.pop(key)))

    for record in records:
        clock = max(clock, record.timestamp)
        fire()
        key = _key(record)
        counts[key] = counts.get(key, 0) + 1
        timers[key] = record.timestamp + QUIET_MS
        fire()  # one that is late sets a timer that is due
    return said


def _check_quiet(inputs: dict[int, list[Record]], outputs: list[Record]) -> None:
    expected: dict[str, list[str]] = {}
    for records in inputs.values():  # a key has one partition
        expected |= quiet(records)
    found = _values(outputs)
    assert found == expected, f"timers of event time: {found}, not {expected}"


def _check_gathered(inputs: dict[int, list[Record]], outputs: list[Record]) -> None:
    expected = _values(record for records in inputs.values() for record in records)
    found: dict[str, list[str]] = defaultdict(list)
    for record in outputs:
        found[_key(record)] += _text(record).split(",")
    assert found == expected, "what timers of the wall clock hand on is not what came"


def _by_partition(records: Iterable[Record]) -> dict[int, list[Record]]:
    found: dict[int, list[Record]] = defaultdict(list)
    for record in records:
        found[record.partition].append(record)
    return found


def _values(records: Iterable[Record]) -> dict[str, list[str]]:
    """Return what each key has, in its order: a key has one partition."""
    found: dict[str, list[str]] = defaultdict(list)
    for record in records:
        found[_key(record)].append(_text(record))
    return found


def _key(record: Record) -> str:
    return (record.key or b"").decode()


def _text(record: Record) -> str:
    return (record.value or b"").decode()
