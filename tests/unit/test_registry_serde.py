"""Avro with a registry, against a double that speaks its HTTP API (`registry_double`)."""

import logging
import socket
import struct
from typing import Any

import msgspec
import pytest

import penstock as ps
from penstock.errors import BrokerError, DataError, TopologyError
from penstock.operators.each import EachFailed, decode_each
from penstock.runtime.preparation import prepare_serdes
from penstock.serde.types import data_type, format_of, is_canonical, is_immutable
from penstock.testing import TestDriver
from tests.unit.registry_double import RegistryDouble, registry_double

pytest.importorskip("httpx2", reason="needs penstock[registry]")


class Order(msgspec.Struct):
    """What is written and read."""

    id: str
    count: int = 1


class Id(msgspec.Struct):
    """A key."""

    id: str


def record(*fields: tuple[str, Any], name: str = "Order") -> dict[str, Any]:
    return {
        "type": "record",
        "name": name,
        "fields": [{"name": field, "type": of} for field, of in fields],
    }


@pytest.fixture
def registry():
    with registry_double() as double:
        yield double


def serde(registry: RegistryDouble, spec: Any = Order, **more: Any) -> Any:
    return ps.serde.avro(spec, registry={"url": registry.url, "retries.wait.ms": 1}, **more)


def ready(registry: RegistryDouble, spec: Any = Order, **more: Any) -> Any:
    found = serde(registry, spec, **more)
    found.prepare("orders", key=False, writes=True)
    return found


def framed(id: int, data: bytes) -> bytes:
    return struct.pack(">bI", 0, id) + data


def test_values_are_in_confluents_wire_format(registry):
    """A zero, the id of the schema in four bytes, and plain Avro."""
    registry.put("other", '"string"')
    orders = ready(registry)
    assert orders.encode(Order("a", 2)) == b"\x00\x00\x00\x00\x02" + b"\x02a\x04"
    data = orders.encode(Order("a", 2))
    assert orders.decode(data) == Order("a", 2)
    assert orders.decode_all([data, data]) == [Order("a", 2)] * 2


def test_confluents_own_serializer_understands_it(registry):
    """What Confluent's client writes is read, and the other way round."""
    from confluent_kafka.schema_registry import SchemaRegistryClient
    from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
    from confluent_kafka.serialization import MessageField, SerializationContext

    orders = ready(registry)
    context = SerializationContext("orders", MessageField.VALUE)
    strategy = {"subject.name.strategy.type": "TOPIC"}
    with SchemaRegistryClient({"url": registry.url}) as client:
        theirs = AvroSerializer(client, orders.schema.text, conf=strategy)
        assert theirs({"id": "a", "count": 2}, context) == orders.encode(Order("a", 2))
        back = AvroDeserializer(client, conf=strategy)
        assert back(orders.encode(Order("a", 2)), context) == {"id": "a", "count": 2}


def test_the_writers_schema_is_resolved_to_ours(registry):
    """Fields that came, went, and grew."""
    old = registry.put("orders-value", record(("note", "string"), ("id", "string")))
    orders = ready(registry)
    small = registry.put("orders-value", record(("id", "string"), ("count", "int")))
    column = [framed(old, b"\x02n\x02a"), orders.encode(Order("b", 2)), framed(small, b"\x02c\x06")]
    assert orders.decode_all(column) == [Order("a", 1), Order("b", 2), Order("c", 3)]


def test_a_schema_is_fetched_once(registry):
    """However many records have it."""
    id = registry.put("orders-value", record(("id", "string")))
    orders = serde(registry)
    for _ in range(3):
        assert orders.decode_all([framed(id, b"\x02a")] * 3) == [Order("a")] * 3
    assert registry.asked == [f"GET /schemas/ids/{id}"]


def test_parsed_schemas_are_bounded(registry, monkeypatch):
    """The least recently used one goes, and is fetched again when it comes again."""
    monkeypatch.setattr("penstock.serde.registry_serde.MAX_READERS", 2)
    ids = [registry.put("s", record(("id", "string"), (f"f{n}", "null"))) for n in range(3)]
    orders = serde(registry)
    for id in ids:
        orders.decode(framed(id, b"\x02a"))
    info = orders._reader_of.cache_info()
    assert (info.maxsize, info.currsize, info.misses) == (2, 2, 3)
    assert orders.decode(framed(ids[0], b"\x02a")) == Order("a")
    assert orders._reader_of.cache_info().misses == 4


