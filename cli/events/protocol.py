"""Events on their way to become records: what a source of them is asked for, and hands over.

Sources are `templates`, `models` and `files`. They know no Kafka and read no clock.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from penstock.errors import TopologyError

Key = bytes | None


class Due(NamedTuple):
    """The events that are wanted.

    Attributes:
        times: when each of them happens, in milliseconds since the epoch.
        back: by how many milliseconds each is late; None if none is.
    """

    times: list[int]
    back: list[int] | None = None

    def moved(self) -> list[int]:
        """Return the event times, those of late events moved back."""
        if self.back is None:
            return self.times
        return [at - back for at, back in zip(self.times, self.back, strict=True)]


class Rows(NamedTuple):
    """Consecutive events; keys is None where no event has one."""

    values: list[bytes]
    keys: Sequence[Key] | None
    times: list[int]


class Events(Protocol):
    """A source of events."""

    row_bytes: int
    """The size of a typical event: what a caller sizes its blocks by."""

    @property
    def ended(self) -> bool:
        """Whether there are no more."""
        ...

    def take(self, due: Due) -> Rows:
        """Make the next events; fewer than are due where there are none left, or not yet."""
        ...

    def decode(self, data: bytes, /) -> Any:
        """Read an event as its receivers do. Raises where the bytes are none."""
        ...


class Keyed:
    """Events with keys that are in none of their fields.

    Args:
        events: the events.
        keys: makes the keys of so many.
    """

    def __init__(self, events: Events, keys: Callable[[int], list[bytes]]) -> None:
        self._events = events
        self._keys = keys
        self.row_bytes = events.row_bytes
        self.decode = events.decode

    @property
    def ended(self) -> bool:
        """Whether there are no more."""
        return self._events.ended

    def take(self, due: Due) -> Rows:
        """Make the next events, each with a key."""
        rows = self._events.take(due)
        return rows._replace(keys=self._keys(len(rows.values)))


def poisoned(value: bytes, decode: Callable[[bytes], Any]) -> bytes:
    """Change the bytes of an event so that it cannot be decoded.

    Raises:
        TopologyError: if nothing makes them undecodable: any bytes are an event.
    """
    # 0xff begins no UTF-8, so no text and no JSON; it makes a number of Avro another one.
    for changed in (b"\xff" + value, value + b"\xff", b"\xff"):
        try:
            decode(changed)
        except Exception:  # noqa: BLE001 - whatever a serde raises is what is wanted
            return changed
    raise TopologyError(
        "Poison is bytes that cannot be decoded, and any bytes are an event of this type. Leave"
        " --poison out, or declare a type that says more than bytes."
    )
