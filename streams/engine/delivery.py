"""Delivery: what a committed batch hands over to outputs in this process.

Called once the stores of all tasks are at the commit: a whole table is read from them then, which
costs a scan per batch of as many rows as the output takes, in every partition of the worker.
"""

from collections.abc import Iterable, Sequence

from penstock.engine.task import Task
from penstock.operators.deliver import Deliver, Row
from penstock.topology.node import Node


def deliver(batch: int, touched: Iterable[Task], running: Iterable[Task]) -> None:
    """Hand over what a batch has committed.

    Args:
        batch: the number of the batch in this run.
        touched: the tasks that were part of it.
        running: all tasks of the worker.
    """
    found: dict[Node, list[tuple[Task, list[Row]]]] = {}
    for task in touched:
        for node, rows in task.take_delivered().items():
            found.setdefault(node, []).append((task, rows))
    tasks = list(running)
    for node, parts in found.items():
        operator: Deliver = node.operator
        if operator.mode == "complete":
            most = operator.output.most
            parts = [(task, task.contents(node, most)) for task in tasks if node in task.part.nodes]
        _hand_over(operator, batch, sorted(parts, key=lambda part: part[0].partition))


def _hand_over(operator: Deliver, batch: int, parts: Sequence[tuple[Task, Sequence[Row]]]) -> None:
    partitions = [task.partition for task, _ in parts]
    operator.output.take(batch, partitions, [row for _, rows in parts for row in rows])
