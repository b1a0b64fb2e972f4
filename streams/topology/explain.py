"""A topology explained: what is exactly once, what is kept and for how long, and how time goes on.

What `describe` lists, this judges. Lines are 80 columns at most; names are never cut.
"""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from penstock.operators.declared_process import BEGUN
from penstock.operators.deliver import Deliver
from penstock.operators.on_error import DeadLetter
from penstock.operators.processing import Process
from penstock.topology.describe import as_text
from penstock.topology.event_time import guard, idle_ms, late_topic
from penstock.topology.graph import SubTopology, Topology
from penstock.topology.node import Node

WIDTH = 80
_FOR_EVER = "GROWS"
_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))


def as_explanation(
    topology: Topology,
    guarantee: str,
    partitions: Mapping[str, int] | None = None,
    *,
    extended: bool = False,
) -> str:
    """Explain a topology.

    Args:
        topology: the application's.
        guarantee: "exactly_once" or "at_least_once".
        partitions: how many partitions its topics have, where that is known.
        extended: whether the steps and the changelogs are listed too.
    """
    counts = partitions or {}
    lines = [f"Application {topology.application}, {guarantee.replace('_', ' ')}"]
    for part in topology.sub_topologies:
        lines += _sub_topology(topology, part, counts)
    if topology.repartitions:
        lines += ["", "Repartition topics"]
        for topic, node in topology.repartitions.items():
            lines += _point(_counted(topic, counts, _declared(node)))
    lines += ["", "What is exactly once" if guarantee == "exactly_once" else "At least once"]
    lines += _guarantee(topology, exactly_once=guarantee == "exactly_once")
    lines += _section("State", _state(topology, extended=extended))
    lines += _section("Changes of tables", _changes(topology))
    lines += _section("Event time", _times(topology))
    if extended:
        lines += ["", "Steps", *as_text(topology).splitlines()[1:]]
    return "\n".join(lines) + "\n"


def _sub_topology(
    topology: Topology, part: SubTopology, counts: Mapping[str, int]
) -> Iterator[str]:
    known = [counts[topic] for topic in part.topics if topic in counts]
    tasks = f": {max(known)} tasks" if known else ""
    yield ""
    yield f"Sub-topology {part.number}{tasks}"
    reads = [_counted(topic, counts) for topic in part.topics]
    reads += [f"all that match {n.detail}" for n in part.sources if n.source and n.source.pattern]
    yield from _named("reads", reads)
    yield from _named("keeps", [store.name for store in part.stores])
    yield from _named("writes", [_counted(node.detail, counts) for node in part.nodes if node.sink])
    shown = [topology.labels[node] for node in part.nodes if isinstance(node.operator, Deliver)]
    yield from _named("shows", shown)


def _guarantee(topology: Topology, *, exactly_once: bool) -> Iterator[str]:
    written = [node.detail for node in topology if node.sink and not node.sink.internal]
    what = "outputs, changelogs, repartition topics and the positions in the inputs"
    if exactly_once:
        yield from _point("holds: inputs are read from Kafka, of transactions what is committed.")
        yield from _point(f"holds: {what} are committed in one transaction, or not at all.")
    else:
        yield from _point(
            "does not hold: what a worker has written before it dies is written again by the next"
            " one. Outputs double, and counts and sums in stores count those records twice."
        )
        yield from _point(f"so it is for {what}: guarantee='exactly_once' commits them together.")
    if written and exactly_once:
        yield from _point(
            f"up to their readers: {_list(written)} must be read with"
            " isolation.level=read_committed."
        )
    yield from _beside(topology)


def _beside(topology: Topology) -> Iterator[str]:
    """Tell what no transaction holds together with the rest."""
    delivered = [n for n in topology if isinstance(n.operator, Deliver)]
    if delivered:
        yield from _point(
            f"not part of it: {_labels(topology, delivered)} in this process. They show committed"
            " rows only; rows of a batch whose worker dies behind its commit are never shown."
        )
    effects = [node for node in topology if node.kind == "peek"]
    if effects:
        yield from _point(
            f"not part of it: what {_labels(topology, effects)} does outside. It is done before the"
            " commit, and again where a batch is run again."
        )
    called = [node for node in topology if node.kind in _CALLED]
    if called:
        yield from _point(
            f"not part of it: what the functions of {_labels(topology, called)} do outside, such as"
            " calls and writes to a database. They run again where a batch does."
        )
    if topology.on_error == "skip":
        yield from _point("records that fail are skipped (on_error='skip'), counted and logged.")
    elif isinstance(topology.on_error, DeadLetter):
        yield from _point(
            f"records that fail are written to {topology.on_error.topic}, in the same transaction."
        )


_CALLED = frozenset(
    ("map", "filter", "flat_map", "map_record", "rekey", "explode", "reduce", "aggregate")
) | {"process", "update_state", "match"}


# State


def _state(topology: Topology, *, extended: bool) -> Iterator[str]:
    for node in topology:
        for name, bound in _bounds(node).items():
            text = f"{name}: {bound}"
            changelog = next(s for s in node.stores if s.name == name)
            if extended:
                text += f" Changelog {changelog.changelog(topology.application)}."
            yield from _point(text)


