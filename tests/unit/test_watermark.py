"""Watermarks: the grace of what is behind them, and time that goes on in silence."""

import datetime
from collections.abc import Callable
from typing import Any

import pytest

import penstock as ps
from penstock.errors import TopologyError
from penstock.operators.source import Fetched
from penstock.testing import TestDriver
from penstock.windows import Windowed, hopping, session, tumbling

TEN = tumbling("10ms")


def stream_of(app: ps.App, topic: str = "in") -> Any:
    return app.stream(topic, key=str, value=str)


def grace_of(grouped: Any, **options: Any) -> int:
    window = grouped.window(TEN, **options)
    found: int = window.count(name="n")._node.operator.grace_ms
    return found


def mapped(stream: Any) -> Any:
    return stream.map(str.upper, value=str).filter(bool).group_by_key()


def rekeyed(stream: Any) -> Any:
    return stream.rekey(len, key=int, name="by").peek(print).group_by_key()


def grouped(stream: Any) -> Any:
    return stream.flat_map(str.split, value=str).group_by(len, key=int, name="by")


def branched(stream: Any) -> Any:
    return stream.branch(bool)[0].group_by_key()


def chained(stream: Any) -> Any:
    counts = stream.group_by_key().count(name="first")
    return counts.to_stream().group_by_key()


@pytest.mark.parametrize("behind", [mapped, rekeyed, grouped, branched, chained])
def test_the_delay_is_the_grace_of_what_is_behind(behind: Callable[[Any], Any]) -> None:
    """An explicit grace wins, also one of nothing."""
    stream = stream_of(ps.App("app")).with_watermark("5s")
    assert grace_of(behind(stream)) == 5_000
    for given, grace in (("0s", 0), ("7s", 7_000)):
        stream = stream_of(ps.App("app")).with_watermark("5s")
        assert grace_of(behind(stream), grace=given) == grace


def test_without_a_watermark_windows_wait_for_nothing() -> None:
    assert grace_of(stream_of(ps.App("app")).group_by_key()) == 0
    app = ps.App("app")
    stream_of(app).with_watermark("5s")
    assert grace_of(stream_of(app, "other").group_by_key()) == 0


def test_a_later_watermark_replaces_an_earlier_one() -> None:
    """All of it: what it leaves out is not taken from the one before."""
    app = ps.App("app")
    stream = stream_of(app).with_watermark("5s", idle="10ms").with_watermark("1ms")
    assert grace_of(stream.group_by_key()) == 1
    with TestDriver(app) as driver:
        assert driver._tasks[0].time.idle_ms is None


def test_of_merged_streams_the_most_patient_counts() -> None:
    app = ps.App("app")
    one = stream_of(app, "one").with_watermark("5s")
    merged = one.merge(stream_of(app, "two").with_watermark("7s"), stream_of(app, "three"))
    assert grace_of(merged.group_by_key()) == 7_000


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"delay": datetime.timedelta(seconds=-1)}, "is negative"),
        ({"delay": "-1s"}, "is not a duration"),
        ({"delay": 5}, "is not a duration"),
        ({"delay": "1s", "idle": "0s"}, "leaves records no time"),
        ({"delay": "1s", "idle": datetime.timedelta(-1)}, "is negative"),
        ({"delay": "1s", "max_future": "soon"}, "is not a duration"),
    ],
)
def test_durations_that_make_no_sense_are_refused(arguments: Any, told: str) -> None:
    with pytest.raises(TopologyError, match=told):
        stream_of(ps.App("app")).with_watermark(**arguments)


def test_the_grace_holds_back_what_comes_late() -> None:
    app = ps.App("app")
    windows = stream_of(app).with_watermark("5ms").group_by_key().window(TEN)
    windows.count(name="n").to("out", output_mode="append")
    with TestDriver(app) as driver:
        for at in (1, 14, 2):
            driver.topic("in").send("x", key="a", at=at)
        assert driver.topic("out").read() == []
        driver.topic("in").send("x", key="a", at=15)
        assert driver.topic("out").read() == [(Windowed("a", 0, 10), 2)]


