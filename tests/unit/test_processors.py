"""Processors: state and timers by key, whatever the cut, and what happens where they fail."""

import functools
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Generic, TypeVar

import msgspec
import pytest

import penstock as ps
from penstock.errors import DataError, TopologyError
from penstock.operators.processing import OpenProcess
from penstock.testing import TestDriver

V = TypeVar("V")


class Payment(msgspec.Struct):
    card: str
    amount: float


class Alert(msgspec.Struct):
    card: str
    reason: str


class Fraud(ps.Processor[str, Payment, Alert]):
    small = ps.ValueState(int)

    def process(self, ctx: ps.Context[str], value: Payment) -> Iterator[Alert]:
        seen = self.small.get() or 0
        if value.amount < 1:
            self.small.set(seen + 1)
            ctx.set_timer("forget", at=ctx.timestamp + 600_000)
        elif seen >= 3 and value.amount > 500:
            yield Alert(ctx.key, f"{value.amount:.0f} after {seen} probes")

    def on_timer(self, ctx: ps.Context[str], timer: ps.Timer) -> Iterator[Alert]:
        self.small.clear()
        return iter(())


PAYMENTS = ps.Topic("payments", key=str, value=Payment)
ALERTS = ps.Topic("alerts", key=str, value=Alert)


def fraud_app() -> ps.App:
    app = ps.App("fraud")
    app.stream("payments", key=str, value=Payment).process(Fraud, name="fraud").to(ALERTS)
    return app


def test_three_probes_then_a_big_payment() -> None:
    with TestDriver(fraud_app()) as driver:
        payments, alerts = driver.topic(PAYMENTS), driver.topic(ALERTS)
        for second in range(3):
            payments.send(Payment("c", 0.5), key="c", at=second * 1000)
        driver.crash()
        payments.send(Payment("c", 900), key="c", at=4000)
        assert alerts.read() == [("c", Alert("c", "900 after 3 probes"))]


def test_probes_are_forgotten_before_the_record_that_comes_when_it_is_time() -> None:
    with TestDriver(fraud_app()) as driver:
        payments, alerts = driver.topic(PAYMENTS), driver.topic(ALERTS)
        with driver.batch():
            for second in range(3):
                payments.send(Payment("c", 0.5), key="c", at=second * 1000)
            payments.send(Payment("c", 900), key="c", at=601_999)
            payments.send(Payment("c", 900), key="c", at=602_000)
        assert len(alerts.read()) == 1
        assert rows(driver) == {"fraud-small": 0, "fraud-timers": 0}


def rows(driver: TestDriver) -> dict[str, int]:
    """How many entries each store has."""
    return {
        name: len(overlay.scan(b"", b"\xff" * 20))
        for task in driver._tasks
        for name, overlay in task.overlays.items()
    }


def app_of(processor: Any, *, rekeyed: bool = False, value: Any = None, **options: Any) -> ps.App:
    """An application that processes integers, or texts, from `in` to `out`."""
    app = ps.App("app", **options)
    stream: Any = app.stream("in", key=str, value=value or str)
    if rekeyed:
        stream = stream.rekey(lambda text: text[:1], key=str, name="by-first")
    stream.process(processor, name="p").to("out")
    return app


class Steps(ps.Processor[str, str, str]):
    """Does what a record says, such as `set 5 tick; say`, and says what it sees."""

    said = ps.ValueState(str)

    def process(self, ctx: ps.Context[str], value: str) -> Iterator[str]:
        for step in value.split(";"):
            yield from self.do(ctx, step.split())

    def do(self, ctx: ps.Context[str], words: list[str]) -> Iterator[str]:
        match words:
            case ["set", at, name]:
                ctx.set_timer(name, at=int(at))
            case ["wall", at, name]:
                ctx.set_timer(name, at=int(at), clock="wall")
            case ["cancel", name]:
                ctx.cancel_timer(name)
            case ["keep", text]:
                self.said.set(text)
            case ["fail"]:
                raise ValueError("as told")
            case ["say"]:
                yield f"{self.said.get()} at {ctx.timestamp}/{ctx.stream_time}"
            case _:
                pass

    def on_timer(self, ctx: ps.Context[str], timer: ps.Timer) -> Iterator[str]:
        yield f"{timer.name} {timer.at} {ctx.timestamp}/{ctx.stream_time}"
        if timer.name.startswith("then-"):
            ctx.set_timer(timer.name[5:], at=timer.at + 1)
        if timer.name == "boom":
            raise ZeroDivisionError("in a timer")
        if timer.name == "odd":
            yield "odd"
        if timer.name == "for-ever":
            ctx.set_timer(timer.name, at=timer.at, clock=timer.clock)


