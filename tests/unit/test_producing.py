"""What producing adds up and where a key goes, without a broker."""

import pytest
from confluent_kafka import murmur2
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli import producing
from penstock.cli.producing import KeyPartitions, Summary
from penstock.errors import BrokerError

# org.apache.kafka.common.utils.UtilsTest.testMurmur2
JAVA_VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


def java_murmur2(data):
    """Transcribe org.apache.kafka.common.utils.Utils.murmur2; the result is a Java int."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = h * m & mask ^ k
    if rest := data[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    h ^= h >> 15
    return h - 2**32 if h >= 2**31 else h


def java_partition(key, partitions):
    """BuiltInPartitioner.partitionForKey: toPositive(murmur2(key)) % partitions."""
    return (java_murmur2(key) & 0x7FFFFFFF) % partitions


@pytest.mark.parametrize("key", JAVA_VECTORS)
def test_the_transcription_is_javas(key):
    """Kafka's own test vectors."""
    assert java_murmur2(key) == JAVA_VECTORS[key]


@given(st.binary(max_size=40), st.integers(1, 2**31 - 1))
def test_a_key_goes_where_java_sends_it(key, partitions):
    """The client's murmur2 is Java's default partitioner, the empty key included."""
    assert murmur2(key, partitions) == java_partition(key, partitions)
    assert KeyPartitions(partitions)[key] == java_partition(key, partitions)


def test_distinct_keys_are_counted_up_to_a_limit(monkeypatch):
    """Beyond the limit keys still find their partition, and the number is unknown."""
    monkeypatch.setattr(producing, "DISTINCT_KEYS_LIMIT", 3)
    partitions = KeyPartitions(4)
    for key in (b"a", b"b", b"a", b"c", b"c"):
        assert partitions[key] == java_partition(key, 4)
    assert partitions.distinct() == 3
    assert partitions[b"d"] == java_partition(b"d", 4)
    assert partitions.distinct() is None


def summary(**changes):
    fields = {
        "topic": "orders", "records": 10, "bytes": 100, "seconds": 2.0, "keys": 3,
        "first_timestamp": 1, "last_timestamp": 2, "partitions": {0: 10}, "failed": 0,
        "failure": "",
    }  # fmt: skip
    return Summary(**fields | changes)


def test_the_rate_is_of_acknowledged_records():
    """Records per second; 0 for a run that took no time."""
    assert summary().rate == 5.0
    assert summary(seconds=0.0).rate == 0.0


def test_lost_records_raise():
    """The error names the topic, the numbers and the first reason."""
    summary().raise_for_failed()
    with pytest.raises(BrokerError, match=r"^7 records for topic orders .*: timed out") as caught:
        summary(failed=7, failure="timed out").raise_for_failed()
    assert caught.value.topic == "orders"
