"""Made-up values of a declared type, as columns: Structs, dataclasses, TypedDicts and their parts.

Rule 1. Each part draws from its own generator, seeded by the seed and its path. Values are
        therefore a function of seed, row number and event time: how rows are cut into blocks
        never matters.
Rule 2. An optional value is missing once in ten; all other branches of a union are as likely.
        A list has up to three items, and a set one: the order of several is another one in
        each process.
Rule 3. A type that contains itself ends where it does: with None, or an empty list.
"""

import inspect as signatures
import random
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from msgspec import inspect

from penstock.cli.events.scalars import Column, choosing, scalar
from penstock.errors import TopologyError

_PRESENT, _MISSING = 9, 1
_MOST_ITEMS = 3
_RECORDS = (
    inspect.StructType,
    inspect.DataclassType,
    inspect.TypedDictType,
    inspect.NamedTupleType,
)
_LISTS: dict[type, Callable[[Any], Any]] = {
    inspect.ListType: list,
    inspect.SetType: set,
    inspect.FrozenSetType: frozenset,
    inspect.VarTupleType: tuple,
    inspect.CollectionType: list,
}


class _EndlessError(Exception):
    """A type contains itself."""


class Columns:
    """Make columns of types.

    Args:
        seed: of everything that is drawn.
        fixed: columns that are not drawn, by their paths ("user.id").
    """

    def __init__(self, seed: str, fixed: Mapping[str, Column]) -> None:
        self._seed = seed
        self._fixed = fixed
        self._within: list[Any] = []

    def of(self, part: Any, title: str, name: str = "value") -> Column:
        """Return the column of a type.

        Args:
            part: the type, as msgspec describes it.
            title: what it is called in messages.
            name: what its values are called, where it has no fields.

        Raises:
            TopologyError: if there is no making values of it, naming the field.
        """
        try:
            return self._of(part, "", name)
        except _EndlessError as error:
            raise TopologyError(
                f"{title} contains itself in {error}, without an end. Make that field optional,"
                " or a list."
            ) from None
        except ValueError as error:
            raise TopologyError(
                f"Events of {title} cannot be made up: {error}. Declare a type without it, or give"
                " the events as a --template or in a file (--from)."
            ) from None

    def _of(self, part: Any, path: str, name: str) -> Column:
        if path in self._fixed:
            return self._fixed[path]
        if isinstance(part, inspect.Metadata):
            return self._of(part.type, path, name)
        try:
            found = scalar(part, name, self._generator(path))
        except ValueError as error:
            raise ValueError(f"nothing random fits {_place(path)}: {error}") from None
        return found or self._composed(part, path, name)

    def _composed(self, part: Any, path: str, name: str) -> Column:
        if isinstance(part, _RECORDS):
            return self._record(part, path)
        if isinstance(part, inspect.UnionType):
            return self._union(part, path, name)
        if isinstance(part, inspect.TupleType):
            items = [self._of(item, f"{path}[{n}]", name) for n, item in enumerate(part.item_types)]
            return lambda times: list(zip(*[item(times) for item in items], strict=True))
        if isinstance(part, inspect.DictType):
            return self._dict(part, path, name)
        if type(part) in _LISTS:
            return self._list(part, path, name)
        kind = getattr(getattr(part, "cls", None), "__name__", None)
        kind = kind or type(part).__name__.removesuffix("Type")
        raise ValueError(f"{_place(path)} is {kind}, which says not what its values are")

    def _generator(self, path: str) -> random.Random:
        return random.Random(f"{self._seed}/{path}")  # noqa: S311 - test data

    def _record(self, part: Any, path: str) -> Column:
        if any(part is one for one in self._within):
            raise _EndlessError(path)
        self._within.append(part)
        try:
            columns = {
                field.name: self._of(
                    field.type, f"{path}.{field.name}" if path else field.name, field.name
                )
                for field in part.fields
            }
        finally:
            self._within.pop()
        make = _assembly(part, columns)
        return lambda times: make(times, [column(times) for column in columns.values()])

    def _union(self, union: inspect.UnionType, path: str, name: str) -> Column:
        """Draw the branch of each value, and make as many of each branch as it has."""
        branches: list[Column] = []
        weights: list[int] = []
        endless: _EndlessError | None = None
        several = sum(not isinstance(part, inspect.NoneType) for part in union.types) > 1
        for number, part in enumerate(union.types):
            missing = isinstance(part, inspect.NoneType)
            at = f"{path}|{number}" if several or missing else path
            try:
                branches.append(self._of(part, at, name))
            except _EndlessError as error:
                endless = error
                continue
            weights.append(_MISSING if missing else _PRESENT)
        if not branches and endless:
            raise endless
        generator, numbers = self._generator(f"{path}?"), range(len(branches))

        def make(times: Sequence[int]) -> list[Any]:
            chosen = generator.choices(numbers, weights, k=len(times))
            values = [
                iter(branch([at for at, number in zip(times, chosen, strict=True) if number == n]))
                for n, branch in enumerate(branches)
            ]
            return [next(values[number]) for number in chosen]

        return make

    def _list(self, part: Any, path: str, name: str) -> Column:
        build = _LISTS[type(part)]
        try:
            items = self._of(part.item_type, f"{path}[]", name.removesuffix("s"))
        except _EndlessError:
            return _empty(part, build)
        sizes = choosing(_sizes(part), self._generator(f"{path}#"))

        def make(times: Sequence[int]) -> list[Any]:
            lengths = sizes(times)
            flat = iter(items(_repeated(times, lengths)))
            return [build(islice(flat, length)) for length in lengths]

        return make

    def _dict(self, part: inspect.DictType, path: str, name: str) -> Column:
        try:
            keys = self._of(part.key_type, f"{path}{{}}", "key")
            values = self._of(part.value_type, f"{path}{{}}.", name.removesuffix("s"))
        except _EndlessError:
            return _empty(part, dict)
        sizes = choosing(_sizes(part), self._generator(f"{path}#"))

        def make(times: Sequence[int]) -> list[Any]:
            lengths = sizes(times)
            at = _repeated(times, lengths)
            flat = zip(keys(at), values(at), strict=True)
            return [dict(islice(flat, length)) for length in lengths]

        return make


