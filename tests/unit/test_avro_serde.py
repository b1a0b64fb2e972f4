"""Avro without a registry: values come back as they were, and everything else is refused."""

import dataclasses
import datetime
import decimal
import enum
import uuid
from io import BytesIO
from typing import Any, TypedDict

import fastavro
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import penstock as ps
from penstock.errors import TopologyError
from penstock.serde.avro_schema import parse
from penstock.serde.avro_serde import AvroReader
from penstock.serde.types import Serde, data_type, format_of, is_canonical, is_immutable
from penstock.testing import TestDriver
from tests.unit.avro_shapes import schema, shapes, values


class Kind(enum.Enum):
    """Symbols."""

    NEW = "new"
    OLD = "old"


class Line(msgspec.Struct):
    """A nested record."""

    item: str
    count: int = 1


class Order(msgspec.Struct):
    """A record with a field of each kind."""

    id: str
    total: float
    lines: list[Line]
    tags: dict[str, int]
    kind: Kind
    at: datetime.datetime
    day: datetime.date
    key: uuid.UUID
    raw: bytes = b""
    note: str | None = None
    codes: set[int] = msgspec.field(default_factory=set)


ORDER = Order(
    id="ä",
    total=1.5,
    lines=[Line("x"), Line("y", 2)],
    tags={"b": 1, "a": 2},
    kind=Kind.OLD,
    at=datetime.datetime(2026, 11, 21, 12, tzinfo=datetime.UTC),
    day=datetime.date(2026, 11, 21),
    key=uuid.UUID(int=7),
    raw=b"\x00\xff",
    note="n",
    codes={1, 2},
)


@dataclasses.dataclass
class Data:
    """A dataclass."""

    id: str


class Typed(TypedDict):
    """A TypedDict."""

    id: str


RECORD = {"type": "record", "name": "R", "fields": [{"name": "id", "type": "string"}]}
PRICE = {
    "type": "record",
    "name": "Price",
    "fields": [
        {
            "name": "amount",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
        }
    ],
}


class Price(msgspec.Struct):
    """A Struct whose type says less than its schema."""

    amount: decimal.Decimal


@pytest.mark.parametrize(
    ("serde", "value"),
    [
        (ps.serde.avro(Order), ORDER),
        (ps.serde.avro(Data), Data("a")),
        (ps.serde.avro(Typed), {"id": "a"}),
        (ps.serde.avro(RECORD), {"id": "a"}),
        (ps.serde.avro(Line | None), None),
        (ps.serde.avro(Line | None), Line("a")),
        (ps.serde.avro(str), "a"),
        (ps.serde.avro("long"), 5),
        (ps.serde.avro('{"type":"array","items":"bytes"}'), [b"a"]),
        (ps.serde.avro(Price, schema=PRICE), Price(decimal.Decimal("1.25"))),
        (ps.serde.avro(PRICE), {"amount": decimal.Decimal("1.25")}),
    ],
)
def test_values_come_back(serde, value):
    """Typed or as dicts, one by one and as a column."""
    data = serde.encode(value)
    assert serde.decode(data) == value
    assert type(serde.decode(data)) is type(value)
    assert serde.decode_all([data, data]) == [value, value]


def test_the_bytes_are_those_of_avro():
    """Any other library reads them with the schema, and is read."""
    serde = ps.serde.avro(Line)
    data = serde.encode(Line("a", 2))
    assert data == b"\x02a\x04"
    of = {
        "type": "record",
        "name": "Line",
        "fields": [{"name": "item", "type": "string"}, {"name": "count", "type": "long"}],
    }
    assert fastavro.schemaless_reader(BytesIO(data), of, None) == {"item": "a", "count": 2}


@given(st.data())
def test_any_value_of_any_schema_survives(data):
    """What Avro can say comes back as it was."""
    shape = data.draw(shapes)
    value = data.draw(values(shape))
    serde = ps.serde.avro(schema(shape))
    assert serde.decode(serde.encode(value)) == value


@given(st.permutations(["a", "b", "ä", "z"]))
def test_keys_have_ordered_maps(order):
    """Equal keys have equal bytes, in whatever order the entries were put in."""
    wanted = b"\x08\x02a\x02\x02b\x02\x02z\x02\x04\xc3\xa4\x02\x00"
    key = dict.fromkeys(order, 1)
    assert ps.serde.avro(dict[str, int]).encode(key) == wanted
    assert ps.serde.avro({"type": "map", "values": "long"}).encode(key) == wanted


@pytest.mark.parametrize(
    "data", [b"", b"\x02", b"\x02a\x04\x00", b"\x01", b"\x02\xff\x04", b'{"item":"a"}']
)
def test_bytes_of_something_else_are_refused(data):
    """Cut, longer, or no text."""
    with pytest.raises(ValueError):
        ps.serde.avro(Line).decode(data)
    with pytest.raises(ValueError):
        ps.serde.avro(Line).decode_all([data])


