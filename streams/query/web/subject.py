"""The subject: what a worker's server shows, and how it is put into words."""

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from penstock.query.monitor import Monitor, View
from penstock.query.progress import iso
from penstock.topology.describe import as_mermaid, as_text
from penstock.topology.graph import Topology
from penstock.version import __version__

RUNNING: Final = "running"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A run, as its server sees it.

    Attributes:
        monitor: what it shows of itself.
        started_ms: when it began, by the wall clock.
        now_ms: the wall clock.
        silent_s: for how long its loop has made no step.
        stall_s: a loop that is silent for longer has stalled.
        is_stopping: whether it was asked to end.
    """

    monitor: Monitor
    started_ms: int
    now_ms: Callable[[], int]
    silent_s: Callable[[], float]
    stall_s: float
    is_stopping: Callable[[], bool]
    host: str = field(default_factory=socket.gethostname)

    def status(self) -> dict[str, Any]:
        """Return what the worker is doing now."""
        monitor, view = self.monitor, self.monitor.look()
        return {
            "id": monitor.id,
            "runId": monitor.run_id,
            "instanceId": monitor.instance_id,
            "name": monitor.topology.application,
            "host": self.host,
            "pid": os.getpid(),
            "startedAt": iso(self.started_ms),
            "status": view.status,
            "tasks": view.tasks,
            "version": __version__,
        }

    def stalled(self) -> str | None:
        """Return why the worker is not alive, None where it is."""
        silent = self.silent_s()
        if silent <= self.stall_s:
            return None
        return (
            f"The worker's loop has made no step for {silent:.0f} s (max_poll_interval_ms is"
            f" {self.stall_s:g} s)."
        )

    def not_ready(self, view: View | None = None) -> str | None:
        """Return why the worker does not process what it has been given, None where it does.

        Args:
            view: what it is doing now, where that is known already.
        """
        if (stalled := self.stalled()) is not None:
            return stalled
        view = view or self.monitor.look()
        if self.is_stopping():
            return "The worker is stopping."
        if not view.tasks and not self.monitor.joined:
            return f"The group has given no partitions yet. {view.status.message}."
        if any(task.phase != RUNNING for task in view.tasks):
            return f"{view.status.message}: {_running(view)} of {len(view.tasks)} tasks run."
        return None


def _running(view: View) -> int:
    return sum(task.phase == RUNNING for task in view.tasks)


def topology_document(topology: Topology) -> dict[str, Any]:
    """Return a topology as text, as a diagram, and as its steps; steps have the diagram's ids."""
    parts = {node: part.number for part in topology.sub_topologies for node in part.nodes}
    ids = {node: f"n{number}" for number, node in enumerate(topology.nodes)}
    steps = [
        {
            "id": ids[node],
            "kind": node.kind,
            "detail": node.detail,
            "label": topology.labels[node],
            "subTopology": parts[node],
            "parents": [ids[parent] for parent in node.parents],
            "stores": [store.name for store in node.stores],
            "topics": list(node.source.topics) if node.source else [],
            "sink": node.sink.topic if node.sink and isinstance(node.sink.topic, str) else None,
        }
        for node in topology.nodes
    ]
    return {"text": as_text(topology), "mermaid": as_mermaid(topology), "nodes": steps}
