"""A topology as text and as a Mermaid diagram."""

from penstock.operators.on_error import DeadLetter, OnError
from penstock.topology.event_time import late_topic
from penstock.topology.graph import SubTopology, Topology
from penstock.topology.node import Node


def as_text(topology: Topology) -> str:
    """Describe a topology: sub-topologies, steps in order with their parents, stores, topics."""
    lines = [f"Application {topology.application}"]
    if topology.on_error != "fail":
        lines.append(f"  Records that fail: {_policy(topology.on_error)}")
    for part in topology.sub_topologies:
        lines += ["", f"  Sub-topology {part.number}"]
        lines += [f"    {_line(topology, node)}" for node in part.nodes]
        lines += _stores(topology, part)
    if topology.repartitions:
        lines += ["", "  Repartition topics", *map(_repartition, topology.repartitions.items())]
    return "\n".join(lines) + "\n"


def as_mermaid(topology: Topology) -> str:
    """Describe a topology as a Mermaid flowchart, one box per sub-topology."""
    lines = ["flowchart TD"]
    for part in topology.sub_topologies:
        lines.append(f'  subgraph sub{part.number}["Sub-topology {part.number}"]')
        lines += [f"    {_box(topology, node)}" for node in part.nodes]
        lines.append("  end")
    for node in topology:
        lines += [f"  {_id(topology, parent)} --> {_id(topology, node)}" for parent in node.parents]
        if node.looks_into:
            table = _id(topology, node.looks_into)
            lines.append(f"  {table} -. initial .-> {_id(topology, node)}")
    for topic, sink in topology.repartitions.items():
        readers = topology.readers.get(topic, ())
        lines += [f"  {_id(topology, sink)} -.-> {_id(topology, reader)}" for reader in readers]
    return "\n".join(lines) + "\n"


def _line(topology: Topology, node: Node) -> str:
    parents = ", ".join(topology.labels[parent] for parent in node.parents)
    line = f"{topology.labels[node]} {node.detail}".rstrip()
    if node.source and node.source.on_error:
        line += f" (records that fail: {_policy(node.source.on_error)})"
    if node.looks_into:
        line += f" (initial state from {topology.labels[node.looks_into]})"
    return f"{line} <- {parents}" if parents else line


def _policy(found: OnError) -> str:
    return f"dead letters to {found.topic}" if isinstance(found, DeadLetter) else found


def _stores(topology: Topology, part: SubTopology) -> list[str]:
    lines: list[str] = []
    for node in part.stateful:
        emits = "one change per key and commit" if topology.coalesces(node) else "every update"
        for store in node.stores:
            changelog = store.changelog(topology.application)
            lines.append(f"    store {store.name}: {store.describe()}; changelog {changelog}")
        lines.append(f"      {topology.labels[node]} emits {emits}")
        if topic := late_topic(node):
            lines.append(f"      {topology.labels[node]} sends late records to {topic}")
    return lines


def _repartition(of: tuple[str, Node]) -> str:
    topic, node = of
    count = node.sink.partitions if node.sink else None
    return f"    {topic}: {f'{count} partitions' if count else 'as many partitions as its inputs'}"


def _box(topology: Topology, node: Node) -> str:
    text = f"{node.kind} {node.detail}".rstrip().replace('"', "'")
    shape = ("[(", ")]") if node.store else ("([", "])") if node.source or node.sink else ("[", "]")
    return f'{_id(topology, node)}{shape[0]}"{text}"{shape[1]}'


def _id(topology: Topology, node: Node) -> str:
    return f"n{topology.nodes.index(node)}"
