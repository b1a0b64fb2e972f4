"""What `penstock consume` does without a broker: positions, decoding, filters, usage."""

import json
import struct

import pytest
from typer.testing import CliRunner

from penstock.cli.consume import LAST, _default
from penstock.cli.consuming import Filter
from penstock.cli.decoding import Column, as_object, line
from penstock.cli.main import app
from penstock.cli.options import Kind
from penstock.cli.positions import Position, parse_position, parse_time
from penstock.errors import TopologyError

NOW = 1_700_000_000_000
DEEP = b"[" * 100_000


class Message:
    """A record."""

    def __init__(self, key=b"k", value=b"v", at=5, headers=None):
        self._fields = key, value, at, headers

    def topic(self):
        return "views"

    def partition(self):
        return 3

    def offset(self):
        return 17

    def key(self):
        return self._fields[0]

    def value(self):
        return self._fields[1]

    def timestamp(self):
        return 1, self._fields[2]

    def headers(self):
        return self._fields[3]


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("earliest", Position("earliest")),
        ("latest", Position("latest")),
        ("-5", Position("last", 5)),
        ("10m", Position("time", NOW - 600_000)),
        ("2023-11-14T22:13:20", Position("time", NOW)),
        ("2023-11-14T23:13:20+01:00", Position("time", NOW)),
        ("2023-11-14", Position("time", NOW - 80_000_000)),
    ],
)
def test_positions(text, position):
    assert parse_position(text, NOW) == position


@pytest.mark.parametrize("text", ["", "yesterday", "5", "-", "-1.5", "10 parsecs", "2023-13-01"])
def test_what_is_no_position_is_refused(text):
    with pytest.raises(TopologyError):
        parse_position(text, NOW)


@pytest.mark.parametrize(
    ("kind", "data", "text", "field"),
    [
        (None, None, "null", {"value": None}),
        (None, b"a\x1bb", r"a\x1bb", {"value": "a\x1bb"}),
        (None, b"\xff", "0xff (1 bytes)", {"value_hex": "ff"}),
        (None, struct.pack(">q", 7), "0x0000000000000007 (8 bytes)", {"value": "\0" * 7 + "\7"}),
        ("str", "ä".encode(), "ä", {"value": "ä"}),
        ("str", b"\xff", "0xff (1 bytes) (no str)", {"value_hex": "ff"}),
        ("int", struct.pack(">q", -5), "-5", {"value": -5}),
        ("int", b"abc", "abc (no int)", {"value_hex": "616263"}),
        ("float", struct.pack(">d", 0.5), "0.5", {"value": 0.5}),
        ("float", struct.pack(">d", float("inf")), "inf", {"value": "inf"}),
        ("bytes", b"abc", "0x616263", {"value_hex": "616263"}),
        ("json", b'{"a": [1, "\xc3\xa4"]}', '{"a": [1, "ä"]}', {"value": {"a": [1, "ä"]}}),
        ("json", b'"\\u001b[31m"', r'"\u001b[31m"', {"value": "\x1b[31m"}),
        ("json", b'"\\u202e\\ud800"', r'"\u202e\ud800"', {"value": "\u202e\ud800"}),
        ("json", b"NaN", "NaN (no json)", {"value_hex": b"NaN".hex()}),
        ("json", b"1e999", "1e999 (no json)", {"value_hex": b"1e999".hex()}),
        ("json", DEEP, f"{DEEP.decode()} (no json)", {"value_hex": DEEP.hex()}),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_value_is_decoded_or_shown_as_it_is(kind, data, text, field):
    column = Column("value", Kind(kind) if kind else None)
    assert column.show(data) == text
    assert column.field(data) == field
    json.dumps(field, allow_nan=False)


@pytest.mark.parametrize(
    ("kind", "text", "data", "other"),
    [
        (None, "ann", b"ann", b"bob"),
        ("str", "ann", b"ann", None),
        ("int", "5", struct.pack(">q", 5), b"5"),
        ("float", "5", struct.pack(">d", 5.0), b"5"),
        ("bytes", "ff00", b"\xff\x00", b"ff00"),
        ("json", '{"a": 1, "b": 2}', b'{"b":2,"a":1}', b"{"),
    ],
)
def test_a_key_is_found_by_what_it_means(kind, text, data, other):
    matches = Column("key", Kind(kind) if kind else None).matcher(text)
    assert matches(data)
    assert not matches(other)
    assert not matches(None)


@pytest.mark.parametrize(("kind", "text"), [("int", "five"), ("bytes", "xyz"), ("json", "{")])
def test_a_key_that_means_nothing_is_refused(kind, text):
    with pytest.raises(TopologyError, match="--key-type"):
        Column("key", Kind(kind)).matcher(text)


def test_a_filter_takes_what_all_of_it_takes():
    assert Filter().takes(Message())
    assert Filter(since_ms=5, until_ms=6).takes(Message(at=5))
    assert not Filter(since_ms=6).takes(Message(at=5))
    assert not Filter(until_ms=5).takes(Message(at=5))
    assert not Filter(lambda key: key == b"b", since_ms=0).takes(Message())


def test_a_record_is_a_line_or_an_object():
    message = Message(key=None, value=b"1\n2", headers=[("a\n", b"1"), ("b", None), ("c", b"\xff")])
    key, value = Column("key"), Column("value")
    shown = line(message, key, value, at="now", headers=True)
    assert shown == r"now  views/3 17  null  1\n2  [a\n=1, b=null, c=0xff (1 bytes)]"
    found = as_object(message, key, value, headers=True)
    assert found["headers"][2] == {"name": "c", "value_hex": "ff"}
    assert "headers" not in as_object(message, key, value, headers=False)


def test_where_it_begins_if_nothing_is_said():
    assert _default(follow=False, filtered=False, limit=None) == LAST
    assert _default(follow=False, filtered=False, limit=3) == "-3"
    assert _default(follow=True, filtered=False, limit=3) == "latest"
    assert _default(follow=True, filtered=True, limit=None) == "earliest"


@pytest.mark.parametrize("options", [["--limit", "0"], ["--key-type", "avro"], ["--nothing"], None])
def test_wrong_usage(options):
    arguments = ["consume"] if options is None else ["consume", "views", *options]
    assert CliRunner().invoke(app, arguments).exit_code == 2


@pytest.mark.parametrize(
    "options", [["--from", "soon"], ["--since", "soon"], ["--key", "x", "--key-type", "int"]]
)
def test_what_is_wrong_is_said_before_a_broker_is_asked(options):
    result = CliRunner().invoke(app, ["consume", "views", *options])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1


def test_times():
    assert parse_time("1h", NOW) == NOW - 3_600_000
