"""Events of files: JSON, CSV and text, with and without a type, and what is wrong with a line."""

import datetime
import json
import os
import time
from dataclasses import dataclass

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.events.files import FileEvents
from penstock.cli.events.formats import Format, format_of
from penstock.cli.events.lines import Lines
from penstock.cli.events.model_loading import Model
from penstock.cli.events.models import Fields
from penstock.cli.events.parsers import parser_of
from penstock.cli.events.protocol import Due
from penstock.errors import DataError, TopologyError
from penstock.serde import avro
from penstock.serde.types import data_type

NOW = 1_700_000_000_000


class Order(msgspec.Struct):
    user: str
    total: float
    at: int
    paid: bool = False
    note: str | None = None


@dataclass
class Moment:
    at: datetime.datetime


def model(kind, serde=None):
    return Model(name=kind.__name__, type=kind, serde=serde or data_type(kind).serde)


@pytest.fixture
def events(tmp_path):
    """Write a file, and return its events."""

    def make(text, form=Format.JSONL, kind=None, serde=None, **fields):
        file = tmp_path / "events"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        found = None if kind is None else model(kind, serde)
        parser = parser_of(form, found)
        return FileEvents(Lines(str(file)), parser, model=found, fields=Fields(**fields))

    return make


def drain(events, block=3, back=None):
    """Take everything in blocks."""
    values, keys, times = [], [], []
    while not events.ended:
        rows = events.take(Due([NOW] * block, None if back is None else [back] * block))
        values += rows.values
        keys += rows.keys or []
        times += rows.times
    return values, keys, times


# Lines


@given(st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b""))), st.booleans())
def test_lines_are_those_of_the_file(tmp_path_factory, lines, ended):
    """Whether or not the last one has an end, with either kind of line end."""
    lines = [line.removesuffix(b"\r").removeprefix(b"\xef\xbb\xbf") for line in lines]
    file = tmp_path_factory.mktemp("lines") / "file"
    file.write_bytes(b"\r\n".join(lines) + (b"\r\n" if ended else b""))
    found, read = Lines(str(file)), []
    while not found.ended:
        if line := found.next(wait=True):
            read.append(line)
    # A last line without anything in it, and without an end, is none.
    expected = lines if ended and lines else lines[: -1 if lines and not lines[-1] else None]
    expected = expected or ([b""] if ended else [])
    assert read == list(enumerate(expected, 1))


def test_a_pipe_is_read_as_it_comes():
    """A line is there at once, half of one is waited for, and nobody waits for long."""
    out, into = os.pipe()
    lines = Lines(f"/dev/fd/{out}")
    os.write(into, b"one\ntw")
    assert lines.next(wait=True) == (1, b"one")
    begun = time.monotonic()
    assert lines.next(wait=True) is None
    assert lines.next(wait=False) is None
    assert time.monotonic() - begun < 5
    assert not lines.ended
    os.write(into, b"o\n")
    assert lines.next(wait=True) == (2, b"two")
    os.close(into)
    assert lines.next(wait=True) is None
    assert lines.ended
    os.close(out)


def test_what_cannot_be_read_is_told(tmp_path, monkeypatch):
    """A file that is not there, a folder, and a file that is no file of lines."""
    with pytest.raises(TopologyError, match=r"nothing cannot be read: No such file"):
        Lines(str(tmp_path / "nothing"))
    with pytest.raises(TopologyError, match="directory"):
        Lines(str(tmp_path))
    (tmp_path / "long").write_bytes(b"short\n" + b"x" * 600_000)
    monkeypatch.setattr("penstock.cli.events.lines.LONGEST", 300_000)
    lines = Lines(str(tmp_path / "long"))
    with pytest.raises(DataError, match=r"Line 2 of .*long has no end within 300,000 bytes"):
        for _ in range(5):
            lines.next(wait=True)


# Formats


def test_json_is_sent_as_it_stands(events):
    """Blank lines are no events, and nothing is written anew."""
    text = '\ufeff{"a": 1,  "b": [2]}\n\n  [3]\r\n"four"'
    values, keys, times = drain(events(text))
    assert values == [b'{"a": 1,  "b": [2]}', b"[3]", b'"four"']
    assert (keys, times) == ([], [NOW] * 3)


