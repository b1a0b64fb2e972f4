"""Outside: what a handle asks of the cluster, which is not for this package to reach."""

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from penstock.query.events import Told
from penstock.topology.graph import Topology

Wait: TypeAlias = Callable[[float, str], None]


class Reading(Protocol):
    """The progress topic of an application, read on and on."""

    def read(self, timeout_s: float) -> list[Told]:
        """Return what was told since the last read; nothing after timeout_s without a record."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Outside(Protocol):
    """What a run lets its handle ask.

    Attributes:
        guarantee: "exactly_once" or "at_least_once".
    """

    guarantee: str

    @property
    def publishes(self) -> bool:
        """Whether progress is written to a topic."""
        ...

    @property
    def topology(self) -> Topology:
        """The application's, with its patterns resolved once the run is prepared."""
        ...

    @property
    def partitions(self) -> Mapping[str, int]:
        """How many partitions its topics have; nothing before the run is prepared."""
        ...

    def follow(self) -> Reading:
        """Begin to read the progress topic."""
        ...

    def drain(self, wait: Wait) -> None:
        """Wait until what stands in the inputs now is processed and committed.

        Args:
            wait: waits for some seconds, and is told what is still awaited; it raises where
                waiting is in vain.
        """
        ...
