"""Made-up values of simple types: what fits the type, and the field's name where that is plain.

A field `email` holds addresses, `quantity` small numbers, `id` each time another; most others are
drawn from a thousand values, so that they repeat as real ones do. Bounds that a type declares
(`msgspec.Meta`) are kept.
"""

import datetime
import itertools
import math
import random
import uuid
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, TypeAlias

from msgspec import inspect

Column: TypeAlias = Callable[[Sequence[int]], list[Any]]
"""Make a value for each of the event times, in milliseconds."""

VARIETY = 1_000
DAY_MS = 86_400_000
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_BYTES = 16

_COUNTERS = {"id", "n", "number", "seq", "sequence", "sequence_number", "counter", "index"}
_IDS = {"id", "uuid", "guid"}
_INTS = {
    "age": (18, 90),
    "count": (1, 10),
    "quantity": (1, 10),
    "qty": (1, 10),
    "year": (2000, 2030),
    "month": (1, 12),
    "day": (1, 28),
    "hour": (0, 23),
    "minute": (0, 59),
    "second": (0, 59),
    "port": (1024, 65535),
}
_FLOATS = {
    "lat": (-90, 90),
    "latitude": (-90, 90),
    "lon": (-180, 180),
    "lng": (-180, 180),
    "longitude": (-180, 180),
    "ratio": (0, 1),
    "share": (0, 1),
    "probability": (0, 1),
    "temperature": (-20, 40),
}
_MONEY = {"amount", "cost", "price", "total"}
_CHOICES = {
    "country": ("DE", "FR", "GB", "IN", "JP", "US"),
    "currency": ("EUR", "GBP", "JPY", "USD"),
    "language": ("de", "en", "es", "fr", "ja"),
}
_FORMS = {
    "email": "user-{}@example.com",
    "url": "https://example.com/{}",
    "ip": "192.0.2.{}",
    "host": "host-{}.example.com",
}


def scalar(part: Any, name: str, generator: random.Random) -> Column | None:
    """Return the column of a simple type, None if it is none.

    Args:
        part: the type, as msgspec describes it.
        name: of the field.
        generator: where all that is random comes from.

    Raises:
        ValueError: if the bounds of the type cannot be kept.
    """
    kind: Any = type(part)  # pyright: ignore[reportUnknownVariableType]
    if kind in _BY_NAME:
        return _BY_NAME[kind](part, name.lower(), generator)
    if kind in _BY_TYPE:
        return _BY_TYPE[kind](part, generator)
    return _PLAIN[kind](generator) if kind in _PLAIN else None


def choosing(pool: Sequence[Any], generator: random.Random) -> Column:
    """Return a column of values of a pool, all equally often."""
    return lambda times: generator.choices(pool, k=len(times))


