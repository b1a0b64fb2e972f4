"""`penstock run`: the workers of an application, from the command line.

Arguments, the log and exit codes only. Without --workers this process is the worker, and whoever
has started it starts it again; with --workers it supervises so many others. The exit codes are
those of `penstock.runtime.exits`; docs/running.md explains them.
"""

import logging
import os
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.options import BrokersOf
from penstock.errors import DataError, PenstockError
from penstock.runtime.exits import Exit, code_of, kind_of
from penstock.runtime.logs import LogFormat, configured
from penstock.runtime.supervision import RESTARTS
from penstock.secret import check_brokers

if TYPE_CHECKING:
    from penstock.app import App
    from penstock.runtime.parent import Parent

log = logging.getLogger("penstock")

PLACE = "PENSTOCK_HTTP"

TARGET = typer.Argument(
    metavar="APPLICATION", help="module:app, module, file.py or file.py:app.", show_default=False
)
WORKERS = typer.Option(min=1, help="Supervise so many workers. Left out: be one.", metavar="N")
LEAVE = typer.Option("--leave", help="Give partitions back at once when a worker stops.")
WORKER_ID = typer.Option(help="A lasting name of this worker, such as its pod's.", metavar="ID")
RESTARTS_IN_A_ROW = typer.Option(
    min=0, help="Give a worker up after so many restarts in a row.", metavar="N"
)
HTTP = typer.Option(
    help="Where the page, metrics and status are: HOST:PORT, or off. Left out: as the code says,"
    " or 127.0.0.1:8321 for a supervisor. Others can reach it only with PENSTOCK_HTTP_TOKEN set.",
    metavar="HOST:PORT",
    envvar=PLACE,
    show_envvar=True,
    show_default=False,
)
LOG = typer.Option("--log", help="Lines for people, or JSON objects.")
LINK = typer.Option(hidden=True)
NUMBER = typer.Option(hidden=True)


def run(
    context: typer.Context,
    target: Annotated[str, TARGET],
    *,
    workers: Annotated[int | None, WORKERS] = None,
    brokers: BrokersOf = None,
    leave: Annotated[bool, LEAVE] = False,
    worker_id: Annotated[str | None, WORKER_ID] = None,
    restarts: Annotated[int, RESTARTS_IN_A_ROW] = RESTARTS,
    http: Annotated[str | None, HTTP] = None,
    log_format: Annotated[LogFormat, LOG] = LogFormat.HUMAN,
    link: Annotated[int | None, LINK] = None,
    number: Annotated[int | None, NUMBER] = None,
) -> None:
    """Run an application until SIGTERM or Ctrl-C; a second one ends it at once.

    Example: penstock run shop.py --workers 4
    """
    check_brokers(brokers or "")  # before it stands in the workers' command lines
    if http:
        os.environ[PLACE] = http  # from here on the command line is what the environment says
    debug = bool(context.find_root().params["debug"])
    options = _Options(target, brokers, leave, worker_id, log_format, debug)
    raise typer.Exit(
        _supervise(options, workers, restarts) if workers else _work(options, link, number)
    )


@dataclass(frozen=True)
class _Options:
    """What a worker is told, by a person or by its supervisor."""

    target: str
    brokers: str | None
    leave: bool
    worker_id: str | None
    log_format: LogFormat
    debug: bool

    def line(self, number: int, link: int) -> list[str]:
        """Return the command line of a supervised worker."""
        given = {
            "--brokers": self.brokers,
            "--worker-id": self.worker_id,
            "--log": self.log_format.value,
            "--link": str(link),
            "--number": str(number),
        }
        # -P: the current folder is put on the path by the loader, behind Python's own modules.
        return [
            *(sys.executable, "-P", "-m", "penstock.cli", *(["--debug"] if self.debug else [])),
            *("run", self.target, *(["--leave"] if self.leave else [])),
            *(part for name, value in given.items() if value for part in (name, value)),
        ]

    def applied(self, app: "App", number: int | None) -> "App":
        """Let the command line win over the code; a supervisor's workers share no id."""
        worker = app.settings.worker
        worker_id = self.worker_id or worker.worker_id or os.environ.get("PENSTOCK_WORKER_ID")
        if worker_id and number is not None:
            worker_id = f"{worker_id}-{number}"
        leave = self.leave or worker.leave
        worker = replace(worker, worker_id=worker_id or None, leave=leave)
        app.settings = replace(app.settings, worker=worker)
        app.brokers = self.brokers or app.brokers
        return app


def _supervise(options: _Options, workers: int, restarts: int) -> int:
    from penstock.runtime.http_address import http_address
    from penstock.runtime.settings import HttpSettings
    from penstock.runtime.supervisor import supervise

    with configured(options.log_format, "supervisor"):
        try:
            address = http_address(HttpSettings())
            return supervise(options.line, workers=workers, restarts=restarts, address=address)
        except PenstockError as error:
            _say(error, debug=options.debug)
            return code_of(error)


def _work(options: _Options, link: int | None, number: int | None) -> int:
    from penstock.runtime.loading import load
    from penstock.runtime.parent import Parent

    parent = None if link is None else Parent(link)
    name = options.worker_id or "worker" if number is None else f"worker-{number}"
    with configured(options.log_format, name) as lines:
        try:
            app = options.applied(load(options.target), number)
        except PenstockError as error:
            if not (parent and parent.tell(str(error))):  # else the supervisor says it, once
                _say(error, debug=options.debug)
            return code_of(error)
        lines.application = app.id
        return _run(app, parent, debug=options.debug)


def _run(app: "App", parent: "Parent | None", *, debug: bool) -> int:
    from penstock.runtime.run import run as run_here

    try:
        run_here(app, parent=parent, debug=debug)
    except Exception as error:  # noqa: BLE001 - whatever it is ends the worker, and is named
        if parent:
            ours = isinstance(error, PenstockError)
            parent.tell(str(error) if ours else f"{kind_of(error)}: {error}")
        _say(error, debug=debug)
        return code_of(error)
    log.info("Stopped in order. Exit code %d.", Exit.STOPPED)
    return Exit.STOPPED


def _say(error: Exception, *, debug: bool) -> None:
    """Name the cause in the last line; before it stands what helps to find it."""
    if debug or not isinstance(error, PenstockError):
        log.error("The stack of the error that ends the worker:", exc_info=error)
    elif isinstance(error, DataError) and error.__cause__:
        log.error("What was raised there:", exc_info=error.__cause__)
    log.error("%s: %s Exit code %d.", kind_of(error), error, code_of(error))
