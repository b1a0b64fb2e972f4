"""The intake: what was fetched of a worker's inputs and is not processed yet.

Rule 1: dropping an input drops what is queued of it, and what the fetch that it happens in
        still brings: the group's callbacks run inside `fetch`.
Rule 2: a rewound input is sought at the next fetch, because inside a callback that would fail;
        where it was given up in between, nothing is sought.
Rule 3: a task that orders its inputs queues them itself. Of an input that has to wait for
        another one only so much is fetched, in records and in bytes.
"""

from collections import deque

from penstock.engine.order import InputOrder
from penstock.operators.source import Fetched
from penstock.runtime.consumer import InputConsumer
from penstock.runtime.tasks import OwnedTask

MOST_HELD_RECORDS = 20_000
MOST_HELD_BYTES = 128 * 1024 * 1024  # of all inputs together


class Intake:
    """Fetch the inputs of tasks, and hand out what is to be processed next.

    Args:
        consumer: reads the inputs.
    """

    def __init__(self, consumer: InputConsumer) -> None:
        self._consumer = consumer
        self._owners: dict[tuple[str, int], OwnedTask] = {}
        self._ordered: list[OwnedTask] = []
        self._queue: deque[Fetched] = deque()
        self._full: set[tuple[str, int]] = set()
        self._rewound: dict[tuple[str, int], int] = {}
        self._dropped: set[tuple[str, int]] = set()

    def take(self, owned: OwnedTask) -> None:
        """Expect the inputs of a task."""
        self._owners.update(dict.fromkeys(owned.inputs, owned))
        if owned.lead.ordered:
            self._ordered.append(owned)

    def give_up(self, owned: OwnedTask) -> None:
        """Drop a task's inputs for good: where they go on is asked for if they come back."""
        self.drop(owned)
        for at in owned.inputs:
            self._owners.pop(at, None)
            self._rewound.pop(at, None)
        self._ordered = [other for other in self._ordered if other is not owned]

    def owner(self, fetched: Fetched) -> OwnedTask | None:
        """Return the task that reads what was fetched, None if it was given up."""
        return self._owners.get((fetched.topic, fetched.partition))

    def fetch(self, wait_s: float, limit: int) -> None:
        """Queue what there is, waiting at most wait_s for a first record.

        Raises:
            BrokerError: if an input cannot be read.
        """
        self._consumer.seek(self._rewound)
        self._rewound = {}
        self._dropped.clear()
        for fetched in self._consumer.fetch(wait_s, limit):
            if (fetched.topic, fetched.partition) not in self._dropped:
                self._add(fetched)

    def next(self, now_ms: float) -> Fetched | None:
        """Return what is to be processed next, None where nothing is there or all has to wait.

        Args:
            now_ms: monotonic milliseconds.
        """
        if self._queue:
            return self._queue.popleft()
        for owned in self._ordered:
            found = owned.order.next(now_ms) if owned.order else None
            if found:
                self._make_room(owned, (found.topic, found.partition))
                return found
        return None

    def put_back(self, fetched: Fetched) -> None:
        """Hand this out again before anything else."""
        self._queue.appendleft(fetched)

    @property
    def holds(self) -> bool:
        """Whether records of one input wait for those of another one."""
        return any(owned.order and owned.order.holds for owned in self._ordered)

    def rewind(self, owned: OwnedTask) -> None:
        """Read a task's inputs again from where they are committed."""
        self.drop(owned)
        self._rewound.update(owned.offsets)

    def drop(self, owned: OwnedTask) -> None:
        """Forget what was fetched of a task's inputs."""
        mine = set(owned.inputs)
        if owned.order:
            owned.order.clear()
        self._consumer.resume(self._full & mine)
        self._full -= mine
        self._queue = deque(run for run in self._queue if (run.topic, run.partition) not in mine)
        self._dropped |= mine

    def _add(self, fetched: Fetched) -> None:
        at = (fetched.topic, fetched.partition)
        owned = self._owners.get(at)
        if owned is None or owned.order is None:
            self._queue.append(fetched)
            return
        owned.order.add(fetched)
        if at not in self._full and self._held_share(owned.order, at) > 1:
            self._full.add(at)
            self._consumer.pause([at])

    def _make_room(self, owned: OwnedTask, at: tuple[str, int]) -> None:
        if at in self._full and owned.order and self._held_share(owned.order, at) < 1 / 2:
            self._full.discard(at)
            self._consumer.resume([at])

    def _held_share(self, order: InputOrder, at: tuple[str, int]) -> float:
        """How much an input holds of what it may."""
        inputs = sum(len(owned.inputs) for owned in self._ordered)
        return max(
            order.queued(at) / MOST_HELD_RECORDS, order.queued_bytes(at) * inputs / MOST_HELD_BYTES
        )
