"""What holds for windows of all kinds: where time begins, aborted batches, chains, two fields."""

from typing import Any

import msgspec
import pytest

import penstock as ps
from penstock.engine.task import FlushFailed
from penstock.testing import TestDriver
from penstock.windows import Windowed

KINDS = {
    "tumbling": ps.tumbling("10ms"),
    "hopping": ps.hopping("10ms", "5ms"),
    "offset": ps.tumbling("10ms", offset="5ms"),
    "zone": ps.tumbling("1d", zone="Europe/Madrid"),
    "sliding": ps.sliding("10ms"),
    "session": ps.session("10ms"),
}
DAY_MS = 86_400_000
PLACES = {  # of the windows of one record at 0
    "tumbling": [(0, 10)],
    "hopping": [(0, 10)],
    "offset": [(-5, 5)],
    "zone": [(-3_600_000, DAY_MS - 3_600_000)],  # in 1970, too, midnight came an hour early
    "sliding": [(0, 10)],
    "session": [(0, 0)],
}

kinds = pytest.mark.parametrize("kind", KINDS)


def counts_of(kind: str, app: ps.App) -> Any:
    grouped = app.stream("in", key=str, value=int).group_by_key()
    return grouped.window(KINDS[kind]).count(name="n")


@kinds
def test_time_begins_in_1970(kind: str) -> None:
    """What is before has no time, as far as Kafka knows; what is at its very beginning has."""
    app = ps.App("app", on_error="skip")
    counts_of(kind, app).to("finals", output_mode="append")
    with TestDriver(app) as driver:
        inputs, finals = driver.topic("in"), driver.topic("finals")
        for at in (-3 * DAY_MS, 0, 3 * DAY_MS):
            inputs.send(0, key="a", at=at)
        assert finals.read() == [(Windowed("a", *place), 1) for place in PLACES[kind]]
        assert driver._tasks[0].take_tally().late["n"] == 0


@kinds
def test_an_aborted_transaction_closes_nothing(kind: str) -> None:
    """Also where somebody has looked meanwhile what is the next to close."""
    app = ps.App("app")
    counts_of(kind, app).to("finals", output_mode="append")
    with TestDriver(app) as driver:
        inputs, finals = driver.topic("in"), driver.topic("finals")
        inputs.send(0, key="a", at=0)
        (task,) = driver._tasks
        clocks = dict(task.clocks)
        driver._logs["in"].append((b"b", bytes(8), 2 * DAY_MS, None))
        task.process(*driver._new("in"))
        task.flush()
        for closer in task._steps.closing.values():
            assert not closer.is_due(2 * DAY_MS)
        task.discard(clocks)
        driver._positions["in"] -= 1
        driver._run()
        assert finals.read() == [(Windowed("a", *place), 1) for place in PLACES[kind]]


@kinds
def test_what_an_aborted_batch_has_closed_is_closed_again(kind: str) -> None:
    app = ps.App("app")
    failures = [ValueError("not yet"), ValueError("not yet")]

    def fail_twice(count: int) -> int:
        if failures:
            raise failures.pop()
        return count

    finals = counts_of(kind, app).to_stream(output_mode="append")
    finals.map(fail_twice).to("finals")
    with TestDriver(app) as driver:
        inputs, out = driver.topic("in"), driver.topic("finals")
        inputs.send(0, key="a", at=0)
        with pytest.raises(FlushFailed):
            inputs.send(0, key="b", at=2 * DAY_MS)
        assert out.read() == []
        inputs.send(0, key="b", at=2 * DAY_MS)
        assert out.read() == [(Windowed("a", *place), 1) for place in PLACES[kind]]
        driver.crash()
        inputs.send(0, key="b", at=2 * DAY_MS)
        assert out.read() == []


@kinds
def test_open_windows_can_be_looked_up(kind: str) -> None:
    """By key and window, until they close."""
    app = ps.App("app")
    counts = counts_of(kind, app)
    counts.to("out")
    with TestDriver(app) as driver:
        inputs, store = driver.topic("in"), driver.store(counts)
        for _ in range(2):
            inputs.send(0, key="a", at=0)
        for place in PLACES[kind]:
            assert store.get(Windowed("a", *place)) == 2
            assert store.get(Windowed("b", *place)) is None
            assert store.get(Windowed("a", place[0] + 1, place[1] + 1)) is None
        inputs.send(0, key="c", at=3 * DAY_MS)
        assert [store.get(Windowed("a", *place)) for place in PLACES[kind]] == [None]


@kinds
def test_results_of_windows_can_be_put_in_windows(kind: str) -> None:
    """Chained: how often a key had so many records, under keys with a window in a window."""
    app = ps.App("app")
    counts = counts_of(kind, app).to_stream(output_mode="append")
    chained = counts.group_by_key().window(ps.tumbling("30d"))
    chained.agg(name="chained", most=ps.max(int)).to("out")
    with TestDriver(app) as driver:
        inputs, out = driver.topic("in"), driver.topic("out")
        inputs.send(0, key="a", at=0)
        inputs.send(0, key="a", at=0)
        inputs.send(0, key="b", at=2 * DAY_MS)
        places = [Windowed("a", *place) for place in PLACES[kind]]
        assert out.read() == [(Windowed(at, 0, 30 * DAY_MS), {"most": 2}) for at in places]


@kinds
def test_results_of_windows_can_be_regrouped(kind: str) -> None:
    """By what is left of the key without its window, through a repartition topic."""
    app = ps.App("app")
    counts = counts_of(kind, app).to_stream(output_mode="append")
    by_key = counts.map_record(lambda of: (of.key.key, of.value), key=str, value=int, name="by-key")
    by_key.group_by_key().agg(ps.sum(int), name="total").to("out")
    with TestDriver(app) as driver:
        inputs, out = driver.topic("in"), driver.topic("out")
        for at in (0, 0, 2 * DAY_MS, 4 * DAY_MS):
            inputs.send(0, key="a", at=at)
        total = out.read()[-1]
        # A record at 2 days is in two hopping windows; so it is for a sliding one, of which the
        # second has nothing in it.
        assert total == ("a", 4 if kind == "hopping" else 3)


class Sale(msgspec.Struct):
    city: str
    kind: str


@kinds
def test_windows_of_two_fields(kind: str) -> None:
    """Their keys go to a topic as JSON, and come back as they were."""
    app = ps.App("app")
    by_both = app.stream("in", value=Sale).group_by(("city", "kind"), name="by-both")
    by_both.window(KINDS[kind]).count(name="n").to("out", output_mode="append")
    again = ps.App("again")
    keys: list[Any] = []
    read = again.stream("out", key=ps.Windowed[tuple[str, str]], value=int)
    read.map_record(lambda of: (keys.append(of.key), (of.key, of.value))[1],
                    key=ps.Windowed[tuple[str, str]], value=int).to("same")  # fmt: skip
    with TestDriver(app) as driver, TestDriver(again) as reader:
        inputs = driver.topic("in")
        for city in ("Lugo", "Ávila", "Lugo"):
            inputs.send(Sale(city, "tea"), at=0)
        inputs.send(Sale("Lugo", "tea"), at=2 * DAY_MS)
        found = driver.topic("out").read()
        places = PLACES[kind]
        assert found == [
            (Windowed((city, "tea"), *place), n)
            for place in places
            for city, n in (("Lugo", 2), ("Ávila", 1))
        ]
        for key, value, *_ in driver._committed("out"):
            reader.topic("out").send_bytes(value, key=key)
        assert keys == [key for key, _ in found]
        assert [row[:2] for row in reader._committed("same")] == [
            row[:2] for row in driver._committed("out")
        ]
