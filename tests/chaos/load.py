"""The load under which chaos happens, and what has to hold afterwards."""

import uuid
from typing import Any

from tests.kafka.conftest import ApplicationFactory, create_topic
from tests.kafka.feeding import Load, endless_words
from tests.kafka.workers import Application

PER_SECOND = 4_000


def map_and_count(make: ApplicationFactory, **options: Any) -> Application:
    """Make the application and its topics."""
    run = uuid.uuid4().hex[:8]
    inputs, outputs = [f"words-{run}", f"more-{run}"], [f"upper-{run}", f"counts-{run}"]
    app = make("map-and-count", inputs, outputs, **options)
    for name in (*app.inputs, *app.outputs):
        create_topic(app.servers, name, 4)
    return app


def load(app: Application) -> Load:
    """Write into both inputs, words that differ, until the context ends."""
    rows = {name: endless_words(first=n * 10_000_000) for n, name in enumerate(app.inputs)}
    return Load(app.servers, rows, PER_SECOND)


def end(app: Application) -> None:
    """Let the worker process what is left, and check all that it has left behind."""
    app.wait_through(app.drained, "everything is processed")
    app.stop()
    app.check_map()
    app.check_count(1)
    app.check_ends("counts")
