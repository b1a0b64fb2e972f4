"""The word about idle workers: once, after one session, and only if it is true."""

import logging

import pytest

import penstock as ps
from penstock.engine.assignment import LeadMap
from penstock.runtime.idling import IdleNote


@pytest.fixture
def note(caplog):
    """A note of a worker that reads four partitions, and how often it has spoken."""
    app = ps.App("app")
    app.stream("in", key=str, value=int).to("out")
    caplog.set_level(logging.INFO, "penstock")
    note = IdleNote(LeadMap(app.topology(), {"in": 4}), 10.0)
    return note, lambda: [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("looks", "times"),
    [
        ([(0, 0), (0, 9)], 0),  # its partitions may still be with others
        ([(0, 0), (0, 10)], 1),
        ([(0, 0), (0, 10), (0, 50), (0, 90)], 1),  # once
        ([(0, 0), (1, 5), (0, 12), (0, 21)], 0),  # it had something in between
        ([(0, 0), (1, 5), (0, 12), (0, 22)], 1),
        ([(1, 0), (2, 100)], 0),
        ([(0, 0), (0, 10), (1, 11), (0, 12), (0, 60)], 1),
    ],
)
def test_it_is_said_once_and_not_too_soon(note, looks, times):
    """Looks are (tasks, seconds)."""
    look, said = note
    look.joined()
    for tasks, now in looks:
        look.look(tasks, now)
    assert len(said()) == times
    assert all("all partitions that the application reads (4)" in text for text in said())


def test_a_group_that_has_not_answered_is_waited_for(note):
    """It forms slowly where many members join, and nobody has the partitions yet."""
    look, said = note
    for now in (0, 50, 100):
        look.look(0, now)
    look.joined()
    for now in (101, 110):
        look.look(0, now)
    assert said() == []
    look.look(0, 111)
    assert len(said()) == 1
