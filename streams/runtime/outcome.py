"""Outcome: what has become of a commit whose answer is not known.

The committed offsets tell: beside each task's lead input stands the batch that was committed last.
The answer waits until they are stable, so no transaction of anybody is pending behind it.
"""

from collections.abc import Callable, Collection, Mapping

from penstock.engine.metadata import BatchId, decode
from penstock.engine.transaction import Event
from penstock.errors import BrokerError
from penstock.runtime.consumer import InputConsumer
from penstock.runtime.tasks import OwnedTask

RESOLVE_TRIES = 60

At = tuple[str, int]


def find_outcome(
    batch: BatchId,
    touched: Collection[OwnedTask],
    ours: Collection[OwnedTask],
    committed: Callable[[list[At]], Mapping[At, tuple[int, str]]],
) -> Event:
    """Return whether a batch was committed, or not, or whether others have gone on since.

    Args:
        batch: the batch.
        touched: the tasks that were part of it.
        ours: the tasks that are still this worker's.
        committed: returns the stable committed offsets of lead inputs, with their metadata.
    """
    leads = {(owned.lead.topic, owned.partition): owned for owned in touched if owned in ours}
    unchanged = len(leads) == len(touched)
    for at, (_, text) in committed(list(leads)).items():
        metadata = decode(text, f"{at[0]}/{at[1]}")
        if metadata is not None and metadata.batch == batch:
            return Event.FOUND_COMMITTED
        before = leads[at].metadata
        unchanged = unchanged and (metadata and metadata.batch) == (before and before.batch)
    return Event.FOUND_ABORTED if unchanged else Event.FOUND_LOST


def stable_offsets(
    consumer: InputConsumer, leads: list[At], timeout_s: float, alive: Callable[[], None]
) -> Mapping[At, tuple[int, str]]:
    """Return the committed offsets of lead inputs, once no transaction is pending.

    Raises:
        BrokerError: if the group's coordinator does not answer.
    """
    for _ in range(RESOLVE_TRIES):
        alive()
        found = consumer.committed(leads, timeout_s) if leads else {}
        if found is not None:
            return found
    raise BrokerError(
        "The outcome of a commit is not known, and the group's coordinator does not answer."
        " Check the cluster's health and start the worker again: it finds out by itself."
    )
