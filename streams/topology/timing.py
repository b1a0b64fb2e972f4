"""How event time comes to the steps: with records, late by design, or from windows."""

from collections.abc import Sequence

from penstock.topology.node import FINAL, Node


class Timing:
    """What is known of each step's time before a record has come.

    Args:
        nodes: all steps, parents first.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self._delays = _delays(nodes)
        self._fed = _fed(nodes)
        self._holders = _holders(nodes)

    def delay_ms(self, node: Node) -> int:
        """How far behind the time of its inputs a step's records may be by design.

        The result of a window comes when the window has closed, and is as old as its records.
        """
        return self._delays[node]

    def is_fed(self, node: Node) -> bool:
        """Whether records come to a step through a repartition topic, of its own part's inputs."""
        return node in self._fed

    def goes_by_records(self, node: Node) -> bool:
        """Whether each record moves a step's time on to its own event time.

        Not what comes through a repartition topic, where writers are far apart; nor results of
        windows, which come together for all keys, in the order of the windows.
        """
        return not self.is_fed(node) and not self.delay_ms(node)

    def holders(self, node: Node) -> frozenset[Node]:
        """The steps whose closed windows come to a step: what they hold may still come."""
        return self._holders[node]


def _delays(nodes: Sequence[Node]) -> dict[Node, int]:
    found: dict[Node, int] = {}
    for node in nodes:
        own = node.parents[0].operator.open_ms if node.kind == FINAL else 0
        found[node] = own + max((found[parent] for parent in node.parents), default=0)
    return found


def _fed(nodes: Sequence[Node]) -> set[Node]:
    found: set[Node] = set()
    for node in nodes:
        if (node.source and node.source.internal) or not found.isdisjoint(node.parents):
            found.add(node)
    return found


def _holders(nodes: Sequence[Node]) -> dict[Node, frozenset[Node]]:
    found: dict[Node, frozenset[Node]] = {}
    for node in nodes:
        own = node.parents if node.kind == FINAL else ()
        found[node] = frozenset(own).union(*(found[parent] for parent in node.parents))
    return found