def play(app: ps.App, *sent: tuple[str, str, int]) -> list[tuple[str, str]]:
    with TestDriver(app) as driver:
        for key, value, at in sent:
            driver.topic("in").send(value, key=key, at=at)
        return driver.topic("out").read()


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


# The wall clock


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


class Now(ps.Processor[str, str, int]):
    def process(self, ctx: ps.Context[str], value: str) -> Iterable[int]:
        return [ctx.now]


def test_now_is_the_clock_of_the_driver() -> None:
    with TestDriver(app_of(Now), now=5) as driver:
        driver.topic("in").send("", key="a")
        driver.advance("1s")
        driver.topic("in").send("", key="a")
        assert driver.topic("out").read() == [("a", 5), ("a", 1_005)]


# Behind a repartition topic


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
        (process,) = [of for of in driver._tasks[0]._open.values() if isinstance(of, OpenProcess)]
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


# Failures


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


# State that expires


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


# State that is not a value


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


# What is drawn, and what is dropped


class Drawing(ps.Processor[str, str, float]):
    def process(self, ctx: ps.Context[str], value: str) -> Iterable[float]:
        if value == "set":
            ctx.set_timer("t", at=10)
        return [ctx.random.random(), ctx.random.random()]

    def on_timer(self, ctx: ps.Context[str], timer: ps.Timer) -> Iterable[float]:
        return [ctx.random.random()]


def test_a_record_draws_the_same_numbers_when_it_comes_again() -> None:
    sent = [("a", "set", 1), ("a", "", 2), ("b", "", 30)]
    drawn = play(app_of(Drawing), *sent)
    assert len({number for _, number in drawn}) == 7
    assert play(app_of(Drawing), *sent) == drawn
    with TestDriver(app_of(Drawing)) as driver, driver.batch():
        for key, value, at in sent:
            driver.topic("in").send(value, key=key, at=at)
    assert driver.topic("out").read() == drawn


def test_records_without_a_key_are_dropped_but_move_time() -> None:
    app = ps.App("app")
    app.stream("in", value=str, key=bytes).process(Steps, name="p").to("out")
    with TestDriver(app) as driver:
        driver.topic("in").send("set 5 t", key=b"a", at=1)
        driver.topic("in").send("say", at=6)
        assert driver.topic("out").read() == [(b"a", "t 5 5/6")]
        assert driver._tasks[0].take_dropped() == 1


# Declarations


class Generic_(ps.Processor[str, V, list[V]], Generic[V]):
    def process(self, ctx: ps.Context[str], value: V) -> Iterable[list[V]]:
        return [[value]]


class OfText(Generic_[str]):
    pass


def test_the_type_that_is_handed_on_is_found_through_generic_classes() -> None:
    assert play(app_of(OfText), ("k", "x", 1)) == [("k", ["x"])]


def test_a_class_may_be_made_by_a_function() -> None:
    class Limited(ps.Processor[str, str, str]):
        def __init__(self, limit: int) -> None:
            self.limit = limit

        def process(self, ctx: ps.Context[str], value: str) -> Iterable[str]:
            return [value[: self.limit]]

    assert play(app_of(lambda: Limited(2)), ("k", "abc", 1)) == [("k", "ab")]
    assert play(app_of(functools.partial(Limited, 1)), ("k", "abc", 1)) == [("k", "a")]
    with pytest.raises(TopologyError, match=r"cannot make a Limited: .*'limit'.*lambda: Limited"):
        app_of(Limited)


def of(**states: Any) -> type[ps.Processor[str, str, str]]:
    return type("Made", (Wrong,), {"number": None, "many": None, **states})


SHARED: Any = ps.ValueState(int)