def test_a_watermark_changes_nothing_of_a_record() -> None:
    """And does not keep a table from handing on one change per key and batch."""
    app = ps.App("app")
    table = stream_of(app).with_watermark("1s").group_by_key().count(name="n")
    table.to_stream().with_watermark("1s").to("out")
    with TestDriver(app) as driver:
        with driver.batch():
            for _ in range(3):
                driver.topic("in").send("x", key="a", at=7)
        assert driver.topic("out").read() == [("a", 3)]


def silent(window: Any = TEN, **watermark: Any) -> ps.App:
    app = ps.App("app")
    windows = stream_of(app).with_watermark("0s", **watermark).group_by_key().window(window)
    windows.count(name="n").to("out", output_mode="append")
    return app


def test_windows_close_in_silence() -> None:
    """By as much as the wall clock goes on, once `idle` is over; not a moment before."""
    with TestDriver(silent(idle="3ms")) as driver:
        driver.topic("in").send("x", key="a", at=1_004)
        for _ in range(5):
            driver.advance("1ms")
            assert driver.topic("out").read() == []
        driver.advance("1ms")
        assert driver.topic("out").read() == [(Windowed("a", 1_000, 1_010), 1)]
        driver.advance("1h")
        assert driver.topic("out").read() == [(Windowed("a", 1_000, 1_010), 1)]


def test_nothing_closes_before_it_was_silent_for_long_enough() -> None:
    with TestDriver(silent(idle="50ms")) as driver:
        driver.topic("in").send("x", key="a", at=4)
        driver.advance("49ms")
        driver.topic("in").send("x", key="b", at=4)
        driver.advance("49ms")
        assert driver.topic("out").read() == []
        driver.advance("1ms")
        assert len(driver.topic("out").read()) == 2


def test_without_idle_windows_wait_for_the_next_record() -> None:
    with TestDriver(silent()) as driver:
        driver.topic("in").send("x", key="a", at=4)
        driver.advance("30d")
        assert driver.topic("out").read() == []


def test_what_comes_behind_the_silence_is_late() -> None:
    """Time does not go back; what comes next moves it from where it is."""
    with TestDriver(silent(idle="3ms")) as driver:
        topic, out = driver.topic("in"), driver.topic("out")
        topic.send("x", key="a", at=4)
        driver.advance("20ms")
        assert len(out.read()) == 1
        for at in (9, 13, 23):  # time is at 24
            topic.send("x", key="a", at=at)
        assert driver._tasks[0].take_tally().late == {"n": 2}
        assert driver._tasks[0].clocks == {"n": 24}
        driver.advance("6ms")
        assert out.read() == [(Windowed("a", 20, 30), 1)]


def test_the_silence_begins_anew_with_each_record_and_each_start() -> None:
    with TestDriver(silent(idle="10ms")) as driver:
        topic, out = driver.topic("in"), driver.topic("out")
        topic.send("x", key="a", at=0)
        driver.advance("9ms")
        topic.send("x", key="a", at=1)
        driver.advance("8ms")
        driver.crash()
        driver.advance("9ms")
        assert out.read() == []
        driver.advance("1ms")
        assert out.read() == [(Windowed("a", 0, 10), 2)]


def test_another_silence_goes_on_from_where_the_one_before_has_come() -> None:
    """As where something has passed that was no record, such as an aborted transaction."""
    with TestDriver(silent(hopping("20ms", "10ms"), idle="6ms")) as driver:
        driver.topic("in").send("x", key="a", at=14)
        driver.advance("6ms")
        assert len(driver.topic("out").read()) == 1
        driver._heard[0] = driver.now
        driver.advance("1ms")
        driver.advance("8ms")
        assert len(driver.topic("out").read()) == 1
        driver.advance("1ms")
        assert len(driver.topic("out").read()) == 2


def test_what_was_closed_in_silence_stays_closed_behind_a_crash() -> None:
    with TestDriver(silent(idle="10ms")) as driver:
        driver.topic("in").send("x", key="a", at=0)
        driver.advance("15ms")
        driver.crash()
        driver.topic("in").send("x", key="a", at=1)
        driver.advance("15ms")
        assert driver.topic("out").read() == [(Windowed("a", 0, 10), 1)]
        assert driver._tasks[0].take_tally().late == {"n": 1}


