"""Before the first record: what the application needs of the cluster, looked up and verified.

Everything that can be known to be wrong is said here, with the command that corrects it.
"""

import difflib
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from penstock.engine import metadata
from penstock.engine.assignment import LeadMap, candidates, count_partitions
from penstock.errors import BrokerError, TopologyError
from penstock.state.definition import StoreDefinition
from penstock.topics.admin import Admin
from penstock.topics.internal import (
    DEFAULT_MAX_MESSAGE_BYTES,
    REPARTITION_CONFIG,
    InternalTopic,
)
from penstock.topology.event_time import late_topics
from penstock.topology.graph import Topology
from penstock.topology.node import Node
from penstock.topology.resolve import resolve

log = logging.getLogger("penstock")

Partition: TypeAlias = tuple[str, int]
Memories: TypeAlias = Mapping[Partition, str]

OLDEST = [2, 5]
RECOMMIT_MS = 3_600_000
DEFAULT_RETENTION_MINUTES = 10_080
IN_SYNC = "min.insync.replicas"
TRANSACTIONS = "__transaction_state"  # it is written to before each record
LIKENESS = 0.8  # a letter or two


@dataclass(frozen=True)
class Prepared:
    """What a worker has to know of the cluster.

    Attributes:
        topology: with patterns resolved to the topics that match.
        leads: which partitions belong together.
        partitions: partition counts of all topics.
        ids: identity of each topic whose name is known.
        recommit_ms: offsets have to be committed again this often, or they expire.
        max_bytes: the largest record that each topic takes whose name is known.
        batch_bytes: the largest batch of records that every topic takes whose name is known:
            the broker holds max.message.bytes against batches, and the client does not split.
        in_sync: how many replicas in sync each topic demands that is written to, as far as its
            name is known.
    """

    topology: Topology
    leads: LeadMap
    partitions: Mapping[str, int]
    ids: Mapping[str, str]
    recommit_ms: int
    max_bytes: Mapping[str, int]
    batch_bytes: int
    in_sync: Mapping[str, int] = field(default_factory=dict[str, int])


def prepare(
    declared: Topology, admin: Admin, remembered: Callable[[Sequence[Partition]], Memories]
) -> Prepared:
    """Resolve patterns, verify input and sink topics, create and verify internal ones.

    Args:
        declared: as the application declares it.
        admin: asks the cluster.
        remembered: returns what stands beside the committed offsets of inputs, if anything.

    Raises:
        TopologyError: if a topic is missing or is not what the application needs.
        BrokerError: if the cluster does not answer or refuses.
    """
    settings = admin.broker_settings()
    check_version(settings)
    existing = admin.topics()
    topology = resolve(declared, sorted(existing))
    check_topics(topology, existing, admin.servers)
    prepare_serdes(topology)
    counts = {**existing, **count_partitions(topology, existing)}
    led = remembered([(topic, 0) for topic in candidates(topology, counts)])
    leads = LeadMap(topology, counts, frozenset(topic for topic, _ in led))
    for lead in leads.leads.values():
        stores = {store.name: store.describe() for store in lead.part.stores}
        metadata.check_size(lead.known, stores)
    needed = [*_repartitions(topology, counts), *_changelogs(topology, leads)]
    _check_stateful_inputs(leads)
    check_internal(topology.application, leads, existing, remembered, admin.topics)
    admin.ensure(needed, existing)
    internal = [topic.name for topic in needed]
    configs = admin.configs({*internal, *_named_sinks(topology)})
    _warn_of_risks({name: configs[name] for name in internal})
    limits = {name: _max_message_bytes(config) for name, config in configs.items()}
    batch_bytes = min(limits.values(), default=DEFAULT_MAX_MESSAGE_BYTES)
    named = {
        *internal,
        *_named_sinks(topology),
        *(t for lead in leads.leads.values() for t in lead.partitions),
    }
    counts |= {topic.name: topic.partitions for topic in needed}
    ids = admin.topic_ids(sorted(named))
    in_sync = {
        **{name: int(config.get(IN_SYNC, 1)) for name, config in configs.items()},
        TRANSACTIONS: int(settings.get("transaction.state.log.min.isr", 1)),
    }
    return Prepared(
        topology, leads, counts, ids, recommit_ms(settings), limits, batch_bytes, in_sync
    )


