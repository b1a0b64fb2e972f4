"""A registry is not trusted: who it is, what it takes and where it leads to are bounded."""

import datetime
import logging
import ssl
import struct
import time
from http.server import BaseHTTPRequestHandler
from typing import Any

import msgspec
import psutil
import pytest

import penstock as ps
from penstock.errors import BrokerError, TopologyError
from penstock.serde.registry import MAX_REFERENCES, Registry
from penstock.serde.registry_http import MAX_ANSWER_BYTES
from tests.certificates import certify
from tests.unit.registry_double import RegistryDouble, registry_double


class Order(msgspec.Struct):
    """What is written and read."""

    id: str


RECORD = {"type": "record", "name": "Order", "fields": [{"name": "id", "type": "string"}]}
NOW = datetime.datetime.now(datetime.UTC)


@pytest.fixture
def registry():
    with registry_double() as double:
        yield double


def serde(registry: RegistryDouble, **config: Any) -> Any:
    return ps.serde.avro(Order, registry={"url": registry.url, "retries.wait.ms": 1, **config})


def framed(id: int, data: bytes = b"\x02a") -> bytes:
    return struct.pack(">bI", 0, id) + data


def answer(handler: BaseHTTPRequestHandler, status: int, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


# Who it is


@pytest.fixture
def certified(tmp_path):
    """Make a certificate that signs itself: the path of it, and what a server needs."""

    def make(host: str) -> tuple[str, ssl.SSLContext]:
        made = certify("registry", address=host)
        pem, key_pem = tmp_path / "certificate.pem", tmp_path / "key.pem"
        pem.write_text(made.certificate_pem)
        key_pem.write_text(made.key_pem())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem, key_pem)
        return str(pem), context

    return make


def test_a_certificate_is_verified(certified):
    """One that nobody vouches for is refused, one of a given authority is not."""
    authority, tls = certified("127.0.0.1")
    with registry_double(tls) as registry:
        id = registry.put("orders-value", RECORD)
        with pytest.raises(BrokerError, match="CERTIFICATE_VERIFY_FAILED"):
            serde(registry).decode(framed(id))
        assert registry.asked == []
        orders = serde(registry, **{"ssl.ca.location": authority})
        assert orders.decode(framed(id)) == Order("a")


def test_a_certificate_of_another_host_is_refused(certified):
    """Whoever vouches for it."""
    authority, tls = certified("127.0.0.2")
    with registry_double(tls) as registry:
        orders = serde(registry, **{"ssl.ca.location": authority})
        with pytest.raises(BrokerError, match=r"CERTIFICATE_VERIFY_FAILED.*mismatch"):
            orders.decode(framed(1))


def test_who_verifies_nothing_is_warned(certified, caplog):
    """Confluent's client can be told so."""
    _, tls = certified("127.0.0.1")
    with registry_double(tls) as registry:
        id = registry.put("orders-value", RECORD)
        with caplog.at_level(logging.WARNING, "penstock"):
            orders = serde(registry, **{"ssl.ca.location": False})
        assert "is not verified (ssl.ca.location is False)" in caplog.text
        assert orders.decode(framed(id)) == Order("a")


# Where it leads to


def test_redirects_are_not_followed(registry):
    """The schemas come from the host that was named, and from no other."""
    with registry_double() as other:
        id = other.put("orders-value", RECORD)
        registry.instead = lambda handler: answer(
            handler, 302, Location=f"{other.url}/schemas/ids/{id}", Content_Length="0"
        )
        with pytest.raises(BrokerError, match=r"302.* Look at its log, and at the URL"):
            serde(registry).decode(framed(id))
        assert other.asked == []


@pytest.mark.parametrize("path", ["/nowhere", "/nowhere/schemas"])
def test_a_wrong_path_is_no_records_fault(registry, path):
    """A registry says that it does not know a schema in words of its own."""
    orders = ps.serde.avro(Order, registry={"url": registry.url + path})
    with pytest.raises(BrokerError, match=r"404.*URL"):
        orders.decode(framed(1))


def test_an_answer_that_is_no_json_is_no_records_fault(registry):
    """Such as the page of a proxy that wants a login."""

    def page(handler: BaseHTTPRequestHandler) -> None:
        answer(handler, 200, Content_Length="13", Content_Type="text/html")
        handler.wfile.write(b"<html></html>")

    registry.instead = page
    with pytest.raises(BrokerError, match=r"answers, and not in JSON .* Correct the URL"):
        serde(registry).decode(framed(1))


# What it takes


