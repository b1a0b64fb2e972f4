"""Lines of a file or of standard input, as they come.

A pipe may stand still: who reads waits a tenth of a second for a line, and is asked again, so that
Ctrl-C and the end of a run are noticed.
"""

import os
import select
import sys
from collections import deque
from pathlib import Path

from penstock.errors import DataError, TopologyError

WAIT_S = 0.1
LONGEST = 16 * 1024 * 1024  # bytes: more is no line, and would only fill the memory
_PIECE = 256 * 1024
_BOM = b"\xef\xbb\xbf"


class Lines:
    """Read lines without their ends.

    Args:
        path: of the file; "-" is standard input.

    Raises:
        TopologyError: if it cannot be read.
    """

    def __init__(self, path: str) -> None:
        self.name = "standard input" if path == "-" else path
        try:
            self._fd = sys.stdin.fileno() if path == "-" else os.open(Path(path), os.O_RDONLY)
            os.read(self._fd, 0)  # a folder can be opened, and not read
        except OSError as error:
            raise TopologyError(
                f"{self.name} cannot be read: {error.strerror or error}. Name a file of events, or"
                " - for standard input."
            ) from None
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._number = 0
        self._at_end = False

    @property
    def ended(self) -> bool:
        """Whether there are no more lines."""
        return self._at_end and not self._lines

    def next(self, *, wait: bool) -> tuple[int, bytes] | None:
        """Return a line with its number; None where there is none, or not yet.

        Args:
            wait: whether a moment is waited for one.

        Raises:
            DataError: if a line is longer than 16 MiB, or the file cannot be read on.
        """
        if not self._lines and not self._at_end:
            self._read(WAIT_S if wait else 0)
        if not self._lines:
            return None
        self._number += 1
        return self._number, self._lines.popleft()

    def _read(self, wait_s: float) -> None:
        if not select.select([self._fd], [], [], wait_s)[0]:
            return
        try:
            piece = os.read(self._fd, _PIECE)
        except OSError as error:
            raise DataError(
                f"{self.name} cannot be read on behind line {self._number}: {error.strerror}."
            ) from error
        self._at_end = not piece
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if self._at_end and self._rest:
            lines.append(self._rest)
        if len(self._rest) > LONGEST:
            raise DataError(
                f"Line {self._number + len(lines) + 1} of {self.name} has no end within"
                f" {LONGEST:,} bytes. Is it a file of lines?"
            )
        if lines and not self._number:
            lines[0] = lines[0].removeprefix(_BOM)
        self._lines.extend(line.removesuffix(b"\r") for line in lines)
