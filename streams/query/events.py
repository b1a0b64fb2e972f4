"""Events: what happens to a query beside its progress.

They go to listeners, and to the progress topic as JSON with the key `event`, which says what
they are; a progress has no such key.
"""

import datetime
import uuid
from collections.abc import Mapping
from typing import TypeAlias

import msgspec

from penstock.query.progress import Progress


class _Event(msgspec.Struct, frozen=True, rename="camel", kw_only=True, tag_field="event"):
    """What all events have.

    Attributes:
        id: of the query.
        run_id: of this run.
        instance_id: of the worker.
        name: the application id.
        timestamp: when it happened, ISO 8601, UTC.
    """

    id: uuid.UUID
    run_id: uuid.UUID
    instance_id: str
    name: str
    timestamp: str

    def to_json(self) -> str:
        """Return the event as JSON."""
        return msgspec.json.encode(self).decode()


class Started(_Event, frozen=True, kw_only=True, rename="camel", tag="started"):
    """A worker has begun to run the query."""


class Idle(_Event, frozen=True, kw_only=True, rename="camel", tag="idle"):
    """For a while no record has come.

    Attributes:
        lag: records that wait all the same, in partitions that do not run yet.
        assigned: all that the worker has, by topic; None where an earlier version tells it. Who
            listens to a worker that idles would else not know.
    """

    lag: int = 0
    assigned: Mapping[str, tuple[int, ...]] | None = None


class Rebalance(_Event, frozen=True, kw_only=True, rename="camel", tag="rebalance"):
    """The group has given partitions to the worker, or taken some.

    Attributes:
        taken: those that are new, by topic.
        given_back: those that are gone, by topic.
        assigned: all that the worker has now, by topic.
    """

    taken: Mapping[str, tuple[int, ...]]
    given_back: Mapping[str, tuple[int, ...]]
    assigned: Mapping[str, tuple[int, ...]]


class Restored(_Event, frozen=True, kw_only=True, rename="camel", tag="restored"):
    """Stores are as their changelogs say, and their partitions run.

    Attributes:
        stores: how many partitions of stores.
        rows: changelog records that were read for them.
        duration_ms: how long it took.
    """

    stores: int
    rows: int
    duration_ms: int


class Terminated(_Event, frozen=True, kw_only=True, rename="camel", tag="terminated"):
    """A worker has ended.

    Attributes:
        exception: what ended it, in words; None where it was stopped.
        error_class: the class of the error, such as "DataError".
    """

    exception: str | None = None
    error_class: str | None = None


Event: TypeAlias = Started | Idle | Rebalance | Restored | Terminated
Told: TypeAlias = Progress | Event

_EVENT = msgspec.json.Decoder(Event)
_PROGRESS = msgspec.json.Decoder(Progress)


def decode(text: bytes | str) -> Told | None:
    """Return what stands in a record of a progress topic; None where it is something else.

    Args:
        text: JSON, as `to_json` writes it. Fields that are not known are passed over, so that
            later versions can be read.
    """
    for decoder in (_EVENT, _PROGRESS):
        try:
            told: Told = decoder.decode(text)
            _check(told)
        except (msgspec.DecodeError, ValueError, OverflowError):
            continue  # a progress has no tag, and anybody may write to a topic
        return told
    return None


def _check(told: Told) -> None:
    """Refuse texts that are not the times and numbers that they stand for.

    Raises:
        ValueError: if one is not.
    """
    times = [told.timestamp]
    if isinstance(told, Progress):
        times += told.event_time.values()
        for source in told.sources:
            for numbers in (*source.partitions.values(), *source.end_offset.values()):
                _ = [int(number) for number in numbers]
            _ = [int(float(behind)) for behind in source.metrics.values()]
    if any(datetime.datetime.fromisoformat(time).tzinfo is None for time in times):
        raise ValueError(f"{times} have no time zone")
