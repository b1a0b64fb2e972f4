"""Topic: a free, frozen value that applications and tests share."""

import dataclasses

import msgspec
import pytest

import penstock as ps
from penstock.errors import TopologyError
from penstock.serde.primitives import BYTES, INT, STR


class Order(msgspec.Struct):
    """A Struct."""

    id: str


def test_types_become_serdes():
    """A topic knows how to write its keys and values; left out, they are bytes."""
    topic = ps.Topic("orders", key=str, value=int)
    assert (topic.key, topic.value) == (STR, INT)
    assert (ps.Topic("raw").key, ps.Topic("raw").value) == (BYTES, BYTES)


def test_keys_are_written_canonically():
    """A Struct as a key has sorted fields, as a value not."""
    topic = ps.Topic("orders", key=dict[str, int], value=dict[str, int])
    assert topic.key.encode({"b": 1, "a": 2}) == b'{"a":2,"b":1}'
    assert topic.value.encode({"b": 1, "a": 2}) == b'{"b":1,"a":2}'


def test_a_topic_is_a_value():
    """Equal declarations are equal, can be keys, and never change."""
    one = ps.Topic("orders", key=str, value=Order, config={"retention.ms": "-1"})
    same = ps.Topic("orders", key=str, value=Order, config={"retention.ms": "-1"})
    assert one == same
    assert {one: 1}[same] == 1
    assert one != ps.Topic("orders", key=str, value=Order)
    assert one != ps.Topic("orders", key=str, value=dict)
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.name = "other"


def test_the_configuration_is_its_own():
    """Changing the mapping afterwards does not change the topic."""
    config = {"retention.ms": "-1"}
    topic = ps.Topic("orders", config=config)
    config["retention.ms"] = "0"
    assert topic.config == {"retention.ms": "-1"}


def test_unknown_arguments_are_refused():
    """A misspelled argument is an error."""
    with pytest.raises(TypeError):
        ps.Topic("orders", vlaue=str)
    with pytest.raises(TypeError):
        ps.Topic("orders", str)


def test_a_type_without_a_serde_is_refused():
    """What cannot be written fails where it is declared."""
    with pytest.raises(TopologyError, match="pass a serde of your own"):
        ps.Topic("orders", value=object())
