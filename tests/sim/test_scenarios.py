"""Mishaps that took many worlds to come up, told step by step."""

import random
from collections.abc import Callable

import pytest

from penstock.runtime.restorer import Restorer
from penstock.runtime.settings import GroupProtocol
from penstock.testing.sim import Fate, Process
from penstock.testing.sim.disk import SimPlace
from penstock.testing.sim.log import Row
from penstock.testing.sim.producer import SimProducer
from tests.sim import applications, sabotage
from tests.sim.judging import judge
from tests.sim.plans import Plan
from tests.sim.world import Slot, World

both_protocols = pytest.mark.parametrize("protocol", ["classic", "consumer"])
SESSION_S = 3.1  # a little longer than it lasts; twice that is shorter than a transaction


class Least(random.Random):
    """What no client can foresee is as little as it may be: nothing is sent before a flush."""

    def randint(self, a: int, _b: int) -> int:
        return a


class Told(World):
    """A world of two workers and one partition, in which only the told mishap happens."""

    def __init__(self, protocol: GroupProtocol = "classic") -> None:
        super().__init__(
            Plan(
                1,
                workers=2,
                partitions=1,
                emit="commit",
                guarantee="exactly_once",
                one_disk=False,
                moves=0,
                favourite=None,
                protocol=protocol,
            )
        )
        self.told: list[tuple[str, Callable[[Process], None]]] = []

    def _happens(self, process: Process, what: str) -> Fate:
        if self.told and what == self.told[0][0]:
            self.told.pop(0)[1](process)
        return Fate.DONE

    def work(self, slot: Slot, *, steps: int = 40) -> None:
        """Let one worker work for a while."""
        for _ in range(steps):
            self.step(slot)
            self.broker.advance(0.02)

    def write(self, topic: str) -> None:
        """Write to an input, every key more than once."""
        process = self.broker.process("writer")
        producer = SimProducer(self.broker, process, {})
        for number in range(9):
            value = f"{self.broker.clock.now()}-{number}-a"
            producer.produce(topic, value, f"k0-{number % 3}", 0)
        producer.flush()

    def work_up_to(self, slot: Slot, *mishaps: tuple[str, Callable[[Process], None]]) -> None:
        """Let one worker work until the last of these calls has had its mishap."""
        self.told = list(mishaps)
        while self.told:
            self.work(slot, steps=1)


def nothing(_: Process) -> None:
    """Let a call pass."""


def lost_and_found() -> Told:
    """A worker stalls in a batch; another does it instead, and goes; the first has it back.

    It hears of the loss and of the new assignment within one fetch.
    """

    def mishap(process: Process) -> None:
        process.stopped = True
        world.broker.advance(SESSION_S)
        while (applications.LINES, 0) in world.lag():
            world.step(second)
            world.broker.advance(0.05)
        world.leave(second)
        world.broker.advance(SESSION_S)
        process.stopped = False

    world = Told()
    first, second = world.slots
    world.work(first)
    world.feeder.write_some()
    # The first one brings the records, the second one stands in the open batch.
    world.work_up_to(first, ("poll", nothing), ("poll", mishap))
    world.work(first, steps=10)
    world.settle()
    return world


def test_what_comes_back_goes_on_where_others_have_left_it() -> None:
    judge(lost_and_found())


def test_rewinding_it_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker once did that."""
    sabotage.what_was_given_up_is_rewound(monkeypatch)
    with pytest.raises(AssertionError):
        judge(lost_and_found())


def test_a_store_that_is_only_kept_is_dated_every_hour() -> None:
    """Or its owner's heir would not believe it after half of the tombstones' time."""
    world = Told()
    (worker, _) = world.slots
    world.work(worker)
    world.feeder.write_some()
    world.work(worker)
    for _ in range(2_000):
        world.broker.advance(2)
        world.step(worker)
    now_ms = world.broker.clock.now_ms()
    dated = [files.position.written_ms for files in worker.disk.files.values() if files.position]
    assert dated
    assert all(now_ms - at < 3_700_000 for at in dated)


def nobodys() -> Told:
    """A worker dies when it is to give something back, and is there again at once."""
    world = Told()
    first, second = world.slots
    world.work(first)
    world.work(second, steps=5)
    world.work_up_to(first, ("incremental_unassign", Process.kill))
    first.starts_at = 0.0
    world.work(first, steps=5)
    for topic in (applications.WORDS, applications.LINES):
        world.write(topic)
    world.settle()
    return world


@pytest.mark.parametrize("without", [sabotage.newcomers_wait, sabotage.nobody_looks_for_orphans])
def test_what_a_rebalance_leaves_to_nobody_is_found(
    without: sabotage.Patch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the newcomer, or by whoever looks for orphans: each is enough."""
    without(monkeypatch)
    judge(nobodys())


