"""The limit of open files: each partition of a store has several open.

The usual soft limit of 1,024 is for programs that wait with `select`, which knows no higher
numbers; nothing here does. Up to the hard limit a process may help itself, as Java's do.
"""

import logging
import resource
from contextlib import suppress

log = logging.getLogger("penstock")

ENOUGH = 65_536  # some hosts have a hard limit of a billion


def raise_file_limit() -> int:
    """Raise the limit as far as this process may, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return ENOUGH
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft < wanted:
        with suppress(ValueError, OSError):  # a sandbox may forbid it
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            log.debug("The limit of open files is raised from %d to %d.", soft, wanted)
            return wanted
    return soft
