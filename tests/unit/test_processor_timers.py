"""Timers of processors: when they fire, on either clock, and what becomes of those that fail."""

from collections.abc import Iterable
from typing import Any

import pytest

import penstock as ps
from penstock.errors import DataError
from penstock.operators.processing import OpenProcess
from penstock.testing import TestDriver
from tests.unit.processors import (
    Steps,
    app_of,
    play,
    rows,
)


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        pytest.param(
            [("a", "set 5 t", 1), ("b", "say", 5)],
            [("a", "t 5 5/5"), ("b", "None at 5/5")],
            id="before the record that reaches its time",
        ),
        pytest.param([("a", "set 5 t", 1), ("b", "", 4)], [], id="not before its time"),
        pytest.param(
            [("a", "set 7 y;set 6 x", 1), ("b", "set 6 z;set 5 w", 2), ("c", "", 9)],
            [("b", "w 5 5/9"), ("a", "x 6 6/9"), ("b", "z 6 6/9"), ("a", "y 7 7/9")],
            id="in the order of time, whoever set them",
        ),
        pytest.param(
            [("a", "set 5 t", 1), ("a", "set 8 t", 2), ("b", "", 7), ("b", "", 8)],
            [("a", "t 8 8/8")],
            id="set again for later",
        ),
        pytest.param(
            [("a", "set 8 t", 1), ("a", "set 5 t", 2), ("b", "", 5), ("b", "", 9)],
            [("a", "t 5 5/5")],
            id="set again for sooner",
        ),
        pytest.param([("a", "set 5 t;cancel t", 1), ("b", "", 9)], [], id="cancelled"),
        pytest.param(
            [("a", "set 5 t;cancel t;set 6 t", 1), ("b", "", 9)],
            [("a", "t 6 6/9")],
            id="set again after it was cancelled",
        ),
        pytest.param(
            [("a", "set 3 t;say", 9)],
            [("a", "None at 9/9"), ("a", "t 3 3/9")],
            id="due already: right after the record",
        ),
        pytest.param(
            [("a", "set 5 then-then-t", 1), ("b", "say", 7)],
            [("a", "then-then-t 5 5/7"), ("a", "then-t 6 6/7"), ("a", "t 7 7/7"),
             ("b", "None at 7/7")],
            id="what a timer sets fires too, where it is due",
        ),
        pytest.param(
            [("a", "set 5 then-t", 1), ("b", "say", 5), ("b", "say", 6)],
            [("a", "then-t 5 5/5"), ("b", "None at 5/5"), ("a", "t 6 6/6"), ("b", "None at 6/6")],
            id="what a timer sets waits, where it is not",
        ),
        pytest.param(
            [("a", "set 5 t", 9), ("b", "set 12 u", 3), ("c", "", 12)],
            [("a", "t 5 5/9"), ("b", "u 12 12/12")],
            id="a late record does not turn time back",
        ),
        pytest.param(
            [("a", "set 20 t", 1), ("a", "wall 5 t", 2), ("b", "", 30)],
            [],
            id="set again for the other clock",
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("one_batch", [True, False])
def test_timers(sent: list[tuple[str, str, int]], said: list[tuple[str, str]], one_batch: bool):
    with TestDriver(app_of(Steps)) as driver:
        if one_batch:
            with driver.batch():
                for key, value, at in sent:
                    driver.topic("in").send(value, key=key, at=at)
        else:
            for key, value, at in sent:
                driver.topic("in").send(value, key=key, at=at)
                driver.crash()
        assert driver.topic("out").read() == said


def test_what_a_timer_hands_on_has_its_time() -> None:
    with TestDriver(app_of(Steps)) as driver:
        driver.topic("in").send("set 5 t", key="a", at=1)
        driver.topic("in").send("say", key="b", at=9, headers=[("h", b"1")])
        assert driver.topic("out").read_timestamps() == [5, 9]
        assert driver.topic("out").read_headers() == [{}, {"h": b"1"}]


def test_timers_of_the_wall_clock_fire_when_it_has_come_so_far() -> None:
    with TestDriver(app_of(Steps), now=1_000) as driver:
        driver.topic("in").send("wall 3000 t;wall 2000 s", key="a", at=7)
        driver.crash()
        driver.advance("999ms")
        assert driver.topic("out").read() == []
        driver.advance("1ms")
        driver.advance("5s")
        assert driver.topic("out").read() == [("a", "s 2000 7/7"), ("a", "t 3000 7/7")]
        assert rows(driver) == {"p-said": 0, "p-timers": 0}


def test_a_wall_clock_timer_that_was_moved_does_not_fire_at_its_old_time() -> None:
    with TestDriver(app_of(Steps)) as driver:
        driver.topic("in").send("wall 1000 t", key="a", at=7)
        driver.topic("in").send("wall 3000 t", key="a", at=8)
        driver.advance("2s")
        assert driver.topic("out").read() == []
        driver.advance("1s")
        assert driver.topic("out").read() == [("a", "t 3000 8/8")]


def test_behind_a_repartition_topic_timers_fire_when_the_writers_have_come_so_far() -> None:
    with TestDriver(app_of(Steps, rekeyed=True)) as driver:
        inputs, out = driver.topic("in"), driver.topic("out")
        inputs.send("set 5 then-t", key="a", at=1)
        inputs.send("say", key="b", at=4)
        assert [value for _, value in out.read()] == ["None at 4/-1"]
        driver.crash()
        inputs.send("x", key="b", at=6)
        assert [value for _, value in out.read()] == ["then-t 5 5/6", "t 6 6/6"]
        assert rows(driver) == {"p-said": 0, "p-timers": 0}


def test_many_timers_fire_in_several_flushes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.engine.task.CLOSED_AT_ONCE", 7)
    monkeypatch.setattr("penstock.operators.timers.PAGE", 5)
    monkeypatch.setattr("penstock.operators.timers.MOST", 10)
    with TestDriver(app_of(Steps, rekeyed=True)) as driver:
        inputs, out = driver.topic("in"), driver.topic("out")
        with driver.batch():
            for n in range(50):
                inputs.send(f"set {100 - n} t{n:02}", key="a", at=1)
        assert out.read() == []
        inputs.send("", key="a", at=200)
        assert [int(value.split()[1]) for _, value in out.read()] == list(range(51, 101))


def test_timers_on_disk_fire_before_later_ones_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock.operators.timers.PAGE", 5)
    monkeypatch.setattr("penstock.operators.timers.MOST", 10)
    with TestDriver(app_of(Steps)) as driver:
        inputs = driver.topic("in")
        with driver.batch():
            for n in range(30):
                inputs.send(f"set {100 + 2 * n} t{n:02}", key="a", at=1)
        opened = driver._tasks[0]._steps.opened.values()
        (process,) = [of for of in opened if isinstance(of, OpenProcess)]
        assert process._timers
        assert len(process._timers.queues["event"]._heap) <= 5
        inputs.send("set 151 u;set 103 v;set 200 w", key="b", at=2)
        inputs.send("", key="b", at=170)
        times = [int(value.split()[1]) for _, value in driver.topic("out").read()]
        assert times == sorted([*range(100, 160, 2), 103, 151])


@pytest.mark.parametrize("one_batch", [True, False])
def test_timers_of_other_keys_keep_their_place_between_two_ways(one_batch: bool) -> None:
    """Way one is the processor, way two beside it; both write to one topic."""
    app = ps.App("app")
    stream = app.stream("in", key=str, value=str)
    stream.process(Steps, name="p").to("out")
    stream.map(str.lower, value=str).to("out")
    sent = [("a", "SET 5 t", 1), ("a", "set 5 t", 2), ("b", "", 9), ("a", "say", 10)]
    with TestDriver(app) as driver:
        if one_batch:
            with driver.batch():
                for key, value, at in sent:
                    driver.topic("in").send(value, key=key, at=at)
        else:
            for key, value, at in sent:
                driver.topic("in").send(value, key=key, at=at)
        said = [value for key, value in driver.topic("out").read() if key == "a"]
        assert said == ["set 5 t", "set 5 t", "t 5 5/9", "None at 10/10", "say"]


def failing_app(policy: Any) -> ps.App:
    app = ps.App("app", on_error=policy)
    stream = app.stream("in", key=str, value=str).process(Steps, name="p")
    stream.map(refuse_odd).to("out")
    return app


def refuse_odd(text: str) -> str:
    if text == "odd":
        raise ValueError("odd")
    return text


def test_a_record_that_fails_leaves_neither_state_nor_timers() -> None:
    with TestDriver(failing_app("skip")) as driver:
        inputs, out = driver.topic("in"), driver.topic("out")
        inputs.send("keep one;set 5 t;set 50 u", key="a", at=1)
        with driver.batch():
            inputs.send("say", key="b", at=2)
            inputs.send("keep two;cancel u;set 40 u;set 60 v;fail", key="a", at=30)
            inputs.send("say", key="a", at=4)
            inputs.send("say", key="a", at=6)
        assert out.read() == [
            ("b", "None at 2/2"),
            ("a", "one at 4/4"),
            ("a", "t 5 5/6"),
            ("a", "one at 6/6"),
        ]
        inputs.send("", key="b", at=70)
        assert out.read() == [("a", "u 50 50/70")]


def test_the_policy_of_the_input_says_what_becomes_of_a_record() -> None:
    with TestDriver(failing_app(ps.dead_letter("dead", max_ratio=1))) as driver:
        driver.topic("in").send("keep one;fail", key="a", at=1)
        driver.topic("in").send("say", key="a", at=2)
        assert driver.topic("out").read() == [("a", "None at 2/2")]
        assert driver.topic("dead").read() == [(b"a", b"keep one;fail")]
    told = pytest.raises(DataError, match=r"process-1 p failed on in/0 offset 0: ValueError: as")
    with TestDriver(failing_app("fail")) as driver, told:
        driver.topic("in").send("keep one;fail", key="a", at=1)


@pytest.mark.parametrize("policy", ["fail", "skip"])
@pytest.mark.parametrize("rekeyed", [True, False])
def test_a_timer_that_fails_stops_the_application_whatever_the_policy(
    policy: Any, rekeyed: bool
) -> None:
    with TestDriver(app_of(Steps, rekeyed=rekeyed, on_error=policy)) as driver:
        driver.topic("in").send("set 5 boom", key="s", at=1)
        for _ in range(2):  # it fires again
            with pytest.raises(DataError, match="on_timer of process 'p' failed for key 's'") as of:
                driver.topic("in").send("", key="b", at=6)
            assert "timer 'boom' at 5 (event time): ZeroDivisionError" in str(of.value)
            assert "Correct the function and start again" in str(of.value)


def test_what_fails_behind_a_timer_is_no_fault_of_the_record() -> None:
    with TestDriver(failing_app("skip")) as driver:
        driver.topic("in").send("set 5 odd", key="a", at=1)
        with pytest.raises(DataError, match="What on_timer of process p has handed on failed in"):
            driver.topic("in").send("", key="b", at=6)


@pytest.mark.parametrize("clock", ["set", "wall"])
def test_timers_that_set_each_other_for_ever_are_noticed(clock: str) -> None:
    with pytest.raises(DataError, match="1000 timers in a row have set each other"):
        play(app_of(Steps, on_error="skip"), ("a", f"{clock} 0 for-ever", 6))


class Periodic(ps.Processor[str, str, int]):
    """A timer that sets itself again, for later, as often as it likes."""

    def process(self, ctx: ps.Context[str], value: str) -> Iterable[int]:
        ctx.set_timer("tick", at=ctx.timestamp + 1)
        return ()

    def on_timer(self, ctx: ps.Context[str], timer: ps.Timer) -> Iterable[int]:
        ctx.set_timer("tick", at=timer.at + 1)
        return [timer.at]


def test_a_timer_may_set_itself_again_for_later() -> None:
    said = play(app_of(Periodic), ("a", "", 0), ("b", "", 3_000))
    assert [at for key, at in said if key == "a"] == list(range(1, 3_001))
