"""A chunk: a run of records of one topic partition as parallel columns.

Operators map columns to columns. User functions are called per record, framework code only
per chunk, and a column that nobody asks for is never built: keys stay bytes until a function
wants them, headers and offsets are None where no operator reads them.

Rule 1: a chunk is never changed after it was handed on; `replace` makes another one.
Rule 2: all columns that are there have the same length.
Rule 3: where a function fails on some records, `attempt` leaves those out, if the engine has
        said that nothing else has come of them yet (`let_go`). Else the whole chunk fails.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import compress
from typing import Any, TypeAlias

from penstock.operators.each import EachFailed, decode_each, each, encode_each
from penstock.serde.types import Serde, is_canonical

Headers: TypeAlias = list[tuple[str, bytes | None]] | None
LetGo: TypeAlias = Callable[[Mapping[int, Exception]], None]  # what was raised, by offset


class Chunk:
    """Columns of records: keys, values, timestamps in milliseconds, and what else is read.

    Where event time is taken from values, `arrivals` has the timestamps of the records.
    """

    __slots__ = (
        "_keys",
        "arrivals",
        "headers",
        "key_serde",
        "let_go",
        "offsets",
        "partition",
        "raw_keys",
        "raw_values",
        "timestamps",
        "topic",
        "value_serde",
        "values",
    )

    def __init__(
        self,
        values: Sequence[Any],
        timestamps: Sequence[int],
        *,
        keys: Sequence[Any] | None = None,
        raw_keys: Sequence[bytes | None] | None = None,
        key_serde: Serde[Any] | None = None,
        raw_values: Sequence[bytes | None] | None = None,
        value_serde: Serde[Any] | None = None,
        headers: Sequence[Headers] | None = None,
        offsets: Sequence[int] | None = None,
        topic: str = "",
        partition: int = -1,
        let_go: LetGo | None = None,
        arrivals: Sequence[int] | None = None,
    ) -> None:
        self._keys = keys
        self.arrivals = arrivals
        self.raw_keys = raw_keys
        self.key_serde = key_serde
        self.raw_values = raw_values
        self.value_serde = value_serde
        self.values = values
        self.timestamps = timestamps
        self.headers = headers
        self.offsets = offsets
        self.topic = topic
        self.partition = partition
        self.let_go = let_go

    def __len__(self) -> int:
        return len(self.values)

    @property
    def keys(self) -> Sequence[Any]:
        """The keys, decoded at first use."""
        if self._keys is None:
            serde, raw = self.key_serde, self.raw_keys
            if raw is None:
                self._keys = [None] * len(self.values)
            elif serde is None:
                self._keys = raw
            else:
                self._keys = decode_each(serde, raw)
        return self._keys

    def encoded_keys(self, serde: Serde[Any] | None) -> Sequence[bytes | None]:
        """The keys as bytes of a serde: the bytes they came in where that is the same."""
        if serde is None:
            return self.keys
        if self.raw_keys is not None and self.key_serde is serde and is_canonical(serde):
            return self.raw_keys
        return encode_each(serde, self.keys)

    def encoded_values(self, serde: Serde[Any]) -> Sequence[bytes | None]:
        """The values as bytes of a serde, taken over where they were encoded by it before."""
        if self.raw_values is not None and self.value_serde is serde:
            return self.raw_values
        return encode_each(serde, self.values)

    def apply(
        self, function: Callable[[Any], Any], column: Sequence[Any]
    ) -> tuple["Chunk", list[Any]]:
        """Apply a function to a column of the chunk.

        Returns:
            the records that are left, and the results, one for each of them.

        Raises:
            EachFailed: if it fails for some, and they cannot be left out.
        """
        return self.attempt(lambda: each(function, column))

    def attempt(self, step: Callable[[], list[Any]]) -> tuple["Chunk", list[Any]]:
        """The same for anything that makes a column out of this chunk's."""
        try:
            return self, step()
        except EachFailed as failed:
            if self.let_go is None or self.offsets is None:
                raise
            errors: dict[int, Exception] = {}
            for at, error in failed.errors.items():
                errors.setdefault(self.offsets[at], error)
            self.let_go(errors)
            kept = [offset not in errors for offset in self.offsets]
            left = self._take(lambda column: list(compress(column, kept)))
            return left, list(compress(failed.results, kept))

    def strictly(self) -> "Chunk":
        """The same records, of which none can be left out any more."""
        if self.let_go is None:
            return self
        strict = self.with_values(self.values)
        strict.let_go = None
        return strict

    def with_values(self, values: Sequence[Any]) -> "Chunk":
        """The same records with other values."""
        return self._copy(values, self.timestamps, self._keys, self.raw_keys, self.headers)

    def with_records(self, keys: Sequence[Any], values: Sequence[Any]) -> "Chunk":
        """The same records with other keys and values."""
        return self._copy(values, self.timestamps, keys, None, self.headers)

    def select(self, mask: Sequence[object]) -> "Chunk":
        """The records whose entry in the mask is true; the chunk itself where all are."""
        if all(mask):
            return self
        return self._take(lambda column: list(compress(column, mask)))

    def repeat(self, counts: Sequence[int], values: Sequence[Any]) -> "Chunk":
        """Other values, `counts[i]` of them for record i, each with all else of its record."""

        def repeated(column: Sequence[Any]) -> list[Any]:
            return [item for item, n in zip(column, counts, strict=True) for _ in range(n)]

        grown = self.with_values(self.values)._take(repeated)
        grown.values = values
        return grown

    def _take(self, pick: Callable[[Sequence[Any]], list[Any]]) -> "Chunk":
        def column(of: Sequence[Any] | None) -> Sequence[Any] | None:
            return None if of is None else pick(of)

        taken = self._copy(
            pick(self.values),
            pick(self.timestamps),
            column(self._keys),
            column(self.raw_keys),
            column(self.headers),
        )
        taken.offsets, taken.arrivals = column(self.offsets), column(self.arrivals)
        return taken

    def _copy(
        self,
        values: Sequence[Any],
        timestamps: Sequence[int],
        keys: Sequence[Any] | None,
        raw_keys: Sequence[bytes | None] | None,
        headers: Sequence[Headers] | None,
    ) -> "Chunk":
        return Chunk(
            values,
            timestamps,
            keys=keys,
            raw_keys=raw_keys,
            key_serde=self.key_serde,
            headers=headers,
            offsets=self.offsets,
            topic=self.topic,
            partition=self.partition,
            let_go=self.let_go,
            arrivals=self.arrivals,
        )


def newest(keys: Sequence[Any], timestamps: Sequence[int]) -> dict[Any, int]:
    """The largest timestamp of each key: 60 ns per record where the chunk is in order."""
    if list(timestamps) == sorted(timestamps):
        return dict(zip(keys, timestamps, strict=True))
    found: dict[Any, int] = {}
    for key, timestamp in zip(keys, timestamps, strict=True):
        if found.get(key, timestamp) <= timestamp:
            found[key] = timestamp
    return found


def concatenate(columns: Iterable[Sequence[Any]]) -> list[Any]:
    """One column of several."""
    return [item for column in columns for item in column]
