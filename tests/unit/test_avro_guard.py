"""The guard: what fastavro writes passes, and nothing that passes hurts the process."""

import signal
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from penstock.serde.avro_guard import EMPTY_PER_BYTE, AvroLimits, Guard
from penstock.serde.avro_schema import parse
from penstock.serde.avro_serde import AvroReader, avro
from tests.unit import avro_poison
from tests.unit.avro_poison import ORDER, POISON, VALID
from tests.unit.avro_shapes import count, mutations, schema, shapes, values

TREE = {
    "type": "record",
    "name": "Tree",
    "fields": [
        {"name": "v", "type": "long"},
        {"name": "left", "type": ["null", "Tree"]},
        {"name": "rest", "type": {"type": "array", "items": "Tree"}},
    ],
}
trees: st.SearchStrategy[Any] = st.recursive(
    st.builds(lambda v: {"v": v, "left": None, "rest": []}, st.integers(-9, 9)),
    lambda inner: st.fixed_dictionaries(
        {"v": st.integers(-9, 9), "left": st.none() | inner, "rest": st.lists(inner, max_size=3)}
    ),
    max_leaves=12,
)


def guard(of: Any, **limits: int) -> Guard:
    parsed = parse(of)
    return Guard(parsed.parsed, parsed.named, AvroLimits(**limits))


def record(name: str, **fields: Any) -> Any:
    of = [{"name": field, "type": type} for field, type in fields.items()]
    return {"type": "record", "name": name, "fields": of}


def written(of: Any, value: Any) -> bytes:
    target = BytesIO()
    fastavro.schemaless_writer(target, of, value)
    return target.getvalue()


