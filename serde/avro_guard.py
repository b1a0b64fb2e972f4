"""Guards before Avro is decoded: fastavro sees only bytes that it survives, in bounded memory.

Two things kill a process inside fastavro, where nothing can catch them: nesting that
overflows the stack (8 kB of nested unions), and items without bytes (six bytes declare 10^9
nulls). Neither has to be looked for in every record.

Rule 1. Without recursion in the schema, nesting is what the schema says, and the schema is
        checked once.
Rule 2. An item of an array or a map that has at least `least` bytes and holds `values` values
        makes at most `values / least` of them per byte. So up to a size, `free_bytes`, no
        record can hold more than `max_values`, whatever its bytes are.
Rule 3. Values without bytes of their own (nulls, records) are at most MAX_EMPTY_VALUES in a
        record, and EMPTY_PER_BYTE more for each byte: many small ones are decoded at once.
Rule 4. Every other record, of a recursive schema, with items without bytes, or just large, is
        walked against the schema first, in Python.

What is not here: whether the value is the last thing in its bytes. Who decodes knows that from
where fastavro stopped. And bytes that fastavro takes leniently where it does no harm: a negative
index of a branch or a symbol counts from the end.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from penstock.serde.inspection import is_dict, is_list

# Of a decimal in `bytes`: turning longer ones into digits takes more than linear time.
MAX_DECIMAL_BYTES = 4_096
MAX_EMPTY_VALUES = 1_000
EMPTY_PER_BYTE = 4
MAX_DEPTH = 150  # of which schemas and records are walked on Python's stack
_MAX_VARINT_BYTES = 10


@dataclass(frozen=True, kw_only=True)
class AvroLimits:
    """What one value may take before it is decoded.

    Attributes:
        max_bytes: its size.
        max_values: values in it, those in arrays, maps and nested records counted too; each
            becomes a Python object.
        max_depth: records, arrays and maps inside each other. Also of a schema. At most 150.
    """

    max_bytes: int = 16 * 1024 * 1024
    max_values: int = 1_000_000
    max_depth: int = 100

    def __post_init__(self) -> None:
        if self.max_bytes < 1 or self.max_values < 1 or not 1 <= self.max_depth <= MAX_DEPTH:
            raise ValueError(
                "limits of Avro: max_bytes and max_values are at least 1, max_depth is from 1"
                f" to {MAX_DEPTH}; got {self}"
            )


class _Budget:
    """What is left of the values that a walk may still meet."""

    __slots__ = ("empty", "left", "total")

    def __init__(self, total: int, size: int) -> None:
        self.total = self.left = total
        self.empty = MAX_EMPTY_VALUES + EMPTY_PER_BYTE * size

    def take(self, count: int, of: "_Part") -> None:
        """Take what so many of a part hold at most."""
        self.left -= count * of.values
        if self.left < 0:
            raise ValueError(f"it holds more than {self.total} values (AvroLimits.max_values)")
        self.empty -= count * of.empty
        if self.empty < 0:
            raise ValueError(
                f"it holds more than {MAX_EMPTY_VALUES} values without bytes of their own, and"
                f" {EMPTY_PER_BYTE} for each of its bytes"
            )


# (data, where the value begins, levels that are left, budget) to where the value ends.
_Walk: TypeAlias = Callable[[bytes, int, int, _Budget], int]


class _Part(NamedTuple):
    """What is known of a part of a schema.

    Attributes:
        walk: over one of its values.
        least: bytes that each of its values has at least.
        values: values in it at most, items of its arrays and maps not counted.
        empty: how many of them have no byte of their own, at most.
        depth: levels of nesting.
    """

    walk: _Walk
    least: int
    values: int = 1
    empty: int = 0
    depth: int = 0


class Guard:
    """Hold bytes against a schema before they are decoded.

    Args:
        schema: as fastavro has parsed it.
        named: its named types.
        added: values that decoding may add to each record, for its reader's defaults.

    Attributes:
        free_bytes: so many bytes are safe without a check.

    Raises:
        ValueError: if the schema nests too deep, or says too much by itself.
    """

    def __init__(
        self, schema: Any, named: Mapping[str, Any], limits: AvroLimits, *, added: int = 0
    ) -> None:
        self._limits = limits
        self._schema = _Schema(named, limits.max_depth, added)
        self._root = root = self._schema.part(schema, 0)
        if root.values > limits.max_values:
            raise ValueError(
                f"the schema has {root.values} values in each record, more than"
                f" {limits.max_values} (AvroLimits.max_values)"
            )
        if root.empty > MAX_EMPTY_VALUES:
            raise ValueError(
                f"the schema has {root.empty} values without bytes in each record, more than"
                f" {MAX_EMPTY_VALUES}"
            )
        self.free_bytes = self._free_bytes()

    def _free_bytes(self) -> int:
        schema, limits = self._schema, self._limits
        if schema.recursive:
            return -1
        free = limits.max_bytes
        if schema.has_decimal:
            free = min(free, MAX_DECIMAL_BYTES)
        for item in schema.items:
            if item.least == 0:
                return -1
            free = min(free, (limits.max_values - self._root.values) * item.least // item.values)
            if item.empty > EMPTY_PER_BYTE * item.least:
                left = MAX_EMPTY_VALUES - self._root.empty
                free = min(free, left * item.least // item.empty)
        return free

    def check(self, data: bytes, start: int = 0) -> None:
        """Walk a value from where it begins to the end of the bytes.

        Raises:
            ValueError: if it is larger or deeper than the limits allow, ends early, or is
                followed by more bytes.
        """
        limits = self._limits
        size = len(data) - start
        if size > limits.max_bytes:
            raise ValueError(
                f"it has {size} bytes, more than {limits.max_bytes} (AvroLimits.max_bytes)"
            )
        budget = _Budget(limits.max_values, size)
        budget.take(1, self._root)
        try:
            end = self._root.walk(data, start, limits.max_depth, budget)
        except IndexError:
            raise ValueError("the bytes end in the middle of a value") from None
        if end > len(data):
            raise ValueError("the bytes end in the middle of a value")
        if end < len(data):
            raise ValueError(f"{len(data) - end} bytes follow the value")


class _Schema:
    """A schema on its way to a walk, and what was found in it."""

    def __init__(self, named: Mapping[str, Any], max_depth: int, added: int) -> None:
        self._named = named
        self._max_depth = max_depth
        self._added = added
        self._parts: dict[str, _Part] = {}
        self._open: set[str] = set()
        self.recursive = False
        self.has_decimal = False
        self.items: list[_Part] = []

    def part(self, schema: Any, level: int) -> _Part:
        """Compile a part of the schema that stands inside so many records, arrays and maps."""
        if is_list(schema):
            return self._union(schema, level)
        kind = schema["type"] if is_dict(schema) else schema
        if kind in ("record", "error"):
            return self._record(schema, self._deeper(level))
        if kind == "array":
            return self._several(schema["items"], self._deeper(level), keyed=False)
        if kind == "map":
            return self._several(schema["values"], self._deeper(level), keyed=True)
        if kind == "fixed":
            return _fixed_of(schema)
        if kind == "enum":
            return _Part(_enum(len(schema["symbols"])), 1)
        if kind == "bytes" and is_dict(schema) and schema.get("logicalType") == "decimal":
            self.has_decimal = True
            return _Part(_decimal, 1)
        return _PRIMITIVES.get(kind) or self._reference(kind, level)

    def _deeper(self, level: int, by: int = 1) -> int:
        if level + by > self._max_depth:
            raise ValueError(
                f"the schema nests deeper than {self._max_depth} levels (AvroLimits.max_depth)"
            )
        return level + by

    def _reference(self, name: str, level: int) -> _Part:
        if name in self._open:
            self.recursive = True
            return _Part(self._again(name), 0)
        known = self._parts.get(name)
        if known:
            self._deeper(level, known.depth)
        return known or self.part(self._named[name], level)

    def _again(self, name: str) -> _Walk:
        def walk(data: bytes, at: int, depth: int, budget: _Budget) -> int:
            part = self._parts[name]
            budget.take(1, part)
            return part.walk(data, at, depth, budget)

        return walk

    def _record(self, schema: Any, level: int) -> _Part:
        name: str = schema["name"]
        if name in self._open or name in self._parts:
            return self._reference(name, level - 1)
        fields: list[_Part] = []
        self._open.add(name)
        for field in schema["fields"]:
            fields.append(self.part(field["type"], level))
        self._open.remove(name)
        self._parts[name] = _Part(
            _record([field.walk for field in fields]),
            sum(field.least for field in fields),
            1 + self._added + sum(field.values for field in fields),
            1 + sum(field.empty for field in fields),
            1 + max((field.depth for field in fields), default=0),
        )
        return self._parts[name]

    def _several(self, of: Any, level: int, *, keyed: bool) -> _Part:
        item = self.part(of, level)
        if keyed:
            item = item._replace(least=item.least + 1, values=item.values + 1)
        self.items.append(item)
        return _Part(_blocks(item, keyed=keyed), 1, depth=1 + item.depth)

    def _union(self, schema: list[Any], level: int) -> _Part:
        branches: list[_Part] = []
        for branch in schema:
            if is_list(branch):
                raise ValueError("the schema has a union in a union")
            branches.append(self.part(branch, level))
        if not branches:
            raise ValueError("the schema has a union of nothing")
        return _Part(
            _union([branch.walk for branch in branches]),
            1 + min(branch.least for branch in branches),
            max(branch.values for branch in branches),
            # The branch's index is a byte of one of them.
            max(0, max(branch.empty for branch in branches) - 1),
            max(branch.depth for branch in branches),
        )


def _fixed_of(schema: Any) -> _Part:
    size = schema["size"]
    if not isinstance(size, int) or size < 0:
        raise ValueError(f"the schema has a fixed type of {size} bytes")
    if size > MAX_DECIMAL_BYTES and schema.get("logicalType") == "decimal":
        raise ValueError(f"the schema has a decimal of {size} bytes, over {MAX_DECIMAL_BYTES}")
    return _Part(_fixed(size), size, empty=0 if size else 1)


def _long(data: bytes, at: int) -> tuple[int, int]:
    """An integer, and where it ends."""
    value = shift = 0
    for _ in range(_MAX_VARINT_BYTES):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return (value >> 1) ^ -(value & 1), at
        shift += 7
    raise ValueError(f"an integer has more than {_MAX_VARINT_BYTES} bytes")


def _varint(data: bytes, at: int, _depth: int, _budget: _Budget) -> int:
    return _long(data, at)[1]


def _fixed(size: int) -> _Walk:
    return lambda _data, at, _depth, _budget: at + size


def _bytes(data: bytes, at: int, _depth: int, _budget: _Budget) -> int:
    size, at = _long(data, at)
    if size < 0:
        raise ValueError(f"a string or bytes of {size} bytes")
    return at + size


def _decimal(data: bytes, at: int, depth: int, budget: _Budget) -> int:
    end = _bytes(data, at, depth, budget)
    if end - at > MAX_DECIMAL_BYTES:
        raise ValueError(f"a decimal has more than {MAX_DECIMAL_BYTES} bytes")
    return end


def _enum(symbols: int) -> _Walk:
    def walk(data: bytes, at: int, _depth: int, _budget: _Budget) -> int:
        index, at = _long(data, at)
        if not 0 <= index < symbols:
            raise ValueError(f"symbol {index} of an enum with {symbols}")
        return at

    return walk


def _union(branches: list[_Walk]) -> _Walk:
    def walk(data: bytes, at: int, depth: int, budget: _Budget) -> int:
        index, at = _long(data, at)
        if not 0 <= index < len(branches):
            raise ValueError(f"branch {index} of a union with {len(branches)}")
        return branches[index](data, at, depth, budget)

    return walk


def _deeper(depth: int) -> int:
    if depth == 0:
        raise ValueError("it nests deeper than AvroLimits.max_depth allows")
    return depth - 1


def _record(fields: list[_Walk]) -> _Walk:
    def walk(data: bytes, at: int, depth: int, budget: _Budget) -> int:
        depth = _deeper(depth)
        for field in fields:
            at = field(data, at, depth, budget)
        return at

    return walk


def _blocks(item: _Part, *, keyed: bool) -> _Walk:
    """Blocks of items: how many, then the items; a negative count has its bytes behind it."""

    def walk(data: bytes, at: int, depth: int, budget: _Budget) -> int:
        depth = _deeper(depth)
        count, at = _long(data, at)
        while count:
            if count < 0:
                count = -count
                at = _varint(data, at, depth, budget)
            budget.take(count, item)
            for _ in range(count):
                before = at
                if keyed:
                    at = _bytes(data, at, depth, budget)
                at = item.walk(data, at, depth, budget)
                if at == before:  # an item without bytes: all of them are
                    break
            count, at = _long(data, at)
        return at

    return walk


_INT = _Part(_varint, 1)
_TEXT = _Part(_bytes, 1)
_PRIMITIVES: dict[str, _Part] = {
    "null": _Part(_fixed(0), 0, empty=1),
    "boolean": _Part(_fixed(1), 1),
    "int": _INT,
    "long": _INT,
    "float": _Part(_fixed(4), 4),
    "double": _Part(_fixed(8), 8),
    "bytes": _TEXT,
    "string": _TEXT,
}