@pytest.mark.parametrize(
    ("serde", "wrong", "error"),
    [
        (ps.serde.avro(Line), {"item": "a", "count": 1}, TypeError),
        (ps.serde.avro(Data), "a", TypeError),
        (ps.serde.avro(RECORD), {"id": "a", "more": 1}, ValueError),
        (ps.serde.avro(RECORD), {}, ValueError),
        (ps.serde.avro(RECORD), {"id": 1}, TypeError),
        (ps.serde.avro(int), "a", TypeError),
    ],
)
def test_a_wrong_value_is_refused(serde, wrong, error):
    """Another class, a field too many or too few, or one of another type."""
    with pytest.raises(error):
        serde.encode(wrong)


def test_a_type_and_its_schema_have_to_fit():
    """A field that the schema lacks is not left out, and one of another type is no value."""
    with pytest.raises(ValueError, match="count"):
        ps.serde.avro(Line, schema={**RECORD, "fields": RECORD["fields"][:0]}).encode(Line("a"))
    with pytest.raises(msgspec.ValidationError, match=r"Expected `str`, got `int` - at `\$.id`"):
        fields = [{"name": "id", "type": "long"}]
        ps.serde.avro(Data, schema={**RECORD, "fields": fields}).decode(b"\x02")


def test_structs_that_are_no_records_need_another_declaration():
    """Also with a schema: what msgspec leaves out would be written as null."""

    class Sparse(msgspec.Struct, omit_defaults=True):
        id: str = "a"

    with pytest.raises(TopologyError, match="omit_defaults"):
        ps.serde.avro(Sparse, schema=RECORD)


@pytest.mark.parametrize("wrong", ["nonsense", {"type": "record"}, {"fields": []}])
def test_a_schema_that_is_none_is_refused(wrong):
    """When it is declared."""
    with pytest.raises(TopologyError, match="a schema that cannot be used"):
        ps.serde.avro(wrong)


def test_it_is_a_serde_and_says_what_it_is():
    """Its type is known to the topology, and its format changes with what decides the bytes."""
    serde: Any = ps.serde.avro(Line)
    assert isinstance(serde, Serde)
    assert data_type(serde).type is Line
    assert data_type(ps.serde.avro(RECORD)).type is dict
    assert format_of(serde).startswith("avro-")
    assert format_of(serde) != format_of(ps.serde.avro(RECORD))
    assert not is_immutable(serde)
    assert is_immutable(ps.serde.avro(str))
    assert not is_immutable(ps.serde.avro(list[int]))
    assert not is_canonical(serde)


def test_equal_declarations_are_equal_serdes():
    """Of one type and one format."""
    assert ps.serde.avro(Line) == ps.serde.avro(Line)
    assert hash(ps.serde.avro(Line)) == hash(ps.serde.avro(Line))
    assert ps.serde.avro(RECORD) == ps.serde.avro(RECORD)
    assert ps.serde.avro(Line) != ps.serde.avro(Data)
    assert ps.serde.avro(Line) != Line


def test_a_reader_resolves_what_another_schema_wrote():
    """Fields by name, promoted, left out, and with the default where there is none."""
    writer = parse({**RECORD, "fields": [{"name": "n", "type": "int"}, *RECORD["fields"]]})
    more = [{"name": "tags", "type": {"type": "array", "items": "string"}, "default": []}]
    reader = parse({**RECORD, "fields": [*RECORD["fields"], *more]})
    found = AvroReader(writer, reader, None, ps.serde.AvroLimits())
    first = found.read(b"\x0e\x02a")
    assert first == {"id": "a", "tags": []}
    first["tags"].append("changed")
    assert found.read(b"\x0e\x02a") == {"id": "a", "tags": []}


def test_limits_are_the_users():
    """A value beyond them is refused with the name of the limit."""
    serde = ps.serde.avro(list[int], limits=ps.serde.AvroLimits(max_values=5))
    assert serde.decode(serde.encode([1, 2, 3, 4])) == [1, 2, 3, 4]
    with pytest.raises(ValueError, match=r"AvroLimits\.max_values"):
        serde.decode(serde.encode([1, 2, 3, 4, 5]))


def test_an_application_reads_and_writes_avro():
    """Selectors know the fields, state is kept in it, and a bad record is named."""
    app = ps.App("orders", on_error="skip")
    lines = ps.Topic("lines", key=str, value=ps.serde.avro(Line))
    totals = ps.Topic("totals", key=ps.serde.avro(Data), value=ps.serde.avro(Line))

    def total(old: Line, new: Line) -> Line:
        return Line(new.item, old.count + new.count)

    stream = app.stream(lines).group_by_key().reduce(total, name="per-item")
    stream.to_stream().rekey(lambda line: Data(line.item), key=ps.serde.avro(Data), name="k").to(
        totals
    )
    with TestDriver(app) as driver:
        sent, read = driver.topic(lines), driver.topic(totals)
        sent.send(Line("a", 1), key="k")
        driver.crash()
        sent.send(Line("b", 2), key="k")
        assert read.read() == [(Data("a"), Line("a", 1)), (Data("b"), Line("b", 3))]
    with pytest.raises(TopologyError, match="Line has no field 'itme'"):
        ps.App("others").stream(lines).rekey("itme")
