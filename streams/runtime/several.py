"""Several applications in one process, a processing thread for each.

They share the process's memory and the interpreter's lock: together they are no faster than one.
To use more cores, `penstock run --workers` starts processes.
"""

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from penstock.errors import PenstockError, TopologyError
from penstock.query.listener import Listener
from penstock.query.query import Query
from penstock.query.waiting import first_ended
from penstock.runtime.collector import quiet_collector
from penstock.runtime.ending import Ending, stopped_by_signals
from penstock.runtime.loading import refuse_while_loading
from penstock.runtime.run import Running, for_people
from penstock.runtime.watchdog import Watchdog

if TYPE_CHECKING:
    from penstock.app import App


def run(*apps: "App", listeners: Sequence[Listener] = ()) -> None:
    """Run several applications in this process until they are stopped or one of them fails.

    SIGINT and SIGTERM stop all of them in order: each commits or aborts its open batch. One that
    fails stops the others in the same way, and then its error is raised. One that was stopped by
    itself (`query.stop()` in a callback) leaves the others running.

    Each has a thread of its own; they share one interpreter, so more applications in one process
    make none of them faster.

        ps.run(orders, refunds)

    Args:
        apps: the applications, each with an id or a state folder of its own.
        listeners: whom to tell how they go; each listener is called in one thread per
            application, with that application's query.

    Raises:
        TopologyError: if none is given, a declaration is wrong, one runs in this process already,
            or outside the main thread.
        PenstockError: what ended the first that failed.
    """
    refuse_while_loading()
    if not apps:
        raise TopologyError("run() has no application to run. Pass one or more: ps.run(app).")
    runs = [_running(app, listeners) for app in apps]

    def stop() -> None:
        for running in runs:
            running.stop()

    limits = [app.settings.worker.stop_timeout_ms for app in apps]
    ending = Ending(stop, max(limits))
    try:
        for running in runs:
            running.enter()
        with quiet_collector(), stopped_by_signals(ending):
            failed = _work(runs, ending)
    finally:
        for running in runs:
            running.leave()
    if failed:
        raise _told(failed)


def _running(app: "App", listeners: Sequence[Listener]) -> Running:
    watchdog = Watchdog(app.settings.kafka.max_poll_interval_ms)
    return Running(app, watchdog if app.settings.worker.watchdog else None, listeners=listeners)


def _work(runs: Sequence[Running], ending: Ending) -> list[Query]:
    """Let all of them work until all have ended, and return those that failed, in that order."""

    def work(running: Running) -> None:
        with suppress(Exception, SystemExit):  # the handle carries it
            running.work()

    for running in runs:
        name = f"penstock-{running.query.name}"
        threading.Thread(target=work, args=(running,), name=name, daemon=True).start()
    failed: list[Query] = []
    active = [running.query for running in runs]
    while active:
        ended = first_ended(active)
        active = [query for query in active if query is not ended]
        if ended is not None and (error := ended.exception()):
            failed.append(ended)
            ending.ask(
                f"{ended.name} has failed ({type(error).__name__}): the other applications of this"
                " process are stopped."
            )
    return failed


def _told(failed: Sequence[Query]) -> Exception:
    """Return the error of the first that failed; those of the others stand in its notes."""
    errors = [(query.name, error) for query in failed if (error := query.exception())]
    (_, first), *others = errors
    for name, error in others:
        first.add_note(f"The application {name!r} failed too: {error}")
    return for_people(first) if isinstance(first, PenstockError) else first