def test_a_large_answer_is_not_read_to_its_end(registry):
    """It is refused for its record, and no more of it is kept than may be."""
    sent = 0

    def endless(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        answer(handler, 200, Transfer_Encoding="chunked")
        part = b" " * 2**20
        for _ in range(256):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
            sent += len(part)

    registry.instead = endless
    why = rf"schema 1 \(no subject that it tells, .*its answer has more than {MAX_ANSWER_BYTES}"
    with pytest.raises(ValueError, match=why):
        serde(registry).decode(framed(1))
    assert sent < 100 * 2**20  # two answers, and what is in the sockets


def test_an_answer_byte_by_byte_is_not_waited_for(registry):
    """Its timeout is one of the whole, and not of each byte."""

    def drip(handler: BaseHTTPRequestHandler) -> None:
        answer(handler, 200, Content_Length="100000")
        for _ in range(1_000):
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.02)

    registry.instead = drip
    orders = serde(registry, **{"timeout": 0.2, "max.retries": 0})
    with pytest.raises(BrokerError, match=r"ReadTimeout: the answer takes more than 0.2 s"):
        orders.decode(framed(1))


def test_a_compressed_answer_is_refused(registry):
    """A kilobyte of it can be a megabyte."""

    def packed(handler: BaseHTTPRequestHandler) -> None:
        assert handler.headers["Accept-Encoding"] == "identity"
        answer(handler, 200, Content_Length="3", Content_Encoding="gzip")
        handler.wfile.write(b"abc")

    registry.instead = packed
    with pytest.raises(BrokerError, match="the answer is compressed"):
        serde(registry).decode(framed(1))


def test_long_words_of_a_registry_are_cut(registry):
    """They end in logs and in the headers of dead letters."""
    unknown = "x" * 100_000
    id = registry.put("orders-value", {**RECORD, "type": unknown})
    with pytest.raises(ValueError, match=f"schema {id} .*UnknownType") as failed:
        serde(registry).decode(framed(id))
    assert len(str(failed.value)) < 1_000
    registry.instead = lambda handler: (
        answer(handler, 500, Content_Length=str(10**6)),
        handler.wfile.write(b"y" * 10**6),
    )[0]
    with pytest.raises(BrokerError) as refused:
        serde(registry).decode(framed(id))
    assert len(str(refused.value)) < 1_000


def test_an_id_that_has_no_bytes_is_refused(registry):
    """The wire format has four for it."""
    registry.put = lambda *_: 2**32
    with pytest.raises(TopologyError, match="has the id 4294967296"):
        serde(registry).prepare("orders", key=False, writes=True)


def test_references_are_counted(registry):
    """Schemas that refer to one another end, and so do chains of them."""
    loop = [{"name": "Other", "subject": "loop", "version": 1}]
    outer = {**RECORD, "fields": [{"name": "id", "type": "Other"}]}
    id = registry.put("loop", outer, references=loop)
    with pytest.raises(ValueError, match="UnknownType"):
        serde(registry).decode(framed(id))
    for level in range(MAX_REFERENCES + 5):
        next_one = [{"name": "Other", "subject": f"s{level + 1}", "version": 1}]
        id = registry.put(f"s{level}", outer | {"doc": str(level)}, references=next_one)
    registry.asked.clear()
    first = registry.subjects["s0"][0]
    with pytest.raises(ValueError, match=f"refers to more than {MAX_REFERENCES} schemas"):
        serde(registry).decode(framed(first))
    assert len(registry.asked) <= MAX_REFERENCES + 2


def test_a_missing_reference_is_the_schemas_fault(registry):
    """It says which."""
    missing = [{"name": "Other", "subject": "other", "version": 3}]
    id = registry.put("orders-value", RECORD, references=missing)
    with pytest.raises(ValueError, match=rf"schema {id} .*refers to subject other version 3: "):
        serde(registry).decode(framed(id))


def test_no_connection_is_left_open(registry):
    """Each question closes its own."""
    id = registry.put("orders-value", RECORD)
    orders = serde(registry)
    orders.prepare("orders", key=False, writes=True)
    orders.decode(framed(id))
    with pytest.raises(ValueError, match="not in the registry"):
        orders.decode(framed(99))
    port = int(registry.url.rpartition(":")[2])
    ours = psutil.Process().net_connections("tcp")
    assert [one for one in ours if one.raddr and one.raddr.port == port and one.status != "TIME_WAIT"] == []  # fmt: skip


def test_credentials_are_in_nothing_that_can_be_shown() -> None:
    """Neither in what the registry holds, nor in what is said where its settings are refused."""
    canary = "canary-5b1f"
    held = Registry({"url": "http://127.0.0.1:1", "basic.auth.user.info": f"ann:{canary}"})
    assert canary not in repr(vars(held))
    with pytest.raises(TopologyError) as refused:
        Registry({"url": "http://127.0.0.1:1", "no.such.setting": canary})
    assert canary not in str(refused.value)
    assert refused.value.__cause__ is refused.value.__context__ is None
