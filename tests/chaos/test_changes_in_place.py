"""Functions change in place what they get: nothing that is committed, and no sibling, notices.

Workers refuse records behind the change, abort batches and run them again, are killed, and take
partitions from each other; what they write is what an interpreter on copies does.
"""

import pytest

from tests.chaos.sampling import sample
from tests.chaos.team import Team
from tests.kafka import changing, checking
from tests.kafka.conftest import ApplicationFactory
from tests.kafka.feeding import Load, endless_words
from tests.kafka.workers import QUICK

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

ABORTS = "fail-some-commits"
REFUSED = "one of three is refused"
PER_SECOND = 1_000
STORES = ("tallies", "keep-found")


class Changing(Team):
    """Workers of `changing`."""

    outputs = ("tallies", "kept", "beside", "dead")

    def load(self, first: int = 0) -> Load:
        """Write words until the context ends, few enough for functions that are slow."""
        rows = {self.first.inputs[0]: endless_words(first=first)}
        return Load(self.first.servers, rows, PER_SECOND)

    def end(self) -> None:
        """Let one worker process what is left, and check all that they leave."""
        app = self.first
        self.wait_until(app.drained, "all is processed")
        for worker in self.workers:
            if worker.alive():
                worker.stop()
        inputs = app.read_inputs()
        expected = changing.tallies(inputs)
        checking.check_every_update(expected, app.read_output(0))
        checking.check_every_update(expected, app.read_output(1))
        checking.check_mapped(changing.good(inputs), app.read_output(2), bytes)
        letters = sorted(letter.value or b"" for letter in app.read_output(3))
        values = [record.value or b"" for record in inputs]
        assert letters == sorted(value for value in values if changing.is_bad(value.decode()))
        for store in STORES:
            app.check_store(store)
        app.check_ends(*STORES)


def team(make: ApplicationFactory, broken: str) -> Changing:
    state = {"lock_timeout_ms": 500}
    return Changing(
        make, 2, name="changing", kafka=QUICK, state=state, worker={"leave": True}, sabotage=broken
    )


def live(workers: Changing, rounds: int) -> None:
    """Let a worker abort, die and come back; in each round it shares with another one."""
    one, other = workers.workers
    with workers.load():
        one.start()
        for _ in range(rounds):
            one.wait_for(REFUSED)
            other.start()
            other.wait_for("runs from")
            workers.wait_for_progress()
            one.kill()
            one.start()
            one.wait_for("runs from")
            other.stop()
        one.wait_for(REFUSED)
        one.wait_for_progress()
        one.kill()
        one.start()
        one.wait_for_progress()
    workers.end()


@sample("rounds", [0, 6])
def test_changes_in_place_reach_nobody(rounds: int, application: ApplicationFactory) -> None:
    live(team(application, ABORTS), rounds)


@pytest.mark.full
def test_without_copies_they_would(application: ApplicationFactory) -> None:
    with pytest.raises(AssertionError, match=r"nobody sent|and should be"):
        live(team(application, f"{ABORTS},share-everything"), 0)
