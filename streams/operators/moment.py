"""The moment: for which record or timer a processor is called, as its context and its state see it.

One object per task, changed for each call.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any, Literal

from penstock.errors import TopologyError
from penstock.operators.chunk import Chunk
from penstock.operators.processor import Context
from penstock.operators.timers import Timers


class Moment(Context[Any]):
    """The context of a processor in a task.

    Attributes:
        raw: bytes of the key; None while the processor is not called.
        chunk: the records that are being processed, None for a timer.
        index: which of them.
        written: the event time of what is written now.
        tell_ms: tells the wall clock's milliseconds.
        seed: what tells a timer from others.
    """

    __slots__ = (
        "_draw",
        "_drawn",
        "_name",
        "_timers",
        "chunk",
        "index",
        "raw",
        "seed",
        "tell_ms",
        "written",
    )

    def __init__(self, name: str, timers: Timers | None) -> None:
        super().__init__()
        self._name = name
        self._timers = timers
        self._draw = random.Random()  # noqa: S311 - for samples and delays, not for secrets
        self._drawn = False
        self.raw: Any = None
        self.chunk: Chunk | None = None
        self.index = 0
        self.written = -1
        self.seed = ""
        self.tell_ms: Callable[[], int] = int

    def move(self, raw: Any, key: Any, timestamp: int, stream_time: int) -> None:
        """Begin a call for a key."""
        self.raw, self._key, self._drawn = raw, key, False
        self.timestamp, self.stream_time = timestamp, stream_time
        self.written = stream_time if stream_time > timestamp else timestamp

    @property
    def now(self) -> int:
        """The wall clock in milliseconds since the epoch."""
        return self.tell_ms()

    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]:
        """The headers of the record."""
        if self.chunk is None or self.chunk.headers is None:
            return ()
        return self.chunk.headers[self.index] or ()

    @property
    def random(self) -> random.Random:
        """Random numbers that begin anew for each record and timer."""
        if not self._drawn:
            self._draw.seed(self._seed())
            self._drawn = True
        return self._draw

    def _seed(self) -> str:
        chunk = self.chunk
        if chunk is None:
            return f"{self._name} {self.seed} {self.raw!r}"
        if chunk.offsets is None:  # behind a step that makes records of its own
            return f"{self._name} {self.timestamp} {self.raw!r}"
        return f"{self._name} {chunk.topic}/{chunk.partition}@{chunk.offsets[self.index]}"

    def set_timer(self, name: str, *, at: int, clock: Literal["event", "wall"] = "event") -> None:
        """Set a timer of the key."""
        self._its_timers("set_timer").set(self.raw, name, at, clock, self.written)

    def cancel_timer(self, name: str) -> None:
        """Forget a timer of the key."""
        self._its_timers("cancel_timer").cancel(self.raw, name, self.written)

    def _its_timers(self, wanted: str) -> Timers:
        if self.raw is None:
            raise outside(f"ctx.{wanted}")
        if self._timers is None:
            raise TopologyError(
                f"Process {self._name!r} calls {wanted}, but its class has no on_timer: nothing"
                " would happen. Add on_timer(self, ctx, timer) to it.",
                operator="process",
            )
        return self._timers


def outside(what: str) -> TopologyError:
    """Make the error for state or timers that are used where there is no key."""
    return TopologyError(
        f"{what} is used outside of process and on_timer: there is no key whose it could be. Use it"
        " in those and on_initial only, and not in what runs after them.",
        operator="process",
    )
