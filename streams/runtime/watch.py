"""Watch: whether the topics are still what they were when the worker started.

Kafka tells nobody that a topic has more partitions or was made anew. Keys would then go to
partitions whose state knows nothing of them, and offsets would mean other records. So the
topics are described again every ten seconds, without the loop waiting for the answer. Where that
does not come, the cluster is away: nothing else says so in words, as the clients try on in silence.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace

from penstock.engine.assignment import Lead
from penstock.errors import BrokerError, TopologyError
from penstock.runtime.preparation import Prepared
from penstock.topics.admin import Admin, Description, Pending
from penstock.topology.event_time import late_topics
from penstock.topology.graph import Topology

log = logging.getLogger("penstock")

PATIENCE_MS = 5_000.0  # a cluster that has not answered for so long is away


@dataclass
class TopicWatch:
    """Describe the topics of an application from time to time.

    Args:
        admin: asks the cluster.
        prepared: what the topics were.
        interval_ms: how often to look.

    Attributes:
        is_away: whether the cluster does not answer; may be read by any thread.
    """

    admin: Admin
    prepared: Prepared
    interval_ms: int
    looked_ms: float = 0.0
    pending: Pending[dict[str, Description | None]] | None = None
    asked_ms: float | None = None  # when what is not answered yet was asked first
    is_away: bool = False

    def check(self, now_ms: float) -> Mapping[str, int]:
        """Return the partition counts of topics that have more of them than before.

        Args:
            now_ms: monotonic milliseconds.

        Raises:
            BrokerError: if a topic is gone, or was made anew.
            TopologyError: if an input has more partitions, and that changes who reads what.
        """
        if self.pending is None:
            if now_ms - self.looked_ms >= self.interval_ms:
                self.looked_ms = now_ms
                self.asked_ms = now_ms if self.asked_ms is None else self.asked_ms
                self.pending = self.admin.describe(sorted(self.prepared.ids))
            return {}
        found = None
        if self.pending.done():
            found, self.pending = self.pending.result(), None
        if found is None:
            self._miss(now_ms)
            return {}
        self._hear(now_ms)
        grown = changes(self.prepared, found)
        if grown:
            counts = {**self.prepared.partitions, **grown}
            self.prepared = replace(self.prepared, partitions=counts)
        return grown

    def _miss(self, now_ms: float) -> None:
        if self.is_away or self.asked_ms is None or now_ms - self.asked_ms < PATIENCE_MS:
            return
        self.is_away = True
        log.warning(
            "Kafka at %s has not answered for %.0f s. Nothing is lost, and the worker tries on."
            " Check that its brokers run, and can be reached from this host. An outage that is"
            " longer than a session (session_timeout_ms) may end the worker: what has started it"
            " starts it again, as penstock run --workers 1 does.",
            self.admin.servers,
            (now_ms - self.asked_ms) / 1000,
        )

    def _hear(self, now_ms: float) -> None:
        if self.is_away and self.asked_ms is not None:
            away_s = (now_ms - self.asked_ms) / 1000
            log.warning("Kafka at %s answers again, after %.0f s.", self.admin.servers, away_s)
        self.asked_ms, self.is_away = None, False


def changes(prepared: Prepared, found: Mapping[str, Description | None]) -> dict[str, int]:
    """Compare topics with what they were; return new partition counts.

    Raises:
        BrokerError: if a topic is gone, or was made anew.
        TopologyError: if an input has more partitions, and that changes who reads what.
    """
    grown: dict[str, int] = {}
    leads = {topic: lead for lead in prepared.leads.leads.values() for topic in lead.partitions}
    for topic, now in found.items():
        if now is None or now.id != prepared.ids[topic]:
            raise _gone(prepared.topology, topic, now)
        before = prepared.partitions[topic]
        if now.partitions == before:
            continue
        if topic in leads and (leads[topic].siblings or leads[topic].part.stores):
            raise too_many(leads[topic], topic, before, now.partitions)
        grown[topic] = now.partitions
    return grown


def too_many(lead: Lead, topic: str, before: int, now: int) -> TopologyError:
    """Return what is to be said of an input that has grown, and may not."""
    if lead.part.stores:
        stores = ", ".join(store.name for store in lead.part.stores)
        return TopologyError(
            f"The topic {topic} has {now} partitions now, and had {before}: its keys are spread"
            f" anew, and the state of {stores} is not. Start over under a new application id;"
            " state cannot follow.",
            topic=topic,
        )
    return TopologyError(
        f"The topic {topic} has {now} partitions now, and had {before}. It is read together"
        f" with {', '.join(sorted(set(lead.partitions) - {topic}))}: stop all workers and start"
        " them again, so that they share the partitions out anew.",
        topic=topic,
    )


def _gone(topology: Topology, topic: str, now: Description | None) -> BrokerError:
    what = "was deleted" if now is None else "was deleted and made anew"
    sinks = {node.sink.topic for node in topology if node.sink and not node.sink.internal}
    sinks |= topology.dead_letter_topics | late_topics(topology)
    if topic in topology.readers or topic not in sinks:
        advice = (
            "The offsets committed for it, or the state made of it, belong to the old one. Create"
            f" it where it is missing and start over: penstock reset {topology.application}"
            " --to earliest --state; or take a new application id."
        )
    else:
        advice = (
            "What it held is gone. Create it where it is missing, and start again: the application"
            " goes on with what comes."
        )
    return BrokerError(
        f"The topic {topic} {what} while the application was running. {advice}", topic=topic
    )


def explain(watch: TopicWatch, within_s: float = 2.0) -> None:
    """Look once more where something has failed, for a moment: it may be because of a topic.

    The client notices first that one is gone, and does not say so in as many words.

    Args:
        watch: what looks at the topics.
        within_s: how long to wait for the answer.

    Raises:
        BrokerError: if a topic is gone, or was made anew.
        TopologyError: if an input has more partitions, and that changes who reads what.
    """
    pending = watch.admin.describe(sorted(watch.prepared.ids))
    found = pending.result() if pending.wait(within_s) else None
    if found is not None:
        changes(watch.prepared, found)
