"""Event time: when what a record tells of has happened, out of its value or its own timestamp.

A time that is missing, is no time, is before 1970, or is too far ahead of the wall clock to be
one, belongs to no window. It fails the record, and the message says which unit it looks like.
"""

import datetime
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from penstock.errors import TopologyError
from penstock.operators.fields import compile_selector
from penstock.serde.types import DataType

Unit: TypeAlias = Literal["s", "ms", "us", "ns", "iso"]

_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 1_000, "ns": 1}
_SECOND_MS, _DAY_MS = 1_000, 86_400_000


@dataclass(frozen=True)
class EventTime:
    """The event time of a value.

    Attributes:
        get: finds it in the value.
        unit: what it is counted in.
    """

    get: Callable[[Any], Any]
    unit: Unit

    def __call__(self, value: Any) -> int:
        """Return whole milliseconds since the epoch.

        Raises:
            ValueError: if there is no time, or none since 1970.
        """
        found = self.get(value)
        try:
            timestamp = _TO_MS[self.unit](found)
        except (TypeError, ValueError, OverflowError, AttributeError) as error:
            raise ValueError(_no_time(found, self.unit)) from error
        if timestamp < 0:
            raise ValueError(f"the event time {found!r} is before 1970")
        return timestamp


@dataclass
class EventTimes:
    """The event times of records, added up.

    Attributes:
        count: how many there are.
        earliest: the first, in milliseconds; nothing where there is none.
        latest: the last.
        total: all of them together.

    >>> times = EventTimes()
    >>> times.add([4, 2, 6], 2, 6)
    >>> times.mean
    4
    """

    count: int = 0
    earliest: int = 0
    latest: int = 0
    total: int = 0

    def add(self, times: Sequence[int], earliest: int, latest: int) -> None:
        """Add times of which the first and the last are known: 6 ns each."""
        self.merge(EventTimes(len(times), earliest, latest, sum(times)))

    def merge(self, other: "EventTimes") -> None:
        """Add those of another."""
        if not other.count:
            return
        if self.count:
            self.earliest = min(self.earliest, other.earliest)
            self.latest = max(self.latest, other.latest)
        else:
            self.earliest, self.latest = other.earliest, other.latest
        self.count += other.count
        self.total += other.total

    @property
    def mean(self) -> int:
        """What they are on average."""
        return self.total // self.count


@dataclass(frozen=True)
class TimeGuard:
    """What a time has to be, where something goes by it.

    Attributes:
        ahead_ms: how far it may be ahead of the wall clock, None for any distance.
        now_ms: the wall clock, None where nobody knows it.
    """

    ahead_ms: int | None = None
    now_ms: int | None = None

    def at(self, now_ms: int | None) -> "TimeGuard":
        """Return the guard at a time of the wall clock."""
        return TimeGuard(self.ahead_ms, now_ms)

    def passes(self, earliest: int, latest: int) -> bool:
        """Whether all times between two are well."""
        return earliest >= 0 and (self._latest is None or latest <= self._latest)

    def check(self, time: int, own: int, unit: str | None) -> None:
        """Refuse a time.

        Args:
            time: event time in milliseconds.
            own: the record's own timestamp.
            unit: in which the value gives it; None where it is the record's own.

        Raises:
            ValueError: if it is none, or too far ahead.
        """
        if time < 0:
            raise ValueError(
                f"the record has no timestamp ({time}), and something behind it goes by event"
                " time: pass timestamp= where the stream is declared"
            )
        latest = self._latest
        if latest is None or time <= latest or self.ahead_ms is None or self.now_ms is None:
            return
        whose = "the record's own timestamp" if unit is None else "the event time"
        near = (self.now_ms,) if unit is None else (own, self.now_ms)
        raise ValueError(
            f"{whose}, {time} ms since 1970, is {_span(time - self.now_ms)} ahead of the wall"
            f" clock, more than max_future={_span(self.ahead_ms)}: it would close windows that"
            f" others still belong to{unit_hint(time, unit, near)}"
        )

    @property
    def _latest(self) -> int | None:
        if self.ahead_ms is None or self.now_ms is None:
            return None
        return self.now_ms + self.ahead_ms


def timestamp_extractor(
    selector: str | Callable[[Any], Any], unit: Unit, of: DataType
) -> Callable[[Any], int]:
    """Compile the event time of a value to whole milliseconds since the epoch.

    Raises:
        TopologyError: if the field or the unit does not exist.
    """
    get, _ = compile_selector(selector, of)
    if unit not in _TO_MS:
        raise TopologyError(f"{unit!r} is not a unit of time. Use one of: {', '.join(_TO_MS)}.")
    return EventTime(_Field(selector, get) if isinstance(selector, str) else get, unit)


def unit_hint(time: int, unit: str | None, near: Iterable[int]) -> str:
    """Say which unit a time looks like that is far from where times are.

    Args:
        time: in milliseconds, as the unit has it.
        unit: the unit; None for a record's own timestamp, which is in milliseconds.
        near: where times are: the wall clock, the record's own timestamp.

    >>> unit_hint(1_700_000_000_000_000_000, "ms", [1_700_000_000_000])
    "; it looks like nanoseconds given as milliseconds: pass unit='ns'"
    """
    given = unit or "ms"
    if given not in _NANOSECONDS:
        return ""
    for other, size in _NANOSECONDS.items():
        meant = time * size // _NANOSECONDS[given]
        if other != given and any(at // 2 < meant < at * 2 for at in near):
            now = "correct what writes it" if unit is None else f"pass unit={other!r}"
            return f"; it looks like {_NAMES[other]} given as {_NAMES[given]}: {now}"
    return ""


@dataclass(frozen=True)
class _Field:
    """A field of a value that may lack it."""

    path: str
    get: Callable[[Any], Any]

    def __call__(self, value: Any) -> Any:
        try:
            return self.get(value)
        except (KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"the value has no event time at {self.path!r}") from error


def _no_time(found: Any, unit: str) -> str:
    if found is None:
        return "the event time is None"
    hint = ""
    if unit == "iso":
        is_number = isinstance(found, int | float)
        hint = "; it is a number: pass its unit, such as unit='ms'" if is_number else ""
    elif isinstance(found, datetime.date) or _is_iso(found):
        hint = "; it looks like ISO 8601: pass unit='iso'"
    return f"{found!r} is no event time in unit={unit!r}{hint}"


def _is_iso(found: Any) -> bool:
    try:
        _iso_ms(found)
    except (TypeError, ValueError, AttributeError):
        return False
    return True


def _iso_ms(found: str | datetime.datetime) -> int:
    moment = found
    if not isinstance(moment, datetime.datetime):
        moment = datetime.datetime.fromisoformat(moment)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=datetime.UTC)
    return round(moment.timestamp() * 1000)


def _span(milliseconds: int) -> str:
    """Show a distance in time."""
    if milliseconds % _DAY_MS == 0 or milliseconds > 2 * _DAY_MS:
        return f"{milliseconds // _DAY_MS}d"
    return f"{milliseconds / _SECOND_MS:g}s"


_TO_MS: dict[str, Callable[[Any], int]] = {
    "s": lambda seconds: round(seconds * 1000),
    "ms": int,
    "us": lambda micros: int(micros // 1000),
    "ns": lambda nanos: int(nanos // 1_000_000),
    "iso": _iso_ms,
}