def _place(path: str) -> str:
    """Say where in the type something is."""
    field = re.match(r"[^][{}|]*", path)
    inside = "what is in " if field and field[0] != path else ""
    return f"{inside}{(field and field[0]) or 'it'}"


def _sizes(part: Any) -> range:
    least = part.min_length or 0
    usual = 1 if isinstance(part, inspect.SetType | inspect.FrozenSetType) else _MOST_ITEMS
    most = usual if part.max_length is None else min(usual, part.max_length)
    return range(least, max(least, most) + 1)


def _empty(part: Any, build: Callable[[Any], Any]) -> Column:
    if part.min_length:
        raise _EndlessError("a list that has items")
    return lambda times: [build(()) for _ in times]


def _repeated(times: Sequence[int], lengths: Sequence[int]) -> list[int]:
    return [at for at, length in zip(times, lengths, strict=True) for _ in range(length)]


def _assembly(
    part: Any, columns: dict[str, Column]
) -> Callable[[Sequence[int], list[list[Any]]], list[Any]]:
    """Return what makes records of columns: the class itself, where it takes them in order."""
    cls, names = part.cls, tuple(columns)
    if isinstance(part, inspect.TypedDictType):
        return lambda times, found: [
            dict(zip(names, row, strict=True)) for row in _rows(times, found)
        ]
    parameters = signatures.signature(cls).parameters
    for name in [name for name in columns if name not in parameters]:
        del columns[name]  # the class sets it by itself
    names = tuple(columns)
    in_order = tuple(parameters)[: len(names)] == names and all(
        parameters[name].kind is signatures.Parameter.POSITIONAL_OR_KEYWORD for name in names
    )
    if in_order and names:
        return lambda _, found: list(map(cls, *found))
    return lambda times, found: [
        cls(**dict(zip(names, row, strict=True))) for row in _rows(times, found)
    ]


def _rows(times: Sequence[int], columns: list[list[Any]]) -> Any:
    return zip(*columns, strict=True) if columns else [()] * len(times)
