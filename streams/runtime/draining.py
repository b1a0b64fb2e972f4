"""Draining: waiting until what stands in an application's inputs is processed and committed.

Rule 1: what the group has committed tells: it does not matter which worker has done it.
Rule 2: inputs go before what the application itself writes and reads, stage by stage. The ends of
        a stage are taken once, when the stage before is drained: a topic that goes on growing
        keeps nobody waiting.
Rule 3: behind the last commit the worker of this process hands over to its outputs; that is done
        when its loop has come around once more.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

from penstock.engine.assignment import LeadMap
from penstock.query.outside import Wait
from penstock.runtime.consumer import InputConsumer
from penstock.topics.admin import Admin
from penstock.topology.graph import Topology

PAUSE_S = 0.02
STEP_PAUSE_S = 0.005

At = tuple[str, int]


def drain(
    topology: Topology,
    leads: LeadMap,
    admin: Admin,
    reader: InputConsumer,
    timeout_s: float,
    wait: Wait,
) -> None:
    """Wait until the group has committed what stands in the inputs now.

    Args:
        topology: with patterns resolved.
        leads: which partitions the inputs have.
        admin: knows their ends.
        reader: knows what the group has committed.
        timeout_s: bound of one call.
        wait: waits, and raises where that is in vain.

    Raises:
        BrokerError: if the cluster refuses.
    """
    inputs = {
        at for lead in leads.leads.values() for n in range(lead.tasks) for at in lead.inputs(n)
    }
    for topics in stages(topology):
        ends = admin.stable_ends(sorted(at for at in inputs if at[0] in topics))
        while left := _left(ends, reader, timeout_s):
            wait(PAUSE_S, _shown(left))


def wait_for_step(steps: Callable[[], int], wait: Wait) -> None:
    """Wait until a loop has ended the step that it is in."""
    before = steps()
    while steps() == before:
        wait(STEP_PAUSE_S, "the last batch to be handed over")


def stages(topology: Topology) -> list[set[str]]:
    """Return the topics that an application reads, those that it writes itself after the others.

    What goes round in a circle is gone through once.
    """
    writers: dict[str, set[str]] = {}
    for part in topology.sub_topologies:
        sinks = [node.sink for node in part.nodes if node.sink]
        for topic in {of.topic for of in sinks if isinstance(of.topic, str)}:
            writers.setdefault(topic, set()).update(part.topics)
    level = dict.fromkeys(topology.readers, 0)
    for _ in level:
        for topic in level:
            before = [level[of] for of in writers.get(topic, ()) if of != topic]
            level[topic] = min(len(level), 1 + max(before)) if before else 0
    return [{t for t, at in level.items() if at == n} for n in sorted(set(level.values()))]


def _left(ends: Mapping[At, int], reader: InputConsumer, timeout_s: float) -> dict[At, int | None]:
    """Return how many offsets of each input are not committed; None where nobody can say now."""
    found = reader.committed(ends, timeout_s) if ends else {}
    if found is None:
        return dict.fromkeys(ends)
    behind = {at: end - max(0, found[at][0]) for at, end in ends.items() if end > 0}
    return {at: offsets for at, offsets in behind.items() if offsets > 0}


def _shown(left: Mapping[At, int | None]) -> str:
    if None in left.values():
        return "the group's committed offsets"
    shown: Sequence[str] = [f"{t}/{n} ({offsets} offsets)" for (t, n), offsets in left.items()]
    return _first_of(shown)


def _first_of(shown: Sequence[str]) -> str:
    few: Iterable[str] = shown[:4]
    more = f" and {len(shown) - 4} more" if len(shown) > 4 else ""
    return ", ".join(few) + more
