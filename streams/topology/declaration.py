"""What an application has declared so far; streams and tables add to it.

The only mutable thing of the surface. `App.topology()` freezes it.
"""

from typing import Any

from penstock.topology.node import Node


class Declaration:
    """The steps of one application in the order in which they were declared."""

    def __init__(self, application: str) -> None:
        self.application = application
        self.nodes: list[Node] = []

    def add(self, kind: str, operator: Any, *parents: Node, **known: Any) -> Node:
        """Add a step and return it; `known` are the other attributes of Node."""
        node = Node(kind, operator, parents, **known)
        self.nodes.append(node)
        return node
