"""Guards before Avro is decoded: fastavro sees only bytes that it survives, in bounded memory.

Two things kill a process inside fastavro, where nothing can catch them: nesting that
overflows the stack (8 kB of nested unions), and items without bytes (six bytes declare 10^9
nulls). Neither has to be looked for in every record.

Rule 1. Without recursion in the schema, nesting is what the schema says, and the schema is
        checked once.
Rule 2. An item of an array or a map that has at least `least` bytes and holds `values` values
        makes at most `values / least` of them per byte. So up to a size, `free_bytes`, no
        record can hold more than `max_values`, whatever its bytes are.
Rule 3. Every other record, of a recursive schema, with items without bytes, or just large, is
        walked against the schema first, in Python.

What is not here: whether the value is the last thing in its bytes. Who decodes knows that from
where fastavro stopped.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

# Of a decimal in `bytes`: turning longer ones into digits takes more than linear time.
MAX_DECIMAL_BYTES = 4_096
# Items that take no bytes: a chunk of such records must not hold a million values in each.
MAX_EMPTY_VALUES = 1_000
_MAX_VARINT_BYTES = 10


@dataclass(frozen=True, kw_only=True)
class AvroLimits:
    """What one value may take before it is decoded.

    Attributes:
        max_bytes: its size.
        max_values: values in it, those in arrays, maps and nested records counted too; each
            becomes a Python object.
        max_depth: records, arrays and maps inside each other. Also of a schema.
    """

    max_bytes: int = 16 * 1024 * 1024
    max_values: int = 1_000_000
    max_depth: int = 100

    def __post_init__(self) -> None:
        if self.max_bytes < 1 or self.max_values < 1 or not 1 <= self.max_depth <= 200:
            raise ValueError(
                "limits of Avro: max_bytes and max_values are at least 1, max_depth is from 1"
                f" to 200; got {self}"
            )


class _Budget:
    """What is left of the values that a walk may still meet."""

    __slots__ = ("empty", "left", "total")

    def __init__(self, total: int) -> None:
        self.total = self.left = total
        self.empty = MAX_EMPTY_VALUES

    def take(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise ValueError(f"it holds more than {self.total} values (AvroLimits.max_values)")

    def take_empty(self, count: int) -> None:
        self.empty -= count
        if self.empty < 0:
            raise ValueError(f"it holds more than {MAX_EMPTY_VALUES} values without bytes")


# (data, where the value begins, levels that are left, budget) to where the value ends.
_Walk: TypeAlias = Callable[[bytes, int, int, _Budget], int]


class _Part(NamedTuple):
    """What is known of a part of a schema.

    Attributes:
        least: bytes that each of its values has at least.
        values: values in it at most, items of its arrays and maps not counted.
        depth: levels of nesting.
    """

    walk: _Walk
    least: int
    values: int
    depth: int


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
        self._schema = _Schema(named, added)
        root = self._schema.part(schema)
        if root.depth > limits.max_depth:
            raise ValueError(
                f"the schema nests {root.depth} levels deep, more than {limits.max_depth}"
                " (AvroLimits.max_depth)"
            )
        if root.values > limits.max_values:
            raise ValueError(
                f"the schema has {root.values} values in each record, more than"
                f" {limits.max_values} (AvroLimits.max_values)"
            )
        self._root = root
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
        return free

    def check(self, data: bytes, start: int = 0) -> None:
        """Walk a value from where it begins to the end of the bytes.

        Raises:
            ValueError: if it is larger or deeper than the limits allow, ends early, or is
                followed by more bytes.
        """
        limits = self._limits
        if len(data) - start > limits.max_bytes:
            raise ValueError(
                f"it has {len(data) - start} bytes, more than {limits.max_bytes}"
                " (AvroLimits.max_bytes)"
            )
        budget = _Budget(limits.max_values)
        budget.take(self._root.values)
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

    def __init__(self, named: Mapping[str, Any], added: int) -> None:
        self._named = named
        self._added = added
        self._parts: dict[str, _Part] = {}
        self._open: set[str] = set()
        self.recursive = False
        self.has_decimal = False
        self.items: list[_Part] = []

    def part(self, schema: Any) -> _Part:
        """Compile a part of the schema."""
        if isinstance(schema, list):
            return self._union([self.part(branch) for branch in schema])  # pyright: ignore[reportUnknownVariableType]
        kind: Any = schema["type"] if isinstance(schema, dict) else schema
        if isinstance(kind, dict | list):
            return self.part(kind)
        if kind in ("record", "error"):
            return self._record(schema)
        if kind in ("array", "map"):
            return self._several(schema["items" if kind == "array" else "values"], kind == "map")
        if kind == "fixed":
            size = int(schema["size"])
            if size < 0 or (size > MAX_DECIMAL_BYTES and schema.get("logicalType") == "decimal"):
                raise ValueError(f"a fixed type of {size} bytes")
            return _Part(_fixed(size), size, 1, 0)
        if kind == "enum":
            return _Part(_enum(len(schema["symbols"])), 1, 1, 0)
        if kind == "bytes" and isinstance(schema, dict) and schema.get("logicalType") == "decimal":  # pyright: ignore[reportUnknownMemberType]
            self.has_decimal = True
            return _Part(_decimal, 1, 1, 0)
        return _PRIMITIVES.get(kind) or self._reference(kind)

    def _reference(self, name: str) -> _Part:
        if name in self._open:
            self.recursive = True
            return _Part(self._again(name), 0, 1, 0)
        return self._parts.get(name) or self.part(self._named[name])

    def _again(self, name: str) -> _Walk:
        def walk(data: bytes, at: int, depth: int, budget: _Budget) -> int:
            part = self._parts[name]
            budget.take(part.values)
            return part.walk(data, at, depth, budget)

        return walk

    def _record(self, schema: Any) -> _Part:
        name = schema["name"]
        if name in self._parts or name in self._open:
            return self._reference(name)
        self._open.add(name)
        fields = [self.part(field["type"]) for field in schema["fields"]]
        self._open.remove(name)
        part = _Part(
            _record([field.walk for field in fields]),
            sum(field.least for field in fields),
            1 + self._added + sum(field.values for field in fields),
            1 + max((field.depth for field in fields), default=0),
        )
        self._parts[name] = part
        return part

    def _several(self, of: Any, keyed: bool) -> _Part:
        inner = self.part(of)
        item = inner._replace(least=inner.least + 1, values=inner.values + 1) if keyed else inner
        self.items.append(item)
        return _Part(_blocks(item, keyed=keyed), 1, 1, 1 + inner.depth)

    def _union(self, branches: list[_Part]) -> _Part:
        return _Part(
            _union([branch.walk for branch in branches]),
            1 + min(branch.least for branch in branches),
            max(branch.values for branch in branches),
            max(branch.depth for branch in branches),
        )


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
            budget.take(count * item.values)
            for _ in range(count):
                before = at
                if keyed:
                    at = _bytes(data, at, depth, budget)
                at = item.walk(data, at, depth, budget)
                if at == before:  # an item without bytes: all of them are
                    budget.take_empty(count * item.values)
                    break
            count, at = _long(data, at)
        return at

    return walk


_INT = _Part(_varint, 1, 1, 0)
_TEXT = _Part(_bytes, 1, 1, 0)
_PRIMITIVES: dict[str, _Part] = {
    "null": _Part(_fixed(0), 0, 1, 0),
    "boolean": _Part(_fixed(1), 1, 1, 0),
    "int": _INT,
    "long": _INT,
    "float": _Part(_fixed(4), 4, 1, 0),
    "double": _Part(_fixed(8), 8, 1, 0),
    "bytes": _TEXT,
    "string": _TEXT,
}
