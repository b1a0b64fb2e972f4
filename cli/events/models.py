"""Events that are made up from a declared type, and written by its own serde."""

from collections.abc import Callable
from dataclasses import dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin

from msgspec import inspect

from penstock.cli.events.columns import Columns
from penstock.cli.events.keys import Numbers, text_of
from penstock.cli.events.model_loading import Model
from penstock.cli.events.protocol import Due, Rows
from penstock.cli.events.scalars import Column, event_time
from penstock.errors import TopologyError
from penstock.operators.fields import compile_path
from penstock.serde.columns import encode_column
from penstock.serde.types import Serde, data_type

# Fields that hold the time of an event, in the order in which they are looked for.
_TIME_NAMES = (
    "timestamp",
    "event_time",
    "event_timestamp",
    "timestamp_ms",
    "ts",
    "at",
    "time",
    "created_at",
)
_SAMPLE = 50

KeyBytes = Callable[[list[Any], list[int]], list[bytes | None]]
"""Make the keys of values, and of their event times."""


@dataclass(frozen=True, kw_only=True)
class Fields:
    """What is said about the fields of events.

    Attributes:
        key: the field that is the key.
        timestamp: the field of the event time.
        unit: of that field.
    """

    key: str | None = None
    timestamp: str | None = None
    unit: str | None = None


class ModelEvents:
    """Make up events of a model; the same seed and times make the same events.

    Args:
        model: what they are.
        fields: which of them are key and event time.
        seed: of everything that is drawn.
        keys: draws the numbers that the key's field has, or the keys where no field is the key;
            left out, they are drawn by their type.

    Raises:
        TopologyError: if no such events can be made, or a field is unknown.
    """

    ended = False

    def __init__(
        self,
        model: Model,
        seed: int = 0,
        *,
        fields: Fields = Fields(),
        keys: Numbers | None = None,
    ) -> None:
        self.decode = model.serde.decode
        self._model = model
        self._info = _sole(inspect.type_info(model.type))  # null would delete in a table
        fixed: dict[str, Column] = {}
        timed = self._time_field(fields)
        if timed is not None:
            fixed[timed[0]] = timed[1]
        self._sample = self._try(dict(fixed))
        self.row_bytes = sum(map(len, self._encoded(self._sample))) // len(self._sample)
        self._keys = self._keying(fields.key, keys, seed, fixed)
        self._values = Columns(str(seed), fixed).of(self._info, model.name)

    def take(self, due: Due) -> Rows:
        """Make the next events; their times are in the field of the event time."""
        times = due.moved()
        values = self._values(times)
        keys = None if self._keys is None else self._keys(values, times)
        return Rows(self._encoded(values), keys, times)

    def _encoded(self, values: list[Any]) -> list[bytes]:
        return encode_column(self._model.serde, values)  # type: ignore[return-value]

    def _try(self, fixed: dict[str, Column]) -> list[Any]:
        """Make some, write and read them."""
        name = self._model.name
        make = Columns("sample", fixed).of(self._info, name)
        try:
            values = make([1_700_000_000_000 + n for n in range(_SAMPLE)])
            for data in self._encoded(values):
                self.decode(data)
        except Exception as error:
            raise TopologyError(
                f"Events of {name} cannot be made up: what fits the types of its fields is refused"
                f" ({type(error).__name__}: {error}). Give the events as a --template or in a file"
                " (--from)."
            ) from error
        return values

    # Event time

    def _time_field(self, fields: Fields) -> tuple[str, Column] | None:
        """Find the field of the event time: the one that is named, or one that is named so."""
        unit = fields.unit or self._model.unit
        said = fields.timestamp or self._model.timestamp
        if said is not None:
            part = _part(self._info, said, self._model)
            column = event_time(_sole(part), unit)
            if column is None:
                raise TopologyError(
                    f"{self._model.name}.{said} cannot hold an event time in {unit}. It has to be"
                    " int or float (--unit s, ms, us or ns), datetime, or str (ISO 8601)."
                )
            return said, column
        return next(filter(None, map(self._as_time(unit), _TIME_NAMES)), None)

    def _as_time(self, unit: str) -> Callable[[str], tuple[str, Column] | None]:
        top = {field.name: field.type for field in getattr(self._info, "fields", ())}

        def found(name: str) -> tuple[str, Column] | None:
            part = _sole(top.get(name))
            column = None if isinstance(part, inspect.StrType) else event_time(part, unit)
            return None if column is None else (name, column)

        return found

    # Keys

    def _keying(
        self, path: str | None, numbers: Numbers | None, seed: int, fixed: dict[str, Column]
    ) -> KeyBytes | None:
        if path is not None:
            return self._field_keys(path, numbers, fixed)
        declared = self._model.keys
        if declared.serde is None:
            return None if numbers is None else _separate(_numbered("key", str, numbers), text_of)
        if numbers is not None:
            return _separate(_numbered("key", declared.type, numbers), declared.serde.encode)
        column = Columns(f"{seed}/key", {}).of(inspect.type_info(declared.type), "the key", "key")
        return _separate(column, declared.serde.encode)

    def _field_keys(self, path: str, numbers: Numbers | None, fixed: dict[str, Column]) -> KeyBytes:
        _part(self._info, path, self._model)
        get, declared = compile_path(path, self._model.type)
        declared = _without_none(declared)
        if numbers is not None:
            fixed[path] = _numbered(path.rpartition(".")[2], declared, numbers)
        serde: Serde[Any] | None = self._model.keys.serde or data_type(declared, key=True).serde
        try:
            if serde is None:
                raise TypeError("not every event has it")
            encode_column(serde, list(map(get, self._sample)))
        except Exception as error:
            raise TopologyError(
                f"{self._model.name}.{path} cannot be the key: {type(error).__name__}: {error}."
                " Name a field that every event has, of the type that the topic's keys have."
            ) from error
        return lambda values, _: encode_column(serde, list(map(get, values)))


