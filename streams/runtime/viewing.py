"""Viewing: what a worker is doing at this moment, for other threads to see.

Nothing here waits for the loop: it reads what the loop writes, one step old at most.
"""

from collections.abc import Mapping, Sequence

from penstock.query.monitor import StoreView, TaskView
from penstock.query.status import AWAY, Status
from penstock.runtime.tasks import OwnedTask, Phase


def task_views(
    tasks: Sequence[OwnedTask], lags: Mapping[tuple[str, int], int]
) -> tuple[TaskView, ...]:
    """Return the tasks of a worker, in the order of their sub-topologies.

    Args:
        tasks: all that it has been given.
        lags: what waits in their inputs, as far as it is known.
    """
    ordered = sorted(tasks, key=lambda owned: (owned.lead.part.number, owned.partition))
    return tuple(
        TaskView(
            sub_topology=owned.lead.part.number,
            partition=owned.partition,
            inputs={
                topic: owned.offsets.get((topic, partition), -1)
                for topic, partition in owned.inputs
            },
            lag={at[0]: lags[at] for at in owned.inputs if at in lags},
            phase=owned.phase.value,
            stores=tuple(
                StoreView(
                    name=name,
                    restored=opened.restore.done,
                    remaining=opened.restore.remaining,
                )
                for name, opened in list(owned.stores.items())
            ),
        )
        for owned in ordered
    )


def status_of(
    tasks: Sequence[OwnedTask],
    *,
    is_open: bool,
    is_stopping: bool,
    lag: int,
    is_cluster_away: bool = False,
) -> Status:
    """Return what the tasks of a worker amount to, in words.

    Args:
        tasks: all that it has been given.
        is_open: whether a batch is open.
        is_stopping: whether it was asked to end.
        lag: records that wait in its inputs.
        is_cluster_away: whether the cluster does not answer.
    """
    message = _message(tasks, is_open=is_open, is_stopping=is_stopping)
    return Status(
        message=AWAY if is_cluster_away and not is_stopping else message,
        is_data_available=lag > 0,
        is_trigger_active=is_open,
    )


def _message(tasks: Sequence[OwnedTask], *, is_open: bool, is_stopping: bool) -> str:
    if is_stopping:
        return "Stopping"
    if not tasks:
        return "Waiting for partitions"
    restores = [
        opened.restore
        for owned in tasks
        if owned.phase is Phase.RESTORING
        for opened in list(owned.stores.values())
    ]
    if restores:
        done = sum(restore.done for restore in restores)
        return f"Restoring state ({done} of {len(restores)} stores)"
    if any(owned.phase is Phase.WAITING for owned in tasks):
        return "Waiting for the offsets of the owner before"
    return "Processing" if is_open else "Waiting for data to arrive"
