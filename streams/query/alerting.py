"""Alerting: rules are asked from time to time, and what begins or is over is told.

Rule 1: an alert is told when it begins, again each `again`, and when it is over.
Rule 2: asking and telling happen in a thread of the alerts' own: a destination that hangs holds
        up other alerts, never the query.
"""

import copy
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from penstock.query.listener import Listener
from penstock.query.monitor import Monitor
from penstock.query.notify import Alert, Destination, ToWebhook, Write
from penstock.query.progress import Progress, iso
from penstock.query.rules import Look, Rule

if TYPE_CHECKING:
    from penstock.query.query import Query

log = logging.getLogger("penstock")

LOOK_S = 1.0
MOST_TOLD = 1_000


class Alerts(Listener):
    """Rules and where their alerts go; a listener, for `app.run(listeners=[...])`.

    Made by `penstock.alerts.alerts`.
    """

    def __init__(
        self, rules: Sequence[Rule], destinations: Sequence[Destination], again_s: float
    ) -> None:
        self._declared = tuple(rules)
        self._destinations = tuple(destinations)
        self._again_s = again_s
        self._rules: list[Rule] = []
        self._told: list[Progress] = []
        self._firing: dict[str, tuple[float, str]] = {}
        self._monitor: Monitor | None = None
        self._now_ms: Callable[[], int] = int
        self._write: Write | None = None
        self._over = threading.Event()
        self._lock = threading.Lock()

    def bind(self, monitor: Monitor, now_ms: Callable[[], int]) -> None:
        """Note what to look at; called by the run.

        Args:
            monitor: of the run.
            now_ms: the wall clock.
        """
        self._monitor, self._now_ms = monitor, now_ms

    def write_by(self, write: Write) -> None:
        """Note how to write to topics; called by the run.

        Args:
            write: writes to a topic.
        """
        self._write = write

    def on_query_started(self, query: "Query") -> None:
        """Begin to look.

        Args:
            query: the query.
        """
        self._rules = [copy.deepcopy(rule) for rule in self._declared]
        self._firing, self._told = {}, []
        self._over.clear()
        threading.Thread(target=self._run, name="penstock-alerts", daemon=True).start()

    def on_query_progress(self, query: "Query", progress: Progress) -> None:
        """Take note.

        Args:
            query: the query.
            progress: what it did.
        """
        self._told = [*self._told[-MOST_TOLD:], progress]

    def on_query_terminated(self, query: "Query", error: Exception | None) -> None:
        """Look for the last time.

        Args:
            query: the query.
            error: what ended it.
        """
        self._over.set()
        if not self._rules:  # it has failed before it began
            self._rules = [copy.deepcopy(rule) for rule in self._declared]
        self._look(ended=True, error=None if error is None else str(error))

    def _run(self) -> None:
        while not self._over.wait(LOOK_S):
            self._look()

    def _look(self, *, ended: bool = False, error: str | None = None) -> None:
        with self._lock:
            told, self._told = self._told, []
            tasks = self._monitor.look().tasks if self._monitor else ()
            now = time.monotonic()
            look = Look(now, told, tasks, ended, error)
            for number, rule in enumerate(self._rules):
                self._follow(f"{rule.name}-{number}", rule, rule.judge(look), now)

    def _follow(self, key: str, rule: Rule, found: str | None, now: float) -> None:
        firing = self._firing.get(key)
        if found is None:
            if firing is not None:
                del self._firing[key]
                self._tell(rule, "resolved", firing[1])
            return
        if firing is None or now - firing[0] >= self._again_s:
            self._firing[key] = (now, found)
            self._tell(rule, "firing", found)
        else:
            self._firing[key] = (firing[0], found)

    def _tell(self, rule: Rule, state: str, text: str) -> None:
        monitor = self._monitor
        alert = Alert(
            rule=rule.name,
            state="firing" if state == "firing" else "resolved",
            text=text,
            id=str(monitor.id) if monitor else "",
            run_id=str(monitor.run_id) if monitor else "",
            instance_id=monitor.instance_id if monitor else "",
            name=monitor.topology.application if monitor else "",
            timestamp=iso(self._now_ms()),
        )
        for destination in self._destinations:
            try:
                destination.send(alert, self._write)
            except Exception as error:  # noqa: BLE001 - a destination fails as it likes
                where = destination.host if isinstance(destination, ToWebhook) else ""
                log.warning(
                    "The alert %s (%s) could not be sent to %s %s: %s. It was: %s",
                    rule.name,
                    state,
                    type(destination).__name__.removeprefix("To").lower(),
                    where,
                    error if isinstance(error, OSError) else type(error).__name__,
                    text,
                )