def test_sessions_and_hopping_windows_close_in_silence_too() -> None:
    for window in (session("10ms"), hopping("20ms", "10ms")):
        with TestDriver(silent(window, idle="3ms")) as driver:
            driver.topic("in").send("x", key="a", at=5)
            driver.topic("in").send("x", key="a", at=12)
            driver.advance("1s")
            found = driver.topic("out").read()
            assert sum(n for _, n in found) == (2 if window == session("10ms") else 4 - 1)


def test_only_what_is_behind_an_idle_watermark_goes_on() -> None:
    """Each from where it was, however far ahead another one is."""
    app = ps.App("app")
    for topic, idle in (("one", "5ms"), ("two", "8ms"), ("never", None)):
        windows = stream_of(app, topic).with_watermark("0s", idle=idle).group_by_key().window(TEN)
        windows.count(name=topic).to(f"{topic}-out", output_mode="append")
    stream_of(app, "one").merge(stream_of(app, "two"), stream_of(app, "never")).to("all")
    with TestDriver(app) as driver:
        assert len(driver._tasks) == 1
        for topic, at in (("one", 9), ("two", 10_001), ("never", 3)):
            driver.topic(topic).send("x", key="a", at=at)

        def closed() -> list[int]:
            outs = (driver.topic(f"{topic}-out") for topic in ("one", "two", "never"))
            return [len(out.read()) for out in outs]

        driver.advance("5ms")
        assert closed() == [1, 0, 0]
        driver.advance("4ms")
        assert closed() == [1, 1, 0]
        driver.advance("1d")
        assert closed() == [1, 1, 0]


def test_a_merged_stream_goes_on_if_all_of_it_does() -> None:
    for idle, closes in ((None, 0), ("20ms", 1)):
        app = ps.App("app")
        one = stream_of(app, "one").with_watermark("0s", idle="5ms")
        two = stream_of(app, "two").with_watermark("0s", idle=idle)
        windows = one.merge(two).group_by_key().window(TEN)
        windows.count(name="n").to("out", output_mode="append")
        with TestDriver(app) as driver:
            driver.topic("one").send("x", key="a", at=4)
            driver.advance("19ms")
            assert driver.topic("out").read() == []
            driver.advance("1ms")
            assert len(driver.topic("out").read()) == closes


