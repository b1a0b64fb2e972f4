"""Workers that are killed again and again under load."""

from collections.abc import Callable, Iterable

from tests.kafka.feeding import Load, Row
from tests.kafka.workers import Application


def kill_under_load(
    app: Application,
    rows: Iterable[Row],
    *,
    per_second: int,
    kills: int = 4,
    after: Callable[[int], object] = bool,
) -> None:
    """Kill a worker whenever it has made progress, so many times, while its input is written.

    Args:
        app: an application that does not run.
        rows: what is written to its input.
        per_second: how many of them.
        kills: how often its worker is killed.
        after: called behind each kill with its number, from 1 on.
    """
    with Load(app.servers, {app.inputs[0]: rows}, per_second):
        for kill in range(1, kills + 1):
            app.start()
            app.wait_for_progress()
            app.kill()
            after(kill)