def run(how: str, *names: str) -> tuple[int, dict[str, str]]:
    """Decode poison in a process with 400 MB of memory: its exit code, and the outcomes."""
    file = Path(avro_poison.__file__)
    done = subprocess.run(
        [sys.executable, "-B", str(file), how, *names],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return done.returncode, dict(line.split("\t") for line in done.stdout.splitlines())


@given(st.data())
def test_what_fastavro_writes_passes(data):
    """Whatever the schema: the value ends where fastavro ended it, also behind a prefix."""
    shape = data.draw(shapes)
    found = written(schema(shape), data.draw(values(shape)))
    guard(schema(shape)).check(found)
    guard(schema(shape)).check(b"\x00\x00\x00\x00\x07" + found, 5)
    with pytest.raises(ValueError, match="1 bytes follow"):
        guard(schema(shape)).check(found + b"\x00")
    if found:
        with pytest.raises(ValueError):
            guard(schema(shape)).check(found[:-1])


@given(trees)
def test_recursive_values_pass(tree):
    """A schema that refers to itself is walked like others."""
    guard(TREE).check(written(TREE, tree))
    assert avro(TREE).decode(written(TREE, tree)) == tree


@given(st.data())
def test_the_guard_and_fastavro_agree_on_damaged_bytes(data):
    """What the guard lets pass, fastavro reads to its end, or refuses what is in it."""
    shape = data.draw(shapes)
    damaged = data.draw(mutations(written(schema(shape), data.draw(values(shape)))))
    try:
        guard(schema(shape)).check(damaged)
    except ValueError:
        return
    source = BytesIO(damaged)
    try:
        fastavro.schemaless_reader(source, schema(shape), None)
    except (ValueError, ArithmeticError):  # no text, no date, no UUID, too many digits
        return
    assert source.tell() == len(damaged)


@given(st.data())
def test_no_bytes_make_more_values_than_the_limit(data):
    """Walked or not: what is decoded holds at most `max_values`, and damage is a ValueError."""
    shape = data.draw(shapes)
    limits = AvroLimits(max_values=60)
    of = parse(schema(shape))
    try:
        reader = AvroReader(of, of, None, limits)
    except ValueError:
        assume(False)
    found = written(schema(shape), data.draw(values(shape)))
    for bytes_ in (found, data.draw(mutations(found)), data.draw(st.binary(max_size=40))):
        try:
            value = reader.read(bytes_)
        except ValueError:
            continue
        assert count(value) <= limits.max_values


def test_values_inside_each_other_are_counted():
    """Each record of a recursive schema adds to those that there are."""
    chain = guard(avro_poison.NESTED, max_values=40)
    chain.check(b"\x02" * 15 + b"\x00")
    with pytest.raises(ValueError, match=r"more than 40 values .AvroLimits\.max_values"):
        chain.check(b"\x02" * 45 + b"\x00")


def test_poison_is_refused_and_the_process_lives():
    """Every poison is a ValueError, in 400 MB of memory."""
    code, outcomes = run("guarded")
    assert code == 0
    assert set(outcomes) == set(POISON)
    assert {name for name, said in outcomes.items() if said != "ValueError"} == set()


def test_the_same_poison_kills_fastavro_alone():
    """The control: without the guard the process dies, or takes all memory that it can get."""
    code, outcomes = run("alone", "a megabyte of nested unions")
    assert (code, outcomes) == (-signal.SIGSEGV, {})
    code, outcomes = run("alone", "10^9 nulls")
    assert (code, outcomes) == (0, {"10^9 nulls": "MemoryError"})
    assert run("alone", "one byte more")[1] == {"one byte more": "decoded"}


def test_flat_records_are_not_walked():
    """Up to a size no bytes can do harm where the schema neither recurs nor has empty items."""
    limits = AvroLimits()
    assert guard({"type": "record", "name": "R", "fields": []}).free_bytes == limits.max_bytes
    assert guard(ORDER).free_bytes > 900_000
    assert guard(TREE).free_bytes == -1
    assert guard({"type": "array", "items": "null"}).free_bytes == -1
    assert guard({"type": "array", "items": avro_poison.WIDE}).free_bytes < 10
    pairs = {"type": "array", "items": record("P", a="long", b="long", c="boolean")}
    assert 700_000 < guard(pairs).free_bytes < 800_000


@pytest.mark.parametrize(
    ("limits", "match"),
    [
        ({"max_bytes": 5}, "it has 10 bytes, more than 5 .AvroLimits.max_bytes."),
        ({"max_values": 6}, "more than 6 values .AvroLimits.max_values."),
        ({"max_depth": 1}, "schema nests deeper than 1 levels .AvroLimits.max_depth."),
    ],
)
def test_each_limit_has_its_message(limits, match):
    """It names what was found, the limit, and the setting."""
    guard(ORDER).check(VALID)
    with pytest.raises(ValueError, match=match):
        guard(ORDER, **limits).check(VALID)


def test_depth_is_counted_in_levels():
    """As many records inside each other as the limit says, and none more."""
    of = avro_poison.NESTED
    guard(of, max_depth=5).check(b"\x02" * 4 + b"\x00")
    with pytest.raises(ValueError, match=r"AvroLimits\.max_depth"):
        guard(of, max_depth=5).check(b"\x02" * 5 + b"\x00")


def test_types_that_double_each_other_are_refused():
    """A short schema cannot say that each record has a billion values."""
    last: Any = {"type": "record", "name": "T0", "fields": [{"name": "f", "type": "null"}]}
    for level in range(1, 40):
        fields = [{"name": "a", "type": last}, {"name": "b", "type": f"T{level - 1}"}]
        last = {"type": "record", "name": f"T{level}", "fields": fields}
    with pytest.raises(ValueError, match="values in each record"):
        guard(last, max_values=1_000)
    with pytest.raises(ValueError, match="values without bytes in each record"):
        guard(last, max_values=2**62)


def test_values_without_bytes_are_few():
    """Beside the limit for all values: a chunk may be full of records with such items."""
    nulls = guard({"type": "array", "items": "null"})
    nulls.check(avro_poison.long(1_000) + b"\x00")
    more = f"more than 1000 values without bytes of their own, and {EMPTY_PER_BYTE} for each"
    for data in (avro_poison.long(1_013) + b"\x00", avro_poison.long(511) * 2 + b"\x00"):
        with pytest.raises(ValueError, match=more):
            nulls.check(data)
    nested = record("A", a=record("B", b=record("C", c="boolean")))
    items = guard({"type": "array", "items": nested})
    items.check(avro_poison.long(10_000) + bytes(10_000) + b"\x00")


def test_a_schema_full_of_nulls_is_refused():
    """Each of its records would be thousands of values without a byte."""
    guard(record("N", **{f"n{at}": "null" for at in range(999)}))
    with pytest.raises(ValueError, match="1001 values without bytes in each record"):
        guard(record("N", **{f"n{at}": "null" for at in range(1_000)}))


def test_long_decimals_are_refused():
    """Turning their bytes into digits would take the worker's time."""
    decimal = {"name": "D", "logicalType": "decimal", "precision": 9, "scale": 2}
    guard({**decimal, "type": "fixed", "size": 4_096})
    with pytest.raises(ValueError, match="a decimal of 4097 bytes"):
        guard({**decimal, "type": "fixed", "size": 4_097})
    text = guard({**decimal, "type": "bytes"})
    assert text.free_bytes == 4_096
    with pytest.raises(ValueError, match="a decimal has more than 4096 bytes"):
        text.check(avro_poison.long(4_097) + bytes(4_097))


@pytest.mark.parametrize("wrong", [{"max_bytes": 0}, {"max_values": 0}, {"max_depth": 151}])
def test_limits_have_limits(wrong):
    """A depth that would not protect is refused, and so is nothing at all."""
    with pytest.raises(ValueError, match="limits of Avro"):
        AvroLimits(**wrong)
