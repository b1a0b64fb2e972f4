"""Where records of a cluster go: partitions as Kafka's clients choose them, sizes by topic."""

import pytest
from confluent_kafka import murmur2

from penstock.errors import DataError
from penstock.runtime import destinations
from penstock.runtime.destinations import ClusterDestinations


class Cluster:
    """What an admin client would answer, counted."""

    def __init__(self):
        self.topics = {"out": 7}
        self.lookups = 0
        self.sizes = []

    def look_up(self):
        """All topics."""
        self.lookups += 1
        return self.topics

    def max_bytes(self, topic):
        """The limit of one."""
        self.sizes.append(topic)
        return 1_000


def make(known=None):
    """Destinations that know some topics at the start."""
    cluster = Cluster()
    return cluster, ClusterDestinations(known or {}, {}, cluster.max_bytes, cluster.look_up)


def test_keys_have_the_clients_partitions():
    """Equal keys, equal partitions; an empty key has a hash like any other."""
    _, found = make({"out": 7})
    keys = [b"a", b"b", b"", b"a"]
    assert found.partitions("out", keys) == [murmur2(key, 7) for key in keys]


def test_null_keys_of_a_chunk_stay_together():
    """They go to one partition per chunk, the next chunk's to the next one."""
    _, found = make({"out": 3})
    chunks = [set(found.partitions("out", [None, None, None])) for _ in range(6)]
    assert all(len(partitions) == 1 for partitions in chunks)
    assert set().union(*chunks) == {0, 1, 2}


def test_a_full_memo_changes_nothing(monkeypatch):
    """When the remembered partitions are forgotten, null keys are still answered."""
    monkeypatch.setattr(destinations, "MEMO_KEYS", 4)
    _, found = make({"out": 7})
    keys = [None if n % 3 == 2 else b"%d" % n for n in range(30)]
    partitions = found.partitions("out", keys)
    assert [p for p, key in zip(partitions, keys, strict=True) if key] == [
        murmur2(key, 7) for key in keys if key
    ]
    assert len({p for p, key in zip(partitions, keys, strict=True) if key is None}) == 1


def test_an_unknown_topic_is_looked_up_once():
    """A topic that a function names may be new: it is asked for when it comes first."""
    cluster, found = make()
    for _ in range(3):
        found.partitions("out", [b"a"])
        assert found.max_message_bytes("out") == 1_000
    assert (cluster.lookups, cluster.sizes) == (1, ["out"])


def test_a_topic_that_does_not_exist_is_named():
    """The error carries the topic and the command that makes it."""
    _, found = make({"out": 7})
    for ask in (lambda: found.partitions("nope", [b"a"]), lambda: found.max_message_bytes("nope")):
        with pytest.raises(DataError, match="penstock topics nope --create 4") as caught:
            ask()
        assert caught.value.topic == "nope"
