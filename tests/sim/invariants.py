"""The invariants of a world, each by its name, over what is left and over the history.

I1    nothing is lost
I2    nothing is there twice
I3    records of a key keep their order
I4    every intermediate aggregate is one of the recount, and the last is the last
I5    a store is the fold of its changelog, and the changelog that of the committed input
I6    outputs and offsets of a batch become visible together
I7    no aborted record is ever read
I8    two workers never both commit for one partition: each goes on where the last one ended
I9    committed offsets never go back
I10   once all is well, everything is processed, and no transaction stays open
I11   a record that is refused is one dead letter, and leaves nothing else
I12   records of strange times close nobody's windows (`judging_windows`)
I13   the results are those of a clean run (`judging_topologies`)

I10 is checked while a world lives (`World.work_off`) too. `docs/testing.md` says which broken
build each of them has noticed.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable

from penstock.testing.sim.log import PartitionLog
from tests.kafka import checking
from tests.kafka.checking import Record
from tests.sim import applications
from tests.sim.judging import by_letter, check_nothing_open, check_stores, is_bad, read
from tests.sim.world import World

MAPPED = ((applications.WORDS, applications.UPPER), (applications.LINES, applications.LOUD))
COUNTED = ((False, applications.COUNTS), (True, applications.LETTERS))


def nothing_is_lost(world: World) -> None:
    for inputs, outputs in MAPPED:
        lost = _mapped(_good(world, inputs)) - Counter(map(_pair, read(world.broker, outputs)))
        assert not lost, f"I1: {len(lost)} records of {inputs} are lost: {min(lost)}"


def nothing_is_there_twice(world: World) -> None:
    for inputs, outputs in MAPPED:
        more = Counter(map(_pair, read(world.broker, outputs))) - _mapped(_good(world, inputs))
        assert not more, f"I2: {len(more)} records of {outputs} are too many: {min(more)}"


def keys_keep_their_order(world: World) -> None:
    for inputs, outputs in MAPPED:
        came = _by_key(_good(world, inputs))
        for key, values in _by_key(read(world.broker, outputs)).items():
            places = {value.upper(): n for n, value in enumerate(came[key])}
            found = [places[value] for value in values if value in places]
            assert found == sorted(found), f"I3: {key!r} is not in its order in {outputs}"


def aggregates_are_those_of_the_recount(world: World) -> None:
    words = _good(world, applications.WORDS)
    for regrouped, topic in COUNTED:
        expected = checking.counted(by_letter(words) if regrouped else words)
        checking.check_updates(expected, read(world.broker, topic))


def stores_are_the_fold_of_what_is_committed(world: World) -> None:
    for slot in world.slots:
        check_stores(world.broker, slot.disk)
    words = _good(world, applications.WORDS)
    for store, records in zip(applications.STORES, (words, by_letter(words)), strict=True):
        changelog = read(world.broker, f"{applications.ID}-{store}-changelog")
        found = {row.key: row.value for row in changelog}
        expected = {key: states[-1] for key, states in checking.counted(records).items()}
        assert found == expected, f"I5: the changelog of {store} is not the fold of the input"


def outputs_and_offsets_become_visible_together(world: World) -> None:
    for inputs, outputs in MAPPED:
        due = [_prefixes(log) for log in world.broker.topics[inputs].partitions]
        logs = world.broker.topics[outputs].partitions
        for commit in world.history.commits:
            reached = [commit.reached.get((inputs, n), 0) for n in range(len(due))]
            expected = sum(done[at] for done, at in zip(due, reached, strict=True))
            found = sum(_visible(log, *commit.visible[outputs, n]) for n, log in enumerate(logs))
            assert found == expected, (
                f"I6: at {commit.at:.3f} s {found} records of {outputs} were visible, and"
                f" the offsets of {expected} committed"
            )


def no_aborted_record_is_read(world: World) -> None:
    for inputs, outputs in MAPPED:
        aborted = {
            (row.value or b"").upper()
            for log in world.broker.topics[inputs].partitions
            for offset, row in log._entries
            if row is not None and offset in log._aborted
        }
        found = aborted & {row.value for row in read(world.broker, outputs)}
        assert not found, f"I7: {len(found)} aborted records were read, such as {min(found)!r}"


def each_commit_goes_on_where_the_last_one_ended(world: World) -> None:
    for commit in world.history.commits:
        for at, before in commit.before.items():
            begun = commit.begun.get(at, before) if commit.begun else before
            assert begun == before, (
                f"I8: at {commit.at:.3f} s {at} was committed from {begun} to {commit.after[at]},"
                f" and {before} was committed already"
            )


def offsets_never_go_back(world: World) -> None:
    for commit in world.history.commits:
        for at, before in commit.before.items():
            after = commit.after[at]
            assert after >= before, f"I9: at {commit.at:.3f} s {at} went from {before} to {after}"


def everything_is_processed(world: World) -> None:
    lag = world.lag()
    assert not lag, f"I10: not drained: {lag}"
    check_nothing_open(world.broker)


def refused_records_are_one_dead_letter(world: World) -> None:
    refused = Counter(
        row.value for topic in world.inputs for row in read(world.broker, topic) if is_bad(row)
    )
    letters = Counter(row.value for row in read(world.broker, applications.DEAD))
    assert letters == refused, "I11: the dead letters are not the bad records, each once"


ANY_APPLICATION = (each_commit_goes_on_where_the_last_one_ended, offsets_never_go_back)
ALL = (
    nothing_is_lost,
    nothing_is_there_twice,
    keys_keep_their_order,
    aggregates_are_those_of_the_recount,
    stores_are_the_fold_of_what_is_committed,
    outputs_and_offsets_become_visible_together,
    no_aborted_record_is_read,
    *ANY_APPLICATION,
    everything_is_processed,
    refused_records_are_one_dead_letter,
)


def _good(world: World, topic: str) -> list[Record]:
    return [record for record in read(world.broker, topic) if not is_bad(record)]


def _pair(record: Record) -> tuple[bytes | None, bytes | None]:
    return record.key, record.value


def _mapped(records: Iterable[Record]) -> Counter[tuple[bytes | None, bytes | None]]:
    return Counter((record.key, (record.value or b"").upper()) for record in records)


def _by_key(records: Iterable[Record]) -> dict[bytes | None, list[bytes]]:
    found: dict[bytes | None, list[bytes]] = defaultdict(list)
    for record in records:
        found[record.key].append(record.value or b"")
    return found


def _prefixes(log: PartitionLog) -> list[int]:
    """Of each offset, how many records before it are to be in the output."""
    found = [0]
    for offset, row in log._entries:
        good = row is not None and offset not in log._aborted
        bad = row is not None and (row.value or b"").startswith(applications.BAD.encode())
        found.append(found[-1] + (good and not bad))
    return found


def _visible(log: PartitionLog, end: int, open_from: dict[int, int]) -> int:
    """How many records of a partition a reader of committed ones could see sooner or later."""
    return sum(
        row is not None
        and offset not in log._aborted
        and offset < open_from.get(log._producers[offset], end)
        for offset, row in log._entries[:end]
    )
