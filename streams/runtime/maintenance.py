"""Maintenance: what a worker does beside its batches, at each step of its loop.

Each part knows by itself whether its time has come; a step in which nothing is due costs a few
comparisons.
"""

import logging
from collections.abc import Callable, Collection, Iterable

from penstock.engine.assignment import LeadMap
from penstock.runtime.idling import IdleNote
from penstock.runtime.orphans import OrphanWatch
from penstock.runtime.reporting import Reporter
from penstock.runtime.settings import Settings
from penstock.runtime.silence import SilenceWatch
from penstock.runtime.tasks import OwnedTask, TaskStarter
from penstock.runtime.upstream import Upstream
from penstock.runtime.watch import TopicWatch, explain

log = logging.getLogger("penstock")


class Maintenance:
    """Look after the stores, topics and group of a worker.

    Args:
        settings: limits and intervals.
        leads: what there is to do in all.
        starter: flushes, purges and cleans up.
        reporter: tells what there is to tell.
        watch: notes that topics have changed.
        orphans: notes that partitions have no owner.
        upstream: knows how far those have come who write repartition topics.
        silence: notes that inputs are silent.
        now: monotonic seconds.
    """

    def __init__(
        self,
        settings: Settings,
        leads: LeadMap,
        *,
        starter: TaskStarter,
        reporter: Reporter,
        watch: TopicWatch,
        orphans: OrphanWatch,
        upstream: Upstream,
        silence: SilenceWatch,
        now: Callable[[], float],
    ) -> None:
        self._flush_s = settings.state.flush_interval_ms / 1000
        self._purge_s = settings.commit.purge_interval_ms / 1000
        self._idle = IdleNote(leads, settings.kafka.session_timeout_ms / 1000)
        self._starter = starter
        self._reporter = reporter
        self._watch = watch
        self._orphans = orphans
        self._upstream = upstream
        self._silence = silence
        self._now = now
        self._flushed = self._purged = now()
        self._grown: dict[str, int] = {}

    @property
    def is_cluster_away(self) -> bool:
        """Whether the cluster does not answer; may be read by any thread."""
        return self._watch.is_away

    def joined(self) -> None:
        """Note that the group has answered, be it with nothing."""
        self._idle.joined()

    def rebalanced(self) -> None:
        """Note that the group has given partitions."""
        self._idle.joined()
        self._orphans.rebalanced(self._now() * 1000)

    def look(self, tasks: Collection[OwnedTask], *, between_batches: bool) -> None:
        """Flush stores, look at topics and group, delete what is committed of repartition topics.

        Args:
            tasks: those of the worker.
            between_batches: whether no batch is open.

        Raises:
            PenstockError: if the disk refuses, or a topic is not what it was.
        """
        now = self._now()
        self._reporter.tick(tasks, now)
        self._idle.look(len(tasks), now)
        self._orphans.check(now * 1000)
        self._upstream.look(tasks)
        self._silence.look(tasks)
        if now - self._flushed >= self._flush_s:
            self._flushed = now
            self._each(self._starter.flush, tasks)
        self._grown.update(self._watch.check(now * 1000))
        if self._grown and between_batches:
            self._grow()
        if now - self._purged >= self._purge_s:
            self._purged = now
            self._each(self._starter.purge, tasks)
        self._starter.clean(tasks)

    def explain(self) -> None:
        """Say what has become of a topic, where that is why the cluster has refused.

        Raises:
            PenstockError: if one is not what it was.
        """
        explain(self._watch)

    def close(self) -> None:
        """Let go of what it looks through."""
        self._upstream.close()

    def _grow(self) -> None:
        """Go by new partition counts, which may not change within a batch."""
        log.info("Topics have more partitions now: %s.", self._grown)
        self._starter.grow(self._grown)
        self._upstream.grow(self._grown)
        self._grown = {}

    def _each(self, action: Callable[[OwnedTask], None], tasks: Iterable[OwnedTask]) -> None:
        for owned in tasks:
            action(owned)