def test_json_with_a_type_is_written_by_its_serde(events):
    """Fields that the type does not know are left out; Avro is Avro."""
    text = '{"user": "ann", "total": 1, "at": 5, "more": true}\n'
    values, _, _ = drain(events(text, kind=Order))
    assert [msgspec.json.decode(value, type=Order) for value in values] == [Order("ann", 1.0, 5)]
    values, _, _ = drain(events(text, kind=Order, serde=avro(Order)))
    assert list(map(avro(Order).decode, values)) == [Order("ann", 1.0, 5)]


rows = st.lists(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), min_size=2, max_size=2),
    max_size=8,
)


@given(rows)
def test_csv_is_read_as_it_is_written(tmp_path_factory, rows):
    """Quotes, commas and line breaks in quotes: what Python's csv writes comes back."""
    import csv

    rows = [[cell.replace("\r", "").replace("\0", "") for cell in row] for row in rows]
    file = tmp_path_factory.mktemp("csv") / "rows.csv"
    with file.open("w", newline="", encoding="utf-8") as out:
        csv.writer(out, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *rows])
    values, _, _ = drain(FileEvents(Lines(str(file)), parser_of(Format.CSV, None)))
    assert [list(json.loads(value).values()) for value in values] == rows


def test_csv_with_a_type_has_its_types(events):
    """An empty cell is None or the default; text that is empty stays text."""
    text = "user,total,at,paid,note\nann,2.5,7,true,hi\n,1,8,,\n"
    values, _, _ = drain(events(text, Format.CSV, kind=Order))
    assert [msgspec.json.decode(value, type=Order) for value in values] == [
        Order("ann", 2.5, 7, True, "hi"),
        Order("", 1.0, 8, False, ""),
    ]


def test_text_is_any_line(events):
    """As it stands."""
    assert drain(events("a b\n\nc", Format.TEXT))[0] == [b"a b", b"", b"c"]


@pytest.mark.parametrize(
    ("path", "given", "found"),
    [
        ("a.jsonl", None, Format.JSONL),
        ("a.NDJSON", None, Format.JSONL),
        ("a.csv", None, Format.CSV),
        ("a.txt", None, Format.TEXT),
        ("-", None, Format.JSONL),
        ("a.csv", Format.TEXT, Format.TEXT),
    ],
)
def test_names_say_the_format(path, given, found):
    """What is given wins."""
    assert format_of(path, given) is found


def test_a_name_that_says_nothing_is_told():
    """With the option that helps; text has no fields that a model could be about."""
    with pytest.raises(TopologyError, match=r"events\.log .* --format jsonl, csv or text"):
        format_of("events.log", None)
    with pytest.raises(TopologyError, match="--model"):
        parser_of(Format.TEXT, model(Order))


# Keys and time


def test_keys_are_fields(events):
    """Text as it is, numbers as JSON; by its type where there is one."""
    text = '{"k": "é", "a": {"b": 1}}\n{"k": null, "a": {"b": 2.5}}\n'
    assert drain(events(text, key="k"))[1] == ["é".encode(), None]
    assert drain(events(text, key="a.b"))[1] == [b"1", b"2.5"]
    assert drain(events("user,n\nann,1\n", Format.CSV, key="n"))[1] == [b"1"]
    text = '{"user": "ann", "total": 1, "at": 5}\n'
    assert drain(events(text, kind=Order, key="at"))[1] == [b"\0\0\0\0\0\0\0\5"]


@pytest.mark.parametrize(
    ("text", "form", "unit", "time_ms", "back"),
    [
        ('{"at": 1700000000123}', Format.JSONL, None, 1_700_000_000_123, '{"at":1699999999123}'),
        ('{"at": 1700000000}', Format.JSONL, "s", 1_700_000_000_000, '{"at":1699999999}'),
        ('{"at": 1700000000.5}', Format.JSONL, "s", 1_700_000_000_500, '{"at":1699999999.5}'),
        ('{"at": "2023-11-14T22:13:20Z"}', Format.JSONL, None, 1_700_000_000_000,
         '{"at":"2023-11-14T22:13:19.000+00:00"}'),
        ("at\n1700000000123\n", Format.CSV, None, 1_700_000_000_123, '{"at":"1699999999123"}'),
    ],
)  # fmt: skip
def test_event_time_is_a_field(events, text, form, unit, time_ms, back):
    """The record's timestamp is what it says; of a late event both are moved back."""
    assert drain(events(text, form, timestamp="at", unit=unit))[2] == [time_ms]
    values, _, times = drain(events(text, form, timestamp="at", unit=unit), back=1_000)
    assert (values, times) == ([back.encode()], [time_ms - 1_000])


