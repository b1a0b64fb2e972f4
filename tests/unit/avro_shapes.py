"""Schemas of all kinds and values of them, drawn by hypothesis."""

import datetime
import itertools
from typing import Any

from hypothesis import strategies as st

# What logical types are written with, and values that they say exactly.
LOGICAL: dict[str, tuple[Any, st.SearchStrategy[Any]]] = {
    "decimal": (
        {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
        st.decimals(-9_999_999, 9_999_999, places=2),
    ),
    "money": (
        {"type": "fixed", "size": 8, "logicalType": "decimal", "precision": 9, "scale": 2},
        st.decimals(-9_999_999, 9_999_999, places=2),
    ),
    "uuid": ({"type": "string", "logicalType": "uuid"}, st.uuids()),
    "date": ({"type": "int", "logicalType": "date"}, st.dates()),
    "time": ({"type": "long", "logicalType": "time-micros"}, st.times()),
    "at": (
        {"type": "long", "logicalType": "timestamp-micros"},
        st.datetimes(timezones=st.just(datetime.UTC)),
    ),
    "local": ({"type": "long", "logicalType": "local-timestamp-micros"}, st.datetimes()),
}
LEAVES = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "double": st.floats(allow_nan=False),
    "string": st.text(max_size=5),
    "bytes": st.binary(max_size=5),
    "enum": st.sampled_from(["A", "B", "C"]),
    "fixed": st.binary(min_size=3, max_size=3),
    "nothing": st.just(b""),
    "float": st.floats(allow_nan=False, width=32),
    **{name: values for name, (_, values) in LOGICAL.items()},
}

shapes: st.SearchStrategy[Any] = st.recursive(
    st.sampled_from(sorted(LEAVES)),
    lambda inner: st.one_of(
        st.tuples(st.just("array"), inner),
        st.tuples(st.just("map"), inner),
        st.tuples(st.just("record"), st.lists(inner, max_size=4)),
        st.tuples(st.just("twice"), inner),
        st.tuples(
            st.just("optional"), inner.filter(lambda of: of != "null" and of[0] != "optional")
        ),
    ),
    max_leaves=8,
).filter(lambda shape: shape != "null")


def schema(shape: Any, numbers: Any = None) -> Any:
    """The schema of a shape, whose named types have a number each."""
    numbers = numbers or itertools.count()
    name = f"N{next(numbers)}"
    if shape == "enum":
        return {"type": "enum", "name": name, "symbols": ["A", "B", "C"]}
    if shape in ("fixed", "nothing"):
        return {"type": "fixed", "name": name, "size": 3 if shape == "fixed" else 0}
    if isinstance(shape, str):
        of: Any = LOGICAL[shape][0] if shape in LOGICAL else shape
        return {**of, "name": name} if shape == "money" else of
    kind, of = shape
    if kind == "twice":  # a record, and again by its name
        first = schema(("record", [of]), numbers)
        fields = [{"name": "f0", "type": first}, {"name": "f1", "type": ["null", first["name"]]}]
        return {"type": "record", "name": name, "namespace": "some.where", "fields": fields}
    if kind == "record":
        fields = [{"name": f"f{at}", "type": schema(one, numbers)} for at, one in enumerate(of)]
        return {"type": "record", "name": name, "fields": fields}
    if kind == "optional":
        return ["null", schema(of, numbers)]
    return {"type": kind, "items" if kind == "array" else "values": schema(of, numbers)}


def values(shape: Any) -> st.SearchStrategy[Any]:
    """Values of a shape."""
    if isinstance(shape, str):
        return LEAVES[shape]
    kind, of = shape
    if kind == "record":
        return st.fixed_dictionaries({f"f{at}": values(one) for at, one in enumerate(of)})
    if kind == "twice":
        one = values(("record", [of]))
        return st.fixed_dictionaries({"f0": one, "f1": st.none() | one})
    if kind == "optional":
        return st.none() | values(of)
    if kind == "array":
        return st.lists(values(of), max_size=4)
    return st.dictionaries(st.text(max_size=3), values(of), max_size=4)


def count(value: Any) -> int:
    """How many values a value holds, itself among them."""
    if isinstance(value, dict):
        return 1 + sum(map(count, value.values()))
    return 1 + (sum(map(count, value)) if isinstance(value, list) else 0)


@st.composite
def mutations(draw: Any, data: bytes) -> bytes:
    """Bytes with a few of them changed, left out or put in."""
    found = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(found)))
        how = draw(st.sampled_from(["set", "cut", "insert", "drop"]))
        new = draw(st.sampled_from([0, 1, 2, 127, 128, 255]) | st.integers(0, 255))
        if how == "insert":
            found.insert(at, new)
        elif how == "cut":
            del found[at:]
        elif at < len(found):
            if how == "set":
                found[at] = new
            else:
                del found[at]
    return bytes(found)
