"""Active runs: an application runs once per state folder in one process.

Two runs with one state folder would share its slots and stores by accident, mostly because a cell
of a notebook was run twice. Another folder is another worker, and is meant.
"""

import threading
from pathlib import Path
from typing import Final

from penstock.errors import TopologyError


class ActiveRuns:
    """The runs of this process that have not ended yet."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: set[tuple[str, Path]] = set()

    def enter(self, application: str, state_dir: Path) -> None:
        """Note that a run begins.

        Args:
            application: its id.
            state_dir: where its state is.

        Raises:
            TopologyError: if one is there already.
        """
        with self._lock:
            if (application, state_dir.resolve()) in self._runs:
                raise TopologyError(
                    f"The application {application!r} runs in this process already, with its state"
                    f" in {state_dir}. Stop that query first: query.stop(). For a second worker"
                    " beside it use 'penstock run --workers', or an App with a state_dir of its"
                    " own."
                )
            self._runs.add((application, state_dir.resolve()))

    def leave(self, application: str, state_dir: Path) -> None:
        """Note that it has ended; one that has not begun has."""
        with self._lock:
            self._runs.discard((application, state_dir.resolve()))


ACTIVE: Final = ActiveRuns()
