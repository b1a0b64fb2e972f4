"""Events made up from types: valid, typed, the same for the same seed."""

import dataclasses
import datetime
import decimal
import enum
import os
import re
import subprocess
import sys
import textwrap
import uuid
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.cli.events.keys import draw_keys, text_of
from penstock.cli.events.model_loading import Model, load_model
from penstock.cli.events.models import Fields, ModelEvents
from penstock.cli.events.protocol import Due
from penstock.errors import TopologyError
from penstock.serde import avro
from penstock.serde.types import data_type

NOW = 1_700_000_000_123


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Item(msgspec.Struct):
    sku: str
    quantity: int
    price: float


class Order(msgspec.Struct):
    id: str
    user: str
    items: list[Item]
    at: int
    status: Literal["new", "paid"]
    color: Color
    total: decimal.Decimal
    ok: bool
    raw: bytes
    number: uuid.UUID
    day: datetime.date
    when: datetime.datetime
    clock: datetime.time
    took: datetime.timedelta
    tags: set[str]
    kinds: frozenset[Color]
    by_name: dict[str, Item]
    pair: tuple[int, str]
    many: tuple[float, ...]
    either: int | str | None
    note: str | None = None


class Frozen(msgspec.Struct, kw_only=True, frozen=True):
    user: str
    timestamp: datetime.datetime


@dataclasses.dataclass
class Click:
    user_id: int
    url: str
    made: int = dataclasses.field(init=False, default=3)
    last: bool = dataclasses.field(kw_only=True, default=False)


class Page(TypedDict):
    path: str
    views: int


class Point(NamedTuple):
    x: float
    y: float


class Node(msgspec.Struct):
    name: str
    left: "Node | None" = None
    children: "list[Node]" = []


class Cat(msgspec.Struct, tag=True):
    name: str


class Dog(msgspec.Struct, tag=True):
    barks: bool


class Nothing(msgspec.Struct):
    pass


class Bounded(msgspec.Struct):
    age: Annotated[int, msgspec.Meta(ge=18, lt=21)]
    even: Annotated[int, msgspec.Meta(gt=0, multiple_of=2)]
    low: Annotated[int, msgspec.Meta(le=-5)]
    share: Annotated[float, msgspec.Meta(gt=0, lt=0.5)]
    code: Annotated[str, msgspec.Meta(min_length=12, max_length=12)]
    hash: Annotated[bytes, msgspec.Meta(min_length=20, max_length=20)]
    items: Annotated[list[int], msgspec.Meta(min_length=5)]
    few: Annotated[list[int], msgspec.Meta(max_length=1)]
    naive: Annotated[datetime.datetime, msgspec.Meta(tz=False)]


SHAPES = [
    Order, Frozen, Click, Page, Point, Node, Cat | Dog, Nothing, Bounded, Item, list[Item],
    dict[str, int], str, int, float, bytes, bool, Color, datetime.datetime,
]  # fmt: skip


def model(kind, **options):
    found = data_type(kind)
    return Model(name=getattr(kind, "__name__", str(kind)), type=kind, serde=found.serde, **options)


def values(events, rows=100, at=NOW):
    return [events.decode(value) for value in events.take(Due([at] * rows)).values]


@pytest.mark.parametrize("kind", SHAPES, ids=str)
def test_what_is_made_up_is_of_the_type(kind):
    """The type's own serde reads every event; a wrong one would be refused."""
    for value in values(ModelEvents(model(kind), 1), 300):
        checked = msgspec.to_builtins(value)
        assert msgspec.convert(checked, kind) == value


@pytest.mark.parametrize("kind", [Order, Bounded], ids=str)
def test_the_check_of_types_can_fail(kind):
    """The negative control: a value of another type is refused."""
    value = values(ModelEvents(model(kind), 1), 1)[0]
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(
            msgspec.to_builtins(value) | {msgspec.structs.fields(kind)[0].name: []}, kind
        )


