"""What a world has left, and whether it is exact.

The comparisons are those of the tests against the real broker (`tests.kafka.checking`); what
stands here reads the simulated cluster for them.
"""

from collections import defaultdict
from collections.abc import Iterable

from penstock.testing.sim import SimBroker, SimDisk
from tests.kafka import checking
from tests.kafka.checking import Record
from tests.sim import applications
from tests.sim.feeding import NEVER_MS, YEAR_9999_MS
from tests.sim.world import World


def judge(world: World) -> None:
    """Raise an AssertionError if anything is lost, doubled, out of order or left open."""
    broker = world.broker
    if world.plan.guarantee == "exactly_once":
        _judge_exact(world)
        for slot in world.slots:
            check_stores(broker, slot.disk)
    else:
        _judge_lossless(world)
    check_nothing_open(broker)


def _judge_exact(world: World) -> None:
    words, lines, upper, loud, counts, letters = _topics(world.broker)
    checking.check_mapped(words, upper, bytes.upper)
    checking.check_mapped(lines, loud, bytes.upper)
    found = sorted(letter.value or b"" for letter in read(world.broker, applications.DEAD))
    assert found == bad_ones(world.broker), "the dead letters are not the bad records"
    every = world.plan.emit == "every_update"
    check_counts(words, counts, every=every)
    check_counts(by_letter(words), letters, every=every)


def _judge_lossless(world: World) -> None:
    """Nothing is lost; what is there twice is counted twice."""
    words, lines, upper, loud, counts, letters = _topics(world.broker)
    for inputs, outputs in ((words, upper), (lines, loud)):
        lost = {(r.key, (r.value or b"").upper()) for r in inputs} - {
            (r.key, r.value) for r in outputs
        }
        assert not lost, f"{len(lost)} records are lost, such as {min(lost)}"
    dead = {letter.value for letter in read(world.broker, applications.DEAD)}
    lost = set(bad_ones(world.broker)) - dead
    assert not lost, f"{len(lost)} dead letters are lost, such as {min(lost)}"
    for inputs, outputs in ((words, counts), (by_letter(words), letters)):
        last = {record.key: record.value or b"" for record in outputs}
        for key, states in checking.counted(inputs).items():
            assert last.get(key, b"") >= states[-1], f"{key!r} is counted {last.get(key)}"


def _topics(broker: SimBroker) -> list[list[Record]]:
    """Read the topics, without the records that are refused."""
    a = applications
    topics = (a.WORDS, a.LINES, a.UPPER, a.LOUD, a.COUNTS, a.LETTERS)
    return [[r for r in read(broker, topic) if not is_bad(r)] for topic in topics]


def bad_ones(broker: SimBroker) -> list[bytes]:
    """Return what is to be a dead letter."""
    rows = [record for topic in applications.INPUTS for record in read(broker, topic)]
    return sorted(row.value or b"" for row in rows if is_bad(row))


def is_bad(record: Record) -> bool:
    return (record.value or b"").startswith(applications.BAD.encode())


def without_strange(world: World, topic: str) -> list[Record]:
    """Read an input without the records whose time is none: those are to be dead letters, once."""
    rows = read(world.broker, topic)
    strange = [row for row in rows if row.timestamp in (NEVER_MS, YEAR_9999_MS)]
    letters = sorted(row.value or b"" for row in read(world.broker, applications.DEAD))
    expected = sorted(row.value or b"" for row in strange)
    assert letters == expected, "I11: the dead letters are not the records without a proper time"
    return [row for row in rows if row not in strange]


def by_letter(words: Iterable[Record]) -> list[Record]:
    """Return words under the key that they are counted by."""
    return [record._replace(key=(record.value or b"")[-1:]) for record in words]


def read(broker: SimBroker, topic: str) -> list[Record]:
    """Read what is committed of a whole topic."""
    found: list[Record] = []
    for number, log in enumerate(broker.topics[topic].partitions):
        for offset, row in log.read(0, log.end, committed=True)[0]:
            assert row is not None
            found.append(Record(topic, number, offset, row.key, row.value, row.timestamp))
    return found


def check_counts(inputs: Iterable[Record], outputs: list[Record], *, every: bool) -> None:
    """Counts rise to the recount; with `every`, none is left out."""
    expected = checking.counted(inputs)
    checking.check_updates(expected, outputs)
    if not every:
        return
    found: dict[bytes | None, list[bytes | None]] = defaultdict(list)
    for record in outputs:
        found[record.key].append(record.value)
    for key, values in expected.items():
        assert found[key] == values, f"{key!r} went through {len(found[key])} of {len(values)}"


def check_stores(broker: SimBroker, disk: SimDisk) -> None:
    """Each store is the fold of its changelog up to its position."""
    for (application, store, folder), files in disk.files.items():
        partition = int(folder.split(".")[0])  # behind it the slot that it is private to
        changelog = read(broker, f"{application}-{store}-changelog")
        offset = files.position.offset if files.position else 0
        mine = [r for r in changelog if r.partition == partition and r.offset < offset]
        needed = checking.fold_of(mine)
        assert files.data == needed, (
            f"{store}/{partition} at {offset} holds {files.data}, its changelog says {needed}"
        )


def check_nothing_open(broker: SimBroker) -> None:
    for topic in broker.topics.values():
        for number, log in enumerate(topic.partitions):
            assert not log.open, f"a transaction is open in {topic.name}/{number}"
