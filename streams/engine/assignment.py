"""Assignment: which partitions belong together, and who reads them.

Each sub-topology has one lead topic, its input with the most partitions. The group
subscribes to lead topics only; whoever is assigned partition p of a lead takes partition p
of every sibling input with it, and gives them back together. So inputs that are read
together stay together under every group protocol, without an assignor of our own.
"""

import zlib
from collections.abc import Container, Mapping
from dataclasses import dataclass

from penstock.errors import TopologyError
from penstock.topology.graph import SubTopology, Topology


@dataclass(frozen=True)
class Lead:
    """A sub-topology's lead topic and its siblings.

    Attributes:
        part: the sub-topology.
        topic: the lead topic.
        partitions: partition counts of all inputs, the lead's included.
        timed: whether somebody goes by the event time of these inputs.
    """

    part: SubTopology
    topic: str
    partitions: Mapping[str, int]
    timed: bool = False

    @property
    def siblings(self) -> tuple[str, ...]:
        """The other inputs, by name."""
        return tuple(sorted(topic for topic in self.partitions if topic != self.topic))

    @property
    def written(self) -> tuple[str, ...]:
        """The repartition topics that its tasks write, by name."""
        sinks = [node.sink for node in self.part.nodes if node.sink]
        return tuple(sorted({str(sink.topic) for sink in sinks if sink.internal}))

    @property
    def known(self) -> tuple[str, ...]:
        """The topics that a commit of its tasks names: none may begin anew unnoticed."""
        return (*self.siblings, *self.written)

    @property
    def tasks(self) -> int:
        """How many tasks the sub-topology has."""
        return self.partitions[self.topic]

    @property
    def ordered(self) -> bool:
        """Whether its tasks read their inputs in the order of time.

        Only state can tell, and who reads what they write, and goes by how far they have come.
        """
        return bool(self.siblings and (self.part.stores or self.timed))

    def inputs(self, partition: int) -> list[tuple[str, int]]:
        """Return what a task reads: the lead's partition, then each sibling's that exists."""
        return [
            (topic, partition)
            for topic in (self.topic, *self.siblings)
            if topic == self.topic or partition < self.partitions[topic]
        ]


def count_partitions(topology: Topology, existing: Mapping[str, int]) -> dict[str, int]:
    """Return how many partitions each repartition topic needs.

    As many as it says or, where it is there, has: an input in front of it may have grown since.
    Else as many as the inputs of the sub-topology that writes it have. What is read together with
    state has to have equal counts, so there it follows the other inputs (Kafka Streams:
    CopartitionedTopicsEnforcer). One may depend on another: until all stand.
    """
    sinks = {topic: node.sink for topic, node in topology.repartitions.items() if node.sink}
    said = {topic: sink.partitions or existing.get(topic) for topic, sink in sinks.items()}
    free = {topic for topic, number in said.items() if number is None}
    writers = {
        node.detail: part for part in topology.sub_topologies for node in part.nodes if node.sink
    }
    counts = {topic: number or 1 for topic, number in said.items()}
    before: dict[str, int] = {}
    while counts != before:
        before = dict(counts)
        known = {**existing, **counts}
        for topic in free:
            counts[topic] = max(known[name] for name in writers[topic].topics)
        known |= counts
        for part in topology.sub_topologies:
            counts |= dict.fromkeys(free.intersection(part.topics), _together(part, sinks, known))
    return counts


def _together(part: SubTopology, internal: Container[str], counts: Mapping[str, int]) -> int:
    """How many partitions the inputs of a sub-topology have to have together."""
    fixed = [counts[topic] for topic in part.topics if topic not in internal]
    return max(fixed or [counts[topic] for topic in part.topics], default=1)


def candidates(topology: Topology, partitions: Mapping[str, int]) -> list[str]:
    """Return the topics of which one of several may lead: inputs with the most partitions."""
    found: list[str] = []
    for part in topology.sub_topologies:
        most = max((partitions[topic] for topic in part.topics), default=0)
        equal = [topic for topic in part.topics if partitions[topic] == most]
        found += equal if len(equal) > 1 else []
    return found


class LeadMap:
    """The lead of every sub-topology.

    Args:
        topology: with patterns resolved.
        partitions: partition counts of all inputs.
        leading: topics that lead already: their offsets carry the tasks' memory.

    Attributes:
        leads: by lead topic.
    """

    def __init__(
        self,
        topology: Topology,
        partitions: Mapping[str, int],
        leading: Container[str] = frozenset(),
    ) -> None:
        self.leads: dict[str, Lead] = {}
        for part in topology.sub_topologies:
            counts = {topic: partitions[topic] for topic in part.topics}
            if not counts:
                raise TopologyError(
                    f"Sub-topology {part.number} reads no topic: its pattern matches none of"
                    " the topics of the cluster. Create one, or correct the pattern."
                )
            topic = min(counts, key=lambda name: (-counts[name], name not in leading, name))
            self.leads[topic] = Lead(part, topic, counts, topology.needs_time(part))

    @property
    def topics(self) -> list[str]:
        """What the group subscribes to."""
        return sorted(self.leads)

    @property
    def fingerprint(self) -> str:
        """Eight hex digits that differ where the map does: part of every member's identity."""
        text = ";".join(
            f"{lead.topic}={','.join(lead.siblings)}" for _, lead in sorted(self.leads.items())
        )
        return f"{zlib.crc32(text.encode()):08x}"
