"""Committed offsets that have expired: who has state says so and stops; nothing is written."""

import time

import pytest
from confluent_kafka.admin import AdminClient

from tests.chaos.load import map_and_count
from tests.chaos.team import Team
from tests.kafka.conftest import ApplicationFactory, create_topic
from tests.kafka.feeding import Row, feed, open_transaction, words
from tests.kafka.workers import Application

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

RESTORES_S = 2.0
MORE = 10_000_000


@pytest.mark.full
def test_an_application_whose_offsets_are_gone_stops_where_it_has_state(
    application: ApplicationFactory,
) -> None:
    """As they are when it was stopped for longer than they are kept."""
    leave = {"leave": True}
    stateful, alone = map_and_count(application, worker=leave), map_alone(application, worker=leave)
    for app in (stateful, alone):
        for number, name in enumerate(app.inputs):
            feed(app.servers, name, words(1_000, first=number * MORE))
        app.run_through()
        forget(app)
    said = stateful.start().fails()
    assert "has state, but no offset is committed for its input: the offsets have expired" in said
    assert f"penstock reset {stateful.id} --to earliest --state" in said
    stateful.check_map()  # nothing is written on the way
    stateful.check_count(1)
    begins_anew(alone)


@pytest.mark.full
def test_what_stands_in_front_of_state_waits_for_what_is_found_there(
    application: ApplicationFactory,
) -> None:
    """Behind a repartition topic; without state of its own it cannot tell."""
    lose_offsets_and_disk(application).check_map()


@pytest.mark.full
def test_without_waiting_it_would_map_all_of_its_input_again(
    application: ApplicationFactory,
) -> None:
    app = lose_offsets_and_disk(application, sabotage="wait-for-nobody")
    with pytest.raises(AssertionError, match="is there twice"):
        app.check_map()


def lose_offsets_and_disk(make: ApplicationFactory, **options: object) -> Application:
    """Let an application that has done its work start without offsets, and end."""
    workers = Team(make, 1, worker={"leave": True}, **options)
    app = workers.first
    feed(app.servers, app.inputs[0], words(20_000))
    workers.start()
    workers.wait_until(workers.done, "all is processed")
    app.stop()
    forget(app)
    app.forget_stores()
    rows = [Row("key-1", "x", partition=number) for number in range(4)]
    with open_transaction(app.servers, app.changelog("counts"), rows):  # it restores for long
        app.start().wait_for("Assigned: ")
        time.sleep(RESTORES_S)
    assert "has state, but no offset is committed for its input" in app.fails()
    return app


def map_alone(make: ApplicationFactory, **options: object) -> Application:
    """Make an application without state, with something to do."""
    app = make("map", "words", "upper", **options)
    app.inputs, app.outputs = [f"{app.id}-words"], [f"{app.id}-upper"]
    for name in (*app.inputs, *app.outputs):
        create_topic(app.servers, name, 4)
    feed(app.servers, app.inputs[0], words(1_000))
    return app


def begins_anew(app: Application) -> None:
    """An application without state cannot tell: it reads its input from where it begins, again."""
    app.run_through()
    with pytest.raises(AssertionError, match="is there twice"):
        app.check_map()


def forget(app: Application) -> None:
    """Delete what a stopped application has committed, once nobody is in its group."""
    admin = AdminClient({"bootstrap.servers": app.servers})
    admin.delete_consumer_groups([app.id])[app.id].result()
