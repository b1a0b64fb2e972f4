"""The word about workers that have nothing to do: said once, and not too soon."""

import logging

from penstock.engine.assignment import LeadMap

log = logging.getLogger("penstock")


class IdleNote:
    """Say once that a worker has no partition.

    A worker that joins is given none at first, because others have to give theirs back, or
    the session of a dead one has to end. So it is said one session after that.

    Args:
        leads: what there is to do.
        after_s: how long a worker may have nothing before it is said.
    """

    def __init__(self, leads: LeadMap, after_s: float) -> None:
        self._partitions = sum(lead.tasks for lead in leads.leads.values())
        self._after_s = after_s
        self._joined = False
        self._since: float | None = None
        self._said = False

    def joined(self) -> None:
        """Note that the group has answered, be it with nothing."""
        self._joined = True

    def look(self, tasks: int, now: float) -> None:
        """Take note of how many tasks the worker has."""
        if tasks or self._said or not self._joined:
            self._since = None
        elif self._since is None:
            self._since = now
        elif now - self._since >= self._after_s:
            self._said = True
            log.warning(
                "This worker idles: other workers have all partitions that the application reads"
                " (%d). It takes over when one of them ends. More workers than partitions do no"
                " work.",
                self._partitions,
            )
