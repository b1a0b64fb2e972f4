"""Bad records under kills: a dead letter each, in the transaction of their neighbours.

PENSTOCK_SEED repeats a run.
"""

import random
import time
from collections.abc import Iterator

import pytest

from tests.kafka import checking
from tests.kafka.apps import BAD
from tests.kafka.bad import check_dead_letters, good
from tests.kafka.conftest import ApplicationFactory, TopicFactory
from tests.kafka.feeding import Load, Row, endless_words
from tests.kafka.workers import QUICK

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

KILLS = 5
PER_SECOND = 3_000


def rows() -> Iterator[Row]:
    for n, row in enumerate(endless_words()):
        yield row._replace(value=f"{BAD}-{n}") if n % 50 == 7 else row


def test_bad_records_under_kills(
    topic: TopicFactory, application: ApplicationFactory, draw: random.Random
) -> None:
    app = application("picky-count", topic("in"), [topic("out"), topic("dead")], kafka=QUICK)

    with Load(app.servers, {app.inputs[0]: rows()}, PER_SECOND):
        for _ in range(KILLS):
            app.start()
            app.wait_for_progress()
            time.sleep(draw.uniform(0, 0.5))
            app.kill()
    app.start()
    repartition = f"{app.id}-by-ending-repartition"
    topics = [*app.inputs, repartition]
    app.wait_through(
        lambda: checking.all_committed(app.servers, app.id, topics), "all is committed"
    )
    app.stop()
    check_dead_letters(app)
    counted = [r._replace(value=(r.value or b"").upper()) for r in good(app.read_inputs())]
    checking.check_updates(checking.counted(checking.by_ending(counted)), app.read_output(0))
    app.check_store("counts", complete=False)
