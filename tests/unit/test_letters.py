"""Dead letters taken apart, counted and shown; what is shown is safe for a terminal."""

import json

import pytest
from typer.testing import CliRunner

from penstock.cli.letters import Letter, as_object, described, kinds, letter_of, newest
from penstock.cli.main import app
from penstock.cli.terminal import printable, shown, utc
from penstock.engine.failures import PREFIX

TOLD = {
    "class": "ValueError",
    "message": "no \x1b[31mred",
    "topic": "orders",
    "partition": "3",
    "offset": "17",
    "operator": "map-1 picky",
    "application": "shop",
}


class Message:
    """A message with headers."""

    def __init__(self, headers, key=b"k", value=b"v"):
        self._headers, self._key, self._value = headers, key, value

    def partition(self):
        return 2

    def offset(self):
        return 5

    def key(self):
        return self._key

    def value(self):
        return self._value

    def timestamp(self):
        return 1, 1_700_000_000_123

    def headers(self):
        return self._headers


def letter(offset=5, partition=2, at=1_000, value=b"v", **told):
    return Letter(partition, offset, b"k", value, at, [], {**TOLD, **told})


def test_headers_of_the_error_are_taken_apart_from_the_records_own():
    headers = [(PREFIX + name, text.encode()) for name, text in TOLD.items()]
    found = letter_of(Message([("a", b"1"), *headers, ("a", None)]))
    assert found.headers == [("a", b"1"), ("a", None)]
    assert found.told == TOLD
    assert (found.genuine, found.complete) == (True, True)


@pytest.mark.parametrize(
    ("headers", "genuine", "complete"),
    [
        (None, False, True),
        ([("class", b"x"), ("topic", b"t")], False, True),
        ([(PREFIX + "class", b"x")], False, True),
        ([(PREFIX + "class", b"x"), (PREFIX + "topic", b"t")], True, True),
        (
            [(PREFIX + "omitted", b"value"), (PREFIX + "class", b"x"), (PREFIX + "topic", b"t")],
            True,
            False,
        ),
    ],
)
def test_what_can_be_sent_again_is_genuine_and_complete(headers, genuine, complete):
    found = letter_of(Message(headers))
    assert (found.genuine, found.complete) == (genuine, complete)


def test_kinds_are_counted_with_their_times_and_with_what_waits():
    letters = [
        letter(offset=3, at=20),
        letter(offset=4, at=10),
        letter(offset=5, at=30),
        letter(offset=6, at=40, **{"class": "KeyError"}),
    ]
    first, second = kinds("dead", letters, {("dead", 2): 4})
    assert (first.error, first.count, first.waiting) == ("ValueError", 3, 2)
    assert (first.first_ms, first.last_ms) == (10, 30)
    assert (second.error, second.count, second.waiting) == ("KeyError", 1, 1)


def test_the_newest_are_those_with_the_last_timestamps():
    letters = [letter(partition=n % 3, offset=n, at=n) for n in range(30)]
    assert [found.timestamp for found in newest(letters, 4)] == [26, 27, 28, 29]


def test_all_that_is_known_is_shown_and_nothing_reaches_the_terminal_raw():
    text = described("dead", letter(value=b"\xff\x00"), waiting=True)
    for part in (
        "dead/2 offset 5",
        "orders/3 offset 17",
        "map-1 picky",
        "shop",
        "0xff00 (2 bytes)",
    ):
        assert part in text
    assert "\x1b" not in text
    assert r"no \x1b[31mred" in text


def test_an_object_has_text_or_hex():
    found = json.loads(json.dumps(as_object("dead", letter(value=b"\xff"), waiting=False)))
    assert (found["key"], found["value_hex"]) == ("k", "ff")
    assert found["error"] == TOLD
    assert "value" not in found


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (None, "null"),
        (b"", ""),
        ("größe".encode(), "größe"),
        (b"a\r\nb\tc", r"a\r\nb\tc"),
        (b"\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("\u202eabc".encode(), r"\u202eabc"),
        (b"\x9b31m", "0x9b33316d (4 bytes)"),
        ("\x9b31m".encode(), r"\x9b31m"),
    ],
)
def test_bytes_are_shown_on_one_line(data, text):
    assert shown(data) == text
    assert printable(text) == text


def test_times_out_of_range_are_shown_all_the_same():
    assert utc(10**18) == "1000000000000000000 ms"
    assert utc(None) == "-"


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["show"],
        ["show", "dead", "3"],
        ["show", "dead", "--limit", "0"],
        ["redrive"],
        ["x"],
    ],
)
def test_wrong_usage(arguments):
    assert CliRunner().invoke(app, ["dead-letters", *arguments]).exit_code == 2
