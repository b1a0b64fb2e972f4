"""Every output is there once, in its order, and the state on disk is what was committed."""

from collections.abc import Callable

import pytest
from penstock.testing.kafka_server import KafkaServer
from tests.kafka import checking
from tests.kafka.conftest import ApplicationFactory, TopicFactory
from tests.kafka.feeding import feed, words

pytestmark = pytest.mark.kafka

RECORDS = 10_000

# From input to output, and on after a clean stop


def test_a_map_goes_on_where_it_was_stopped(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("map", topic("words"), topic("upper"))
    feed(kafka.bootstrap_servers, app.inputs[0], words(RECORDS))
    app.run_through()
    feed(kafka.bootstrap_servers, app.inputs[0], words(RECORDS, first=RECORDS))
    app.run_through()
    app.check_map()
    app.check_ends()


def test_a_count_goes_on_where_it_was_stopped(
    kafka: KafkaServer, topic: TopicFactory, application: ApplicationFactory
) -> None:
    app = application("count", topic("words"), topic("counts"))
    feed(kafka.bootstrap_servers, app.inputs[0], words(RECORDS))
    app.run_through()
    app.check_count()
    feed(kafka.bootstrap_servers, app.inputs[0], words(RECORDS, first=RECORDS))
    app.run_through()
    app.check_count()
    app.check_ends("counts")