def test_not_to_look_for_it_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    sabotage.newcomers_wait(monkeypatch)
    sabotage.nobody_looks_for_orphans(monkeypatch)
    with pytest.raises(AssertionError, match="not drained"):
        nobodys()


def overtaken(protocol: GroupProtocol) -> Told:
    """A worker stalls in its first restore; another does the work, commits, and has state.

    Nothing was committed when the first one asked, and there was only an aborted transaction to
    restore. It reads on to the end, and finds what the other one has written.
    """
    work = Restorer.work

    def stall(restorer: Restorer, *args: float) -> bool:
        patch.undo()
        (process,) = world.lives
        process.stopped = True
        world.broker.advance(SESSION_S)
        world.write(applications.WORDS)
        while world.lag():
            world.work(second, steps=1)
        process.stopped = False
        return work(restorer, *args)

    world = Told(protocol)
    first, second = world.slots
    world.work_up_to(first, ("subscribe", Process.kill))
    first.starts_at = 0.0
    abort_in(world, f"{applications.ID}-per-key-changelog")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Restorer, "work", stall)
        world.work(first)
    world.settle()
    return world


def abort_in(world: Told, topic: str) -> None:
    """Leave the records of a transaction that was aborted in a topic."""
    producer = SimProducer(world.broker, world.broker.process("aborter"), {"transactional.id": "x"})
    producer.init_transactions()
    producer.begin_transaction()
    producer.produce(topic, "1", "k", 0)
    producer.flush()
    producer.abort_transaction()


@both_protocols
def test_who_is_overtaken_at_its_start_asks_again(protocol: GroupProtocol) -> None:
    judge(overtaken(protocol))


@both_protocols
def test_to_take_that_for_forgotten_offsets_is_noticed(
    protocol: GroupProtocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker once did that, and advised to start over."""
    sabotage.nobody_looks_again(monkeypatch)
    with pytest.raises(AssertionError, match="gives up"):
        overtaken(protocol)


def died_in_a_batch(protocol: GroupProtocol) -> Told:
    """A worker dies with records in an open transaction, and is started again at once."""
    world = Told(protocol)
    first, _ = world.slots
    world.work(first)
    world.write(applications.LINES)
    world.work_up_to(first, ("send_offsets_to_transaction", Process.kill))
    first.starts_at = 0.0
    world.work(first)
    world.settle()
    return world


@both_protocols
def test_who_is_started_again_ends_what_it_left(protocol: GroupProtocol) -> None:
    judge(died_in_a_batch(protocol))


@both_protocols
def test_to_go_on_in_that_transaction_is_noticed(
    protocol: GroupProtocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage.nobody_is_fenced(monkeypatch)
    with pytest.raises(AssertionError, match="twice"):
        judge(died_in_a_batch(protocol))


def put_out(protocol: GroupProtocol, topic: str, call: str) -> Told:
    """A worker stalls in the end of a batch for longer than its session, ends it, and dies.

    Another one waits for the offsets meanwhile, if they are sent already.
    """

    def mishap(process: Process) -> None:
        process.stopped, world.broker.draw = True, usual
        world.broker.advance(SESSION_S)
        world.work(second, steps=10)
        process.stopped = False

    world = Told(protocol)
    first, second = world.slots
    world.work(first)
    world.write(topic)
    usual, world.broker.draw = world.broker.draw, Least()
    world.work_up_to(first, (call, mishap))
    world.told = [("poll", Process.kill)]
    world.step(first)
    world.write(topic)
    world.work(second)
    world.settle()
    return world


@both_protocols
def test_offsets_are_waited_for(protocol: GroupProtocol) -> None:
    judge(put_out(protocol, applications.LINES, "commit_transaction"))


@both_protocols
def test_not_to_wait_for_them_is_noticed(
    protocol: GroupProtocol, monkeypatch: pytest.MonkeyPatch
) -> None:
    sabotage.offsets_are_not_waited_for(monkeypatch)
    with pytest.raises(AssertionError, match="twice"):
        judge(put_out(protocol, applications.LINES, "commit_transaction"))


OFFSETS_FIRST = sabotage.offsets_before_the_flush
ENDS_FIRST = sabotage.ends_before_the_offsets


@both_protocols
@pytest.mark.parametrize("broken", [(), (OFFSETS_FIRST,), (ENDS_FIRST,)])
def test_flush_then_offsets_and_offsets_then_ends(
    protocol: GroupProtocol, broken: tuple[sabotage.Patch, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two orders keep a successor from offsets without their state; each is enough."""
    for patch in broken:
        patch(monkeypatch)
    judge(put_out(protocol, applications.WORDS, "flush"))


@both_protocols
def test_neither_order_is_noticed(protocol: GroupProtocol, monkeypatch: pytest.MonkeyPatch) -> None:
    OFFSETS_FIRST(monkeypatch)
    ENDS_FIRST(monkeypatch)
    with pytest.raises(AssertionError):
        judge(put_out(protocol, applications.WORDS, "flush"))


HOUR_S = 3_600


def put_down(world: Told) -> Slot:
    """Let one of the workers have state, and end."""
    worker = world.slots[0]
    world.slots = [worker]
    world.work(worker)
    world.write(applications.WORDS)
    world.work(worker)
    world.leave(worker)
    return worker


def set_aside(ahead_s: float) -> bool:
    """Write state while the clock is ahead, and start again when it is right and a day later.

    Returns:
        whether the state was not believed.
    """
    world = Told()
    world.slots[0].ahead_ms = int(ahead_s * 1000)
    worker = put_down(world)
    aside: list[str] = []

    def notes(place: SimPlace, _: int) -> str:
        aside.append(str(place))
        return ""

    worker.ahead_ms = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SimPlace, "set_aside", notes)
        world.work(worker)
    world.settle()
    return bool(aside)