def prepare_serdes(topology: Topology) -> None:
    """Let serdes that have a `prepare` do what has to be done before the first record.

    One with a schema registry registers its schemas then, and finds out that they do not fit.

    Raises:
        TopologyError: if a serde cannot be used for a topic.
        BrokerError: if what it depends on does not answer.
    """
    for node in topology:
        for topic, key, value, writes in _uses_of(node, topology.application):
            for serde, is_key in ((key, True), (value, False)):
                prepare = getattr(serde, "prepare", None)
                if prepare is not None:
                    prepare(topic, key=is_key, writes=writes)


def _uses_of(node: Node, application: str) -> list[tuple[str | None, Any, Any, bool]]:
    """The topics that a step reads or writes: name, serde of keys, of values, whether it writes."""
    if node.source:
        key, value = node.source.key.serde, node.source.value.serde
        return [(topic, key, value, False) for topic in node.source.topics]
    if node.sink:
        topic = node.sink.topic if isinstance(node.sink.topic, str) else None
        return [(topic, node.sink.key.serde, node.sink.value.serde, True)]
    return [(of.changelog(application), of.key, of.value, True) for of in node.stores]


def check_version(settings: Mapping[str, str]) -> None:
    """Refuse brokers before Kafka 2.5, which do not fence by consumer group (KIP-447).

    Brokers from 4.0 on have no such setting.

    Raises:
        BrokerError: naming the version that the brokers speak among themselves.
    """
    version = settings.get("inter.broker.protocol.version", "")
    numbers = [int(number) for number in re.findall(r"\d+", version)[:2]]
    if numbers and numbers < OLDEST:
        raise BrokerError(
            f"The brokers speak the protocol of Kafka {version}; exactly once needs 2.5"
            " (KIP-447). Upgrade them, or raise inter.broker.protocol.version where they are"
            " newer already."
        )


