"""State of processors: values, lists and maps, which expire, and belong to one key."""

import functools
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import pytest

import penstock as ps
from penstock.errors import DataError, TopologyError
from penstock.testing import TestDriver
from tests.unit.processors import (
    Steps,
    app_of,
    play,
    rows,
)


class Forgetful(ps.Processor[str, str, str]):
    last = ps.ValueState(str)

    def process(self, ctx: ps.Context[str], value: str) -> Iterable[str]:
        found = self.last.get()
        if value:
            self.last.set(value)
        return [f"{found}"]


def forgetful(ttl: str | None) -> ps.App:
    return app_of(type("Made", (Forgetful,), {"last": ps.ValueState(str, ttl=ttl)}))


def deployed_again(app: ps.App, before: TestDriver) -> TestDriver:
    """Another version of an application, on the topics of the one before."""
    driver = TestDriver(app)
    driver._logs, driver._positions = before._logs, before._positions
    driver._clocks = before._clocks
    driver.crash()
    return driver


def test_state_that_is_not_written_reads_as_absent_when_its_time_is_over() -> None:
    said = play(
        forgetful("10ms"),
        ("a", "x", 0), ("a", "", 9), ("b", "", 10), ("a", "y", 10), ("a", "", 19), ("a", "", 20),
    )  # fmt: skip
    assert [value for _, value in said] == ["None", "x", "None", "None", "y", "None"]


def test_state_that_has_expired_leaves_the_disk_though_its_key_is_gone() -> None:
    with TestDriver(forgetful("1h")) as driver:
        for n in range(100):
            driver.topic("in").send("x", key=f"k{n}", at=n)
        driver.topic("in").send("", key="z", at=3_600_000 + 225_000)
        assert rows(driver) == {"p-last": 0, "p-timers": 0}


def test_state_that_is_always_written_has_few_notes_of_when_it_expires() -> None:
    with TestDriver(forgetful("16s")) as driver:
        for second in range(100):
            driver.topic("in").send("x", key="k", at=second * 1_000)
            driver.topic("in").send("x", key="k", at=second * 1_000 + 500)
        found = rows(driver)
        assert found["p-last"] == 1
        assert found["p-timers"] <= 18


def test_state_that_is_to_expire_from_now_on_does_so_once_it_is_written() -> None:
    with TestDriver(forgetful(None)) as before:
        before.topic("in").send("x", key="k", at=1)
        with deployed_again(forgetful("16ms"), before) as driver:
            driver.topic("in").send("y", key="k", at=10)
            driver.topic("in").send("", key="k", at=20)
            driver.topic("in").send("", key="z", at=40)
            assert [v for _, v in driver.topic("out").read()] == ["None", "x", "y", "None"]
            assert rows(driver) == {"p-last": 0, "p-timers": 0}


@pytest.mark.parametrize(("first", "then"), [("16ms", "90ms"), ("90ms", "16ms")])
def test_how_long_state_is_kept_may_be_changed(first: str, then: str) -> None:
    with TestDriver(forgetful(first)) as before:
        before.topic("in").send("x", key="k", at=1)
        with deployed_again(forgetful(then), before) as driver:
            driver.topic("in").send("", key="z", at=16)
            driver.topic("in").send("", key="k", at=30)
            expected = "x" if then == "90ms" else "None"
            assert driver.topic("out").read()[-1] == ("k", expected)
            driver.topic("in").send("", key="z", at=200)
            assert rows(driver) == {"p-last": 0, "p-timers": 0}


def test_what_has_expired_in_a_batch_that_is_aborted_expires_again() -> None:
    with TestDriver(forgetful("16ms")) as driver:
        for key, at in (("a", 1), ("b", 9)):
            driver.topic("in").send("x", key=key, at=at)
        (task,) = driver._tasks
        clocks = dict(task.clocks)
        for clock in (18, 19):
            task.clocks["(p)"] = clock
            task.flush()
        task.discard(clocks)
        driver.topic("in").send("", key="z", at=20)
        assert rows(driver) == {"p-last": 1, "p-timers": 1}


class Kinds(ps.Processor[str, str, dict[str, Any]]):
    """Works on a list, a map and a dict, as told."""

    seen = ps.ListState(int)
    counts = ps.MapState(str, int)
    last = ps.ValueState(dict[str, int])

    def process(self, ctx: ps.Context[str], value: str) -> Iterator[Any]:
        match value.split():
            case ["push", number]:
                self.seen.append(int(number))
            case ["count", *words]:
                for word in words:
                    self.counts[word] = (self.counts.get(word) or 0) + 1
            case ["drop", word]:
                self.counts.delete(word)
            case ["clear"]:
                self.seen.clear()
                self.counts.clear()
            case ["change"]:
                last = self.last.get() or {}
                last["n"] = last.get("n", 0) + 1
                self.last.set(last)
                last["n"] = 99  # nobody sees that
                (self.last.get() or {})["n"] = 98  # nor that
            case _:
                yield {
                    "seen": list(self.seen),
                    "many": len(self.seen),
                    "counts": dict(self.counts.items()),
                    "keys": [*self.counts],
                    "n": len(self.counts),
                    "has a": "a" in self.counts,
                    "last": self.last.get(),
                }


