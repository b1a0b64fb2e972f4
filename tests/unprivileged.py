"""Commands for which the modes of files hold, though root runs them, as in a container."""

import os
from collections.abc import Sequence

WITHOUT = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")


def unprivileged(command: Sequence[str]) -> list[str]:
    """Return the command, or one that runs it without root's right to every file."""
    return list(command) if os.geteuid() else [*WITHOUT, *command]