def test_event_time_is_a_field_of_a_type(events):
    """Of a dataclass and a Struct."""
    text = '{"at": "2023-11-14T22:13:20Z"}'
    values, _, times = drain(events(text, kind=Moment, timestamp="at"), back=1_000)
    assert (values, times) == ([b'{"at":"2023-11-14T22:13:19Z"}'], [NOW - 1_000])
    text = '{"user": "ann", "total": 1, "at": 5000}'
    values, _, times = drain(events(text, kind=Order, timestamp="at"), back=1_000)
    assert (json.loads(values[0])["at"], times) == (4_000, [4_000])


def test_late_events_without_a_time_field_are_late_records(events):
    """The value stays as it is."""
    values, _, times = drain(events('{"a": 1}'), back=1_000)
    assert (values, times) == ([b'{"a": 1}'], [NOW - 1_000])


# What is wrong


@pytest.mark.parametrize(
    ("text", "options", "parts"),
    [
        ('{"a": 1}\n\n{"a" 2}\n', {}, ("Line 3 of", "is no JSON", "before it has been sent")),
        (b'{"a": 1}\n\n{"a": "\xff"}\n', {}, ("Line 3 of", "is no JSON")),
        ('{"a": 1}\n\n{"b": 2}\n', {"key": "a"}, ("Line 3 of", "no field 'a'")),
        ('{"a": 1}\n\n7\n', {"key": "a"}, ("Line 3 of", "no field 'a'")),
        ('{"a": 1}\n\n{"a": [2]}\n', {"key": "a"}, ("Line 3 of", "[2] is no key")),
        ('{"a": 1}\n\n{"a": "noon"}\n', {"timestamp": "a"}, ("Line 3 of", "noon", "ISO 8601")),
        ("a,b\n1,2\n3\n", {"form": Format.CSV}, ("Line 3 of", "1 fields", "header has 2")),
        ('a,b\n1,2\n3,"4\n', {"form": Format.CSV}, ("quote is not closed",)),
        ('a,b\n1,2\n3,"4"5\n', {"form": Format.CSV}, ("Line 3 of", "is no CSV")),
        (b"a\n1\n\xff\n", {"form": Format.CSV}, ("Line 3 of", "is no CSV")),
        (b"a\n\n\xff\n", {"form": Format.TEXT}, ("Line 3 of", "is no UTF-8")),
        ('{"user": "a", "total": 1, "at": 2}\n\n{"user": "a", "total": "x", "at": 2}\n',
         {"kind": Order}, ("Line 3 of", "does not fit the model", "$.total")),
        ("user,total,at\na,1,2\nb,1,x\n", {"form": Format.CSV, "kind": Order},
         ("Line 3 of", "does not fit the model", "$.at")),
    ],
)  # fmt: skip
@pytest.mark.parametrize("block", [1, 2, 100])
def test_a_wrong_line_is_named_after_what_stands_before_it(events, text, options, parts, block):
    """One event comes out, and then the error with the number of the line."""
    source, sent = events(text, **options), []
    with pytest.raises(DataError) as caught:
        while not source.ended:
            sent += source.take(Due([NOW] * block)).values
    for part in parts:
        assert part in str(caught.value)
    assert len(sent) == (2 if options.get("form") is Format.TEXT else 1)


def test_a_header_is_held_against_the_model(events):
    """A field with a slip of the pen would be left out of every event otherwise."""
    with pytest.raises(DataError, match=r"Line 1 .*Order has no field 'usr'; its fields are user"):
        drain(events("usr,total,at\na,1,2\n", Format.CSV, kind=Order))
    with pytest.raises(DataError, match=r"Line 1 .*names 'a' twice"):
        drain(events("a,a\n1,2\n", Format.CSV))


def test_unknown_fields_of_a_model_are_told_before(events):
    """Key and event time are looked up in the type."""
    with pytest.raises(TopologyError, match="no field 'buyer'"):
        events("", kind=Order, key="buyer")
    with pytest.raises(TopologyError, match="no field 'then'"):
        events("", kind=Order, timestamp="then")
    with pytest.raises(TopologyError, match="at the top"):
        events("", timestamp="a.b")
