"""Who else is in the group, asked before joining it, and again before anything is taken.

Ownership of sibling inputs is not fenced by the broker: two versions of an application that
read other topics together would both take some (reproduced). So the layout of the inputs is
part of each member's client id, and a newcomer with another one does not join. Those who are
there are not disturbed.

Two that start at once see nobody before they join. So each looks once more as a member, before
its first task begins: whoever joins later sees it, and whoever joined earlier it sees itself.
"""

import logging
import time
from collections.abc import Callable, Sequence

from penstock.errors import TopologyError
from penstock.topics.admin import Admin, Member

log = logging.getLogger("penstock")

PAUSE_S = 0.5


def wait_for_group(
    admin: Admin,
    group: str,
    *,
    client_id: str,
    slot: str,
    wait_ms: int,
    stopped: Callable[[], bool],
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until all members of the group are of our kind.

    A member that has died is listed until its session ends, so one session is waited for. One
    of our own slot is dead: its lock is ours.

    Raises:
        TopologyError: if others stay; nobody else is disturbed by it.
    """
    found = foreign(admin.members(group), client_id, slot)
    if found:
        log.warning(
            "Workers of another kind are in the group %s: %s; this one is %s. Waiting for up to"
            " %g s whether they leave.", group, _shown(found), client_id, wait_ms / 1000,
        )  # fmt: skip
    waited_ms = 0.0
    while found and waited_ms < wait_ms and not stopped():
        sleep(PAUSE_S)
        waited_ms += PAUSE_S * 1000
        found = foreign(admin.members(group), client_id, slot)
    if found and not stopped():
        raise _refused(group, client_id, found)


def foreign(members: Sequence[Member], client_id: str, slot: str) -> list[Member]:
    """Return the members that this worker must not run beside."""
    return [
        member
        for member in members
        if member.client_id != client_id and not (member.instance or "").startswith(slot)
    ]


def _shown(found: Sequence[Member]) -> str:
    return ", ".join(sorted({f"{member.client_id} on {member.host}" for member in found}))


def _refused(group: str, client_id: str, found: Sequence[Member]) -> TopologyError:
    shown = _shown(found)
    if any(not member.client_id.startswith(f"{group}-") for member in found):
        return TopologyError(
            f"The consumer group {group} belongs to another program: its members are {shown}."
            " The application id is the name of the group: stop that program, or give this"
            " application another id."
        )
    return TopologyError(
        f"Workers of another version of {group} are running: {shown}; this one is {client_id}."
        " They read other topics together, and both would take the same partitions. Stop all"
        " workers of the other version, then start this one: such a change needs a full stop."
    )
