"""How the entries of stores are decoded for `penstock state`, and which are wanted."""

import struct

import pytest

import penstock as ps
from penstock.cli.changelogs import Last
from penstock.cli.entries import Wanted
from penstock.cli.layouts import Entry, Layout, as_key, layout_of, parsed
from penstock.errors import TopologyError
from penstock.serde.primitives import INT, STR
from penstock.serde.sessions import TIMER, Session, SessionsSerde
from penstock.serde.sliding import Piece, Sliding, SlidingSerde
from penstock.serde.timers import timed
from penstock.serde.windowed import pack_start
from penstock.state.definition import StoreDefinition


def integer(number):
    return struct.pack(">q", number)


THREE = integer(3)


def last(key=b"ann", value=THREE, at=5):
    return Last(key, value, at, 1)


def rows(text, of):
    return [entry.as_object() for entry in parsed(text).entries(of)]


def row(key, value, **more):
    return {"key": key, **more, "value": value, "timestamp": 5, "partition": 1}


@pytest.mark.parametrize(
    ("text", "of", "found"),
    [
        ("key-value str int", last(), [row("ann", 3)]),
        ("key-value int json", last(integer(-1), b'{"a":[1]}'), [row(-1, {"a": [1]})]),
        ("key-value json-sorted str", last(b'["a",1]', b"x"), [row(["a", 1], "x")]),
        ("key-value float float", last(struct.pack(">d", 0.5), struct.pack(">d", float("inf"))), [row(0.5, "inf")]),
        ("key-value windows 60000/60000 str int", last(pack_start(120_000) + b"ann"), [row("ann", 3, start=120_000, end=180_000)]),
        ("key-value windows 60000/30000+5 str int", last(pack_start(5) + b"ann"), [row("ann", 3, start=5, end=60_005)]),
        ("key-value gap 500 str sessions int", last(timed(TIMER, 9, b"ann"), b"\x90"), []),
        ("", last(b"\xff", b"x"), [{"key_hex": "ff", "value": "x", "timestamp": 5, "partition": 1}]),
        ("key-value list int str", last(), [row("ann", integer(3).decode())]),
    ],
)  # fmt: skip
def test_the_text_of_a_definition_decodes(text, of, found):
    assert rows(text, of) == found


def test_sessions_are_rows():
    value = SessionsSerde(INT).encode((Session(1, 2, 10), Session(700, 900, 20)))
    found = rows("key-value gap 500 str sessions int", last(b"\x01ann", value))
    assert found == [row("ann", 10, start=1, end=2), row("ann", 20, start=700, end=900)]


def test_sliding_windows_are_rows_with_their_ends():
    value = SlidingSerde(INT, 100).encode(Sliding(Piece(0, 1, 5), (Piece(7, 8, 10),)))
    found = rows("key-value sliding 100 str sliding int", last(b"\x01ann", value))
    assert found == [row("ann", 10, start=7, end=107)]


@pytest.mark.parametrize(
    ("of", "told"),
    [
        (last(b"\xff"), {"key_hex": "ff", "value_hex": integer(3).hex()}),
        (last(value=b"abc"), {"key": "ann", "value_hex": "616263"}),
    ],
)
def test_what_cannot_be_decoded_is_bytes_with_an_error(of, told):
    (found,) = rows("key-value str int", of)
    assert found.pop("error").startswith("key" if "key_hex" in told else "value")
    assert found == {**told, "timestamp": 5, "partition": 1}


def declared(shape):
    app = ps.App("shop")
    shape(app.stream("orders", key=str, value=int).group_by_key())
    return app.topology().stores[0]


@pytest.mark.parametrize(
    "shape",
    [
        lambda orders: orders.count(name="s"),
        lambda orders: orders.window(ps.tumbling("1m")).count(name="s"),
        lambda orders: orders.window(ps.hopping("1m", "10s")).count(name="s"),
        lambda orders: orders.window(ps.session("1m")).count(name="s"),
        lambda orders: orders.window(ps.sliding("1m")).count(name="s"),
        lambda orders: orders.aggregate(dict, lambda a, _: a, name="s", value=dict[str, int]),
    ],
)
def test_the_text_means_what_the_declaration_means(shape):
    """So that an application need not be at hand, only its id."""
    store = declared(shape)
    read = parsed(store.describe())
    assert read.key is not None
    assert read.value is not None
    assert StoreDefinition("s", read.key, read.value).describe() == store.describe()


def test_another_declaration_than_was_written_is_refused():
    store = StoreDefinition("totals", STR, STR)
    with pytest.raises(TopologyError, match="was written as 'key-value str int'"):
        layout_of("totals", store, "key-value str int")
    assert layout_of("totals", store, None) == Layout(STR, STR)


def entry(key, window=None, error=""):
    return Entry(key, 1, 5, window=window, error=error)


@pytest.mark.parametrize(
    ("wanted", "key", "takes"),
    [
        (Wanted(), "a", True),
        (Wanted(key="7"), 7, True),
        (Wanted(key="7"), "7", True),
        (Wanted(key="0a"), b"\n", True),
        (Wanted(key='["a", 1]'), ["a", 1], True),
        (Wanted(key="b"), "a", False),
        (Wanted(prefix="a"), "ab", True),
        (Wanted(prefix="b"), "ab", False),
        (Wanted(prefix="1"), 12, False),
        (Wanted(start="-5", stop="3"), -5, True),
        (Wanted(start="-5", stop="3"), 3, False),
        (Wanted(start="b"), "a", False),
        (Wanted(since_ms=5), "a", False),
    ],
)
def test_which_entries_are_wanted(wanted, key, takes):
    assert wanted.takes(entry(key)) is takes


def test_windows_are_wanted_by_their_start():
    wanted = Wanted(since_ms=10, until_ms=20)
    assert [wanted.takes(entry("a", (n, n + 10))) for n in (9, 10, 19, 20)] == [
        False,
        True,
        True,
        False,
    ]


def test_what_has_no_key_is_only_in_a_whole():
    broken = entry(b"a", error="key: ValueError")
    assert Wanted().takes(broken)
    assert not Wanted(key="a").takes(broken)
    assert not Wanted(prefix="a").takes(broken)


@pytest.mark.parametrize(("text", "like"), [("ann", 7), ("x", b"\x00"), ("{}", [1]), ("x", 0.5)])
def test_a_key_of_another_kind_is_refused(text, like):
    with pytest.raises(TopologyError, match="is no key of this store"):
        as_key(text, like)


def test_keys_without_an_order_have_no_range():
    with pytest.raises(TopologyError, match="have no order"):
        Wanted(start='{"a": 1}').takes(entry({"a": 2}))
