"""The partitioner is Kafka's: equal keys of all clients go to the same partition."""

import pytest
from confluent_kafka import murmur2 as murmur2_of_the_client
from hypothesis import given
from hypothesis import strategies as st

from penstock.topics.partitioner import murmur2, partition_for

# org.apache.kafka.common.utils.UtilsTest.testMurmur2, as signed integers.
JAVA = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize("key", JAVA)
def test_hashes_are_javas(key):
    """The vectors of Kafka's own test."""
    assert murmur2(key) == JAVA[key] % 2**32


@given(st.binary(max_size=40), st.integers(1, 1_000))
def test_partitions_are_those_of_the_client(key, partitions):
    """Ours and librdkafka's agree on every key, the empty one included."""
    assert partition_for(key, partitions) == murmur2_of_the_client(key, partitions)
    assert 0 <= partition_for(key, partitions) < partitions
