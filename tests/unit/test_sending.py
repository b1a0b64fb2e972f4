"""Where a key goes, without a broker."""

import pytest
from confluent_kafka import murmur2
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.events import sending
from penstock.cli.events.protocol import Rows
from penstock.cli.events.sending import KeyPartitions

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
    monkeypatch.setattr(sending, "DISTINCT_KEYS_LIMIT", 3)
    partitions = KeyPartitions(4)
    for key in (b"a", b"b", b"a", b"c", b"c"):
        assert partitions[key] == java_partition(key, 4)
    assert partitions.distinct() == 3
    assert partitions[b"d"] == java_partition(b"d", 4)
    assert partitions.distinct() is None


def test_records_without_a_key_go_round():
    """Evenly over the partitions, however they are cut into blocks, and among records with keys."""
    whole, cut = KeyPartitions(3), KeyPartitions(3)
    rows = Rows([b""] * 10, None, [0] * 10)
    assert whole.of(rows) == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
    assert [cut.of(Rows([b""], None, [0]))[0] for _ in range(10)] == KeyPartitions(3).of(rows)
    mixed = KeyPartitions(3).of(Rows([b""] * 3, [None, b"a", None], [0] * 3))
    assert mixed == [0, java_partition(b"a", 3), 1]
    assert whole.distinct() == 0
