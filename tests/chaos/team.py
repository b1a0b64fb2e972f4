"""Several workers of one application on one host, and what they have to leave behind."""

import random
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from tests.kafka import checking
from tests.kafka.conftest import ApplicationFactory, create_topic
from tests.kafka.feeding import Load, endless_words
from tests.kafka.workers import WAIT_S, Application

PER_SECOND = 3_000


class Team:
    """An application that maps, and counts under a new key; its workers share a state folder.

    Args:
        make: makes applications.
        size: how many workers it has at most.
        name: which one of `apps.py`.
        options: settings by group.

    Attributes:
        outputs: what its topics begin with.

    """

    outputs: Sequence[str] = ("upper", "counts")

    def __init__(
        self, make: ApplicationFactory, size: int, *, name: str = "both-ways", **options: Any
    ) -> None:
        run = uuid.uuid4().hex[:8]
        topics = f"words-{run}", [f"{output}-{run}" for output in self.outputs]
        first = make(name, *topics, **options)
        self.workers = [first]
        for _ in range(size - 1):
            self.workers.append(make(name, *topics, **options, id=first.id))
        self.first = first
        for name in (*first.inputs, *first.outputs):
            create_topic(first.servers, name, 4)

    def __getitem__(self, number: int) -> Application:
        return self.workers[number]

    @property
    def repartition(self) -> str:
        return f"{self.first.id}-by-ending-repartition"

    def load(self, first: int = 0) -> Load:
        """Write words from this number on until the context ends."""
        words = endless_words(first=first)
        return Load(self.first.servers, {self.first.inputs[0]: words}, PER_SECOND)

    def start(self) -> None:
        """Start all workers, and wait until every task runs."""
        for worker in self.workers:
            worker.start()
        self.wait_until_all_run()

    def wait_until_all_run(self) -> None:
        for worker in self.workers:
            worker.wait_for("runs from")

    def kill_under_load(
        self, kills: int, draw: random.Random, *, waits: float, within_s: float
    ) -> None:
        """Kill workers, most of them at work, and start them again.

        Args:
            kills: how many.
            draw: which ones, and when.
            waits: for which share of them it is waited until they have tasks.
            within_s: how long at most they are at work then.
        """
        at_work = 0
        with self.load():
            self.start()
            for _ in range(kills):
                victim = draw.choice(self.workers)
                if draw.random() < waits:
                    self.wait_until(lambda v=victim: v.tasks(), "it has tasks")
                time.sleep(draw.uniform(0, within_s))
                self.keep_going()
                at_work += bool(victim.tasks())
                victim.kill()
                victim.start()
        print(f"{at_work} of {kills} kills hit a worker with tasks")
        assert at_work > kills / 2, "most kills hit workers without tasks: that was no test"

    def take_turns(self, turns: Sequence[int], turn_s: float, *, begun: int) -> None:
        """Let workers join under load or, where they are there, leave.

        Args:
            turns: whose turn it is.
            turn_s: how long a turn is.
            begun: more tasks than that have to begin.
        """
        due = time.monotonic()
        with self.load():
            for worker in map(self.workers.__getitem__, turns):
                if not worker.started():
                    worker.start()
                else:
                    worker.wait_for("Assigned: ")  # before it a signal may come too early
                    worker.stop()
                due += turn_s
                time.sleep(max(0.0, due - time.monotonic()))
        late_s = time.monotonic() - due
        print(f"{self.said('runs from')} tasks began, {late_s:.1f} s late in the end")
        assert self.said("runs from") > begun, "hardly a task moved: that was no test"

    def done(self) -> bool:
        """Whether all input is committed on both sides of the repartition topic."""
        app = self.first
        return checking.all_committed(app.servers, app.id, [*app.inputs, self.repartition])

    def keep_going(self) -> None:
        """Start those workers again that a clear error has ended."""
        for worker in self.workers:
            worker.keep_going()

    def wait_until(self, reached: Callable[[], bool], what: str, timeout_s: float = WAIT_S) -> None:
        """Wait for something; workers that a clear error has ended are started again."""
        deadline = time.monotonic() + timeout_s
        while not reached():
            self.keep_going()
            if time.monotonic() > deadline:
                for worker in self.workers:
                    worker.show_stacks()
                logs = "\n\n".join(worker.text() for worker in self.workers)
                raise AssertionError(f"not within {timeout_s:g} s: {what}\n{logs}")
            time.sleep(0.05)

    def wait_for_progress(self) -> None:
        """Wait until more is committed than now."""
        before = self.first.done()
        self.wait_until(lambda: self.first.done() > before, "more is committed")

    def wait_for_progress_of(self, tasks: set[str]) -> None:
        """Wait until each of these tasks has committed more than now."""
        before = self.committed()
        self.wait_until(
            lambda: all(self.committed()[task] > before.get(task, 0) for task in tasks),
            f"more is committed of {sorted(tasks)}",
        )

    def committed(self) -> dict[str, int]:
        """Return how far each task has committed its lead."""
        found = self.first.committed(*self.first.inputs, self.repartition)
        return {f"{topic}/{partition}": offset for (topic, partition), offset in found.items()}

    def open_transactions(self) -> dict[checking.Partition, tuple[int, int]]:
        """Look up where in its topics transactions are open."""
        app = self.first
        written = [*app.outputs, self.repartition, app.changelog("counts")]
        return checking.open_transactions(app.servers, written)

    def said(self, text: str) -> int:
        """Return how often its workers have said something."""
        return sum(worker.said(text) for worker in self.workers)

    def end(self) -> None:
        """Let all that is left be processed, stop the workers, and check what they leave."""
        self.wait_until(self.done, "all is processed", 2 * WAIT_S)
        for worker in self.workers:
            if worker.alive():
                worker.stop()
        self.check()

    def check_so_far(self, without: str = "") -> None:
        """Check what stopped workers have committed, on both sides of the repartition topic.

        Args:
            without: an output that is not there any more.
        """
        app = self.first
        done = app.committed()
        inputs = [r for r in app.read_inputs() if r.offset < done.get((r.topic, r.partition), 0)]
        if without != app.outputs[0]:
            checking.check_mapped(inputs, app.read_output(0), bytes.upper)
        checking.check_begun(checking.counted(checking.by_ending(inputs)), app.read_output(1))

    def check(self) -> None:
        app = self.first
        inputs = app.read_inputs()
        checking.check_mapped(inputs, app.read_output(0), bytes.upper)
        checking.check_updates(checking.counted(checking.by_ending(inputs)), app.read_output(1))
        app.check_store("counts")
        app.check_ends("counts")
        checking.check_nothing_open(app.servers, [self.repartition])