@pytest.mark.parametrize(
    ("subject", "key", "expected"),
    [
        ("topic", False, "orders-value"),
        ("topic", True, "orders-key"),
        ("record", False, "Order"),
        ("topic_record", True, "orders-Order"),
    ],
)
def test_subjects_are_named_by_topic_record_or_both(registry, subject, key, expected):
    """As Confluent's strategies name them."""
    serde(registry, subject=subject).prepare("orders", key=key, writes=True)
    assert list(registry.subjects) == [expected]


def test_subjects_that_cannot_be_named_are_refused(registry):
    """A record's name needs a record, a topic's needs a topic."""
    with pytest.raises(TopologyError, match=r'this schema is string. Use subject="topic"'):
        serde(registry, str, subject="record")
    with pytest.raises(TopologyError, match=r'named per record. Use subject="record"'):
        serde(registry).prepare(None, key=False, writes=True)
    serde(registry, subject="record").prepare(None, key=False, writes=True)


def test_an_incompatible_schema_is_refused_at_the_start(registry):
    """The message names subject, version, id and what the registry says."""
    registry.put("orders-value", record(("id", "long")))
    why = (
        rf"The registry {registry.url} refuses the schema for subject orders-value \(version 1 has"
        r" id 1\): incompatible: field id is long, read as string .*HTTP status code 409"
    )
    with pytest.raises(TopologyError, match=why):
        ready(registry)


def test_what_cannot_be_read_is_said_at_the_start(registry):
    """Reading registers nothing: the subject's latest version has to be readable."""
    orders = serde(registry)
    orders.prepare("orders", key=False, writes=False)
    assert registry.subjects == {}
    registry.put("orders-value", record(("id", "string")))
    serde(registry).prepare("orders", key=False, writes=False)
    registry.put("orders-value", record(("count", "long")))
    why = r"subject orders-value cannot be read \(version 2, id 2, .*\): .* field id is missing"
    with pytest.raises(TopologyError, match=why):
        serde(registry).prepare("orders", key=False, writes=False)


def test_schemas_can_be_registered_by_others(registry):
    """Then they have to be there."""
    with pytest.raises(TopologyError, match=r"value is not in the registry .*it has no"):
        ready(registry, auto_register=False)
    registered = ready(registry).encode(Order("a"))
    assert ready(registry, auto_register=False).encode(Order("a")) == registered
    assert len(registry.schemas) == 1


def test_nothing_is_written_before_its_schema_is_registered(registry):
    """It would have no id."""
    with pytest.raises(TopologyError, match=r"Call prepare\(topic"):
        serde(registry).encode(Order("a"))


def test_an_unknown_id_is_the_records_fault(registry):
    """It is refused, without asking for it again at once; others are read."""
    orders = ready(registry)
    good, bad = orders.encode(Order("a")), framed(77, b"\x02a")
    registry.asked.clear()
    with pytest.raises(EachFailed) as failed:
        decode_each(orders, [good, bad, good, bad])
    assert set(failed.value.errors) == {1, 3}
    said = f"schema 77 is not in the registry {registry.url}: Schema 77 not found"
    assert str(failed.value.errors[3]).startswith(said)
    assert registry.asked.count("GET /schemas/ids/77") == 1


def test_refused_ids_are_asked_for_again_later(registry, monkeypatch):
    """Once some time has passed, and only so many are kept in mind."""
    monkeypatch.setattr("penstock.serde.registry_serde.REFUSED_SECONDS", 0.0)
    orders = ready(registry)
    with pytest.raises(ValueError, match="schema 2 is not"):
        orders.decode(framed(2, b"\x02a"))
    registry.put("orders-value", record(("id", "string")))
    assert orders.decode(framed(2, b"\x02a")) == Order("a")
    monkeypatch.setattr("penstock.serde.registry_serde.MAX_REFUSED", 5)
    for id in range(100, 120):
        with pytest.raises(ValueError, match="is not in the registry"):
            orders.decode(framed(id, b""))
    assert len(orders._refused) <= 5


