"""What programs show on a terminal."""

import contextlib
import os


def shown_on(terminal: int) -> bytes:
    """Return all that is shown on a pseudo-terminal until its other end is closed; it is closed."""
    shown = b""
    with contextlib.suppress(OSError):  # EIO: the other end is closed
        while piece := os.read(terminal, 10_000):
            shown += piece
    os.close(terminal)
    return shown
