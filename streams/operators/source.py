"""Source: what was fetched from a topic, decoded into a chunk.

Decoding is where undecodable records show: it tells which they are, and the engine runs the
rest of them again.
"""

import datetime
import re
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from penstock.operators.chunk import Chunk, Headers, LetGo
from penstock.operators.each import NOT_DATA, decode_each, each
from penstock.operators.event_time import EventTime, EventTimes, TimeGuard
from penstock.operators.fields import type_name
from penstock.operators.on_error import OnError
from penstock.serde.columns import decode_column
from penstock.serde.primitives import BYTES
from penstock.serde.types import DataType

Start: TypeAlias = Literal["earliest", "latest"] | datetime.datetime

_NONE = type(None)


class HasHeaders(Protocol):
    """A record of a client."""

    def headers(self) -> Headers:
        """Return the headers."""
        ...


class Fetched(NamedTuple):
    """Records of one topic partition as they came from the broker, as columns of bytes.

    Attributes:
        headers: None where no operator reads them.
        next_offset: the offset behind the last record.
        messages: what they were taken from, where dead letters need the rest of it.
    """

    topic: str
    partition: int
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    timestamps: Sequence[int]
    offsets: Sequence[int]
    headers: Sequence[Headers] | None
    next_offset: int
    messages: Sequence[HasHeaders] | None = None

    def part(self, start: int, stop: int) -> "Fetched":
        """The records from index start to before stop."""
        if start == 0 and stop >= len(self.offsets):
            return self
        at = slice(start, stop)
        return self._replace(
            keys=self.keys[at],
            values=self.values[at],
            timestamps=self.timestamps[at],
            offsets=self.offsets[at],
            headers=self.headers[at] if self.headers else None,
            next_offset=self.offsets[at][-1] + 1,
            messages=self.messages[at] if self.messages else None,
        )

    def without(self, offsets: Container[int]) -> "Fetched":
        """The records but those at some offsets."""
        kept = [at not in offsets for at in self.offsets]
        return self._replace(
            keys=list(compress(self.keys, kept)),
            values=list(compress(self.values, kept)),
            timestamps=list(compress(self.timestamps, kept)),
            offsets=list(compress(self.offsets, kept)),
            headers=list(compress(self.headers, kept)) if self.headers else None,
            messages=list(compress(self.messages, kept)) if self.messages else None,
        )

    def headers_at(self, index: int) -> Headers:
        """The headers of a record, also where no operator reads them."""
        if self.headers is not None:
            return self.headers[index]
        return self.messages[index].headers() if self.messages else None


def total_bytes(column: Sequence[bytes | None]) -> int:
    """The bytes of a column, nulls left out: 15 ns per value where there are none."""
    return sum(map(len, column if all(column) else filter(None, column)))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Source:
    """Read topics and decode their records.

    Attributes:
        topics: the names, or one pattern in `pattern`, resolved when the application starts.
        keep_nulls: whether null values mean something here: deletions, as in a table.
        internal: whether it reads a repartition topic.
        on_error: what becomes of records that fail; None for what the application says.
        extract: event time in milliseconds of a value; None takes the record's timestamp.
    """

    topics: tuple[str, ...]
    key: DataType
    value: DataType
    pattern: re.Pattern[str] | None = None
    extract: Callable[[Any], int] | None = None
    start: Start = "earliest"
    keep_nulls: bool = False
    internal: bool = False
    on_error: OnError | None = None

    def decode(self, fetched: Fetched, let_go: LetGo | None = None) -> Chunk:
        """Decode the values; keys wait until somebody wants them.

        Args:
            fetched: the records.
            let_go: takes those that fail, here and in the steps behind; they are left out.

        Raises:
            EachFailed: if some cannot be decoded, or have no key where one is declared, and
                nobody takes them.
        """
        chunk = Chunk(
            fetched.values,
            fetched.timestamps,
            raw_keys=fetched.keys,
            key_serde=self.key.serde,
            headers=fetched.headers,
            offsets=fetched.offsets,
            topic=fetched.topic,
            partition=fetched.partition,
            let_go=let_go,
        )
        chunk = self._with_keys(chunk)
        serde: Any = self.value.serde
        if serde is BYTES:
            return chunk
        if not self.keep_nulls and not all(chunk.values):
            # Null values mean nothing in a stream; an empty value is none of them.
            chunk = chunk.select([value is not None for value in chunk.values])
        chunk, values = chunk.attempt(lambda: decode_each(serde, chunk.values))
        return chunk.with_values(values)

    def in_event_time(
        self, chunk: Chunk, guard: TimeGuard | None = None, seen: EventTimes | None = None
    ) -> Chunk:
        """Give each record of a decoded chunk the time that its value says: 35 ns.

        Args:
            chunk: the records, with their own timestamps.
            guard: what their times have to be; None where nothing goes by them.
            seen: takes note of those that are well, where there is a guard.

        Raises:
            EachFailed: if some have none.
        """
        if self.extract is not None:
            chunk, times = chunk.apply(self.extract, chunk.values)
            chunk.arrivals, chunk.timestamps = chunk.timestamps, times
        if guard is None or not len(chunk):
            return chunk
        earliest, latest = min(chunk.timestamps), max(chunk.timestamps)
        if not guard.passes(earliest, latest):
            chunk = self._in_time(chunk, guard)
            earliest, latest = min(chunk.timestamps, default=0), max(chunk.timestamps, default=0)
        if seen is not None:
            seen.add(chunk.timestamps, earliest, latest)
        return chunk

    def _in_time(self, chunk: Chunk, guard: TimeGuard) -> Chunk:
        """Leave out records whose time is none."""
        unit = self.extract.unit if isinstance(self.extract, EventTime) else None
        own = chunk.arrivals or chunk.timestamps
        pairs = list(zip(chunk.timestamps, own, strict=True))
        return chunk.attempt(lambda: each(lambda of: guard.check(*of, unit), pairs))[0]

    def event_times(self, fetched: Fetched) -> Sequence[int]:
        """Return a timestamp for each record, to order inputs by.

        It is the record's own where its value has none: what is wrong with the value shows
        when it is its turn.
        """
        extract, serde = self.extract, self.value.serde
        if extract is None or serde is None:
            return fetched.timestamps
        try:
            values = decode_column(serde, fetched.values)
            return [
                own if value is None else extract(value)
                for value, own in zip(values, fetched.timestamps, strict=True)
            ]
        except NOT_DATA:
            raise
        except Exception:  # noqa: BLE001 - a serde or a user's function raises what it likes
            return [
                self._time_of(*of) for of in zip(fetched.values, fetched.timestamps, strict=True)
            ]

    def _time_of(self, data: bytes | None, own: int) -> int:
        """Return the event time of one record, its own timestamp where it has none."""
        serde: Any = self.value.serde
        try:
            return own if data is None or self.extract is None else self.extract(serde.decode(data))
        except NOT_DATA:
            raise
        except Exception:  # noqa: BLE001 - as above
            return own

    def _with_keys(self, chunk: Chunk) -> Chunk:
        """Leave null keys out where one is declared."""
        keys = chunk.raw_keys or ()
        if self.key.serde is BYTES or all(keys) or None not in keys:
            return chunk
        return chunk.apply(self._refuse_null, keys)[0]

    def _refuse_null(self, key: bytes | None) -> None:
        if key is None:
            raise ValueError(
                f"the key is null, declared is key={type_name(self.key.type)}; leave key= out"
                " to accept records without keys"
            )
