"""The table of a batch's transaction, walked over all its states and events."""

import pytest

from penstock.engine.transaction import TRANSITIONS, Command, Event, State, Transaction
from penstock.errors import BugError

Step = tuple[State, Event]


def walk(steps: dict[Step, tuple[State, Command | None]]) -> set[tuple[State, bool]]:
    """Every state that can be reached from IDLE, with whether its batch is known as committed."""
    found, todo = set(), [(State.IDLE, False)]
    while todo:
        here = todo.pop()
        if here in found:
            continue
        found.add(here)
        state, known = here
        for (source, event), (target, _) in steps.items():
            if source is state:
                committed = event in (Event.COMMITTED, Event.FOUND_COMMITTED)
                todo.append((target, target is not State.IDLE and (known or committed)))
    return found


def applies_unknown(steps: dict[Step, tuple[State, Command | None]]) -> bool:
    """Whether some path applies state before the commit is known."""
    reached = walk(steps)
    return any(
        command is Command.APPLY
        and (state, False) in reached
        and event not in (Event.COMMITTED, Event.FOUND_COMMITTED)
        for (state, event), (_, command) in steps.items()
    )


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", Event)
def test_an_event_is_in_the_table_or_a_bug(state, event):
    """Each pair of state and event moves as the table says, or raises and moves nothing."""
    transaction = Transaction()
    transaction.state = state
    if (state, event) in TRANSITIONS:
        target, command = TRANSITIONS[state, event]
        assert transaction.on(event) is command
        assert transaction.state is target
    else:
        with pytest.raises(BugError, match="nothing was committed"):
            transaction.on(event)
        assert transaction.state is state


def test_a_new_transaction_is_idle():
    """Nothing is open before the first record."""
    assert Transaction().state is State.IDLE


def test_state_is_applied_after_a_known_commit_only():
    """No path reaches APPLY without COMMITTED or FOUND_COMMITTED."""
    assert not applies_unknown(TRANSITIONS)


def test_the_walk_notices_a_guessed_commit():
    """A table that applies after sending offsets fails the walk."""
    guessed = {
        **TRANSITIONS,
        (State.COMMITTING, Event.OFFSETS_SENT): (State.APPLYING, Command.APPLY),
    }
    assert applies_unknown(guessed)


def test_every_state_is_reached():
    """No state stands in the table for nothing."""
    assert {state for state, _ in walk(TRANSITIONS)} == set(State)


@pytest.mark.parametrize("state", State)
def test_every_state_can_become_idle(state):
    """From everywhere some events lead back to IDLE."""
    reached, before = {state}, set()
    while reached != before:
        before = set(reached)
        reached |= {target for (source, _), (target, _) in TRANSITIONS.items() if source in before}
    assert State.IDLE in reached


def test_every_command_and_event_is_used():
    """The table uses all events and commands that are declared."""
    assert {event for _, event in TRANSITIONS} == set(Event)
    assert {command for _, command in TRANSITIONS.values() if command} == set(Command)


def test_an_open_transaction_can_always_fail():
    """Each state with an open transaction has a way out for a failure and for silence."""
    for state in (State.OPEN, State.FLUSHING, State.COMMITTING):
        assert TRANSITIONS[state, Event.FAILED] == (State.ABORTING, Command.ABORT)
        assert TRANSITIONS[state, Event.UNKNOWN] == (State.RESOLVING, Command.RESOLVE)


def test_offsets_go_out_behind_acknowledged_records():
    """SEND_OFFSETS answers FLUSHED alone: flush returned 0 before it."""
    sending = [event for (_, event), (_, c) in TRANSITIONS.items() if c is Command.SEND_OFFSETS]
    assert sending == [Event.FLUSHED]
