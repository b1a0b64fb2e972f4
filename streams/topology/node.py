"""A node: one declared step with its parents and what is known of its keys and values.

Nodes are immutable values. Parents come before children wherever nodes are listed, because
a step can only be declared on what is there already.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from penstock.operators.sink import Sink
from penstock.operators.source import Source
from penstock.serde.types import UNKNOWN, DataType
from penstock.state.definition import StoreDefinition

Emit: TypeAlias = Literal["commit", "every_update"]
FINAL = "final"  # the kind of a step that takes the results of closed windows alone


@dataclass(frozen=True)
class Reshuffle:
    """What a step that changes the key says of the repartition topic behind it.

    Attributes:
        name: the part of the topic's name that users choose; None where nothing stateful may
            follow.
        partitions: how many it has; None for as many as what it reads has.
        always: whether the topic is wanted also where nothing stateful follows.
    """

    name: str | None
    partitions: int | None = None
    always: bool = False


@dataclass(frozen=True, eq=False)
class Node:
    """One step of a topology.

    Attributes:
        kind: the operator's name as users call it, such as "map" or "count".
        operator: what it does.
        parents: the steps that feed it.
        key: type and serde of the keys that it hands on.
        value: type and serde of the values that it hands on.
        detail: what describe() says beside the kind.
        is_table: whether it hands on changes of a table instead of records of a stream.
        reshuffle: what is known of its repartition topic, if it hands on records under other
            keys than it got.
        emit: "every_update" where a stateful step must not coalesce.
        looks_into: the step of a table whose rows it reads, in the same task. It is no parent:
            changes of the table are no records of this step.
    """

    kind: str
    operator: Any
    parents: tuple["Node", ...] = ()
    key: DataType = UNKNOWN
    value: DataType = UNKNOWN
    detail: str = ""
    is_table: bool = False
    reshuffle: Reshuffle | None = None
    emit: Emit = "commit"
    looks_into: "Node | None" = None

    @property
    def store(self) -> StoreDefinition | None:
        """The store that the step owns, if it is stateful; the first of several."""
        return self.stores[0] if self.stores else None

    @property
    def stores(self) -> tuple[StoreDefinition, ...]:
        """All stores that the step owns."""
        several: tuple[StoreDefinition, ...] | None = getattr(self.operator, "stores", None)
        if several is not None:
            return several
        store: StoreDefinition | None = getattr(self.operator, "store", None)
        return (store,) if store else ()

    @property
    def from_store(self) -> tuple["Node", ...]:
        """The steps from the nearest one with a store to this one, each the only parent of one."""
        if self.stores or not self.parents:
            return (self,)
        return (*self.parents[0].from_store, self)

    @property
    def keeps_records(self) -> bool:
        """Whether what it hands on are records that it got, though it may own a store."""
        return not self.stores or getattr(self.operator, "keeps_records", False)

    @property
    def per_task(self) -> bool:
        """Whether each task opens one of its own, as it does where there is a store."""
        return hasattr(self.operator, "open")

    @property
    def timed(self) -> bool:
        """Whether it goes by event time."""
        return bool(getattr(self.operator, "timed", False))

    @property
    def clock(self) -> str:
        """The name of its operator time: its own, or that of its store."""
        own: str | None = getattr(self.operator, "clock", None)
        return own or self.stores[0].name

    @property
    def source(self) -> Source | None:
        """The source, if it is one."""
        return self.operator if isinstance(self.operator, Source) else None

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that it reads by name, if it is a source."""
        return self.operator.topics if isinstance(self.operator, Source) else ()

    @property
    def sink(self) -> Sink | None:
        """The sink, if it is one."""
        return self.operator if isinstance(self.operator, Sink) else None

    def rewired(self, others: Mapping["Node", "Node"], operator: Any = None) -> "Node":
        """Return the step among steps that have been replaced.

        Args:
            others: what stands for each step before it.
            operator: what it does from now on, None for what it does.
        """
        return dataclasses.replace(
            self,
            operator=self.operator if operator is None else operator,
            parents=tuple(others[parent] for parent in self.parents),
            looks_into=self.looks_into and others[self.looks_into],
        )

    def __repr__(self) -> str:
        return f"{self.kind} {self.detail}".rstrip()