@pytest.mark.parametrize("kind", SHAPES, ids=str)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32), sizes=st.lists(st.integers(0, 20), max_size=5))
def test_cuts_never_matter(kind, seed, sizes):
    """Any cutting into blocks gives the same events, so the same seed gives the same events."""
    whole, cut = ModelEvents(model(kind), seed), ModelEvents(model(kind), seed)
    expected = whole.take(Due([NOW] * sum(sizes))).values
    found = [value for size in sizes for value in cut.take(Due([NOW] * size)).values]
    # A set of several is written in any order; ours have one at most.
    assert found == expected


def test_seeds_differ():
    """Another seed gives other events."""
    made = {tuple(ModelEvents(model(Item), seed).take(Due([0] * 10)).values) for seed in range(20)}
    assert len(made) == 20


def test_a_seed_means_the_same_in_every_process():
    """Whatever Python's hash seed is, which decides the order of sets."""
    program = (
        "import hashlib; from tests.unit.test_models import *;"
        "rows = ModelEvents(model(Order), 5).take(Due([NOW] * 200)).values;"
        "print(hashlib.sha256(b''.join(rows)).hexdigest())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(said) == 1


def test_events_are_never_null():
    """Of an optional type as a whole there are only values: null would delete in a table."""
    assert None not in values(ModelEvents(model(Page | None), 1), 500)


def test_names_say_what_values_are():
    """Where a name is plain, values are what it says; others repeat, as real ones do."""

    class Named(msgspec.Struct):
        id: str
        sequence: int
        email: str
        user_id: str
        age: int
        latitude: float
        price: float
        country: str

    made = values(ModelEvents(model(Named), 1), 500)
    assert len({str(uuid.UUID(one.id)) for one in made}) == 500
    assert [one.sequence for one in made] == list(range(500))
    assert all(re.fullmatch(r"user-\d+@example\.com", one.email) for one in made)
    assert all(re.fullmatch(r"user-\d{1,3}", one.user_id) for one in made)
    assert all(18 <= one.age <= 90 and abs(one.latitude) <= 90 for one in made)
    assert all(one.price == round(one.price, 2) for one in made)
    assert {len(one.country) for one in made} == {2}


def test_optional_is_missing_once_in_ten():
    """And all members of an enum, a literal or a union appear."""
    made = values(ModelEvents(model(Order), 1), 5_000)
    assert 400 < sum(one.note is None for one in made) < 600
    assert {one.color for one in made} == set(Color)
    assert {one.status for one in made} == {"new", "paid"}
    assert {type(one.either) for one in made} == {int, str, type(None)}
    assert {len(one.items) for one in made} == {0, 1, 2, 3}


def test_what_contains_itself_ends():
    """With None, or an empty list."""
    assert {(one.left, len(one.children)) for one in values(ModelEvents(model(Node), 1))} == {
        (None, 0)
    }


# Event time


@pytest.mark.parametrize(
    ("hint", "unit", "expected"),
    [
        (int, None, NOW),
        (int, "s", NOW // 1000),
        (int, "us", NOW * 1000),
        (int, "ns", NOW * 1_000_000),
        (float, "s", NOW / 1000),
        (str, "iso", "2023-11-14T22:13:20.123+00:00"),
        (
            datetime.datetime,
            None,
            datetime.datetime(2023, 11, 14, 22, 13, 20, 123_000, datetime.UTC),
        ),
        (int | None, None, NOW),
    ],
)
def test_the_field_of_the_event_time_holds_it(hint, unit, expected):
    """In its unit, and moved back where the event is late."""
    kind = msgspec.defstruct("Event", [("happened", hint)])
    fields = Fields(timestamp="happened", unit=unit)
    events = ModelEvents(model(kind), 1, fields=fields)
    rows = events.take(Due([NOW, NOW + 5_000], [0, 5_000]))
    assert rows.times == [NOW, NOW]
    assert [events.decode(value).happened for value in rows.values] == [expected] * 2


def test_the_field_of_the_event_time_is_found_by_its_name():
    """If it is a number or a datetime; a Topic says it itself."""
    named = [("time", str), ("at", int), ("ts", str)]
    event = values(ModelEvents(model(msgspec.defstruct("Event", named)), 1), 1)[0]
    assert event.at == NOW
    assert str(NOW) not in (event.time, event.ts)
    assert values(ModelEvents(model(Frozen), 1), 1)[0].timestamp.timestamp() == NOW / 1000
    timed = model(Item, timestamp="quantity", unit="s")
    assert values(ModelEvents(timed, 1), 1)[0].quantity == NOW // 1000


# Keys


def keys(kind, fields=None, drawn=None, rows=200, **options):
    drawn = drawn and draw_keys(drawn, 1)
    events = ModelEvents(model(kind, **options), 1, fields=fields or Fields(), keys=drawn)
    return events, events.take(Due([NOW] * rows))


def test_a_field_is_the_key():
    """Written as a stream of that type reads it."""
    events, rows = keys(Order, Fields(key="user"))
    assert rows.keys == [events.decode(value).user.encode() for value in rows.values]
    events, rows = keys(Click, Fields(key="user_id"))
    serde = data_type(int).serde
    assert list(map(serde.decode, rows.keys)) == [events.decode(v).user_id for v in rows.values]
    events, rows = keys(Order, Fields(key="note"))
    notes = [events.decode(value).note for value in rows.values]
    assert None in notes
    assert rows.keys == [None if note is None else note.encode() for note in notes]


def test_keys_are_drawn_into_the_field():
    """zipf, uniform, in turn or each once; the field and the key are one."""
    _, rows = keys(Order, Fields(key="user"), "cycle:3", rows=6)
    assert rows.keys == [b"user-0", b"user-1", b"user-2"] * 2
    events, rows = keys(Click, Fields(key="user_id"), "counter", rows=3)
    assert [events.decode(value).user_id for value in rows.values] == [0, 1, 2]
    assert rows.keys == [n.to_bytes(8, "big") for n in range(3)]


def test_keys_are_drawn_beside_the_fields():
    """As text, or as the type that a Topic says; by that type where nothing says how."""
    _, rows = keys(Item, drawn="cycle:2", rows=3)
    assert rows.keys == [b"key-0", b"key-1", b"key-0"]
    _, rows = keys(Item, drawn="cycle:2", rows=2, keys=data_type(int, key=True))
    assert rows.keys == [bytes(8), bytes(7) + b"\1"]
    typed = data_type(Page, key=True)
    _, rows = keys(Item, rows=3, keys=typed)
    assert all(set(typed.serde.decode(key)) == {"path", "views"} for key in rows.keys)
    assert keys(Item)[1].keys is None


@pytest.mark.parametrize(
    ("text", "seen"), [("zipf:100", 100), ("zipf:100:2", 100), ("uniform:50", 50)]
)
def test_drawn_keys_keep_to_their_number(text, seen):
    """Zipf's first is the most frequent, by far."""
    found = draw_keys(text, 3)(20_000)
    assert set(found) <= set(range(seen))
    if text.startswith("zipf"):
        assert found.count(0) > 1.5 * found.count(1) > 2 * found.count(10)


@pytest.mark.parametrize("text", ["", "zipf", "zipf:0", "zipf:a", "cycle", "counter:3", "pareto:3"])
def test_wrong_draws_are_refused(text):
    """The error names the forms."""
    with pytest.raises(TopologyError, match=r"zipf:N, zipf:N:s, uniform:N, cycle:N or counter"):
        draw_keys(text, 0)


def test_keys_without_a_type_are_text_or_numbers():
    """Anything else is no key."""
    assert list(map(text_of, ["é", 3, 2.5, True, None])) == [
        "é".encode(), b"3", b"2.5", b"true", None,
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r'\{"a":1\} is no key'):
        text_of({"a": 1})


# What cannot be


class Endless(msgspec.Struct):
    inner: "Endless"


class Deep(msgspec.Struct):
    items: list[dict[str, Any]]


class Formed(msgspec.Struct):
    code: Annotated[str, msgspec.Meta(pattern="^[A-Z]+$")]


class Picky(msgspec.Struct):
    n: int

    def __post_init__(self) -> None:
        raise ValueError("never good enough")


@pytest.mark.parametrize(
    ("kind", "fields", "parts"),
    [
        (Endless, {}, ("Endless", "inner", "optional")),
        (Deep, {}, ("what is in items", "Any", "--template")),
        (Formed, {}, ("code", "pattern", "--from")),
        (Picky, {}, ("Picky", "never good enough")),
        (Order, {"key": "buyer"}, ("no field 'buyer'", "id, user, items")),
        (Order, {"key": "user.name"}, ("no field 'name'",)),
        (Order, {"timestamp": "color"}, ("Order.color", "event time")),
        (Order, {"timestamp": "then"}, ("no field 'then'",)),
        (Click, {"timestamp": "user_id", "unit": "iso"}, ("user_id", "iso")),
    ],
)
def test_what_cannot_be_made_is_told(kind, fields, parts):
    """The error names the type, the field, and what to do."""
    with pytest.raises(TopologyError) as caught:
        ModelEvents(model(kind), 1, fields=Fields(**fields))
    for part in parts:
        assert part in str(caught.value)


def test_a_field_that_cannot_be_written_as_a_key_is_told():
    """A Topic says what its keys are, and a field may be missing."""
    with pytest.raises(TopologyError, match=r"Item\.sku cannot be the key"):
        keys(Item, Fields(key="sku"), keys=data_type(int, key=True))
    inner = msgspec.defstruct("Outer", [("item", Item | None)])
    with pytest.raises(TopologyError, match=r"Outer\.item\.sku cannot be the key"):
        keys(inner, Fields(key="item.sku"))


def test_keys_are_drawn_into_text_and_integers_only():
    """A date has no form with a number in it."""
    with pytest.raises(TopologyError, match="day is date"):
        keys(Order, Fields(key="day"), "zipf:3")


# From the command line's words to a model


SHOP = """
    import dataclasses
    import msgspec
    import penstock as ps

    class Order(msgspec.Struct):
        user: str
        total: float
        at: int

    class View(msgspec.Struct):
        page: str

    orders = ps.Topic("orders", key=str, value=ps.serde.avro(Order), timestamp="at")
    as_avro = ps.serde.avro(View)
    anything = ps.serde.avro('{"type": "map", "values": "int"}')
    views = list[View]
    seven = 7
    app = ps.App("shop")
"""


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A file with models."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    file = tmp_path / f"shop_{uuid.uuid4().hex}.py"
    file.write_text(textwrap.dedent(SHOP))
    yield str(file)
    sys.modules.pop(file.stem, None)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("Order", "json"), ("orders", "avro"), ("as_avro", "avro"), ("views", "json")],
)
def test_models_are_classes_serdes_and_topics(shop, name, kind):
    """Each is written by its own serde."""
    found = load_model(f"{shop}:{name}")
    assert type(found.serde).__name__.lower().startswith(kind)
    assert values(ModelEvents(found, 1), 5)


