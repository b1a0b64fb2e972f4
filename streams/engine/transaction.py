"""The transaction of a batch, as a table of states.

A batch is everything between two commits: one Kafka transaction of the worker. An event says
what happened, the table says what to do next; the runtime does it and its answer is the next
event. Whatever is not in the table is a bug, and raises.

Rule 1: everything that decides over commit and abort stands in this table.
Rule 2: state reaches the disk (APPLY) only after the commit is known to have happened.
Rule 3: an unknown outcome is never guessed. The producer is replaced, which fences a stray
        end of transaction (librdkafka lacks KIP-890 part 2), and the committed metadata of
        the lead partitions says what became of the batch.
Rule 4: after an abort every input goes back to its committed offset; the client does not
        rewind by itself.
"""

from enum import Enum

from penstock.errors import BugError


class State(Enum):
    """Where the batch stands."""

    IDLE = "idle"
    OPEN = "open"
    FLUSHING = "flushing"
    COMMITTING = "committing"
    APPLYING = "applying"
    ABORTING = "aborting"
    RESOLVING = "resolving"


class Event(Enum):
    """What happened."""

    RECORDS = "records to process"
    DUE = "the batch is due"
    FLUSHED = "every record is acknowledged"
    OFFSETS_SENT = "the offsets are in the transaction"
    COMMITTED = "the transaction is committed"
    APPLIED = "the state is written"
    FAILED = "something failed, and the transaction can be aborted"
    UNKNOWN = "the producer is unusable, or the outcome is not known"
    ABORTED = "the transaction is aborted"
    FOUND_COMMITTED = "a lead partition carries the batch's id"
    FOUND_ABORTED = "no lead partition carries it, and all are ours and unchanged"
    FOUND_LOST = "no lead partition carries it, and some are not ours or have moved on"


class Command(Enum):
    """What to do next."""

    BEGIN = "begin a transaction"
    FLUSH = "flush operators, produce, wait for acknowledgements"
    SEND_OFFSETS = "send the offsets with fresh group metadata"
    COMMIT = "commit the transaction"
    APPLY = "write the overlays to the stores"
    ABORT = "abort the transaction"
    REWIND = "drop the overlays and seek every input to its committed offset"
    RESOLVE = "replace the producer and read the committed metadata"
    REOPEN = "close the batch's tasks and restore them from their changelogs"


TRANSITIONS: dict[tuple[State, Event], tuple[State, Command | None]] = {
    (State.IDLE, Event.RECORDS): (State.OPEN, Command.BEGIN),
    (State.OPEN, Event.DUE): (State.FLUSHING, Command.FLUSH),
    (State.FLUSHING, Event.FLUSHED): (State.COMMITTING, Command.SEND_OFFSETS),
    (State.COMMITTING, Event.OFFSETS_SENT): (State.COMMITTING, Command.COMMIT),
    (State.COMMITTING, Event.COMMITTED): (State.APPLYING, Command.APPLY),
    (State.APPLYING, Event.APPLIED): (State.IDLE, None),
    (State.OPEN, Event.FAILED): (State.ABORTING, Command.ABORT),
    (State.FLUSHING, Event.FAILED): (State.ABORTING, Command.ABORT),
    (State.COMMITTING, Event.FAILED): (State.ABORTING, Command.ABORT),
    (State.ABORTING, Event.ABORTED): (State.IDLE, Command.REWIND),
    (State.OPEN, Event.UNKNOWN): (State.RESOLVING, Command.RESOLVE),
    (State.FLUSHING, Event.UNKNOWN): (State.RESOLVING, Command.RESOLVE),
    (State.COMMITTING, Event.UNKNOWN): (State.RESOLVING, Command.RESOLVE),
    (State.ABORTING, Event.UNKNOWN): (State.RESOLVING, Command.RESOLVE),
    (State.RESOLVING, Event.FOUND_COMMITTED): (State.APPLYING, Command.APPLY),
    (State.RESOLVING, Event.FOUND_ABORTED): (State.IDLE, Command.REWIND),
    (State.RESOLVING, Event.FOUND_LOST): (State.IDLE, Command.REOPEN),
}


class Transaction:
    """The state of the current batch.

    Attributes:
        state: where it stands.
    """

    def __init__(self) -> None:
        self.state = State.IDLE

    def on(self, event: Event) -> Command | None:
        """Move on an event and return what to do next.

        Raises:
            BugError: if the event cannot happen in this state.
        """
        try:
            self.state, command = TRANSITIONS[self.state, event]
        except KeyError:
            raise BugError(
                f"A batch that is {self.state.value} was told: {event.value}. Please report"
                " this; nothing was committed by it."
            ) from None
        return command
