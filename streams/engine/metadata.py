"""What a commit leaves in the metadata of a lead partition: the memory of its task.

The broker keeps a string of at most 4,095 characters beside each committed offset, in the
same transaction. It carries the batch's id (which answers what became of a commit whose
answer was lost), the siblings of the lead topic, the definitions of the stores, and the
clocks. It is binary in base64: one magic byte, one of version, then the fields below.
Operators and topics are named by 4-byte hashes.

Kafka Streams' own metadata (version 2) is understood as far as it goes: its partition time
becomes the clock of every store.
"""

import base64
import binascii
import struct
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from penstock.errors import BrokerError, TopologyError

MAX_BYTES = 3071
MAX_DEFINITION = 255
_MAGIC, _VERSION = 0x50, 1
_KAFKA_STREAMS = 2
_HEAD = struct.Struct(">BBQQ")
_COUNT = struct.Struct(">H")
_HASH = struct.Struct(">I")
_CLOCK = struct.Struct(">Iq")
_PARTITION_TIME = struct.Struct(">Bq")


@dataclass(frozen=True)
class BatchId:
    """A batch's identity.

    Attributes:
        run: random 64 bits of the worker's run.
        number: the batch's number in that run, 0 for the first.
    """

    run: int
    number: int


@dataclass(frozen=True)
class Metadata:
    """The memory of a task.

    Attributes:
        batch: the batch that committed it; None where Kafka Streams did.
        siblings: hashes of the lead's sibling topics, and of the repartition topics it writes.
        stores: definitions of the stores by hash of their name.
        clocks: stream times in milliseconds by hash of the store's name.
        partition_time: Kafka Streams' clock for all of them, -1 for none.
    """

    batch: BatchId | None
    siblings: frozenset[int] = frozenset()
    stores: Mapping[int, str] = field(default_factory=dict[int, str])
    clocks: Mapping[int, int] = field(default_factory=dict[int, int])
    partition_time: int = -1

    def clock(self, name: str) -> int:
        """Return the stream time of a store's operator, -1 where it has none."""
        return self.clocks.get(short_hash(name), self.partition_time)

    def encode(self) -> str:
        """Return the metadata as the string that is committed."""
        batch = self.batch or BatchId(0, 0)
        parts = [_HEAD.pack(_MAGIC, _VERSION, batch.run, batch.number)]
        parts.append(_COUNT.pack(len(self.siblings)))
        parts += [_HASH.pack(sibling) for sibling in sorted(self.siblings)]
        parts.append(_COUNT.pack(len(self.stores)))
        for name, definition in sorted(self.stores.items()):
            text = definition.encode()
            parts += [_HASH.pack(name), bytes([len(text)]), text]
        parts.append(_COUNT.pack(len(self.clocks)))
        parts += [_CLOCK.pack(name, time) for name, time in sorted(self.clocks.items())]
        return base64.b64encode(b"".join(parts)).decode()


def short_hash(name: str) -> int:
    """Return the 4-byte hash by which metadata names operators and topics."""
    return zlib.crc32(name.encode())


def decode(text: str | None, where: str) -> Metadata | None:
    """Read committed metadata; None where there is none.

    Args:
        text: the string beside the committed offset.
        where: topic and partition, for messages.

    Raises:
        BrokerError: if it was written by something else, or by a newer version.
    """
    if not text:
        return None
    try:
        data = base64.b64decode(text, validate=True)
        if data[0] == _KAFKA_STREAMS:
            return Metadata(None, partition_time=_PARTITION_TIME.unpack_from(data)[1])
        if data[0] == _MAGIC and data[1] > _VERSION:
            raise _newer(data[1], where)
        return _decode(data)
    except (binascii.Error, struct.error, IndexError, UnicodeDecodeError, ValueError) as error:
        raise BrokerError(
            f"The offset committed for {where} carries metadata that Penstock did not write"
            f" ({error}). Another program commits under this application id. Stop it, or give"
            " this application another id."
        ) from error


def _decode(data: bytes) -> Metadata:
    magic, version, run, number = _HEAD.unpack_from(data)
    if magic != _MAGIC or version != _VERSION:
        raise ValueError(f"format {magic}, version {version}")
    at = _HEAD.size
    siblings, at = _read_hashes(data, at)
    stores, at = _read_stores(data, at)
    (count,) = _COUNT.unpack_from(data, at)
    pairs = [_CLOCK.unpack_from(data, at + 2 + i * _CLOCK.size) for i in range(count)]
    return Metadata(BatchId(run, number), frozenset(siblings), stores, dict(pairs))


def _newer(version: int, where: str) -> BrokerError:
    return BrokerError(
        f"The offset committed for {where} carries metadata of version {version}, and this version"
        f" of Penstock reads those up to {_VERSION}: a newer one has run the application. Run that"
        " one again. Nothing was read."
    )


def _read_hashes(data: bytes, at: int) -> tuple[list[int], int]:
    (count,) = _COUNT.unpack_from(data, at)
    at += _COUNT.size
    return [_HASH.unpack_from(data, at + 4 * i)[0] for i in range(count)], at + 4 * count


def _read_stores(data: bytes, at: int) -> tuple[dict[int, str], int]:
    (count,) = _COUNT.unpack_from(data, at)
    at += _COUNT.size
    stores: dict[int, str] = {}
    for _ in range(count):
        (name,) = _HASH.unpack_from(data, at)
        length = data[at + 4]
        stores[name] = data[at + 5 : at + 5 + length].decode()
        at += 5 + length
    return stores, at


def check_size(siblings: Iterable[str], stores: Mapping[str, str]) -> None:
    """Refuse a sub-topology whose metadata could not be committed.

    Raises:
        TopologyError: if its topics and stores take more than the broker keeps.
    """
    for name, text in stores.items():
        if len(text.encode()) > MAX_DEFINITION:
            raise TopologyError(
                f"The definition of store {name!r} is longer than {MAX_DEFINITION} bytes:"
                f" {text[:40]}... Give its serdes a shorter `format`.",
                store=name,
            )
    topics = list(siblings)
    size = _HEAD.size + 3 * _COUNT.size + 4 * len(topics)
    size += sum(5 + len(text.encode()) + _CLOCK.size for text in stores.values())
    size += 2 * _CLOCK.size  # of the task itself
    if size > MAX_BYTES:
        raise TopologyError(
            f"A sub-topology of {len(topics)} topics and {len(stores)} stores needs {size}"
            f" bytes of commit metadata; the broker keeps {MAX_BYTES}. Split the application."
        )
