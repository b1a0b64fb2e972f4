"""One contract for schema registries: what the tests' double does, Apicurio Registry does."""

import struct
import uuid
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

import penstock as ps
from penstock.errors import BrokerError, TopologyError
from tests.contract.apicurio import apicurio, request
from tests.unit.registry_double import registry_double


class Order(msgspec.Struct):
    """What is written and read."""

    id: str
    count: int = 1


@pytest.fixture(scope="session")
def real() -> Iterator[str]:
    """Apicurio Registry, which as the double takes what is backward compatible."""
    with apicurio() as url:
        request("PUT", f"{url}/config", {"compatibility": "BACKWARD"})
        yield url


@pytest.fixture(params=["double", pytest.param("apicurio", marks=pytest.mark.kafka)])
def url(request: Any) -> Any:
    """The URL of a registry."""
    if request.param == "apicurio":
        yield request.getfixturevalue("real")
        return
    with registry_double() as double:
        yield double.url


@pytest.fixture
def client(url: str) -> Iterator[SchemaRegistryClient]:
    """Confluent's client, as other programs use it."""
    with SchemaRegistryClient({"url": url}) as found:
        yield found


@pytest.fixture
def topic() -> str:
    """A topic of the test's own: the registry is one for all."""
    return f"orders-{uuid.uuid4().hex[:8]}"


def record(*fields: tuple[str, Any], name: str = "Order") -> Any:
    of = [{"name": field, "type": type} for field, type in fields]
    return {"type": "record", "name": name, "fields": of}


def put(client: SchemaRegistryClient, subject: str, schema: Any, *references: Any) -> int:
    text = msgspec.json.encode(schema).decode()
    return client.register_schema(subject, Schema(text, "AVRO", list(references)))


def framed(id: int, data: bytes) -> bytes:
    return struct.pack(">bI", 0, id) + data


def ready(url: str, topic: str, **more: Any) -> Any:
    serde: Any = ps.serde.avro(Order, registry=url, **more)
    serde.prepare(topic, key=False, writes=True)
    return serde


def test_confluents_serializers_and_ours_are_one(url, client, topic):
    """Their bytes are ours, and each reads the other's."""
    orders = ready(url, topic)
    context = SerializationContext(topic, MessageField.VALUE)
    conf = {"subject.name.strategy.type": "TOPIC"}
    data = orders.encode(Order("a", 2))
    assert AvroSerializer(client, orders.schema.text, conf=conf)(
        {"id": "a", "count": 2}, context
    ) == data  # fmt: skip
    assert AvroDeserializer(client, conf=conf)(data, context) == {"id": "a", "count": 2}
    assert orders.decode(data) == Order("a", 2)


def test_older_schemas_are_resolved(url, client, topic):
    """A field that came, one that went."""
    old = put(client, f"{topic}-value", record(("id", "string"), ("note", "string")))
    orders = ready(url, topic)
    assert orders.decode(framed(old, b"\x02a\x02n")) == Order("a", 1)


def test_what_is_incompatible_is_refused_at_the_start(url, client, topic):
    """By the registry where we write, by our rules where we read."""
    id = put(client, f"{topic}-value", record(("id", "long")))
    there = rf"subject {topic}-value \(version 1 has id {id}\)"
    with pytest.raises(TopologyError, match=there):
        ready(url, topic)
    why = rf"subject {topic}-value cannot be read \(version 1, id {id}, .*field id is long"
    with pytest.raises(TopologyError, match=why):
        ps.serde.avro(Order, registry=url).prepare(topic, key=False, writes=False)  # type: ignore[attr-defined]


def test_an_unknown_id_is_the_records_fault(url):
    """And names the registry."""
    orders: Any = ps.serde.avro(Order, registry=url)
    with pytest.raises(ValueError, match=rf"schema 123456 is not in the registry {url}"):
        orders.decode(framed(123_456, b"\x02a"))


def test_a_subject_that_is_not_there_is_no_fault(url, topic):
    """Nobody has written to the topic yet. Nothing is registered for who reads it."""
    orders: Any = ps.serde.avro(Order, registry=url)
    orders.prepare(topic, key=False, writes=False)
    with pytest.raises(TopologyError, match=rf"{topic}-value is not in the registry .*no version"):
        ready(url, topic, auto_register=False)


def test_schemas_can_be_registered_by_others(url, topic):
    """Then they are looked up."""
    data = ready(url, topic).encode(Order("a"))
    assert ready(url, topic, auto_register=False).encode(Order("a")) == data


def test_types_of_other_subjects_are_found(url, client, topic):
    """A schema may refer to schemas of its registry, a union or an array as well."""
    put(client, f"{topic}-order", record(("id", "string"), ("count", "long")))
    to = SchemaReference("Order", f"{topic}-order", 1)
    id = put(client, f"{topic}-value", {"type": "array", "items": "Order"}, to)
    full = {"type": "array", "items": record(("id", "string"), ("count", "long"))}
    orders: Any = ps.serde.avro(full, registry=url)
    orders.prepare(topic, key=False, writes=False)
    assert orders.decode(framed(id, b"\x02\x02a\x04\x00")) == [{"id": "a", "count": 2}]


def test_a_url_that_is_no_registrys_is_no_records_fault(url):
    """It answers, but not as a registry does that lacks a schema."""
    orders: Any = ps.serde.avro(Order, registry=f"{url}/nowhere")
    with pytest.raises(BrokerError, match="404"):
        orders.decode(framed(1, b"\x02a"))


def test_keys_have_subjects_of_their_own(url, client, topic):
    """Beside those of values."""
    serde: Any = ps.serde.avro(str, registry=url)
    serde.prepare(topic, key=True, writes=True)
    assert client.get_latest_version(f"{topic}-key").version == 1
