"""Headroom: how far an input's position is from where retention deletes records.

A worker that is too slow reads old records, and the broker may delete what it has not read yet.
That is seen coming: the first offset that is left moves on, and the records at our position get
older. A thread of its own looks at both from time to time; the loop only reads what it has found.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from penstock.errors import PenstockError
from penstock.topics.admin import Admin

log = logging.getLogger("penstock")

At = tuple[str, int]

LOOK_S = 10.0
CONFIGS_S = 60.0
CLOSE_S = 1.0


@dataclass(frozen=True)
class Headroom:
    """How far one input is from losing records.

    Attributes:
        offsets: from the first that the broker still has to our position.
        milliseconds: until the record at our position may be deleted; None where nothing tells.
    """

    offsets: int
    milliseconds: int | None


@dataclass(frozen=True)
class Reading:
    """Where an input stands.

    Attributes:
        offset: what is read next.
        timestamp_ms: of the last record that was processed; None where there was none.
        waits: whether records wait there.
    """

    offset: int
    timestamp_ms: int | None
    waits: bool


class HeadroomWatch:
    """Look at the inputs of a worker from time to time.

    Args:
        admin: asks for first offsets and configurations.
        readings: where the inputs stand; repartition topics are none of them.
        now: monotonic seconds.
        now_ms: the wall clock.
    """

    def __init__(
        self,
        admin: Admin,
        readings: Callable[[], Mapping[At, Reading]],
        now: Callable[[], float],
        now_ms: Callable[[], int],
    ) -> None:
        self._admin = admin
        self._readings = readings
        self._now = now
        self._now_ms = now_ms
        self._found: dict[At, Headroom] = {}
        self._starts: dict[At, tuple[int, float]] = {}
        self._retention: dict[str, int | None] = {}
        self._configured = -CONFIGS_S
        self._failed = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="penstock-headroom", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def of(self, at: At) -> Headroom | None:
        """Return the headroom of an input, None where no records wait or nobody knows."""
        return self._found.get(at)

    def close(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join(CLOSE_S)

    def look(self) -> None:
        """Look now.

        Raises:
            BrokerError: if the cluster does not answer.
        """
        readings, now = dict(self._readings()), self._now()
        self._configure({topic for topic, _ in readings})
        starts = self._admin.starts(readings) if readings else {}
        found: dict[At, Headroom] = {}
        for at, reading in readings.items():
            if reading.waits and reading.offset >= 0:
                known = [self._by_age(at, reading), self._by_pace(at, reading, starts[at], now)]
                least = [ms for ms in known if ms is not None]
                found[at] = Headroom(
                    max(0, reading.offset - starts[at]), min(least) if least else None
                )
        self._found = found
        self._starts = {at: self._starts.get(at, (start, now)) for at, start in starts.items()}

    def _run(self) -> None:
        while not self._over.wait(LOOK_S):
            try:
                self.look()
                self._failed = False
            except PenstockError as error:
                if not self._failed:
                    log.warning("How far the inputs are from retention is not known: %s", error)
                self._failed, self._found = True, {}

    def _configure(self, topics: Iterable[str]) -> None:
        if self._now() - self._configured < CONFIGS_S and self._retention.keys() >= set(topics):
            return
        self._configured = self._now()
        self._retention = {
            topic: _retention_ms(config) for topic, config in self._admin.configs(topics).items()
        }

    def _by_age(self, at: At, reading: Reading) -> int | None:
        """How long until the record at our position is older than the topic keeps."""
        retention_ms = self._retention.get(at[0])
        if retention_ms is None or reading.timestamp_ms is None:
            return None
        return max(0, reading.timestamp_ms + retention_ms - self._now_ms())

    def _by_pace(self, at: At, reading: Reading, start: int, now: float) -> int | None:
        """How long until the first offset is at our position, if it goes on as it has."""
        first, since = self._starts.get(at, (start, now))
        if start <= first:
            return None
        return round((reading.offset - start) / (start - first) * (now - since) * 1000)


def _retention_ms(config: Mapping[str, str]) -> int | None:
    """After how long a topic deletes by age; None for never."""
    if "delete" not in config.get("cleanup.policy", "delete"):
        return None
    found = int(config.get("retention.ms", "-1"))
    return found if found >= 0 else None
