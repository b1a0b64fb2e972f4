"""How a process of Penstock ends: its exit codes, all of them, in one place.

    0        stopped in order: the open batch was committed or aborted
    1        an error that is not Penstock's; Python ends every script by it
    2        wrong usage of the command line
    3        the watchdog: the worker's loop had stalled
    4        a stop that did not end in time: the open batch was abandoned
    5        TopologyError: your code, or the application file
    6        DataError: a record
    7        BrokerError: the cluster
    8        StateError: the disk
    9        BugError: us
    128 + n  ended by signal n: at once because it came twice, or killed by it

No start mends 2, 5 and 6, so nobody should start such a worker again. A script that calls
`app.run()` ends by Python's rules, with 1 for every error; 3, 4 and 128 + n are the same.
"""

import signal
from enum import IntEnum

from penstock.errors import (
    BrokerError,
    BugError,
    DataError,
    PenstockError,
    StateError,
    TopologyError,
)


class Exit(IntEnum):
    """The exit codes that have names."""

    STOPPED = 0
    OTHER = 1
    USAGE = 2
    WATCHDOG = 3
    ABANDONED = 4
    TOPOLOGY = 5
    DATA = 6
    BROKER = 7
    STATE = 8
    BUG = 9


_BY_CLASS: dict[type[PenstockError], Exit] = {
    TopologyError: Exit.TOPOLOGY,
    DataError: Exit.DATA,
    BrokerError: Exit.BROKER,
    StateError: Exit.STATE,
    BugError: Exit.BUG,
}
_MEANINGS = {
    Exit.STOPPED: "stopped in order",
    Exit.OTHER: "an error that is not Penstock's",
    Exit.USAGE: "wrong usage",
    Exit.WATCHDOG: "the watchdog",
    Exit.ABANDONED: "a stop that did not end in time",
    **{code: kind.__name__ for kind, code in _BY_CLASS.items()},
}


def code_of(error: BaseException) -> Exit:
    """Return the exit code of an error."""
    return next((code for kind, code in _BY_CLASS.items() if isinstance(error, kind)), Exit.OTHER)


def kind_of(error: BaseException) -> str:
    """Name an error's class; of Penstock's the root that is public, which says who is to blame."""
    roots = (kind.__name__ for kind in _BY_CLASS if isinstance(error, kind))
    return next(roots, type(error).__name__)


def code_of_signal(number: int) -> int:
    """Return the exit code of a process that a signal has ended, as shells report it."""
    return 128 + number


def code_of_status(status: int) -> int:
    """Return the exit code of a child's status, which is negative if a signal has ended it."""
    return code_of_signal(-status) if status < 0 else status


def restart_may_mend(status: int) -> bool:
    """Whether a worker that has ended like this may do better when it starts again."""
    return status not in (Exit.USAGE, Exit.TOPOLOGY, Exit.DATA)


def describe(status: int) -> str:
    """Say how a child has ended: "exit code 7, BrokerError", or "killed by SIGKILL"."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    if status > code_of_signal(0):
        return f"exit code {status}, ended at once by {signal.Signals(status - 128).name}"
    known = status in set(Exit)
    return f"exit code {status}, {_MEANINGS[Exit(status)]}" if known else f"exit code {status}"