@pytest.mark.parametrize(
    ("schema", "more", "why"),
    [
        (record(("count", "long")), {}, "cannot be read as .*: field id is missing"),
        (record(("id", "string"), name="Other"), {}, "it is record Other, read as record Order"),
        ("{}", {}, "no Avro schema"),
        ('"string"', {"schemaType": "PROTOBUF"}, "it is PROTOBUF, not Avro"),
        ("[" * 5_000, {}, "RecursionError"),
    ],
)
def test_a_schema_that_does_not_fit_is_named(registry, schema, more, why):
    """With its id, its subjects and versions, and the registry."""
    id = registry.put("orders-value", schema, **more)
    match = rf"schema {id} \(orders-value version 1, registry {registry.url}\): .*{why}"
    with pytest.raises(ValueError, match=match):
        serde(registry).decode(framed(id, b"\x02a"))


def test_types_of_other_subjects_are_found(registry):
    """A schema may refer to schemas of its registry."""
    registry.put("line", record(("item", "string"), name="Line"))
    reference = {"name": "Line", "subject": "line", "version": 1}
    outer = record(("line", "Line"))
    id = registry.put("orders-value", outer, references=[reference])
    full = record(("line", record(("item", "string"), name="Line")))
    assert serde(registry, full).decode(framed(id, b"\x02x")) == {"line": {"item": "x"}}


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x01\x00\x00\x00\x01\x02a", b'{"id":"a"}'])
def test_bytes_without_a_frame_are_refused(registry, data):
    """They were written by somebody else."""
    with pytest.raises(ValueError, match=r"it begins with .*not written with a schema registry"):
        ready(registry).decode(data)


def test_the_value_behind_the_frame_is_guarded(registry):
    """The limits hold for what a registry's schema allows as well."""
    id = registry.put(
        "orders-value", record(("id", "string"), ("n", {"type": "array", "items": "null"}))
    )
    orders = ready(registry)
    with pytest.raises(ValueError, match=r"AvroLimits\.max_values"):
        orders.decode(framed(id, b"\x02a\x80\xa8\xd6\xb9\x07\x00"))
    with pytest.raises(ValueError, match="1 bytes follow"):
        orders.decode(orders.encode(Order("a")) + b"\x00")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_registry_that_is_down_is_no_records_fault(registry):
    """A few attempts, and then a BrokerError: no record is skipped for it."""
    url = f"http://127.0.0.1:{free_port()}"
    orders: Any = ps.serde.avro(Order, registry={"url": url, "retries.wait.ms": 1})
    why = f"registry {url}, asked for schema 7, does not answer in 3 attempts: ConnectError"
    with pytest.raises(BrokerError, match=why):
        decode_each(orders, [framed(7, b"\x02a")])
    with pytest.raises(BrokerError, match="asked for subject orders-value"):
        orders.prepare("orders", key=False, writes=True)


def test_attempts_are_counted(registry):
    """Neither fewer than said nor more; what helps later is used."""
    registry.status = 503
    orders = serde(registry)
    with pytest.raises(BrokerError, match=r"answers: as told .HTTP status code 503"):
        decode_each(orders, [framed(1, b"\x02a")])
    assert len(registry.asked) == 3
    registry.status = None
    id = registry.put("orders-value", record(("id", "string")))
    assert orders.decode(framed(id, b"\x02a")) == Order("a")


def test_a_slow_registry_is_not_waited_for(registry):
    """Each attempt ends after its timeout."""
    registry.delay = 0.5
    config = {"url": registry.url, "timeout": 0.05, "retries.wait.ms": 1}
    orders: Any = ps.serde.avro(Order, registry=config)
    with pytest.raises(BrokerError, match="does not answer in 3 attempts: ReadTimeout"):
        orders.decode(framed(1, b"\x02a"))


def test_refused_credentials_are_the_clusters_fault(registry):
    """And are named as what to look at."""
    registry.status = 401
    with pytest.raises(BrokerError, match="credentials in registry="):
        serde(registry).decode(framed(1, b"\x02a"))


