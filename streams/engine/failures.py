"""Records that failed: what is told of them, their dead letters, and when it is too many.

A failure is a record of an input with what a step raised on it. Whichever step it is, the
record is judged by the policy of its input, and leaves nothing else behind.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from penstock.errors import DataError
from penstock.operators.chunk import Headers
from penstock.operators.each import EachFailed
from penstock.operators.on_error import DeadLetter
from penstock.operators.sink import Destinations, Outgoing, record_size
from penstock.operators.source import Fetched

PREFIX = "__penstock.error."
LOOKED_AT = 10_000  # records, of which the share of failures is taken
JUDGED_FROM = 1_000
MOST_MESSAGE = 1_000  # characters


class Failure(NamedTuple):
    """A record that failed.

    Attributes:
        error: what was raised.
        step: the step that raised it, as describe() calls it.
        store: the store of the step, if it has one.
        private: whether nothing may be told that can quote the record, as the message of an
            exception does.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: Headers
    error: Exception
    step: str
    store: str | None
    private: bool = False

    def __str__(self) -> str:
        said = "" if self.private else f": {self.error}"
        return (
            f"{self.step} failed on {self.topic}/{self.partition} offset {self.offset}:"
            f" {type(self.error).__name__}{said}"
        )

    def as_error(self, what_now: str) -> DataError:
        """The error that stops the application."""
        return DataError(
            f"{self}. {what_now}",
            topic=self.topic,
            partition=self.partition,
            offset=self.offset,
            operator=self.step.partition(" ")[0],
            store=self.store,
        )


def cause(error: Exception) -> Exception:
    """What a function has raised, where a chunk of several records failed because of it."""
    return next(iter(error.errors.values())) if isinstance(error, EachFailed) else error


def dead_letters(
    failures: Sequence[Failure],
    policy: DeadLetter,
    application: str,
    destinations: Destinations,
) -> Outgoing:
    """Return the dead letters of records: their bytes, and headers that tell what happened."""
    limit = destinations.max_message_bytes(policy.topic)
    letters = [_letter(failure, policy, application, limit) for failure in failures]
    keys = [key for key, _, _ in letters]
    return Outgoing(
        policy.topic,
        keys,
        [value for _, value, _ in letters],
        destinations.partitions(policy.topic, keys),
        [failure.timestamp for failure in failures],
        [headers for _, _, headers in letters],
        dead=True,
    )


def _letter(
    failure: Failure, policy: DeadLetter, application: str, limit: int
) -> tuple[bytes | None, bytes | None, Headers]:
    """Return as much of a record as its dead letter has room for; what is omitted is told."""
    key, value, told = failure.key, failure.value, _told(failure, application)
    if not policy.payload:
        return None, None, [_omitted("key, value, headers, message"), *told]
    own = [pair for pair in failure.headers or [] if not pair[0].startswith(PREFIX)]
    letters: list[tuple[bytes | None, bytes | None, Headers]] = [
        (key, value, [*own, *told]),
        (key, None, [_omitted("value"), *own, *told]),
    ]
    for letter in letters:
        if record_size(*letter) <= limit:
            return letter
    return None, None, [_omitted("key, value, headers"), *told]


def _omitted(parts: str) -> tuple[str, bytes | None]:
    return PREFIX + "omitted", parts.encode()


def _told(failure: Failure, application: str) -> list[tuple[str, bytes | None]]:
    told = {
        "class": type(failure.error).__name__,
        **({} if failure.private else {"message": str(failure.error)[:MOST_MESSAGE]}),
        "topic": failure.topic,
        "partition": failure.partition,
        "offset": failure.offset,
        "operator": failure.step,
        "application": application,
    }
    return [(PREFIX + name, str(value).encode(errors="replace")) for name, value in told.items()]


class Guard:
    """Watch how many records of one input fail.

    What was looked at before is not counted again: an aborted batch is run once more.
    """

    def __init__(self, policy: DeadLetter) -> None:
        self._policy = policy
        self._behind = -1
        self._run = 0
        self._recent = self._before = (0, 0)  # records, failures

    def look(self, fetched: Fetched, failures: Sequence[Failure]) -> None:
        """Count records and those of them that failed.

        Raises:
            DataError: if they are too many.
        """
        offsets: Sequence[int] = fetched.offsets
        if offsets[0] < self._behind:
            offsets = [offset for offset in offsets if offset >= self._behind]
        if not offsets:
            return
        self._behind = offsets[-1] + 1
        failed = [failure.offset for failure in failures if failure.offset >= offsets[0]]
        longest = self._longest_run(offsets, failed)
        records, bad = self._recent
        self._recent = (records + len(offsets), bad + len(failed))
        if failed:
            self._judge(failures[-1], longest)
        if self._recent[0] >= LOOKED_AT // 2:
            self._before, self._recent = self._recent, (0, 0)

    def _longest_run(self, offsets: Sequence[int], failed: Sequence[int]) -> int:
        """Count without a look at those that did not fail: 0.2 us each."""
        longest, last = 0, -1
        for at in sorted(bisect_left(offsets, offset) for offset in failed):
            self._run = self._run + 1 if at == last + 1 else 1
            longest, last = max(longest, self._run), at
        if last != len(offsets) - 1:
            self._run = 0
        return longest

    def _judge(self, last: Failure, longest: int) -> None:
        policy = self._policy
        if policy.max_run is not None and longest > policy.max_run:
            raise last.as_error(
                f"That makes {longest} records in a row, more than max_run={policy.max_run} of"
                f" dead_letter({policy.topic!r}): more likely the application is wrong than the"
                " records. Nothing of this batch is committed. Correct it, or raise max_run,"
                " and start again."
            )
        records = self._before[0] + self._recent[0]
        bad = self._before[1] + self._recent[1]
        if records >= JUDGED_FROM and bad > records * policy.max_ratio:
            raise last.as_error(
                f"{bad} of the last {records} records have failed, more than"
                f" max_ratio={policy.max_ratio:g} of dead_letter({policy.topic!r}): more likely"
                " the application is wrong than the records. Nothing of this batch is"
                " committed. Correct it, or raise max_ratio, and start again."
            )