def _bounds(node: Node) -> dict[str, str]:
    """Return how long each store of a step keeps what it has."""
    if isinstance(node.operator, Process):
        return _bounds_of_process(node.operator)
    return {store.name: _bound(node) for store in node.stores}


def _bound(node: Node) -> str:
    operator: Any = node.operator
    open_ms: int | None = getattr(operator, "open_ms", None)
    if open_ms is not None:
        return f"a window is kept for {_span(open_ms)} of event time, then closed and deleted."
    within_ms: int | None = getattr(operator, "within_ms", None)
    if within_ms is not None:
        return f"a record is remembered for three times {_span(within_ms)} of event time at most."
    if node.kind == "to_table":
        return "a row for each key; a record with a null value deletes it."
    return (
        f"{_FOR_EVER} with every new key, and nothing deletes a row. Where keys are many and go out"
        " of use, count in windows, or use update_state(ttl=...)."
    )


def _bounds_of_process(operator: Process) -> dict[str, str]:
    found: dict[str, str] = {}
    names = [store.name for store in operator.stores]
    for (attribute, _, state), name in zip(operator.states, names, strict=False):
        if state.ttl_ms:
            found[name] = f"kept for {_span(state.ttl_ms)} of event time after it was written."
        else:
            found[name] = (
                f"{_FOR_EVER} with every new key, unless the process clears self.{attribute}."
                " Give it a ttl=."
            )
    for name in names[len(found) :]:
        if name == f"{operator.name}-{BEGUN}":
            found[name] = f"{_FOR_EVER}: a row for each key that has begun."
        else:
            found[name] = "a timer is kept until it fires."
    return found


# Changes


def _changes(topology: Topology) -> Iterator[str]:
    for node in topology:
        if not node.is_table or not node.stores or isinstance(node.operator, Process):
            continue
        label = topology.labels[node]
        if topology.coalesces(node):
            yield from _point(f"{label} hands on one change per key and commit.")
            continue
        if node.emit != "commit":
            why = "it says emit='every_update'"
        else:
            why = f"{_labels(topology, topology.tells_apart(node))} could tell the difference"
        yield from _point(f"{label} hands on every update: {why}.")


# Time


def _times(topology: Topology) -> Iterator[str]:
    for node in topology:
        goes_by = _goes_by(node) if node.timed else None
        if goes_by is None:
            continue
        idle = idle_ms(topology, node)
        if idle is None:
            still = "Without new records time stands still, and what is open stays open."
        else:
            still = f"After {_span(idle)} without records time goes on by the clock."
        yield from _point(f"{topology.labels[node]}: {goes_by} {still}")
    for node in topology:
        found = guard(topology, node)
        if found is not None and found.ahead_ms is not None:
            yield from _point(
                f"{topology.labels[node]}: an event time more than {_span(found.ahead_ms)} ahead of"
                " the clock is a record that fails."
            )


def _goes_by(node: Node) -> str | None:
    """Return what event time decides in a step, None for nothing."""
    operator: Any = node.operator
    if isinstance(operator, Process):
        keeps_time = operator.has_timers or any(state.ttl_ms for _, _, state in operator.states)
        return "its timers and ttl= go by event time." if keeps_time else None
    late = late_topic(node)
    becomes = f"written to {late}" if late else "dropped and counted"
    grace_ms: int | None = getattr(operator, "grace_ms", None)
    if grace_ms is None:
        return f"a record more than {_span(operator.within_ms)} behind the latest is {becomes}."
    return f"windows close {_span(grace_ms)} behind their end; a record after that is {becomes}."


# Text


def _section(title: str, lines: Iterable[str]) -> list[str]:
    found = list(lines)
    return ["", title, *found] if found else []


def _point(text: str) -> list[str]:
    return _wrapped(text, "  - ", "    ")


def _named(name: str, what: Iterable[str]) -> list[str]:
    found = list(dict.fromkeys(what))
    return _wrapped(", ".join(found), f"  {name:<8}", " " * 10) if found else []


def _wrapped(text: str, first: str, then: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=then,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _declared(node: Node) -> str:
    count = node.sink.partitions if node.sink else None
    return f"{count} partitions" if count else "as many partitions as its inputs"


def _counted(topic: str, counts: Mapping[str, int], otherwise: str = "") -> str:
    count = counts.get(topic)
    if otherwise:
        return f"{topic}: {f'{count} partitions' if count else otherwise}"
    return f"{topic} ({count})" if count else topic


def _labels(topology: Topology, nodes: Iterable[Node]) -> str:
    return _list([topology.labels[node] for node in nodes])


def _list(names: Iterable[str]) -> str:
    *most, last = dict.fromkeys(names)
    return f"{', '.join(most)} and {last}" if most else last


def _span(milliseconds: int) -> str:
    for size, unit in _UNITS:
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size} {unit}"
    return f"{milliseconds} ms" if milliseconds else "0 s"