@pytest.mark.parametrize(
    ("ahead_s", "aside"),
    [(0, False), (5 * HOUR_S, False), (13 * HOUR_S, True), (-13 * HOUR_S, True)],
)
def test_state_of_an_unknown_age_is_not_believed(ahead_s: float, *, aside: bool) -> None:
    """A clock that was a year ahead dates state so that it never grows old."""
    assert set_aside(ahead_s) is aside


def test_a_store_is_dated_anew_when_the_clock_goes_back() -> None:
    world = Told()
    (worker, _) = world.slots
    worker.ahead_ms = 100 * HOUR_S * 1000
    world.work(worker)
    world.feeder.write_some()
    world.work(worker)
    assert worker.life is not None
    worker.life.process.ahead_ms = 0
    world.broker.advance(1)
    world.work(worker)
    now_ms = world.broker.clock.now_ms()
    dated = [files.position.written_ms for files in worker.disk.files.values() if files.position]
    assert dated
    assert all(at <= now_ms for at in dated)


def test_offsets_are_committed_again_when_the_clock_goes_back() -> None:
    """Else they might expire before the clock is where it was."""
    world = Told()
    (worker, _) = world.slots
    worker.ahead_ms = 9_000 * HOUR_S * 1000
    world.work(worker)
    world.feeder.write_some()
    world.work(worker)
    before = len(world.history.commits)
    assert worker.life is not None
    worker.life.process.ahead_ms = 0
    world.work(worker)
    assert len(world.history.commits) > before


def overtaken_while_fetching(told_at: str) -> Told:
    """A worker hears that a position is gone, and that it was put out within one fetch, or later.

    As behind a stall: who has its partitions now has gone on, and deleted what it has committed
    of repartition topics.
    """

    def purge(_: Process) -> None:
        log.append(Row(b"a", b"1-a", world.broker.clock.now_ms()))
        log.delete_before(log.end)
        committed = world.broker.group(applications.ID).committed
        committed[topic, 0] = (log.end, committed[topic, 0][1])

    def put_out(_: Process) -> None:
        coordinator = world.broker.group(applications.ID).classic
        for member in coordinator.owners.members:
            coordinator._remove(member)

    world = Told()
    worker = world.slots[0]
    world.slots = [worker]
    world.work(worker)
    topic = f"{applications.ID}-by-letter-repartition"
    (log,) = world.broker.topics[topic].partitions
    world.work_up_to(worker, ("poll", purge), (told_at, put_out))
    world.write(applications.WORDS)
    world.settle()
    return world


@pytest.mark.parametrize("told_at", ["consume", "subscribe"])
def test_what_others_have_gone_on_with_may_be_gone(told_at: str) -> None:
    judge(overtaken_while_fetching(told_at))


def commits_of_a_successor(protocol: GroupProtocol) -> int:
    """A worker leaves, another one takes over what nobody writes to; return how often it commits.

    Nobody knows how old the offsets are that it finds: where workers come and go, they would expire.
    """
    world = Told(protocol)
    first, second = world.slots
    world.work(first)
    world.leave(first)
    world.broker.advance(SESSION_S)
    before = len(world.history.commits)
    assert before > 0
    world.work(second, steps=100)
    return len(world.history.commits) - before


@both_protocols
def test_who_takes_over_commits_offsets_again(protocol: GroupProtocol) -> None:
    assert commits_of_a_successor(protocol) > 0


def test_to_take_those_for_fresh_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    sabotage.found_offsets_are_taken_for_fresh(monkeypatch)
    assert commits_of_a_successor("classic") == 0
