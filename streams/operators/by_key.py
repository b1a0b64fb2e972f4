"""Windows kept by key: all of a key as one entry, beside timers that say when to look at it.

What sessions and sliding windows share: the store has two kinds of keys, see `serde/sessions.py`.
A timer may come early, and is set again then; none comes late.
"""

from collections.abc import Sequence
from typing import Any, Generic, Protocol, TypeVar

from penstock.operators.chunk import Chunk
from penstock.operators.earliest import NEVER, Earliest
from penstock.operators.late import LateCount, Missed
from penstock.serde.sessions import KEY, TIMER
from penstock.serde.timers import time_of, timed
from penstock.serde.types import Serde, is_immutable
from penstock.state.overlay import Entry, Overlay
from penstock.windows import Windowed

Update = tuple[Windowed[bytes], Any, int]


class ByKey(Protocol):
    """An aggregation whose windows are kept by key, as declared."""

    @property
    def key(self) -> Serde[Any]:
        """Serde of the keys."""
        ...

    @property
    def value(self) -> Serde[Any]:
        """Serde of the results."""
        ...

    @property
    def open_ms(self) -> int:
        """How long a window takes records."""
        ...


Declared = TypeVar("Declared", bound=ByKey)


class OpenByKey(Generic[Declared]):
    """The windows of one task.

    Attributes:
        dropped: records without key or value, until the task counts them.
        late: records that came too late for any window, until the task counts them.
        missed: the windows that they would have been in, where late records go to a topic.
        finals: whether anyone takes the results of closed windows; else `close` returns none.
    """

    wake_ms = None
    finals = True

    def __init__(self, declared: Declared, overlay: Overlay, *, coalesce: bool) -> None:
        self.dropped = self.late = 0
        self.missed: list[Missed] = []
        self.late_count = LateCount()
        self._declared = declared
        self._overlay = overlay
        self._coalesce = coalesce
        self._open_ms = declared.open_ms
        self._mutable = not is_immutable(declared.value)
        self._earliest = Earliest(self._first_timer)

    def is_due(self, clock: int) -> bool:
        """Whether a key is to be looked at, at an operator time."""
        return self._earliest.first() < clock

    def held_ms(self) -> int | None:
        """How old what is open is at the most: its result is no older."""
        first = self._earliest.first()
        return None if first == NEVER else first - self._open_ms

    def discard(self) -> None:
        """Forget what the batch has changed: it was aborted."""
        self._earliest.forget()

    def copy(self, value: Any) -> Any:
        """Return a value that shares nothing with this one."""
        serde = self._declared.value
        return serde.decode(serde.encode(value)) if self._mutable and value is not None else value

    def _timer_at(self, time: int, key: bytes) -> bytes:
        """Return a timer of a key, to be put."""
        self._earliest.add(time)
        return timed(TIMER, time, key)

    def _due(self, clock: int, limit: int) -> list[tuple[bytes, Entry]]:
        """Return the first timers that are due, as they are deleted; all was flushed before."""
        self._earliest.flushed()
        if not self.is_due(clock):
            return []
        self._earliest.passed()
        return self._overlay.scan(TIMER, timed(TIMER, clock, b""), limit, values=False)

    def _first_timer(self) -> int | None:
        first = self._overlay.scan(TIMER, KEY, 1, values=False)
        return time_of(first[0][0]) if first else None

    def _chunk(self, rows: Sequence[Update]) -> Chunk:
        decode = self._declared.key.decode
        return Chunk(
            [value for _, value, _ in rows],
            [at for _, _, at in rows],
            keys=[Windowed(decode(of.key), of.start, of.end) for of, _, _ in rows],
        )
