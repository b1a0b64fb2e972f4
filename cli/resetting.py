"""Set an application back: its offsets, its internal topics, its local state.

Rule 1. Offsets are moved first, and lose the metadata of their last commit. Whatever is left
        of the state after that stops the application with an error instead of being used.
Rule 2. Then the internal topics go, then the folders of this host. Those of other hosts are not
        believed any more: they belong to topics that were made anew since.
Rule 3. Nothing is done while the group has members, and the broker takes no offsets then.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from penstock.cli.cluster import Partition, committed, connect, group_client
from penstock.cli.topic_list import owner
from penstock.errors import BrokerError, StateError, TopologyError
from penstock.runtime.clock import now_ms
from penstock.state.cleanup import clean, state_folders
from penstock.state.directories import Lock, lock_of
from penstock.topics.admin import Admin


@dataclass(frozen=True)
class Goal:
    """What is asked for.

    Attributes:
        to: "earliest", "latest", an offset, or None to leave offsets where they are.
        time_ms: a time, in the place of `to`.
        topics: inputs whose offsets are moved; all if there are none.
        state: whether internal topics and local state are deleted.
        local_state: whether local state is.
    """

    to: str | int | None = None
    time_ms: int | None = None
    topics: tuple[str, ...] = ()
    state: bool = False
    local_state: bool = False

    @property
    def moves(self) -> bool:
        """Whether offsets are moved."""
        return self.to is not None or self.time_ms is not None


@dataclass(frozen=True)
class Plan:
    """What a reset has to do.

    Attributes:
        offsets: from where to where each partition is moved.
        topics: internal topics that are deleted.
        folders: local state that is deleted.
        members: the workers that run, as the group knows them.
    """

    application: str
    offsets: Mapping[Partition, tuple[int, int]]
    topics: tuple[str, ...]
    folders: tuple[Path, ...]
    members: tuple[str, ...]

    def refuse_members(self) -> None:
        """Refuse to touch what workers use.

        Raises:
            BrokerError: naming those that run.
        """
        if self.members:
            raise BrokerError(
                f"Workers of {self.application} run ({len(self.members)}):"
                f" {', '.join(self.members[:4])}. Stop them all first; one that has ended"
                " counts until its session has, too (10 s, session_timeout_ms)."
            )


class Reset:
    """A reset of one application.

    Args:
        application: its id.
        brokers: the cluster.
        home: the folder of its local state on this host.

    Raises:
        BrokerError: if the cluster does not answer.
    """

    def __init__(self, application: str, *, brokers: str, home: Path) -> None:
        self._application = application
        self._brokers = brokers
        self._home = home
        self._admin: Admin = connect(brokers)

    def plan(self, goal: Goal) -> Plan:
        """Find out what there is to do, and change nothing.

        Raises:
            TopologyError: if offsets and state would not fit together any more.
            BrokerError: if the cluster knows no such application, or the offset is not there.
        """
        existing = self._admin.topics()
        groups = [*self._admin.groups(), self._application]
        internal = sorted(t for t in existing if owner(t, groups)[0] == self._application)
        folders = tuple(state_folders(self._home))
        stateful = any(owner(topic, groups)[1] == "changelog" for topic in internal)
        self._check(goal, stateful)
        now = self._committed(existing)
        if not (now or internal or folders):
            raise BrokerError(
                f"{self._application} is not known on {self._brokers}, and {self._home} has no"
                " state of it. Check the id; 'penstock topics' shows whose internal topics there"
                " are."
            )
        return Plan(
            self._application,
            self._moved(goal, now, frozenset(internal)),
            tuple(internal) if goal.state else (),
            folders if goal.state or goal.local_state else (),
            tuple(f"{m.client_id} on {m.host}" for m in self._admin.members(self._application)),
        )

    def apply(self, plan: Plan) -> None:
        """Do it.

        Raises:
            BrokerError: if workers run, or the cluster refuses.
            StateError: if local state is in use, or cannot be deleted.
        """
        plan.refuse_members()
        _refuse_locked(plan.folders)
        if plan.offsets:
            self._commit({at: to for at, (_, to) in plan.offsets.items()})
        self._admin.delete(plan.topics)
        if plan.folders:
            self._delete_folders()

    def _check(self, goal: Goal, stateful: bool) -> None:
        """Refuse what would leave offsets and state that do not belong together."""
        if goal.moves and stateful and not goal.state:
            raise TopologyError(
                f"{self._application} has state, which belongs to its offsets: moved alone, records"
                " would count twice, or not at all. Add --state to delete the state too."
            )
        if goal.state and not goal.moves:
            raise TopologyError(
                "Without its state an application has to begin somewhere else: add --to earliest,"
                " or where it is to begin. --local-state alone deletes the copy on this host,"
                " which is restored."
            )
        if goal.state and goal.topics:
            raise TopologyError(
                "The state comes from all inputs together: with --state leave --topic out."
            )

    def _committed(self, existing: Mapping[str, int]) -> dict[Partition, int]:
        client = group_client(self._brokers, self._application)
        try:
            every = [
                (topic, number) for topic, count in existing.items() for number in range(count)
            ]
            return {at: found.offset for at, found in committed(client, every).items()}
        finally:
            client.close()

    def _moved(
        self, goal: Goal, now: Mapping[Partition, int], internal: frozenset[str]
    ) -> dict[Partition, tuple[int, int]]:
        if not goal.moves:
            return {}
        unknown = set(goal.topics) - {topic for topic, _ in now}
        if unknown:
            raise TopologyError(
                f"{self._application} has committed nothing of {', '.join(sorted(unknown))}. Its"
                f" inputs are {', '.join(sorted({topic for topic, _ in now} - internal))}."
            )
        wanted = [
            at
            for at in now
            if (goal.state or at[0] not in internal) and (not goal.topics or at[0] in goal.topics)
        ]
        outer = [at for at in wanted if at[0] not in internal]
        # Internal topics are deleted: made anew they begin at 0.
        found = dict.fromkeys(wanted, 0) | self._positions(goal, outer)
        return {at: (now[at], found[at]) for at in sorted(wanted)}

    def _positions(self, goal: Goal, partitions: Iterable[Partition]) -> dict[Partition, int]:
        starts, ends = self._admin.starts(partitions), self._admin.ends(partitions)
        if goal.time_ms is not None:
            found = self._admin.at_time(partitions, goal.time_ms)
            return {at: offset if offset >= 0 else ends[at] for at, offset in found.items()}
        if isinstance(goal.to, int):
            for at in ends:
                if not starts[at] <= goal.to <= ends[at]:
                    raise BrokerError(
                        f"{at[0]}/{at[1]} has offsets from {starts[at]} to {ends[at]}, and not"
                        f" {goal.to}. Name an offset that all partitions have, or a time.",
                        topic=at[0],
                        partition=at[1],
                    )
            return dict.fromkeys(ends, goal.to)
        return starts if goal.to == "earliest" else ends

    def _commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit offsets without metadata; the broker refuses them where members live."""
        client: Any = group_client(self._brokers, self._application, stable=True)
        positions = [TopicPartition(*at, offset) for at, offset in offsets.items()]
        try:
            committed(client, offsets)  # which waits until no open transaction holds any
            for at in client.commit(offsets=positions, asynchronous=False):
                if at.error is not None:
                    raise KafkaException(at.error)
        except KafkaException as error:
            raise BrokerError(
                f"The offsets of {self._application} cannot be moved: {error.args[0].str()}."
                " Check that no worker runs, and that this user may. No state was deleted."
            ) from error
        finally:
            client.close()

    def _delete_folders(self) -> None:
        clean(self._home, unused_ms=-1_000, now_ms=now_ms())
        left = list(state_folders(self._home))
        if left:
            raise StateError(
                f"{left[0]} could not be deleted: a process has it open (fuser {left[0]}.lock names"
                " it), or there is something in it that is not Penstock's. Nothing of it is used"
                " any more; delete it by hand."
            )


def _refuse_locked(folders: Iterable[Path]) -> None:
    for folder in folders:
        path = lock_of(folder)
        lock = Lock.acquire(path) if path.exists() else None
        if lock is not None:
            lock.release()
        elif path.exists():
            raise StateError(
                f"A process has the state in {folder} open (fuser {path} names it). Stop it"
                " first; nothing is changed."
            )
