"""Several workers of one application on one host, and what they have to leave behind."""

import time
import uuid
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
        options: settings by group.

    """

    def __init__(self, make: ApplicationFactory, size: int, **options: Any) -> None:
        run = uuid.uuid4().hex[:8]
        topics = f"words-{run}", [f"upper-{run}", f"counts-{run}"]
        first = make("both-ways", *topics, **options)
        self.workers = [first]
        for _ in range(size - 1):
            self.workers.append(make("both-ways", *topics, **options, id=first.id))
        self.first = first
        for name in (*first.inputs, *first.outputs):
            create_topic(first.servers, name, 4)

    def __getitem__(self, number: int) -> Application:
        return self.workers[number]

    @property
    def repartition(self) -> str:
        return f"{self.first.id}-by-ending-repartition"

    def load(self) -> Load:
        """Write until the context ends."""
        return Load(self.first.servers, {self.first.inputs[0]: endless_words()}, PER_SECOND)

    def start(self) -> None:
        """Start all workers, and wait until every task runs."""
        for worker in self.workers:
            worker.start()
        self.wait_until_all_run()

    def wait_until_all_run(self) -> None:
        for worker in self.workers:
            worker.wait_for("runs from")

    def done(self) -> bool:
        """Whether all input is committed on both sides of the repartition topic."""
        app = self.first
        return checking.all_committed(app.servers, app.id, [*app.inputs, self.repartition])

    def keep_going(self) -> None:
        """Start those workers again that a clear error has ended, as a supervisor would."""
        for worker in self.workers:
            if worker.started() and not worker.alive():
                print(f"{worker.id} has ended: {worker.fails().rstrip().splitlines()[-1]}")
                worker.start()

    def wait_for_progress(self) -> None:
        """Wait until more is committed than now."""
        before, deadline = self.first.done(), time.monotonic() + WAIT_S
        while self.first.done() <= before:
            self.keep_going()
            assert time.monotonic() < deadline, "\n\n".join(w.text() for w in self.workers)
            time.sleep(0.05)

    def end(self) -> None:
        """Let all that is left be processed, stop the workers, and check what they leave."""
        deadline = time.monotonic() + 2 * WAIT_S
        while not self.done():
            self.keep_going()
            assert time.monotonic() < deadline, "\n\n".join(w.text() for w in self.workers)
            time.sleep(0.05)
        for worker in self.workers:
            if worker.alive():
                worker.stop()
        self.check()

    def check(self) -> None:
        app = self.first
        inputs = app.read_inputs()
        checking.check_mapped(inputs, app.read_output(0), bytes.upper)
        checking.check_updates(checking.counted(checking.by_ending(inputs)), app.read_output(1))
        app.check_store("counts", complete=False)
        app.check_ends("counts")
        checking.check_nothing_open(app.servers, [self.repartition])
