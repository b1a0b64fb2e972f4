"""Records that are small on the wire and huge in memory: 200 MiB of zeros in 204 kB.

The Kafka client decompresses a batch as a whole, and gzip without a limit. A worker survives one
such record, or ends with an error that says where it is; how much memory that takes is measured.
"""

import shutil

import pytest
from confluent_kafka import KafkaError, Producer

from tests.kafka import checking
from tests.kafka.conftest import ApplicationFactory, TopicFactory
from tests.kafka.feeding import Row, feed
from tests.kafka.usage import MIB, peak

pytestmark = pytest.mark.kafka

BOMB = 200 * MIB
# The worker itself, the record decompressed, its copy in Python, the text, and that in upper case.
MOST = 100 * MIB + 4 * BOMB


def bomb(servers: str, topic: str, codec: str = "gzip", size: int = BOMB) -> KafkaError | None:
    """Write one, and return why the broker does not take it."""
    problems: list[KafkaError | None] = []
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "message.max.bytes": 1_000_000_000,
            "compression.type": codec,
            "partitioner": "murmur2_random",
        }
    )
    producer.produce(topic, bytes(size), b"bomb", on_delivery=lambda e, _: problems.append(e))
    assert producer.flush(60) == 0
    return problems[0]


def test_one_in_the_input_is_a_dead_letter_and_its_neighbours_are_processed(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    """Its value is larger than the topic of dead letters takes, and is left out."""
    app = application("guarded", topic("in", 1), [topic("out", 1), topic("dead", 1)])
    feed(app.servers, app.inputs[0], [Row("a", "before")])
    assert bomb(app.servers, app.inputs[0]) is None
    feed(app.servers, app.inputs[0], [Row("a", "behind")])
    app.start()
    app.wait_drained()
    taken = peak(app.pid)
    app.stop()
    print(f"peak {taken / MIB:.0f} MiB")
    assert BOMB < taken < MOST
    assert [r.value for r in app.read_output(0)] == [b"BEFORE", b"BEHIND"]
    (letter,) = app.read_output(1)
    told = dict(letter.headers or [])
    assert letter.value is None
    assert (letter.key, told["__penstock.error.offset"]) == (b"bomb", b"1")


def test_one_that_stops_the_application_is_named(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    """With on_error="fail": topic, partition, offset, and what to do."""
    app = application("map", topic("in", 1), topic("out", 1))
    assert bomb(app.servers, app.inputs[0]) is None
    last = app.start().fails().rstrip().splitlines()[-1]
    assert f"{app.inputs[0]}/0 offset 0" in last
    assert "on_error='skip'" in last


def test_one_that_the_client_refuses_is_named(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    """It takes no more than receive.message.max.bytes of zstd, and stays before it."""
    app = application("map", topic("in", 1), topic("out", 1))
    feed(app.servers, app.inputs[0], [Row("a", "before")])
    assert bomb(app.servers, app.inputs[0], "zstd") is None
    text = app.start().fails()
    last = text.rstrip().splitlines()[-1]
    assert f"The batch at {app.inputs[0]}/0 offset 1 cannot be read" in last
    assert "more than the client takes" in last


def test_one_in_a_changelog_is_restored(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    """It is state like any other: whoever may write to a changelog may write anything."""
    app = application("count", topic("in", 1), topic("out", 1))
    feed(app.servers, app.inputs[0], [Row("a", "one")])
    app.run_through()
    assert bomb(app.servers, app.changelog("counts")) is None
    shutil.rmtree(app.state_dir / app.id / "counts")
    feed(app.servers, app.inputs[0], [Row("a", "two")])
    app.start()
    app.wait_drained()
    taken = peak(app.pid)
    app.stop()
    print(f"peak {taken / MIB:.0f} MiB")
    assert BOMB < taken < MOST
    assert app.read_output(0)[-1].value == (2).to_bytes(8, "big")


def test_a_topic_that_keeps_nothing_compressed_takes_none(
    topic: TopicFactory, application: ApplicationFactory
) -> None:
    """What docs/running.md advises: the broker holds its limit against what it decompresses."""
    guarded = topic("guarded", 1, compression_type="uncompressed")
    problem = bomb(application("map", guarded, guarded).servers, guarded, size=20 * MIB)
    assert problem is not None
    assert problem.code() == KafkaError.MSG_SIZE_TOO_LARGE
    left = topic("left", 1)
    assert bomb(application("map", left, left).servers, left, size=20 * MIB) is None, "the control"
    assert len(checking.read(application("map", left, left).servers, left).records) == 1
