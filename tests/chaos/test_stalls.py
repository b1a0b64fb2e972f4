"""A worker stalls in a function of the user's until another one has its tasks, and goes on.

Its process lives on, and so do the threads of its Kafka client: they notice that nobody polls, and
let its membership go. The watchdog, which would end it before, is off. What it still has in hand it
drops by itself, because its records have outlasted the transaction. Where it does not notice that,
it is fenced, and by whom depends on its transaction, so there are four of them:

itself: it notices.
before: it stalls with nothing written yet; its transaction begins when another one has its tasks,
    with a timeout as good as new. Only the group's generation refuses it.
open: some of its batch is written, and the broker is so slow in aborting what has timed out that
    the transaction is still open when it goes on. Only the group's generation refuses it.
aborted: the same, and the broker has aborted the transaction: the producer is fenced. (Workers that
    are stopped by a signal end up so too, in CI's share of time.)
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from penstock.runtime.exits import Exit
from penstock.testing.kafka_server import KafkaServer
from tests.chaos.sampling import sample
from tests.chaos.team import Team
from tests.kafka.apps import GOES_ON, PAUSE, PAUSES, Pause
from tests.kafka.conftest import BROKER, ApplicationFactory, applications
from tests.kafka.feeding import Row, feed_transaction, words
from tests.kafka.workers import SHORT, Application

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

PROTOCOLS = ("classic", "consumer")
CHUNK = 100
PARTITIONS = 4
WRITTEN = {
    "itself": 0,
    "before": 0,
    "open": 5 * CHUNK,
    "aborted": 5 * CHUNK,
}  # records of its batch
CASES = [
    ("classic", "before"),
    ("consumer", "before"),
    *((protocol, of) for of in ("itself", "open", "aborted") for protocol in PROTOCOLS),
]
FENCES = {
    "itself": "longer than the transaction may be open",
    "before": r"UNKNOWN_MEMBER_ID|ILLEGAL_GENERATION|STALE_MEMBER_EPOCH",
    "open": r"UNKNOWN_MEMBER_ID|ILLEGAL_GENERATION|STALE_MEMBER_EPOCH",
    "aborted": r"FENCED|INVALID_PRODUCER_EPOCH",
}


@pytest.fixture(scope="module")
def patient_kafka() -> Iterator[KafkaServer]:
    """A broker that aborts no transaction by itself for ten minutes."""
    never = {"transaction.abort.timed.out.transaction.cleanup.interval.ms": "600000"}
    with KafkaServer(settings=BROKER | never) as server:
        yield server


@sample("protocol, transaction", CASES)
def test_a_stalled_worker_goes_on_when_another_has_its_tasks(
    protocol: str, transaction: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    broker = request.getfixturevalue("patient_kafka" if transaction == "open" else "kafka")
    with applications(broker.bootstrap_servers, tmp_path) as make:
        unnoticed = {} if transaction == "itself" else {"sabotage": "forget-time"}
        workers = team(make, protocol, **unnoticed)
        workers.start()
        stall(workers, WRITTEN[transaction])
        opened = workers.open_transactions()
        assert bool(opened) == bool(WRITTEN[transaction]), opened
        with workers.load():
            stalled = let_another_take_over(workers)
            if transaction == "open":
                assert opened.keys() <= workers.open_transactions().keys()
            Pause(stalled.state_dir).end()
            fence = f"fails while .*({FENCES[transaction]})"
            stalled.wait_until(lambda: re.search(fence, since(stalled)) is not None, "it is fenced")
            stalled.wait_until(lambda: "runs from" in since(stalled), "it has tasks again")
        workers.end()


@pytest.mark.full
def test_without_the_generation_it_would_add_what_another_has_done(
    application: ApplicationFactory,
) -> None:
    workers = team(application, "classic", sabotage="unfence")
    workers.start()
    stall(workers, 0)
    with workers.load():
        stalled = let_another_take_over(workers)
        Pause(stalled.state_dir).end()
        stalled.wait_until(lambda: "runs from" in since(stalled), "it has tasks again")
    with pytest.raises(AssertionError, match="is there twice"):
        workers.end()


def test_the_watchdog_ends_a_stalled_worker_whose_tasks_another_takes_over(
    application: ApplicationFactory,
) -> None:
    """It is on by default; without it the worker lives on, as in all other tests here."""
    workers = team(application, "classic", watchdog=True)
    workers.start()
    stall(workers, 0)
    stalled, other = sorted(workers.workers, key=lambda worker: PAUSES not in worker.text())
    last = stalled.fails()
    assert stalled.status == Exit.WATCHDOG
    assert "it is stuck in Pause.upper (" in last
    assert f"Exit code {Exit.WATCHDOG:d}." in last
    Pause(stalled.state_dir).end()
    with workers.load():
        other.wait_until(lambda: len(other.tasks()) == 2 * PARTITIONS, "it has all tasks")
        workers.wait_for_progress_of(other.tasks())
    stalled.start().wait_for("Assigned: ")  # before it a signal may come too early
    workers.end()


def let_another_take_over(workers: Team) -> Application:
    """Wait until what the stalled one had is done by the other one, and return it."""
    stalled, other = sorted(workers.workers, key=lambda worker: PAUSES not in worker.text())
    lost = {task for task in stalled.tasks() if workers.first.inputs[0] in task}
    other.wait_until(lambda: other.tasks() >= lost, "the other one runs its tasks")
    workers.wait_for_progress_of(lost)
    assert GOES_ON not in stalled.text()
    return stalled


def team(
    make: ApplicationFactory, protocol: str, *, watchdog: bool = False, **options: Any
) -> Team:
    return Team(
        make,
        2,
        name="pausing",
        kafka=SHORT | {"protocol": protocol},
        commit={"interval_ms": 1_000, "min_interval_ms": 1_000, "chunk_records": CHUNK},
        state={"lock_timeout_ms": 500},
        worker={"watchdog": watchdog},
        **options,
    )


def stall(workers: Team, written: int) -> None:
    """Let one of them stall when so many records of its batch are written."""
    app = workers.first
    last = [Row("a", PAUSE), *words(CHUNK // 2, first=90_000_000)]
    rows = [row._replace(partition=0) for row in [*words(written, first=80_000_000), *last]]
    feed_transaction(app.servers, app.inputs[0], rows)
    workers.wait_until(lambda: workers.said(PAUSES) == 1, "one stalls")


def since(worker: Application) -> str:
    """Return what it has said since it went on."""
    return worker.text().partition(GOES_ON)[2]
