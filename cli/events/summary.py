"""What a run of `penstock produce` has sent, for people and for programs."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from penstock.cli.events.disorder import Kind
from penstock.cli.events.protocol import Key
from penstock.cli.terminal import as_json
from penstock.errors import BrokerError, PenstockError


class Acknowledged(NamedTuple):
    """What the brokers have acknowledged in a partition.

    Attributes:
        records: how many.
        first: offset of the first, None without one.
        last: offset of the last, None without one.
    """

    records: int = 0
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """What a run has sent.

    Attributes:
        topic: where to.
        seed: of all that was drawn.
        records: how many the brokers have acknowledged.
        kinds: how many of each kind they have acknowledged.
        partitions: what they have acknowledged in each partition of the topic.
        bytes: of the acknowledged keys and values, as sent, before compression.
        seconds: from the first record to the last acknowledgement.
        keys: distinct keys; 0 where records have none, None above 2,000,000.
        key_counts: acknowledged records by key, if they were to be counted.
        first_timestamp: the smallest of all that were handed over, in milliseconds; None without.
        last_timestamp: the largest.
        failed: records that were not acknowledged; after a timeout some may be in the topic.
        failure: why the first of them failed; "" if none did.
        error: what was wrong with the events, where that ended the run.
    """

    topic: str
    seed: int = 0
    records: int
    kinds: Mapping[Kind, int]
    partitions: Mapping[int, Acknowledged]
    bytes: int
    seconds: float
    keys: int | None
    key_counts: Counter[Key] | None = field(default=None, repr=False)
    first_timestamp: int | None
    last_timestamp: int | None
    failed: int = 0
    failure: str = ""
    error: PenstockError | None = None

    @property
    def rate(self) -> float:
        """Acknowledged records per second."""
        return self.records / self.seconds if self.seconds else 0.0

    def raise_for_failed(self) -> None:
        """Raise if the run did not end as it was meant to.

        Raises:
            BrokerError: if a record was lost.
            PenstockError: if an event was wrong.
        """
        if self.failed:
            raise BrokerError(
                f"{self.failed:,} records for topic {self.topic} were not acknowledged, and"
                f" {self.records:,} were. The first failed with: {self.failure}. Check the"
                " brokers and the topic's limits, then produce again.",
                topic=self.topic,
            )
        if self.error is not None:
            raise self.error

    def as_json(self) -> str:
        """Return it as one JSON object."""
        fields = {
            "topic": self.topic,
            "seed": self.seed,
            "records": self.records,
            "kinds": self.kinds,
            "bytes": self.bytes,
            "seconds": round(self.seconds, 6),
            "rate": round(self.rate, 1),
            "keys": self.keys,
            "first_timestamp": self.first_timestamp,
            "last_timestamp": self.last_timestamp,
            "partitions": {number: at.records for number, at in self.partitions.items()},
            "offsets": {
                number: [at.first, at.last] if at.records else None
                for number, at in self.partitions.items()
            },
            "failed": self.failed,
        }
        return json.dumps(fields)

    def as_text(self) -> str:
        """Return it as one line."""
        keys = "many keys" if self.keys is None else f"{self.keys:,} keys"
        spread = ", ".join(f"{number}: {at.records:,}" for number, at in self.partitions.items())
        others = {kind: count for kind, count in self.kinds.items() if kind != Kind.CLEAN and count}
        kinds = "".join(
            f", {count:,} {kind.value.replace('_', ' ')}" for kind, count in others.items()
        )
        failed = f", {self.failed:,} FAILED" if self.failed else ""
        return (
            f"{self.records:,} records ({self.bytes / 1e6:,.1f} MB, {keys}{kinds}) to"
            f" {self.topic} in {self.seconds:,.2f} s, {self.rate:,.0f}/s{failed}."
            f" By partition: {spread}"
        )

    def key_lines(self) -> Iterator[str]:
        """Return an object of each key and its records, the most frequent first."""
        counts: Counter[Key] = self.key_counts or Counter()
        for key, records in counts.most_common():
            yield json.dumps({**as_json("key", key), "records": records})
