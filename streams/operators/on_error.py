"""What becomes of a record that cannot be decoded, processed or encoded."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from penstock.errors import TopologyError


@dataclass(frozen=True)
class DeadLetter:
    """Write such records to a topic; made by `dead_letter`.

    Attributes:
        topic: where to.
        max_ratio: which share of a partition's last 10,000 records may fail.
        max_run: how many in a row may fail; None is no limit.
        payload: whether key and value are written.
    """

    topic: str
    max_ratio: float
    max_run: int | None
    payload: bool


OnError: TypeAlias = Literal["fail", "skip"] | DeadLetter


def dead_letter(
    topic: str, *, max_ratio: float = 0.01, max_run: int | None = 100, payload: bool = True
) -> DeadLetter:
    """Write records that fail to a topic, in the transaction that commits their neighbours.

    A dead letter has the key, the value, the timestamp and the headers of the record, and
    headers that begin with `__penstock.error.`: class, message, topic, partition, offset,
    operator, application. `penstock dead-letters` lists them and sends them again.

    Where far too many fail, it is not the records: the application stops instead, and nothing
    of that batch is committed.

    Args:
        topic: where to; it has to exist. A record that is too large for it goes without its
            value.
        max_ratio: which share of a partition's last 10,000 records may fail, looked at from
            1,000 records on; 1 is no limit.
        max_run: how many in a row may fail; None is no limit.
        payload: whether key, value and headers of the record are written, and the message of
            what was raised, which may quote them. False is for records that nobody may see
            there: the class and the coordinates are all that is told, in the log too.

    Raises:
        TopologyError: if a limit makes no sense.

    >>> dead_letter("orders-dead").max_run
    100
    """
    if not topic:
        raise TopologyError("dead_letter() needs the name of a topic: dead_letter('orders-dead').")
    if not 0 < max_ratio <= 1:
        raise TopologyError(
            f"max_ratio={max_ratio} is no share of records; it is above 0, up to 1."
        )
    if max_run is not None and max_run < 1:
        raise TopologyError(f"max_run={max_run} is no number of records. Use 1 or more, or None.")
    return DeadLetter(topic, max_ratio, max_run, payload)


def check_on_error(found: Any) -> OnError:
    """Return an error policy.

    Raises:
        TopologyError: if it is none.
    """
    if isinstance(found, DeadLetter):
        return found
    if found == "fail":
        return "fail"
    if found == "skip":
        return "skip"
    raise TopologyError(
        f"on_error={found!r} is unknown. Use 'fail', 'skip' or dead_letter('topic')."
    )