def test_a_topic_brings_its_keys_and_event_time(shop):
    """All that the application says of it."""
    found = load_model(f"{shop}:orders")
    rows = ModelEvents(found, 1, keys=draw_keys("cycle:2", 1)).take(Due([NOW] * 2))
    assert (found.timestamp, rows.keys) == ("at", [b"key-0", b"key-1"])
    assert found.serde.decode(rows.values[0]).at == NOW


def test_avro_is_asked_for(shop):
    """Then the schema is derived from the class."""
    found = load_model(f"{shop}:Order", avro=True)
    assert found.serde == avro(found.type)


def test_modules_are_loaded_too(shop, monkeypatch):
    """From the current folder, by their name."""
    folder, _, name = shop.removesuffix(".py").rpartition("/")
    monkeypatch.chdir(folder)
    assert load_model(f"{name}:View").name == "View"


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (":Ordr", ("no 'Ordr'", "Order, View")),
        ("", ("which class", "Order, View", ":Order")),
        (":seven", ("'seven'", "Order, View")),
        (":app", ("'app'", "Order, View")),
        (":anything", ("is Any",)),
    ],
)
def test_what_is_no_model_is_told(shop, name, parts):
    """The error names what is there instead."""
    with pytest.raises(TopologyError) as caught:
        ModelEvents(load_model(f"{shop}{name}"))
    for part in parts:
        assert part in str(caught.value)


def test_a_file_that_is_not_there_is_told(shop):
    """With the files that are, and a command that fits."""
    with pytest.raises(TopologyError, match=r"does not exist.*shop_.*penstock produce"):
        load_model(shop.replace("shop_", "ship_") + ":Order")