@pytest.mark.parametrize("cut", [1, 3, 20])
def test_lists_and_maps_are_the_same_however_the_input_is_cut(cut: int) -> None:
    told = [
        "push 1", "push 2", "count b a a c", "drop b", "change", "change", "look", "drop a",
        "clear", "push 5", "count d", "drop nothing", "look",
    ]  # fmt: skip
    with TestDriver(app_of(Kinds)) as driver:
        for start in range(0, len(told), cut):
            with driver.batch():
                for of in told[start : start + cut]:
                    driver.topic("in").send(of, key="k")
                    driver.topic("in").send("count a", key="other")
            driver.crash()
        first, second = (value for key, value in driver.topic("out").read() if key == "k")
        assert first == {
            "seen": [1, 2], "many": 2, "counts": {"c": 1, "a": 2}, "keys": ["c", "a"], "n": 2,
            "has a": True, "last": {"n": 2},
        }  # fmt: skip
        assert second == {
            "seen": [5], "many": 1, "counts": {"d": 1}, "keys": ["d"], "n": 1, "has a": False,
            "last": {"n": 2},
        }  # fmt: skip
        # A count, one by key and one by number for each map; a count and an element for the list.
        assert rows(driver) == {"p-seen": 2, "p-counts": 6, "p-last": 1}


def test_a_large_map_is_not_written_again_for_one_entry() -> None:
    with TestDriver(app_of(Kinds)) as driver:
        driver.topic("in").send("count " + " ".join(map(str, range(1_000))), key="k")
        log = driver._committed("app-p-counts-changelog")
        before = len(log)
        driver.topic("in").send("count 7", key="k")
        assert len(log) == before + 1


class Wrong(ps.Processor[str, str, str]):
    number = ps.ValueState(int)
    many = ps.ListState(int)

    def process(self, ctx: ps.Context[str], value: str) -> Iterable[str]:
        if value == "list":
            self.many.append("text")  # type: ignore[arg-type]
        if value == "value":
            self.number.set("text")  # type: ignore[arg-type]
        if value == "assign":
            self.number = 5  # type: ignore[assignment]
        if value == "timer":
            ctx.set_timer("t", at=5)
        return ["ok"]


@pytest.mark.parametrize("value", ["list", "value"])
def test_a_value_of_another_type_fails_where_it_is_set(value: str) -> None:
    with TestDriver(app_of(Wrong, on_error="skip")) as driver:
        driver.topic("in").send(value, key="k")
        driver.topic("in").send("", key="k")
        assert driver.topic("out").read() == [("k", "ok")]


def test_a_number_is_what_it_would_be_after_a_restart() -> None:
    class Half(ps.Processor[str, str, str]):
        held = ps.ValueState(float)

        def process(self, ctx: ps.Context[str], value: str) -> Iterable[str]:
            self.held.set(2)
            return [repr(self.held.get())]

    assert play(app_of(Half), ("k", "", 1)) == [("k", "2.0")]


def test_timers_need_a_function_that_they_call() -> None:
    with pytest.raises(TopologyError, match=r"Add on_timer\(self, ctx, timer\) to it"):
        play(app_of(Wrong, on_error="skip"), ("k", "timer", 1))


def test_state_is_not_assigned() -> None:
    with pytest.raises(TopologyError, match=r"such as self.number.set\(value\)"):
        play(app_of(Wrong, on_error="skip"), ("k", "assign", 1))


class Escaping(ps.Processor[str, str, str]):
    kept = ps.ValueState(str)
    instances: ClassVar[list[Any]] = []

    def process(self, ctx: ps.Context[str], value: str) -> Iterable[str]:
        Escaping.instances.append((self, ctx))
        return ()


def test_state_and_timers_belong_to_a_record() -> None:
    with pytest.raises(TopologyError, match=r"self.kept is used outside of process and on_timer"):
        Escaping().kept.get()
    play(app_of(Escaping), ("k", "", 1))
    processor, ctx = Escaping.instances[-1]
    for use in (
        processor.kept.get,
        functools.partial(processor.kept.set, "x"),
        processor.kept.clear,
        functools.partial(ctx.set_timer, "t", at=1),
        functools.partial(ctx.cancel_timer, "t"),
    ):
        with pytest.raises(TopologyError, match="is used outside of process and on_timer"):
            use()


@pytest.mark.parametrize(
    ("at", "clock", "told"),
    [
        (1.5, "event", "use milliseconds as a whole number"),
        (True, "event", "use milliseconds as a whole number"),
        (2**63, "event", "is too far away"),
        (1, "sun", "use 'event' or 'wall'"),
    ],
)
def test_times_that_are_none_are_refused(at: Any, clock: Any, told: str) -> None:
    class Odd(Steps):
        def process(self, ctx: ps.Context[str], value: str) -> Iterator[str]:
            ctx.set_timer("t", at=at, clock=clock)
            yield ""

    with pytest.raises(DataError, match=told):
        play(app_of(Odd), ("k", "", 1))


class Delayed(ps.Processor[str, str, str]):
    last = ps.ValueState(str, ttl="16ms")

    def process(self, ctx: ps.Context[str], value: str) -> None:
        if value:
            ctx.set_timer("later", at=ctx.now + 1_000, clock="wall")

    def on_timer(self, ctx: ps.Context[str], timer: ps.Timer) -> None:
        self.last.set("x")


def test_state_that_a_timer_has_written_behind_a_crash_leaves_the_disk_too() -> None:
    with TestDriver(app_of(Delayed)) as driver:
        driver.topic("in").send("x", key="k", at=0)
        driver.crash()
        driver.advance("2s")
        assert rows(driver) == {"p-last": 1, "p-timers": 1}
        driver.topic("in").send("", key="z", at=40)
        driver.topic("in").send("", key="z", at=41)
        assert rows(driver) == {"p-last": 0, "p-timers": 0}