def event_time(part: Any, unit: str) -> Column | None:
    """Return a column that holds the event times, None if the type cannot hold any.

    Args:
        part: the type, as msgspec describes it.
        unit: of numbers: "s", "ms", "us" or "ns"; text is ISO 8601 ("iso") always.
    """
    if isinstance(part, inspect.IntType) and unit in _PER_MS:
        up, down = _PER_MS[unit]
        return lambda times: [at * up // down for at in times]
    if isinstance(part, inspect.FloatType) and unit in _PER_MS:
        up, down = _PER_MS[unit]
        return lambda times: [at * up / down for at in times]
    if isinstance(part, inspect.DateTimeType):
        return lambda times: _moments(part, times)
    if isinstance(part, inspect.StrType):
        return lambda times: [_moment(at).isoformat(timespec="milliseconds") for at in times]
    return None


_PER_MS = {"s": (1, 1_000), "ms": (1, 1), "us": (1_000, 1), "ns": (1_000_000, 1)}


def _moment(at_ms: int) -> datetime.datetime:
    return EPOCH + datetime.timedelta(milliseconds=at_ms)


def _moments(part: inspect.DateTimeType, times: Sequence[int]) -> list[datetime.datetime]:
    if part.tz is False:
        return [_moment(at).replace(tzinfo=None) for at in times]
    return list(map(_moment, times))


# One of each type, of its description, the field's name and a generator.


def _text(part: inspect.StrType, name: str, generator: random.Random) -> Column:
    if part.pattern is not None:
        raise ValueError(f"its text has the pattern {part.pattern!r}")
    if name in _IDS or name.endswith(("_uuid", "_guid")):
        return lambda times: [str(_uuid4(generator)) for _ in times]
    least, most = part.min_length or 0, part.max_length
    texts = _CHOICES.get(name) or _numbered(name)
    return choosing([text.ljust(least, "x")[:most] for text in texts], generator)


def _numbered(name: str) -> list[str]:
    form = _FORMS.get(name) or f"{name.removesuffix('_id') or 'text'}-{{}}"
    return [form.format(number) for number in range(256 if name == "ip" else VARIETY)]


def _int(part: inspect.IntType, name: str, generator: random.Random) -> Column:
    bounds = (part.ge, part.gt, part.le, part.lt, part.multiple_of)
    if name in _COUNTERS and bounds == (None,) * 5:
        numbers = itertools.count()
        return lambda times: list(itertools.islice(numbers, len(times)))
    low, high = _bounds(part, _INTS.get(name, (0, VARIETY - 1)), VARIETY - 1, step=1)
    every = int(part.multiple_of or 1)
    pool = range(math.ceil(low / every) * every, math.floor(high) + 1, every)
    if not pool:
        raise ValueError(f"no integer is within its bounds, {low} to {high}")
    return choosing(pool, generator)


def _float(part: inspect.FloatType, name: str, generator: random.Random) -> Column:
    if part.multiple_of is not None:
        raise ValueError(f"its numbers are multiples of {part.multiple_of}")
    low, high = _bounds(part, _FLOATS.get(name, (0, VARIETY)), VARIETY, step=1e-3)
    if low > high:
        raise ValueError(f"no number is within its bounds, {low} to {high}")
    digits, width, draw = 2 if name in _MONEY else 3, high - low, generator.random
    # Rounding would leave narrow bounds.
    if width < 1:
        return lambda times: [low + width * draw() for _ in times]
    return lambda times: [min(max(round(low + width * draw(), digits), low), high) for _ in times]


def _bounds(part: Any, usual: tuple[float, float], width: float, *, step: float) -> Any:
    """Return the bounds that a type declares; what it leaves open is usual, or so wide."""
    low: Any = part.ge if part.gt is None else part.gt + step
    high: Any = part.le if part.lt is None else part.lt - step
    if low is None and high is None:
        return usual
    if low is None:
        return min(usual[0], high - width), high
    return low, low + width if high is None else high


def _bytes(part: Any, generator: random.Random) -> Column:
    least, most = part.min_length or 0, part.max_length
    size = max(least, _BYTES if most is None else min(_BYTES, most))
    make: Any = bytearray if isinstance(part, inspect.ByteArrayType) else bytes
    return lambda times: [make(generator.randbytes(size)) for _ in times]


def _datetime(part: inspect.DateTimeType, generator: random.Random) -> Column:
    """Some time in the day before the event."""
    draw = generator.random
    return lambda times: _moments(part, [at - int(draw() * DAY_MS) for at in times])


def _date(generator: random.Random) -> Column:
    """Some day in the year before the event."""
    draw = generator.random
    return lambda times: [_moment(at - int(draw() * 365) * DAY_MS).date() for at in times]


def _time(part: inspect.TimeType, generator: random.Random) -> Column:
    zone = datetime.UTC if part.tz else None
    draw = generator.random
    return lambda times: [_moment(int(draw() * DAY_MS)).time().replace(tzinfo=zone) for _ in times]


def _timedelta(generator: random.Random) -> Column:
    """Up to an hour."""
    draw = generator.random
    return lambda times: [datetime.timedelta(milliseconds=int(draw() * 3_600_000)) for _ in times]


def _uuid(generator: random.Random) -> Column:
    return lambda times: [_uuid4(generator) for _ in times]


def _uuid4(generator: random.Random) -> uuid.UUID:
    return uuid.UUID(bytes=generator.randbytes(16), version=4)


def _decimal(generator: random.Random) -> Column:
    """Cents, up to a thousand."""
    return lambda times: [
        Decimal(number).scaleb(-2) for number in generator.choices(range(1, 100_001), k=len(times))
    ]


def _enum(part: inspect.EnumType, generator: random.Random) -> Column:
    return choosing(list(part.cls), generator)


def _literal(part: inspect.LiteralType, generator: random.Random) -> Column:
    return choosing(part.values, generator)


_BY_NAME: dict[type, Callable[[Any, str, random.Random], Column]] = {
    inspect.StrType: _text,
    inspect.IntType: _int,
    inspect.FloatType: _float,
}
_BY_TYPE: dict[type, Callable[[Any, random.Random], Column]] = {
    inspect.BytesType: _bytes,
    inspect.ByteArrayType: _bytes,
    inspect.DateTimeType: _datetime,
    inspect.TimeType: _time,
    inspect.EnumType: _enum,
    inspect.LiteralType: _literal,
}
_PLAIN: dict[type, Callable[[random.Random], Column]] = {
    inspect.BoolType: lambda generator: choosing((False, True), generator),
    inspect.NoneType: lambda generator: choosing((None,), generator),
    inspect.DateType: _date,
    inspect.TimeDeltaType: _timedelta,
    inspect.UUIDType: _uuid,
    inspect.DecimalType: _decimal,
}
