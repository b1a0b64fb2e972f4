"""Every error that Penstock raises, by who is to blame.

    PenstockError
    ├─ TopologyError   your code: the declaration is wrong, nothing has been read yet
    ├─ DataError       the record: it cannot be decoded, processed or encoded
    ├─ BrokerError     the cluster: unreachable, refuses, misconfigured, or fenced us
    ├─ StateError      the disk: locked, corrupt, full, or not ours
    └─ BugError        us: an invariant of Penstock is broken, please report it

A message says what happened, where, and what to do. The coordinates are attributes as
well, so that a handler never parses text; those that do not apply are None.
"""


class PenstockError(Exception):
    """The root of all errors of Penstock, with the coordinates of what failed.

    Args:
        message: what happened, where, and what to do.
        topic: the topic that it is about; this and the others are attributes, None where they
            do not apply.
        partition: its partition.
        offset: the offset of the record there.
        operator: the step of the topology, as `describe()` names it.
        store: the name of the store.
    """

    def __init__(
        self,
        message: str,
        *,
        topic: str | None = None,
        partition: int | None = None,
        offset: int | None = None,
        operator: str | None = None,
        store: str | None = None,
    ) -> None:
        super().__init__(message)
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self.operator = operator
        self.store = store


class TopologyError(PenstockError):
    """The declaration is wrong: raised before a record is read."""


class DataError(PenstockError):
    """A record cannot be decoded, processed or encoded."""


class BrokerError(PenstockError):
    """The cluster is unreachable, refuses, is misconfigured, or has fenced this worker."""


class StateError(PenstockError):
    """Local state is locked, corrupt, full, or belongs to something else."""


class BugError(PenstockError):
    """An invariant of Penstock is broken. This should never happen: please report it."""


def check(condition: bool, what: str) -> None:
    """Hold an invariant of the engine in production too.

    Raises:
        BugError: if the condition is false.
    """
    if not condition:
        raise BugError(
            f"Broken invariant: {what}. This is a bug in Penstock; please report it with"
            " the log. Committed data is not affected: the transaction is not committed."
        )
