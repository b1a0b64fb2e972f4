"""The history of a world: each commit that the cluster has taken, as it took it.

What is left in the end does not tell whether it was ever wrong on the way. So each transaction
that ends with offsets is noted when it does: what was committed before and after, from where its
worker had gone on, and what readers saw of the outputs at that moment.
"""

from collections.abc import Mapping
from typing import NamedTuple

from penstock.engine.metadata import BatchId, decode
from penstock.runtime.worker import Worker
from penstock.testing.sim import SimBroker
from tests.kafka.checking import Partition

Offsets = Mapping[Partition, int]


class Commit(NamedTuple):
    """One commit.

    Attributes:
        at: when, in seconds of the simulation.
        before: the offsets that stood there, of inputs that had some.
        after: the offsets that it has put there.
        begun: from where its worker had gone on; None where nobody has told.
        reached: where all inputs of the group stand behind it.
        visible: of each partition of outputs, the end and where open transactions begin.
    """

    at: float
    before: Offsets
    after: Offsets
    begun: Offsets | None
    reached: Offsets
    visible: Mapping[Partition, tuple[int, Mapping[int, int]]]


class History:
    """What is noted of a world.

    Args:
        broker: the cluster.
        group: the group whose commits are noted.
        outputs: the topics whose state is noted with each commit.

    Attributes:
        commits: in their order.
    """

    def __init__(self, broker: SimBroker, group: str, outputs: tuple[str, ...]) -> None:
        self.commits: list[Commit] = []
        self._broker = broker
        self._group = broker.group(group)
        self._outputs = outputs
        self._begun: dict[BatchId, dict[Partition, int]] = {}
        self._end = self._group.end_pending
        self._group.end_pending = self._ended  # type: ignore[method-assign]

    def watch(self, worker: Worker) -> None:
        """Note from where a worker goes on in each of its batches."""
        send = worker._producer.send_offsets

        def noted(*args: object) -> None:
            touched = worker._touched.values()
            begun = {at: offset for owned in touched for at, offset in owned.offsets.items()}
            self._begun[worker._batch.id] = begun
            send(*args)  # type: ignore[arg-type]

        worker._producer.send_offsets = noted  # type: ignore[method-assign]

    def _ended(self, producer_id: int, *, commit: bool) -> None:
        pending = self._group._pending.get(producer_id, {}) if commit else {}
        before = {at: self._group.committed[at][0] for at in pending if at in self._group.committed}
        self._end(producer_id, commit=commit)
        if not pending:
            return
        memories = [decode(text, f"{at}") for at, (_, text) in pending.items() if text]
        batches = [memory.batch for memory in memories if memory and memory.batch]
        self.commits.append(
            Commit(
                self._broker.clock.now(),
                before,
                {at: offset for at, (offset, _) in pending.items()},
                self._begun.get(batches[0]) if batches else None,
                {at: offset for at, (offset, _) in self._group.committed.items()},
                self._visible(),
            )
        )

    def _visible(self) -> dict[Partition, tuple[int, Mapping[int, int]]]:
        return {
            (topic, number): (log.end, dict(log.open))
            for topic in self._outputs
            for number, log in enumerate(self._broker.topics[topic].partitions)
        }
