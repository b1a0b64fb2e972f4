"""`penstock watch`: an application live. `watching` says what is shown; here is how.

On a terminal it takes the whole screen, and gives it back at the end. Where the output is none, it
prints a line whenever something was told.
"""

import os
import select
import signal
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.options import APPLICATION, BrokersOf

if TYPE_CHECKING:
    from penstock.cli.application import Application
    from penstock.cli.watching import Watched
    from penstock.topics.admin import Admin, Owners, Pending

STEP_S = 0.25  # as soon is a key heard
GROUP_S = 5.0  # between two looks at the group
LOST_S = 20.0  # a question about the group is lost, where others are answered
PATIENCE_S = 2.0  # a cluster that has not answered then is away
LINE_S = 1.0
MOST_KEYS = 100


def watch(application: Annotated[str, APPLICATION], *, brokers: BrokersOf = None) -> None:
    """Watch an application live, until q or Ctrl-C: rates, lag, latency, workers, events.

    Example:
      penstock watch shop
    """
    from penstock.cli.application import find_application
    from penstock.cli.cluster import connect
    from penstock.cli.telling import check_known

    known = find_application(application, brokers=brokers)
    admin = connect(known.brokers)
    check_known(known, admin)
    if sys.stdout.isatty():
        _on_screen(known, admin)
    else:
        _as_lines(known, admin)


def _on_screen(known: "Application", admin: "Admin") -> None:
    from rich.console import Console, Group
    from rich.live import Live

    from penstock.runtime.clock import now_ms

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # it gives the screen back too
    console = Console(highlight=False)
    with (
        _keys() as pressed,
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        for watched in _followed(known, admin):
            width, height = console.size
            live.update(Group(*watched.lines(width, height, now_ms())), refresh=True)
            if "q" in pressed().lower():
                return


def _as_lines(known: "Application", admin: "Admin") -> None:
    from penstock.cli.terminal import utc
    from penstock.runtime.clock import now_ms

    said, next_s = "", 0.0
    for watched in _followed(known, admin):
        if time.monotonic() < next_s:
            continue
        next_s = time.monotonic() + LINE_S
        line = watched.line(now_ms())
        if line != said:
            said = line
            typer.echo(f"{utc(now_ms())}  {line}")
            sys.stdout.flush()


def _followed(known: "Application", admin: "Admin") -> "Generator[Watched]":
    """Follow what the workers tell, for ever; a cluster that is away is waited for."""
    from penstock.cli.cluster import client_config
    from penstock.cli.watching import Watched
    from penstock.errors import BrokerError
    from penstock.runtime.clock import now_ms
    from penstock.runtime.following import Follower

    watched = Watched(known.id)
    follower = Follower(client_config(known.brokers), known.progress_topic, application=known.id)
    group, readable = _Group(known, admin), False
    try:
        while True:
            try:
                watched.take(follower.read(STEP_S))
                readable = True
            except BrokerError as error:
                if not watched.reached:
                    raise  # it never was readable
                readable, watched.problem = False, str(error)
                time.sleep(STEP_S)
            group.ask()
            watched.members = group.members
            if readable and group.answered:
                watched.reach(now_ms())
            yield watched
    finally:
        follower.close()


class _Group:
    """Ask the cluster now and then whether it is there, and then who runs; nothing waits for it.

    After a restart of the broker a client may never find the group's coordinator again, so a new
    one asks. The one before is kept: to end it while it waits for an answer can end the process
    (librdkafka 2.16.0).

    Attributes:
        members: names of those in the group; None where that is not known.
        answered: whether the cluster has answered the last time.
    """

    def __init__(self, known: "Application", admin: "Admin") -> None:
        self._known, self._admins = known, [admin]
        self.members: list[str] | None = None
        self.answered = True
        self._owners: Pending[Owners] | None = None
        self._owners_s = -GROUP_S
        self._begin()

    def _begin(self) -> None:
        self._asked_s = time.monotonic()
        self._topic = self._admins[-1].describe([self._known.progress_topic])

    def ask(self) -> None:
        """Take the answers that have come, and ask again when it is time."""
        since_s = time.monotonic() - self._asked_s
        if not self._topic.done():
            self.answered = self.answered and since_s < PATIENCE_S
            return
        self.answered = self._topic.result() is not None
        if self.answered:
            self._ask_group()
        if since_s > GROUP_S:
            self._begin()

    def _ask_group(self) -> None:
        since_s = time.monotonic() - self._owners_s
        if self._owners is None:
            if since_s >= GROUP_S:
                self._owners_s = time.monotonic()
                self._owners = self._admins[-1].owners(self._known.id)
        elif self._owners.done():
            found, self._owners = self._owners.result(), None
            if found is None:
                self._renew()
            else:
                self.members = [*found.members]
        elif since_s > LOST_S:
            self._renew()

    def _renew(self) -> None:
        from penstock.cli.cluster import make_admin

        self._admins.append(make_admin(self._known.brokers))
        self._owners = None


@contextmanager
def _keys() -> "Generator[Callable[[], str]]":
    """Hear keys as they are pressed, without showing them; none where nobody can press any."""
    if not sys.stdin.isatty():
        yield lambda: ""
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)

    def pressed() -> str:
        heard = select.select([sys.stdin], [], [], 0)[0]
        return os.read(sys.stdin.fileno(), MOST_KEYS).decode(errors="replace") if heard else ""

    tty.setcbreak(sys.stdin)
    try:
        yield pressed
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