class Inside(Wrong):
    def __init__(self) -> None:
        self.inside = ps.ValueState(int)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: app_of(Wrong()), "Each task makes one of its own: pass the class"),
        (lambda: app_of(dict), "was given dict, which makes no ps.Processor"),
        (lambda: app_of(ps.Processor[str, str, str]), "which does nothing. Define process"),
        (lambda: app_of(Inside), "inside = ps.ValueState"),
        (lambda: app_of(of(a=SHARED, b=SHARED)), "Declare each by itself"),
        (lambda: [of(a=SHARED), app_of(of(c=SHARED))], "Declare each by itself"),
        (lambda: app_of(of(a=ps.ValueState(int), b=ps.ListState(int, name="a"))),
         "'a' and 'b' in one store, p-a"),
        (lambda: app_of(of(timers=ps.ValueState(int))), "where its timers go, p-timers"),
        (lambda: app_of(of(a=ps.ValueState(int, name="x/y"))), "cannot be the name of"),
        (lambda: ps.ValueState(int, ttl="0s"), "ttl='0s' of a ValueState is nothing"),
        (lambda: ps.MapState(str, int, ttl="-1s"), "is not a duration"),
        (lambda: ps.ValueState(object()), "cannot be read as JSON"),
        (lambda: app_of(of(a=ps.ValueState(None))), "without a type"),  # type: ignore[arg-type]
        (lambda: ps.App("app").stream("in", value=str).rekey(len, key=int).process(Fraud, name="p"),
         "changes the key, and process behind it"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_when_it_is_declared(make: Any, told: str) -> None:
    with pytest.raises(TopologyError, match=told):
        make()


def test_two_processes_have_two_names() -> None:
    app = ps.App("app")
    stream = app.stream("in", key=str, value=Payment)
    stream.process(Fraud, name="one")
    stream.process(Fraud, name="two")
    names = ["one-small", "one-timers", "two-small", "two-timers"]
    assert [store.name for store in app.topology().stores] == names
    with pytest.raises(TopologyError, match="Two processes are called 'One'"):
        stream.process(Fraud, name="One")


def test_state_may_be_called_what_its_attribute_was_called_before() -> None:
    class Renamed(Fraud):
        small = None  # type: ignore[assignment]
        probes = ps.ValueState(int, name="small")

    app = ps.App("app")
    app.stream("in", key=str, value=Payment).process(Renamed, name="fraud")
    assert [store.name for store in app.topology().stores] == ["fraud-small", "fraud-timers"]


def test_a_processor_without_state_has_no_store_and_keeps_time() -> None:
    class Time(ps.Processor[str, str, int]):
        def process(self, ctx: ps.Context[str], value: str) -> Iterable[int]:
            return [ctx.stream_time]

    with TestDriver(app_of(Time)) as driver:
        for at in (5, 3, 9):
            driver.topic("in").send("", key="k", at=at)
            driver.crash()
        assert driver.topic("out").read() == [("k", 5), ("k", 5), ("k", 9)]
        assert rows(driver) == {}


def test_state_is_of_one_task() -> None:
    """Two drivers of one application do not see each other's."""
    app = fraud_app()
    with TestDriver(app) as one, TestDriver(app) as other:
        for driver in (one, other, one, other):
            driver.topic(PAYMENTS).send(Payment("c", 0.5), key="c", at=1)
        other.topic(PAYMENTS).send(Payment("c", 0.5), key="c", at=1)
        for driver in (one, other):
            driver.topic(PAYMENTS).send(Payment("c", 900), key="c", at=2)
        assert one.topic(ALERTS).read() == []
        assert len(other.topic(ALERTS).read()) == 1


# A function instead of a class


def total(amount: int, so_far: int | None) -> tuple[int | None, str | None]:
    after = (so_far or 0) + amount
    return (None, "reset") if amount == 0 else (after, f"{after}" if after > 2 else None)


def test_a_function_keeps_state() -> None:
    app = ps.App("app")
    app.stream("in", key=str, value=int).update_state(total, name="total").to("out")
    assert [store.name for store in app.topology().stores] == ["total-state"]
    with TestDriver(app) as driver:
        for amount in (1, 2, 0, 3):
            driver.topic("in").send(amount, key="k")
            driver.crash()
        assert driver.topic("out").read() == [("k", "3"), ("k", "reset"), ("k", "3")]


def test_a_function_without_types_is_told_them() -> None:
    stream = ps.App("app").stream("in", key=str, value=int)
    with pytest.raises(TopologyError, match=r"Pass state= to update_state"):
        stream.update_state(lambda n, s: (n, n), name="a")
    stream.update_state(lambda n, s: (n, n), name="a", state=int, value=int, ttl="1h").to("out")