def test_credentials_are_sent_and_not_told(registry, caplog):
    """Those of the URL go into a header, and neither into messages nor into the log."""
    caplog.set_level(logging.DEBUG)
    orders: Any = ps.serde.avro(
        Order, registry=registry.url.replace("http://", "http://ann:s3cr%40t@")
    )
    orders.prepare("orders", key=False, writes=True)
    with pytest.raises(ValueError) as failed:
        orders.decode(framed(9, b""))
    assert registry.authorization == {"Basic YW5uOnMzY3JAdA=="}
    told = f"{failed.value!r} {orders!r} {vars(orders)!r} {caplog.text}"
    assert "s3cr" not in told
    assert "ann:" not in told


@pytest.mark.parametrize("wrong", ["localhost:8081", "", {}, {"url": 8081}])
def test_a_registry_needs_a_url(wrong):
    """Said when it is declared."""
    with pytest.raises(TopologyError, match="no URL that begins with http"):
        ps.serde.avro(Order, registry=wrong)


def test_unknown_settings_are_refused(registry):
    """With the client's words."""
    with pytest.raises(TopologyError, match="Unrecognized properties: tiemout"):
        ps.serde.avro(Order, registry={"url": registry.url, "tiemout": 1})


def test_a_missing_client_is_named(monkeypatch):
    """With the command that installs it."""

    def missing(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'httpx2'", name="httpx2")

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(TopologyError, match=r"httpx2 is not installed: pip install 'penstock\[reg"):
        from penstock.serde.registry import Registry

        Registry("http://localhost:8081")


def test_it_says_what_it_is(registry):
    """Its format does not change with the schema: a store's schema may evolve."""
    orders = serde(registry)
    assert data_type(orders).type is Order
    assert format_of(orders) == format_of(serde(registry, Id)) == "avro-registry"
    assert not is_immutable(orders)
    assert not is_canonical(orders)
    assert orders == serde(registry)
    assert hash(orders) == hash(serde(registry))
    assert orders != serde(registry, Id)
    assert orders != serde(registry, subject="record")


def test_a_test_driver_asks_no_registry(registry):
    """The schemas are those of the topics; what a worker asks afterwards, it asks the registry."""
    older = ps.Topic("orders", key=str, value=serde(registry, Id, subject="record"))
    renamed = record(("id", "string"), ("count", "long"), name="Id")
    app = ps.App("shop")
    orders = ps.Topic("orders", key=str, value=serde(registry, renamed))
    sink = ps.Topic("last", key=str, value=serde(registry))
    app.stream(orders).map(lambda order: Order(order["id"], order["count"]), value=Order).to(sink)
    with TestDriver(app) as driver:
        driver.topic(orders).send({"id": "a", "count": 2}, key="k")
        assert driver.topic(sink).read() == [("k", Order("a", 2))]
        with pytest.raises(DataError, match="field count is missing"):
            driver.topic(older).send(Id("b"), key="k")
        with pytest.raises(DataError, match="no topic of the test has schema 7"):
            driver.topic("orders").send_bytes(framed(7, b"\x02a"), key=b"k")
    assert registry.asked == []
    sink.value_type.serde.prepare("last", key=False, writes=True)
    assert sink.value_type.serde.encode(Order("a")) == framed(1, b"\x02a\x02")


def test_a_worker_prepares_every_topic_at_its_start(registry):
    """What it writes is registered, keys and changelogs too; what it reads is looked at."""
    registry.put("orders-value", record(("id", "string")))
    app = ps.App("shop")
    orders = app.stream("orders", key=serde(registry, Id), value=serde(registry))
    table = orders.group_by_key().reduce(lambda old, new: new, name="last")
    table.to("last-orders")
    prepare_serdes(app.topology())
    assert set(registry.subjects) == {
        "orders-value",
        "shop-last-changelog-key",
        "shop-last-changelog-value",
        "last-orders-key",
        "last-orders-value",
    }


def test_a_start_fails_where_a_topic_does_not_fit(registry):
    """Before a record is read."""
    registry.put("orders-value", record(("other", "string")))
    app = ps.App("shop")
    app.stream("orders", value=serde(registry)).to("out")
    with pytest.raises(TopologyError, match="subject orders-value cannot be read"):
        prepare_serdes(app.topology())


def test_serdes_without_anything_to_prepare_are_left_alone():
    """Which most are."""
    app = ps.App("shop")
    app.stream("orders", key=str, value=Order).group_by_key().count(name="n").to("out")
    prepare_serdes(app.topology())
