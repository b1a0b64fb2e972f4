"""A world under a seed: one application, several workers, and all that may happen to them.

The scheduler runs in one thread. It steps workers, feeds the input, lets time pass; and in
between any two calls of a worker's clients it may kill it, lose a request or an answer, or let
it stand still while the others go on. At the end it lets all be well, waits until everything
is processed, and checks what is there.
"""

import random
import uuid
from collections import Counter
from collections.abc import Generator
from contextlib import suppress

import penstock as ps
from penstock.errors import BrokerError, DataError, StateError
from penstock.runtime.run import Running
from penstock.runtime.worker import Worker
from penstock.testing.sim import Crash, Fate, Process, SimBroker, SimDisk, Survives
from tests.sim import applications
from tests.sim.feeding import Feeder
from tests.sim.history import History
from tests.sim.mishaps import (
    JUMPS_S,
    LOSABLE,
    MOVE,
    WRITING,
    Chances,
    Kind,
    Mishap,
    Mishaps,
    Place,
)
from tests.sim.plans import Plan

SESSION_S = applications.SESSION_MS / 1000
HEARTBEAT_S = 0.5  # of the consumer protocol; the client beats at once where it has news
ROLL_MOVES = 20
MOST_STEPS = 2_000
MOST_JUMP_S = max(JUMPS_S)


class Life:
    """A worker process, from its start to its end."""

    def __init__(self, slot: "Slot", process: Process, disk: SimDisk) -> None:
        self.slot = slot
        self.process = process
        self.disk = disk
        self.lost_until: dict[str, float] = {}
        self.leaving = False
        self.busy = False
        self.steps: Generator[None] | None = None


class Slot:
    """A place for a worker: what outlasts its processes."""

    def __init__(self, identity: str, disk: SimDisk) -> None:
        self.identity = identity
        self.disk = disk
        self.life: Life | None = None
        self.calls: Counter[str] = Counter()
        self.starts_at = 0.0
        self.ahead_ms = 0


