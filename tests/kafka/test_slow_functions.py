"""Records that outlast a transaction: who is to blame for it, and who is not."""

import signal
import time

import pytest

from tests.kafka import checking
from tests.kafka.apps import NAP
from tests.kafka.conftest import ApplicationFactory, TopicFactory
from tests.kafka.feeding import Row, feed, words
from tests.kafka.workers import QUICK, Application

pytestmark = pytest.mark.kafka

LIMIT_S = QUICK["transaction_timeout_ms"] / 1000
TOO_SLOW_S = LIMIT_S + 0.5  # and less than max_poll_interval_ms, at which the watchdog ends it
RECORDS = 1_000
CULPRIT = RECORDS // 2


@pytest.fixture
def napping(topic: TopicFactory, application: ApplicationFactory) -> Application:
    """An application whose functions sleep when they are told to."""
    return application("napping", topic("in", partitions=1), topic("out"), kafka=QUICK)


def test_a_stopped_process_goes_on_and_blames_no_record(napping: Application) -> None:
    """It was stopped in the middle of a record; nothing of that is there twice."""
    write(napping, Row("a", f"{NAP}0.5"))
    napping.start()
    napping.wait_for(f"asleep: {NAP}")
    napping.signal(signal.SIGSTOP)
    time.sleep(TOO_SLOW_S)
    napping.signal(signal.SIGCONT)
    napping.wait_drained()
    napping.stop()
    napping.check_map()
    assert napping.said(f"asleep: {NAP}") == 2
    assert napping.said("or the process was stopped. The records are run again") == 1


def test_a_function_that_sleeps_for_too_long_is_to_blame(napping: Application) -> None:
    """The second time; its record is named, among a thousand that were fetched with it."""
    write(napping, Row("a", f"{NAP}{TOO_SLOW_S}"))
    error = napping.start().fails().rstrip().splitlines()[-1]
    assert error.startswith("penstock.errors.DataError: Processing 1 records of "), error
    assert f"{napping.inputs[0]}/0 from offset {CULPRIT} took 4." in error
    assert "raise KafkaSettings.transaction_timeout_ms" in error
    assert napping.said(f"asleep: {NAP}") == 2


def test_a_record_that_takes_too_long_is_a_dead_letter(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    """Where there is a policy, its neighbours go on without it."""
    outputs = [topic("out"), topic("dead")]
    app = application("napping-letters", topic("in", partitions=1), outputs, kafka=QUICK)
    culprit = Row("a", f"{NAP}{TOO_SLOW_S}")
    write(app, culprit)
    app.run_through()
    (letter,) = app.read_output(1)
    told = dict(letter.headers or [])
    assert letter.value == str(culprit.value).encode()
    assert told["__penstock.error.offset"] == str(CULPRIT).encode()
    assert b"longer than the transaction may be open" in (told["__penstock.error.message"] or b"")
    kept = [record for record in app.read_inputs() if record.value != letter.value]
    checking.check_mapped(kept, app.read_output(0), bytes.upper)
    assert app.said(f"asleep: {NAP}") == 2


def write(app: Application, culprit: Row) -> None:
    """Write records with one in their middle that takes long."""
    rows = words(RECORDS)
    rows[CULPRIT] = culprit
    feed(app.servers, app.inputs[0], rows)
