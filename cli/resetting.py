"""Set an application back: its offsets, its internal topics, its local state.

Rule 1. Offsets are moved first, and lose the metadata of their last commit. State that is left
        after that stops the application with an error instead of being used.
Rule 2. Then repartition topics go, then changelogs, which are state; then the folders of this
        host. Those of other hosts are not believed any more: they belong to topics that were
        made anew since.
Rule 3. Nothing is done while the group has members, and the broker takes no offsets then.
Rule 4. Only what is known to be the application's is deleted; what is named like it is told.
"""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException, TopicPartition

from penstock.cli.application import Application
from penstock.cli.cluster import Partition, committed, connect, did_you_mean, group_client
from penstock.cli.internal_topics import InternalTopics, internal_topics
from penstock.errors import BrokerError, StateError, TopologyError
from penstock.runtime.clock import now_ms
from penstock.state.cleanup import clean, is_state, state_folders
from penstock.state.directories import Lock, lock_of
from penstock.topics.admin import Admin

TRANSACTIONS_TIMEOUT_S = 30.0  # that of a killed worker ends after 15 s, and the broker looks late


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
        application: which is set back.
        offsets: from where to where each partition is moved.
        repartitions: topics that are deleted.
        changelogs: those that are deleted after them.
        folders: local state that is deleted.
        left: topics and folders that are named like its own, and of which that is not known.
        members: the workers that run, as the group knows them.
    """

    application: Application
    offsets: Mapping[Partition, tuple[int, int]]
    repartitions: tuple[str, ...] = ()
    changelogs: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()
    left: tuple[str, ...] = ()
    members: tuple[str, ...] = ()

    @property
    def topics(self) -> tuple[str, ...]:
        """All topics that are deleted."""
        return self.repartitions + self.changelogs

    def refuse_members(self) -> None:
        """Refuse to touch what workers use.

        Raises:
            BrokerError: naming those that run.
        """
        if self.members:
            raise BrokerError(
                f"Workers of {self.application.id} run ({len(self.members)}):"
                f" {', '.join(self.members[:4])}. Stop them all first; one that has ended"
                " counts until its session has, too (10 s, session_timeout_ms)."
            )


class Reset:
    """A reset of one application.

    Raises:
        BrokerError: if the cluster does not answer.
    """

    def __init__(self, application: Application) -> None:
        self._application = application
        self._admin: Admin = connect(application.brokers)

    def plan(self, goal: Goal) -> Plan:
        """Find out what there is to do, and change nothing.

        Raises:
            TopologyError: if offsets and state would not fit together any more.
            BrokerError: if the cluster knows no such application, or the offset is not there.
        """
        of = self._application
        existing = self._admin.topics()
        now, groups = self._committed(existing), self._admin.groups()
        internal = internal_topics(of, existing, groups, now)
        folders = list(state_folders(of.home))
        if not (now or internal.own or folders):
            raise BrokerError(
                f"{of.id} is not known on {of.brokers}, and {of.home} has no state of it."
                f"{did_you_mean(of.id, groups)} 'penstock topics' shows whose internal topics"
                " there are."
            )
        self._check(goal, internal)
        deletes = goal.state or goal.local_state
        return Plan(
            of,
            self._moved(goal, {at: found.offset for at, found in now.items()}, internal),
            internal.repartitions if goal.state else (),
            internal.changelogs if goal.state else (),
            tuple(folder for folder in folders if deletes and is_state(folder)),
            (internal.others if goal.state else ())
            + tuple(str(folder) for folder in folders if deletes and not is_state(folder)),
            self._members(),
        )

    def apply(self, plan: Plan) -> None:
        """Do it.

        Raises:
            BrokerError: if workers run, or the cluster refuses.
            StateError: if local state is in use, or cannot be deleted.
        """
        replace(plan, members=self._members()).refuse_members()
        _refuse_unavailable(plan.folders)
        if plan.offsets:
            self._commit({at: to for at, (_, to) in plan.offsets.items()})
        try:
            self._admin.delete(plan.repartitions)
            self._admin.delete(plan.changelogs)
        except BrokerError as error:
            raise BrokerError(
                f"{error} The reset is half done: offsets are moved, and state is left. Run it"
                " again to complete it; until then the application stops with an error."
            ) from error
        if plan.folders:
            _delete(plan.folders, self._application.home)

    def _members(self) -> tuple[str, ...]:
        found = self._admin.members(self._application.id)
        return tuple(f"{member.client_id} on {member.host}" for member in found)

    def _check(self, goal: Goal, internal: InternalTopics) -> None:
        """Refuse what would leave offsets and state that do not belong together."""
        of = self._application.id
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
        if goal.moves and internal.others and not internal.known:
            raise TopologyError(
                f"There are topics that may be state of {of} ({', '.join(internal.others[:4])}),"
                " but nothing tells which stores it has: its offsets have expired, or another"
                " program has moved them. Name the application by its file instead of its id:"
                " penstock reset FILE.py ..."
            )
        if goal.moves and internal.changelogs and not goal.state:
            raise TopologyError(
                f"{of} has state, which belongs to its offsets: moved alone, records would count"
                " twice, or not at all. Add --state to delete the state too."
            )

    def _committed(self, existing: Mapping[str, int]) -> dict[Partition, TopicPartition]:
        client = group_client(self._application.brokers, self._application.id)
        try:
            return committed(
                client, [(t, n) for t, count in existing.items() for n in range(count)]
            )
        finally:
            client.close()

    def _moved(
        self, goal: Goal, now: Mapping[Partition, int], internal: InternalTopics
    ) -> dict[Partition, tuple[int, int]]:
        if not goal.moves:
            return {}
        inputs = {topic for topic, _ in now} - set(internal.repartitions)
        unknown = set(goal.topics) - inputs
        if unknown:
            raise TopologyError(
                f"{self._application.id} has committed nothing of {', '.join(sorted(unknown))}."
                f" Its inputs are {', '.join(sorted(inputs))}."
            )
        found = self._positions(goal, [at for at in now if at[0] in (goal.topics or inputs)])
        if goal.state:  # repartition topics are deleted: made anew they begin at 0
            found |= {at: 0 for at in now if at[0] in internal.repartitions}
        return {at: (now[at], found[at]) for at in sorted(found)}

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
        of = self._application
        client: Any = group_client(of.brokers, of.id, stable=True)
        positions = [TopicPartition(*at, offset) for at, offset in offsets.items()]
        try:
            committed(client, offsets, TRANSACTIONS_TIMEOUT_S)  # until no transaction holds any
            for at in client.commit(offsets=positions, asynchronous=False):
                if at.error is not None:
                    raise KafkaException(at.error)
        except KafkaException as error:
            raise BrokerError(
                f"The offsets of {of.id} cannot be moved: {error.args[0].str()}. Check that no"
                " worker runs, and that this user may. No state was deleted."
            ) from error
        finally:
            client.close()


def _refuse_unavailable(folders: Iterable[Path]) -> None:
    """Refuse folders that cannot be deleted, before anything is changed.

    Raises:
        StateError: if one is in use, or is not this user's to delete.
    """
    for folder in folders:
        if not all(os.access(at, os.W_OK, effective_ids=True) for at in (folder.parent, folder)):
            raise StateError(
                f"This user may not delete {folder}. Run this as the user of the workers; nothing"
                " is changed."
            )
        path = lock_of(folder)
        lock = Lock.acquire(path) if path.exists() else None
        if lock is not None:
            lock.release()
        elif path.exists():
            raise StateError(
                f"A process has the state in {folder} open (fuser {path} names it). Stop it"
                " first; nothing is changed."
            )


def _delete(folders: Iterable[Path], home: Path) -> None:
    clean(home, unused_ms=-1_000, now_ms=now_ms())
    left = [folder for folder in folders if folder.exists()]
    if left:
        raise StateError(
            f"{left[0]} could not be deleted: a process has opened it since (fuser {left[0]}.lock"
            " names it), or the disk refuses. Nothing of it is used any more; run this again with"
            " --local-state --yes, or delete it by hand."
        )