class World:
    """One run.

    Attributes:
        inputs: the topics that are fed.
        outputs: the others that exist, with as many partitions.
    """

    inputs: tuple[str, ...] = applications.INPUTS
    outputs: tuple[str, ...] = applications.OUTPUTS

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.draw = random.Random(plan.seed + 1 + plan.shuffle)
        self.broker = SimBroker(
            random.Random(plan.seed + 2), session_s=SESSION_S, heartbeat_s=HEARTBEAT_S
        )
        for topic in (*self.inputs, *self.outputs):
            self.broker.create_topic(topic, plan.partitions)
        self.broker.create_topic(applications.LETTERS, self.draw.choice((1, 2)))
        shared = SimDisk()
        self.slots = [
            Slot(f"slot-{n}", shared if plan.one_disk else SimDisk()) for n in range(plan.workers)
        ]
        self.history = History(self.broker, applications.ID, self.outputs)
        self.feeder = self.make_feeder()
        self.events: list[str] = []
        self.ill = True
        self.lives: dict[Process, Life] = {}
        self.mishaps: Mishaps = Chances(random.Random(plan.seed + 3), plan.favourite)
        self._moving: tuple[Kind, ...] = ("delay", "jump") if plan.jumps else ("delay",)
        self._moves = 0
        self._depth = 0

    def make_feeder(self) -> Feeder:
        """Make what writes the inputs."""
        return Feeder(self.broker, self.draw, self.plan.partitions)

    def make_app(self) -> ps.App:
        """Make the application, anew for each process."""
        plan = self.plan
        return applications.make_app(plan.emit, plan.guarantee, plan.protocol)

    def made(self, worker: Worker) -> None:
        """Take note of a worker that is to start."""

    def run(self) -> None:
        """Let things happen, then let all be well until everything is processed."""
        for _ in range(self.plan.moves):
            self._move()
        if self.plan.rolls:
            self._roll()
        self.ill = False
        self.feeder.finish()
        for slot in self.slots:
            slot.starts_at = 0.0
            self._jump(slot, MOST_JUMP_S if self.plan.jumps else 0.0)  # later than any has been
        self.settle()
        self.broker.advance(30)

    def end(self) -> None:
        """Let whoever still lives die, where a run has failed."""
        for life in list(self.lives.values()):
            life.process.kill()
            with suppress(BaseException):  # the process dies of it
                if life.steps:
                    life.steps.close()

    # What happens

    def _move(self) -> None:
        self._moves += 1
        mishap = self.ill and self.mishaps.at(Place("the world", MOVE, self._moves), self._moving)
        if mishap and mishap.kind == "delay":
            self._delay(mishap)
        elif mishap:
            self._jump(self.draw.choice(self.slots), mishap.seconds)
        what = self.draw.random()
        if what < 0.15:
            self.feeder.feed()
        elif what < 0.25:
            self.broker.advance(self.draw.choice((0.01, 0.05, 0.2, 1.0)))
        elif what < 0.27:
            self.leave(self.draw.choice(self.slots))
        else:
            self.step(self.draw.choice(self.slots))
            for life in list(self.lives.values()):
                if life.slot.life is not life:
                    self._step_life(life)

    def _delay(self, mishap: Mishap) -> None:
        """Let nobody fetch from a partition for a while."""
        topic = self.draw.choice(list(self.broker.topics.values()))
        log = self.draw.choice(topic.partitions)
        log.held_until = self.broker.clock.now() + mishap.seconds
        self.note(f"{mishap}: {topic.name}/{topic.partitions.index(log)}")

    def _jump(self, slot: Slot, seconds: float) -> None:
        """Let the wall clock of a slot be off by so much from now on."""
        self.note(f"the clock of {slot.identity} jumps: it is off by {seconds} s")
        slot.ahead_ms = int(seconds * 1000)
        for life in self.lives.values():
            if life.slot is slot:
                life.process.ahead_ms = slot.ahead_ms

    def _roll(self) -> None:
        """Restart all workers one after another; mishaps go on."""
        for slot in self.slots:
            self.note(f"{slot.identity} is restarted")
            self.leave(slot)
            slot.starts_at = 0.0
            for _ in range(ROLL_MOVES):
                self._move()

    def settle(self) -> None:
        """Let all workers work until everything is processed, and stop them."""
        self.work_off()
        for slot in self.slots:
            self.leave(slot)

    def work_off(self) -> None:
        """Let all workers work until everything is processed."""
        for number in range(MOST_STEPS):
            for slot in self.slots:
                self.step(slot)
            for life in list(self.lives.values()):
                if life.slot.life is not life:
                    life.leaving = True
                    self._step_life(life)
            self.broker.advance(0.03)
            if number % 5 == 0 and self.drained():
                return
        raise AssertionError(f"I10: not drained: {self.lag()}, {self.events[-20:]}")

    def step(self, slot: Slot) -> None:
        """Let the worker of a slot do something; it is started where there is none."""
        if slot.life is None:
            if self.broker.clock.now() < slot.starts_at:
                return
            process = self.broker.process(slot.identity, self._happens)
            process.ahead_ms = slot.ahead_ms
            slot.life = Life(slot, process, slot.disk)
            slot.life.steps = self._live(slot.life)
            self.lives[process] = slot.life
        self._step_life(slot.life)

    def _step_life(self, life: Life) -> None:
        if life.busy or life.steps is None:
            return
        life.busy = True
        try:
            next(life.steps)
        except (Crash, StopIteration, BrokerError, StateError) as end:
            self._ended(life, end)
        except DataError as end:
            if not _blameless(end):
                raise
            self._ended(life, end)
        finally:
            life.busy = False

    def _live(self, life: Life) -> Generator[None]:
        run_id = uuid.UUID(int=self.draw.getrandbits(128))
        running = Running(self.make_app(), clients=self.broker.clients(life.process), run_id=run_id)
        worker = running.worker(life.slot.identity, life.disk.mount(life.process))
        if self.plan.guarantee == "exactly_once":
            self.history.watch(worker)
        self.made(worker)
        worker.start()
        with worker.ending():
            while not life.leaving:
                yield
                worker.step()

    def leave(self, slot: Slot) -> None:
        """Stop the worker of a slot in order, if there is one."""
        life = slot.life
        if life and not life.busy:
            life.leaving = True
            for _ in range(2):
                self._step_life(life)

    def _ended(self, life: Life, end: BaseException) -> None:
        self.note(f"{life.slot.identity} has ended: {end!r}")
        if "tart over" in str(end):
            raise AssertionError(f"the application gives up: {end}") from end
        if isinstance(end, Crash):
            kind = self.draw.choice((Survives.FLUSHED, Survives.FLUSHED, *Survives))
            life.disk.crash(life.process, kind)
        elif isinstance(end, StateError):
            life.disk.crash(life.process, self.draw.choice((Survives.FLUSHED, Survives.WRITTEN)))
        life.process.kill()
        life.steps = None
        del self.lives[life.process]
        if life.slot.life is life:
            life.slot.life = None
            life.slot.starts_at = self.broker.clock.now() + self.draw.choice((0.0, 0.1, 1.0, 5.0))

    def _happens(self, process: Process, what: str) -> Fate:
        """Decide what becomes of a call."""
        life = self.lives.get(process)
        if not self.ill or life is None:
            return Fate.DONE
        if what in WRITING and self.broker.clock.now() < life.disk.full_until:
            raise StateError(f"{what}: No space left on device.")
        life.slot.calls[what] += 1
        place = Place(life.slot.identity, what, life.slot.calls[what])
        mishap = self.mishaps.at(place, self._kinds(what))
        if mishap is None:
            lost = self.broker.clock.now() < life.lost_until.get(what, 0.0)
            return Fate.LOST_REQUEST if lost else Fate.DONE
        self.note(str(mishap))
        self._strike(life, mishap)
        return mishap.fate or Fate.DONE

    def _kinds(self, what: str) -> list[Kind]:
        """Return what can happen at a call.

        Nobody stands still at least once: nothing fences the changelog writes of who wakes too
        late then.
        """
        kinds: list[Kind] = ["die"]
        if self._depth < 2 and self.plan.guarantee == "exactly_once":
            kinds.append("stall")
        if what in LOSABLE:
            kinds.append("lose")
        if what in WRITING:
            kinds.append("refuse")
        return kinds

    def _strike(self, life: Life, mishap: Mishap) -> None:
        if mishap.kind == "die":
            life.process.kill()
        elif mishap.kind == "stall":
            self._stall(life, mishap)
        elif mishap.kind == "lose":
            life.lost_until[mishap.place.call] = self.broker.clock.now() + mishap.seconds
        elif mishap.kind == "refuse":
            life.disk.full_until = self.broker.clock.now() + mishap.seconds
            raise StateError(f"{mishap.place.call}: Input/output error.")

    def _stall(self, life: Life, mishap: Mishap) -> None:
        """Let a process stand still in the middle of a step, while the others go on."""
        process = life.process
        if mishap.replaced:
            self._replace(life)
        self._depth += 1
        process.stopped = mishap.whole
        end = self.broker.clock.now() + mishap.seconds
        try:
            while self.broker.clock.now() < end:
                for _ in range(6):
                    self._move()
                self.broker.advance(0.25)
        finally:
            self._depth -= 1
            process.stopped = False
        self.note(f"{process.name} goes on")

    def _replace(self, life: Life) -> None:
        """Let another process begin under the identity, with a copy of the disk, as it may be."""
        if life.slot.life is life:
            self.note(f"{life.slot.identity} is replaced")
            life.slot.disk = life.disk.copy()
            life.slot.life, life.slot.starts_at = None, 0.0

    def note(self, text: str) -> None:
        self.events.append(f"{self.broker.clock.now():.3f} {text}")

    # Whether it is done

    def drained(self) -> bool:
        return not self.lag() and not self.broker.transactions.open

    def lag(self) -> dict[tuple[str, int], int]:
        committed = self.broker.group(applications.ID).committed
        behind = {}
        for topic in self.broker.topics.values():
            if topic.name in self.inputs or topic.name.endswith("-repartition"):
                for number, log in enumerate(topic.partitions):
                    at = (topic.name, number)
                    behind[at] = log.end - committed.get(at, (0, ""))[0]
        return {at: left for at, left in behind.items() if left}


def _blameless(error: DataError) -> bool:
    """Whether two stalls in the middle of a record were taken for a slow function."""
    return "longer than the transaction may be open" in str(error)
