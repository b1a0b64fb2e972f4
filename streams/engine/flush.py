"""Flushing: what has changed in the stores of a task goes to changelogs and to the steps behind.

Rule 1: parents first, one changelog record and at most one change per key.
Rule 2: a step closes what time has come for once its changes have been flushed. What it deletes
        thereby is written in place of the change; a window that opens and closes within a batch
        leaves no trace in the changelog.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from penstock.engine.steps import Steps
from penstock.operators.deliver import Deliver
from penstock.operators.operator import OpenOperator
from penstock.operators.sink import Destinations, Outgoing, check_size
from penstock.state.definition import StoreDefinition
from penstock.state.overlay import Changes, Overlay
from penstock.topology.graph import SubTopology
from penstock.topology.node import Node


@dataclass
class Spent:
    """Where the time of flushes went.

    Attributes:
        changes_s: handing on what has changed in the stores, in seconds.
        changed: how many changes were handed on.
        closing_s: closing what time has come for, and handing on its results.
        closed: how many those were, about.
    """

    changes_s: float = 0.0
    changed: int = 0
    closing_s: float = 0.0
    closed: int = 0

    def add(self, other: "Spent") -> None:
        """Add what another task has spent."""
        self.changes_s += other.changes_s
        self.changed += other.changed
        self.closing_s += other.closing_s
        self.closed += other.closed


class Flush:
    """Hands on what the steps of a task keep.

    Args:
        application: the application id, which changelogs are named after.
        part: the steps.
        partition: the task's partition.
        overlays: its stores by name.
        destinations: limits of topics.
        steps: the steps at work.
        now: monotonic seconds.
    """

    def __init__(
        self,
        application: str,
        part: SubTopology,
        partition: int,
        overlays: Mapping[str, Overlay],
        destinations: Destinations,
        steps: Steps,
        now: Callable[[], float],
    ) -> None:
        self._application = application
        self._stateful = part.stateful
        self._partition = partition
        self._overlays = overlays
        self._destinations = destinations
        self._steps = steps
        self._now = now
        self._wholes = [node for node in part.nodes if _is_whole(node)]
        self._spent = Spent()

    def hand_on_changes(self) -> None:
        """Hand on what has changed in the stores."""
        for node in self._stateful:
            self._write(node, [changes for _, changes in self._hand_on(node)])

    def hand_on_in_time(self, now_ms: int, most: int, handed_on: int) -> None:
        """Hand on what has changed, and what time has come for.

        Args:
            now_ms: the wall clock.
            most: how many keys of a step to close at most, about; the rest waits.
            handed_on: the same where something comes of it for the steps behind.
        """
        steps = self._steps
        steps.time.begin_flush()
        for node in self._stateful:
            changed = self._hand_on(node)
            closer = steps.closing.get(node)
            if closer is None:
                self._write(node, [changes for _, changes in changed])
                continue
            clock = steps.time.flush(node)
            steps.at = node
            began = self._now()
            limit = handed_on if steps.hands_on_closed(node) else most
            found, done = closer.close(clock, now_ms, limit)
            self._write(node, [overlay.flush_again(of) for overlay, of in changed])
            steps.counting.batch.removed_for(node.clock, self._now() - began)
            steps.gathered += [(of, []) for of in self._wholes if of.from_store[0] is node]
            if found is not None:
                found.partition = self._partition
                steps.push(node, found, final=True)
            self._spent.closed += (0 if done else limit) if found is None else len(found)
            self._spent.closing_s += self._now() - began
        steps.time.end_flush()

    def take_spent(self) -> Spent:
        """Return where the time has gone, and begin anew."""
        spent, self._spent = self._spent, Spent()
        return spent

    def _hand_on(self, node: Node) -> list[tuple[Overlay, Changes]]:
        """Take a step's changes, hand them on where it coalesces, and return them."""
        self._steps.at = node
        began = self._now()
        overlays = [self._overlays[store.name] for store in node.stores]
        changed = [(overlay, overlay.flush()) for overlay in overlays]
        if any(changes.keys for _, changes in changed):
            self._steps.counting.batch.updated_for(node.clock, self._now() - began)
        if node in self._steps.coalescing:
            operator: OpenOperator = self._steps.opened[node]
            for _, changes in changed:
                if changes.keys:
                    chunk = operator.updates(changes)
                    chunk.partition = self._partition
                    self._steps.push(node, chunk)
                    self._spent.changed += len(changes.keys)
            self._spent.changes_s += self._now() - began
        return changed

    def _write(self, node: Node, changed: Iterable[Changes]) -> None:
        """Write a step's changes to its changelogs."""
        self._steps.at = node
        for store, changes in zip(node.stores, changed, strict=True):
            if changes.keys:
                self._write_changelog(store, changes)

    def _write_changelog(self, store: StoreDefinition, changes: Changes) -> None:
        changelog = store.changelog(self._application)
        limit = self._destinations.max_message_bytes(changelog)
        check_size(changelog, changes.keys, changes.encoded, None, limit)
        self._steps.waiting.append(
            Outgoing(
                changelog,
                changes.keys,
                changes.encoded,
                [self._partition] * len(changes.keys),
                changes.timestamps,
                store=store.name,
            )
        )


def _is_whole(node: Node) -> bool:
    return isinstance(node.operator, Deliver) and node.operator.mode == "complete"
