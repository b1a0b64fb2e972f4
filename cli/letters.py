"""Dead letters as they stand in their topic: what is told of each, and how many of which kind.

They are written by `penstock.engine.failures`. A record without its headers is none, and is
counted apart.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from penstock.cli.cluster import Partition, committed, connect, group_client, partitions_of
from penstock.cli.reading import read
from penstock.cli.terminal import as_json, printable, shown, utc
from penstock.engine.failures import PREFIX
from penstock.errors import BrokerError
from penstock.runtime.message import Message
from penstock.topics.admin import Admin


class Letter(NamedTuple):
    """A record of a dead-letter topic.

    Attributes:
        headers: the record's own, without those that tell of the error.
        told: those, without their prefix: class, message, topic and so on.
    """

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int
    headers: list[tuple[str, bytes | None]]
    told: dict[str, str]

    @property
    def genuine(self) -> bool:
        """Whether it tells where it comes from."""
        return "class" in self.told and "topic" in self.told

    @property
    def complete(self) -> bool:
        """Whether all of the record is there."""
        return "omitted" not in self.told


def letter_of(message: Message) -> Letter:
    """Take a record of a dead-letter topic apart."""
    headers = message.headers() or []
    return Letter(
        message.partition(),
        message.offset(),
        message.key(),
        message.value(),
        message.timestamp()[1],
        [pair for pair in headers if not pair[0].startswith(PREFIX)],
        {
            name.removeprefix(PREFIX): (value or b"").decode(errors="replace")
            for name, value in headers
            if name.startswith(PREFIX)
        },
    )


@dataclass
class Kind:
    """Dead letters that have failed alike.

    Attributes:
        error: the class of what was raised; None for records that are no dead letters.
        waiting: how many of them no redrive has passed yet.
        first_ms: the smallest timestamp, which is that of the record that failed.
        last_ms: the largest.
    """

    error: str | None
    operator: str | None
    topic: str | None
    application: str | None
    first_ms: int
    last_ms: int
    count: int = 0
    waiting: int = 0


class DeadLetterTopic:
    """A dead-letter topic between its first record and its present end.

    Args:
        name: the topic.
        brokers: the cluster.

    Attributes:
        group: the group whose offsets say how far redrives have come.
        begins: the first offset of each partition.
        ends: the present end of each, for read_committed readers.

    Raises:
        BrokerError: if the cluster does not answer, or there is no such topic.
    """

    def __init__(self, name: str, brokers: str) -> None:
        self.name = name
        self.brokers = brokers
        self.group = f"{name}-redrive"
        self.admin: Admin = connect(brokers)
        self.partitions = partitions_of(self.admin, name, brokers)
        self.begins = self.admin.starts(self.partitions)
        self.ends = self.admin.stable_ends(self.partitions)

    def redriven(self) -> dict[Partition, int]:
        """Return the offset behind what redrives have passed, of each partition."""
        client = self.client(stable=False)
        try:
            return self.passed(client)
        finally:
            client.close()

    def client(self, *, stable: bool = True) -> Any:
        """Make a client of the group; `stable` as for `group_client`."""
        return group_client(self.brokers, self.group, stable=stable)

    def passed(self, client: Any) -> dict[Partition, int]:
        """Return it as a client of the group is told."""
        found = committed(client, self.partitions)
        return {
            at: max(begin, found[at].offset) if at in found else begin
            for at, begin in self.begins.items()
        }

    def letters(
        self, starts: dict[Partition, int], on_progress: Callable[[int], None] = lambda _: None
    ) -> Generator[Letter]:
        """Read from some offsets on."""
        done = 0
        for messages in read(self.brokers, starts, self.ends):
            yield from map(letter_of, messages)
            done += len(messages)
            on_progress(done)

    def size(self, starts: dict[Partition, int]) -> int:
        """Return at most how many records there are from some offsets on."""
        return sum(max(0, end - starts[at]) for at, end in self.ends.items())

    def find(self, partition: int, offset: int) -> Letter:
        """Read one.

        Raises:
            BrokerError: if it is not there.
        """
        at = (self.name, partition)
        if at in self.ends and self.begins[at] <= offset < self.ends[at]:
            for messages in read(self.brokers, {at: offset}, {at: offset + 1}):
                for message in messages:
                    return letter_of(message)
            why = "There is no record: it was aborted, compacted, or marks a transaction."
        elif at in self.ends:
            why = f"The partition has offsets {self.begins[at]} to {self.ends[at] - 1}."
        else:
            why = f"The topic has partitions 0 to {len(self.partitions) - 1}."
        raise BrokerError(
            f"{self.name}/{partition} offset {offset} cannot be shown. {why}",
            topic=self.name,
            partition=partition,
            offset=offset,
        )


def kinds(topic: str, letters: Iterable[Letter], redriven: dict[Partition, int]) -> list[Kind]:
    """Count dead letters by what has failed where; the most frequent first."""
    found: dict[tuple[str | None, ...], Kind] = {}
    for letter in letters:
        told, at_ms = letter.told.get, letter.timestamp
        named = told("class"), told("operator"), told("topic"), told("application")
        kind = found.get(named)
        if kind is None:
            kind = found[named] = Kind(*named, first_ms=at_ms, last_ms=at_ms)
        kind.count += 1
        kind.waiting += letter.offset >= redriven[topic, letter.partition]
        kind.first_ms = min(kind.first_ms, at_ms)
        kind.last_ms = max(kind.last_ms, at_ms)
    return sorted(found.values(), key=lambda kind: -kind.count)


def newest(letters: Iterable[Letter], limit: int) -> list[Letter]:
    """Return the last ones by timestamp, oldest first."""
    ends: dict[int, deque[Letter]] = {}
    for letter in letters:
        ends.setdefault(letter.partition, deque(maxlen=limit)).append(letter)
    found = [letter for end in ends.values() for letter in end]
    return sorted(found, key=lambda letter: letter.timestamp)[-limit:]


def described(topic: str, letter: Letter, *, waiting: bool) -> str:
    """Tell all that is known of a dead letter, a fact per line."""
    told = {name: printable(text) for name, text in letter.told.items()}
    headers = [f"{printable(name)}={shown(value)}" for name, value in letter.headers]
    facts = {
        "Error": f"{told.get('class', '?')}: {told.get('message', '')}",
        "Operator": told.get("operator"),
        "Application": told.get("application"),
        "From": f"{told.get('topic')}/{told.get('partition')} offset {told.get('offset')}",
        "Timestamp": utc(letter.timestamp),
        "Omitted": told.get("omitted"),
        "Redrive": "waits for one" if waiting else "done",
        "Headers": ", ".join(headers) or None,
        "Key": shown(letter.key),
        "Value": shown(letter.value),
    }
    if not letter.genuine:
        facts |= {"Error": "none is told: this is no dead letter", "From": None}
    lines = [f"  {name:<12} {fact}" for name, fact in facts.items() if fact is not None]
    return "\n".join([f"{topic}/{letter.partition} offset {letter.offset}", *lines])


def as_object(topic: str, letter: Letter, *, waiting: bool) -> dict[str, Any]:
    """Return all that is known of a dead letter as an object for programs."""
    return {
        "topic": topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "timestamp": letter.timestamp,
        "waiting": waiting,
        "error": letter.told,
        "headers": [{"name": name, **as_json("value", value)} for name, value in letter.headers],
        **as_json("key", letter.key),
        **as_json("value", letter.value),
    }