def _separate(column: Column, encode: Callable[[Any], bytes | None]) -> KeyBytes:
    """Make keys that are in no field."""
    return lambda _, times: list(map(encode, column(times)))


def _numbered(name: str, declared: Any, numbers: Numbers) -> Column:
    """Return a column of values that are numbers, or have one in them."""
    if declared is int:
        return lambda times: numbers(len(times))
    if declared is str:
        form = f"{name.removesuffix('_id')}-%d".__mod__
        return lambda times: list(map(form, numbers(len(times))))
    raise TopologyError(
        f"--keys draws keys of type str or int, and {name} is"
        f" {getattr(declared, '__name__', declared)}. Leave --keys out, or name another --key."
    )


def _part(info: Any, path: str, model: Model) -> Any:
    """Find the type of a field.

    Raises:
        TopologyError: if there is no such field.
    """
    part = info
    for name in path.split("."):
        of = {field.name: field.type for field in getattr(_sole(part), "fields", ())}
        if name not in of:
            known = ", ".join(of) or "none"
            raise TopologyError(
                f"{model.name} has no field {name!r} (in path {path!r}). Its fields are: {known}."
            )
        part = of[name]
    return part


def _sole(part: Any) -> Any:
    """Return what a type is where it is not None, if that is one."""
    if isinstance(part, inspect.Metadata):
        return _sole(part.type)
    if isinstance(part, inspect.UnionType):
        rest = [one for one in part.types if not isinstance(one, inspect.NoneType)]
        return _sole(rest[0]) if len(rest) == 1 else part
    return part


def _without_none(declared: Any) -> Any:
    if get_origin(declared) in (Union, UnionType):
        rest = [one for one in get_args(declared) if one is not type(None)]
        return rest[0] if len(rest) == 1 else declared
    return declared