@pytest.mark.parametrize("at_once", [1, 20_000])
@pytest.mark.parametrize("step", ["1ms", "200ms"])
def test_windows_of_windows_close_in_silence_without_losing_any(
    at_once: int, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second ones stay behind the first ones, also where these close one by one."""
    monkeypatch.setattr("penstock.engine.task.CLOSED_AT_ONCE", at_once)
    app = ps.App("app")
    stream = stream_of(app).with_watermark("0s", idle="3ms")
    firsts = stream.group_by_key().window(tumbling("20ms"), grace="5ms").count(name="first")
    seconds = firsts.to_stream(output_mode="append").group_by_key().window(tumbling("2ms"))
    seconds.count(name="second").to("out", output_mode="append")
    with TestDriver(app) as driver:
        for key, at in (("a", 3), ("b", 39), ("c", 41), ("d", 45)):
            driver.topic("in").send("x", key=key, at=at)
        for _ in range(200):
            driver.advance(step)
        keys = [window.key.key for window, _ in driver.topic("out").read()]
        assert sorted(keys) == ["a", "b", "c", "d"]
        assert not driver._tasks[0].take_tally().late


@pytest.mark.parametrize("window", [TEN, session("5ms")], ids=["tumbling", "session"])
def test_who_asks_in_the_middle_of_a_batch_makes_no_window_be_forgotten(window: Any) -> None:
    """What the batch has added is not in the store yet."""
    with TestDriver(silent(window)) as driver:
        (task,) = driver._tasks
        task.process(Fetched("in", 0, [b"a"], [b"x"], [1], [0], None, 1))
        task.time.reach(0)
        task.process(Fetched("in", 0, [b"b"], [b"x"], [25], [1], None, 2))
        task.flush()
        assert [len(out.values) for out in task.outputs if out.topic == "out"] == [1]


def repartitioned(times: int, idle: str | None = "10ms") -> ps.App:
    """Windows behind so many repartition topics."""
    app = ps.App("app")
    stream = stream_of(app).with_watermark("0s", idle=idle)
    for number in range(times):
        stream = stream.repartition(name=f"by-{number}")
    stream.group_by_key().window(TEN).count(name="n").to("out", output_mode="append")
    return app


@pytest.mark.parametrize("times", [1, 2, 3])
def test_windows_behind_repartition_topics_close_in_silence(times: int) -> None:
    with TestDriver(repartitioned(times)) as driver:
        driver.topic("in").send("x", key="a", at=4)
        driver.advance("9ms")
        assert driver.topic("out").read() == []
        driver.advance("1ms")
        assert driver.topic("out").read() == [(Windowed("a", 0, 10), 1)]


def test_behind_a_topic_it_is_not_silent_while_something_comes_in_front_of_it() -> None:
    app = ps.App("app")
    stream = stream_of(app).with_watermark("0s", idle="10ms").filter(lambda text: text != "not me")
    windows = stream.repartition(name="by").group_by_key().window(TEN)
    windows.count(name="n").to("out", output_mode="append")
    with TestDriver(app) as driver:
        for _ in range(2):
            driver.topic("in").send("me", key="a", at=4)
        for _ in range(20):
            driver.advance("9ms")
            driver.topic("in").send("not me", key="a", at=4)
        assert driver.topic("out").read() == []


@pytest.mark.parametrize(("other", "first"), [(None, 0), ("50ms", 50)])
def test_topics_of_one_task_wait_for_each_other(other: str | None, first: int) -> None:
    """They hear of one time: it goes on when it may for all of them; a count does not mind."""
    app = ps.App("app")
    for number, idle in enumerate(("5ms", other)):
        stream = stream_of(app).with_watermark("0s", idle=idle).repartition(name=f"by-{number}")
        windows = stream.group_by_key().window(TEN)
        windows.count(name=f"n-{number}").to("out", output_mode="append")
    stream_of(app).repartition(name="counted").group_by_key().count(name="counts")
    with TestDriver(app) as driver:
        driver.topic("in").send("x", key="a", at=4)
        closed: list[int] = []
        for _ in range(100):
            driver.advance("1ms")
            closed.append(len(driver.topic("out").read()))
        assert closed[-1] == (2 if other else 0)
        assert closed.index(2) + 1 == first if other else not first


def test_it_is_told_behind_a_topic_until_nothing_can_be_open() -> None:
    """Once in each `idle`, and not for ever: a commit for each is not for nothing."""
    with TestDriver(repartitioned(1)) as driver:
        driver.topic("in").send("x", key="a", at=4)
        told: list[int] = []
        for _ in range(100):
            driver.advance("1ms")
            told.append(driver._clocks[0]["(task)"])
        assert list(dict.fromkeys(told)) == [4, 14, 24]


def test_windows_on_both_sides_of_a_topic_close_in_silence() -> None:
    app = ps.App("app")
    stream = stream_of(app).with_watermark("0s", idle="10ms")
    firsts = stream.group_by_key().window(TEN, grace="3ms").count(name="first")
    again = firsts.to_stream(output_mode="append").rekey(str, key=str, name="by-count")
    seconds = again.group_by_key().window(tumbling("5ms")).count(name="second")
    seconds.to("out", output_mode="append")
    with TestDriver(app) as driver:
        for key, at in (("a", 3), ("b", 14), ("c", 19)):
            driver.topic("in").send("x", key=key, at=at)
        for _ in range(100):
            driver.advance("1ms")
        found = driver.topic("out").read()
        assert [(window.start, n) for window, n in found] == [(0, 1), (10, 1), (15, 1)]
        assert not any(task.take_tally().late for task in driver._tasks)


def test_nothing_goes_on_where_nothing_has_ever_come() -> None:
    for app in (silent(idle="5ms"), repartitioned(1)):
        with TestDriver(app) as driver:
            driver.advance("1d")
            driver.topic("in").send("x", key="a", at=4)
            assert not any(task.take_tally().late for task in driver._tasks)