def recommit_ms(settings: Mapping[str, str]) -> int:
    """Return how often offsets have to be committed again: ten times before they expire.

    The broker expires those of topics that the group does not subscribe to, siblings among
    them, even while members live.
    """
    minutes = int(settings.get("offsets.retention.minutes", DEFAULT_RETENTION_MINUTES))
    return min(RECOMMIT_MS, minutes * 60_000 // 10)


def max_message_bytes(admin: Admin, topic: str) -> int:
    """Look up the largest record that a topic takes."""
    return _max_message_bytes(admin.configs([topic])[topic])


def _max_message_bytes(config: Mapping[str, str]) -> int:
    return int(config.get("max.message.bytes", DEFAULT_MAX_MESSAGE_BYTES))


def _named_sinks(topology: Topology) -> frozenset[str]:
    sinks = [node.sink.topic for node in topology if node.sink and not node.sink.internal]
    letters = topology.dead_letter_topics | late_topics(topology)
    return letters.union(t for t in sinks if isinstance(t, str))


def check_topics(topology: Topology, existing: Mapping[str, int], servers: str) -> None:
    """Refuse to start without the topics that the application reads and writes.

    Raises:
        TopologyError: naming all that are missing.
    """
    needed: dict[str, str] = {}
    for node in topology:
        names = node.source.topics if node.source else ()
        if node.sink and isinstance(node.sink.topic, str):
            names = (node.sink.topic,)
        needed |= {name: f"{topology.labels[node]} {_use(node)}" for name in names}
    needed |= dict.fromkeys(sorted(topology.dead_letter_topics), "dead_letter writes it")
    needed |= dict.fromkeys(sorted(late_topics(topology)), "late= of a window writes it")
    for name in {*existing, *topology.repartitions}:
        needed.pop(name, None)
    if needed:
        raise _missing(needed, existing, servers)


def _use(node: Node) -> str:
    return "reads it" if node.source else "writes it"


def _missing(needed: Mapping[str, str], existing: Mapping[str, int], servers: str) -> TopologyError:
    shown = ", ".join(f"{name} ({use})" for name, use in needed.items())
    like = {
        found
        for name in needed
        for found in difflib.get_close_matches(name, existing, cutoff=LIKENESS)
    }
    names = f" There is {', '.join(sorted(like))}." if like else ""
    what = f"The topic {shown} does" if len(needed) == 1 else f"The topics {shown} do"
    return TopologyError(
        f"{what} not exist at {servers}.{names} Correct the name, or create what is missing, here"
        f" with 4 partitions: 'penstock topics {' '.join(needed)} --create 4 --brokers {servers}'.",
        topic=next(iter(needed)),
        operator=next(iter(needed.values())).partition(" ")[0],
    )


def _changelogs(topology: Topology, leads: LeadMap) -> list[InternalTopic]:
    return [
        InternalTopic(store.changelog(topology.application), lead.tasks)
        for lead in leads.leads.values()
        for store in lead.part.stores
    ]


def check_internal(
    application: str,
    leads: LeadMap,
    existing: Mapping[str, int],
    remembered: Callable[[Sequence[Partition]], Memories],
    topics: Callable[[], Mapping[str, int]],
) -> None:
    """Refuse to go on without what was committed: it would be lost, unnoticed.

    With an empty changelog state would begin empty; what was on its way through a repartition
    topic would never be counted. Topics are looked at once more before that: another worker may
    have made them and committed meanwhile.

    Args:
        application: the application id.
        leads: which partitions belong together.
        existing: the topics that were there, with their partition counts.
        remembered: returns what stands beside the committed offsets of inputs, if anything.
        topics: looks again which topics there are.

    Raises:
        BrokerError: naming what is gone, and who has committed it.
    """
    for lead in leads.leads.values():
        stores = [s for s in lead.part.stores if s.changelog(application) not in existing]
        cut = [topic for topic in lead.written if topic not in existing]
        inputs = [(lead.topic, number) for number in range(lead.tasks)] if stores or cut else []
        for (topic, partition), text in remembered(inputs).items():
            where = f"{topic}/{partition}"
            found = metadata.decode(text, where)
            if not found:
                continue
            for store in stores:
                known = metadata.short_hash(store.name) in found.stores
                if known and store.changelog(application) not in topics():
                    raise _forgotten(store, application, where)
            for written in cut:
                if metadata.short_hash(written) in found.siblings and written not in topics():
                    raise _cut(written, application, where)


def _forgotten(store: StoreDefinition, application: str, where: str) -> BrokerError:
    return BrokerError(
        f"The topic {store.changelog(application)} is gone, and with it the state of"
        f" {store.name}, which {where} has committed: it was deleted. With an empty one the results"
        f" would be wrong from now on. Start over: penstock reset {application} --to earliest"
        " --state; or take a new application id.",
        store=store.name,
    )


def _cut(topic: str, application: str, where: str) -> BrokerError:
    return BrokerError(
        f"The topic {topic} is gone, and with it what was on its way through it: it was deleted."
        f" {where} has committed that as done, so it would never be processed. Start over: penstock"
        f" reset {application} --to earliest --state; or take a new application id.",
        topic=topic,
    )


def _repartitions(topology: Topology, counts: Mapping[str, int]) -> list[InternalTopic]:
    return [
        InternalTopic(topic, counts[topic], dict(REPARTITION_CONFIG))
        for topic in topology.repartitions
    ]


def _warn_of_risks(configs: Mapping[str, Mapping[str, str]]) -> None:
    """Say where the cluster's settings allow it to lose what it has acknowledged."""
    unclean = _with(configs, "unclean.leader.election.enable", "true")
    if unclean:
        log.warning(
            "unclean.leader.election.enable=true: a failover may lose committed state. Set it to"
            " false. So it is for %s.", unclean,
        )  # fmt: skip
    alone = _with(configs, IN_SYNC, "1")
    if alone:
        log.info(
            "min.insync.replicas=1: what one broker has acknowledged can be lost with it. Set it"
            " to 2, with a replication factor of 3. So it is for %s.", alone,
        )  # fmt: skip


def _with(configs: Mapping[str, Mapping[str, str]], setting: str, value: str) -> str:
    return ", ".join(sorted(name for name, of in configs.items() if of.get(setting) == value))


def _check_stateful_inputs(leads: LeadMap) -> None:
    for lead in leads.leads.values():
        if lead.part.stores and len(set(lead.partitions.values())) > 1:
            counts = ", ".join(f"{name} has {n}" for name, n in sorted(lead.partitions.items()))
            raise TopologyError(
                "Inputs that share state need equal partition counts, or equal keys are in"
                f" different partitions: {counts} partitions. Give them equal counts, or make"
                " the stores of separate streams.",
                topic=lead.topic,
            )
