"""Initial state: each key begins once with what a table has for it then."""

from collections.abc import Iterable, Iterator
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

import penstock as ps
from penstock.errors import TopologyError
from penstock.testing import TestDriver
from penstock.topology.describe import as_mermaid, as_text
from tests.unit.processors import Steps

Sent = tuple[str, str, str | None, int]


class Limited(ps.Processor[str, str, str]):
    """Counts down from what the table has, and says what it began with."""

    left = ps.ValueState(int)
    begun = ps.ListState(str, name="log")

    def on_initial(self, ctx: ps.Context[str], value: int) -> None:
        self.left.set(value)
        self.begun.append(f"{value}@{ctx.timestamp}")

    def process(self, ctx: ps.Context[str], value: str) -> Iterator[str]:
        if value == "fail":
            raise ValueError("as told")
        self.left.set((self.left.get() or 0) - 1)
        yield f"{self.left.get()} {'+'.join(self.begun)}"


def limited_app(**options: Any) -> ps.App:
    app = ps.App("app", **options)
    limits = app.table("limits", key=str, value=int, name="limits")
    stream = app.stream("in", key=str, value=str)
    stream.process(Limited, name="p", initial=limits).to("out")
    return app


def test_a_key_begins_with_what_the_table_has() -> None:
    with TestDriver(limited_app()) as driver:
        driver.topic("limits").send(5, key="a", at=1)
        driver.topic("in").send("", key="a", at=2)
        driver.topic("in").send("", key="b", at=3)
        assert driver.topic("out").read() == [("a", "4 5@2"), ("b", "-1 ")]


def test_a_key_begins_once_over_restarts_whatever_the_table_says_then() -> None:
    with TestDriver(limited_app()) as driver:
        driver.topic("limits").send(5, key="a", at=1)
        for at in (2, 4, 6):
            driver.topic("in").send("", key="a", at=at)
            driver.topic("limits").send(100, key="a", at=at + 1)
            driver.crash()
        driver.topic("in").send("", key="b", at=8)
        driver.crash()
        driver.topic("limits").send(7, key="b", at=9)
        driver.topic("in").send("", key="b", at=10)
        said = [value for _, value in driver.topic("out").read()]
        assert said == ["4 5@2", "3 5@2", "2 5@2", "-1 ", "-2 "]


def test_the_row_that_counts_is_the_one_of_that_moment() -> None:
    with TestDriver(limited_app()) as driver:
        driver.topic("limits").send(5, key="a", at=1)
        driver.topic("limits").send(3, key="a", at=2)
        driver.topic("limits").send(5, key="b", at=3)
        driver.topic("limits").send(None, key="b", at=4)
        driver.crash()
        driver.topic("in").send("", key="a", at=5)
        driver.topic("in").send("", key="b", at=6)
        assert driver.topic("out").read() == [("a", "2 3@5"), ("b", "-1 ")]


def test_changes_of_the_table_are_no_records() -> None:
    with TestDriver(limited_app()) as driver:
        driver.topic("limits").send(5, key="a", at=1)
        assert driver.topic("out").read() == []


@pytest.mark.parametrize("batched", [False, True])
def test_a_key_whose_record_fails_has_not_begun(batched: bool) -> None:
    with TestDriver(limited_app(on_error="skip")) as driver:
        driver.topic("limits").send(5, key="a", at=1)
        if batched:
            with driver.batch():
                driver.topic("in").send("fail", key="a", at=2)
                driver.topic("in").send("", key="a", at=3)
        else:
            driver.topic("in").send("fail", key="a", at=2)
            driver.topic("limits").send(9, key="a", at=2)
            driver.topic("in").send("", key="a", at=3)
        driver.topic("in").send("fail", key="a", at=4)
        driver.topic("in").send("", key="a", at=5)
        first = 5 if batched else 9
        expected = [f"{first - 1} {first}@3", f"{first - 2} {first}@3"]
        assert [value for _, value in driver.topic("out").read()] == expected


class Refusing(Limited):
    def on_initial(self, ctx: ps.Context[str], value: int) -> None:
        super().on_initial(ctx, value)
        if value < 0:
            raise ValueError("no such limit")


def test_what_on_initial_raises_goes_by_the_policy_of_the_record() -> None:
    app = ps.App("app", on_error="skip")
    limits = app.table("limits", key=str, value=int, name="limits")
    stream = app.stream("in", key=str, value=str)
    stream.process(Refusing, name="p", initial=limits).to("out")
    with TestDriver(app) as driver:
        driver.topic("limits").send(-1, key="a", at=1)
        driver.topic("in").send("", key="a", at=2)
        driver.topic("limits").send(4, key="a", at=3)
        driver.topic("in").send("", key="a", at=4)
        assert driver.topic("out").read() == [("a", "3 4@4")]


class Lists(ps.Processor[str, str, list[int]]):
    """Changes in place what it is given."""

    kept = ps.ValueState(list[int])

    def on_initial(self, ctx: ps.Context[str], value: list[int]) -> None:
        value.append(0)
        self.kept.set(value)

    def process(self, ctx: ps.Context[str], value: str) -> Iterable[list[int]]:
        return [self.kept.get() or []]


def test_what_a_process_is_given_is_its_own() -> None:
    app = ps.App("app")
    rows = app.table("rows", key=str, value=list[int], name="rows")
    stream = app.stream("in", key=str, value=str)
    stream.process(Lists, name="one", initial=rows).to("one")
    stream.process(Lists, name="two", initial=rows).to("two")
    with TestDriver(app) as driver:
        with driver.batch():
            driver.topic("rows").send([1], key="a", at=1)
            driver.topic("in").send("", key="a", at=2)
        assert driver.topic("one").read() == driver.topic("two").read() == [("a", [1, 0])]
        assert driver.store(rows).get("a") == [1]


class Timed(ps.Processor[str, str, str]):
    seen = ps.ValueState(int)

    def process(self, ctx: ps.Context[str], value: str) -> Iterable[str]:
        ctx.set_timer("t", at=10)
        return []

    def on_timer(self, ctx: ps.Context[str], timer: ps.Timer) -> Iterable[str]:
        return [f"timer {self.seen.get()}"]


class TimedLater(Timed):
    def on_initial(self, ctx: ps.Context[str], value: int) -> None:
        self.seen.set(value)
        ctx.set_timer("own", at=20)


def test_a_timer_from_before_there_was_a_table_begins_its_key() -> None:
    # A driver has one application; that the store is new is what a restart would find.
    app = ps.App("app")
    limits = app.table("limits", key=str, value=int, name="limits")
    stream = app.stream("in", key=str, value=str)
    stream.process(TimedLater, name="p", initial=limits).to("out")
    with TestDriver(app) as driver:
        driver.topic("limits").send(5, key="a", at=1)
        driver.topic("in").send("", key="a", at=2)
        driver._logs["app-p-begun-changelog"].clear()
        driver._logs["app-p-seen-changelog"].clear()
        driver.crash()
        driver.topic("limits").send(6, key="a", at=3)
        driver.topic("in").send("", key="b", at=30)
        said = [value for _, value in driver.topic("out").read()]
        assert said == ["timer 6", "timer 6", "timer None"]


@pytest.mark.parametrize("rekeyed", [False, True])
def test_a_table_of_the_same_records_is_up_to_date_at_each(rekeyed: bool) -> None:
    def said(*, batched: bool) -> list[Any]:
        app = ps.App("app")
        stream: Any = app.stream("in", key=str, value=str)
        if rekeyed:
            stream = stream.rekey(lambda text: text[:1], key=str, name="by-first")
        counts = stream.group_by_key().agg(n=ps.count(), name="counts")
        stream.process(Noted, name="p", initial=counts).to("out")
        with TestDriver(app) as driver:
            sent = [("a", "x"), ("a", "x"), ("b", "y"), ("a", "y")]
            if batched:
                with driver.batch():
                    for key, value in sent:
                        driver.topic("in").send(value, key=key, at=1)
            else:
                for key, value in sent:
                    driver.topic("in").send(value, key=key, at=1)
            return driver.topic("out").read()

    keys = "xxyy" if rekeyed else "aaba"
    assert said(batched=True) == said(batched=False) == [(key, "{'n': 1}") for key in keys]


class Noted(ps.Processor[str, str, str]):
    noted = ps.ValueState(str)

    def on_initial(self, ctx: ps.Context[str], value: Any) -> None:
        self.noted.set(str(value))

    def process(self, ctx: ps.Context[str], value: str) -> Iterable[str]:
        return [self.noted.get() or "nothing"]


def test_what_feeds_the_table_hands_on_every_update() -> None:
    app = ps.App("app")
    stream = app.stream("in", key=str, value=str)
    counts = stream.group_by_key().count(name="counts")
    table = counts.to_stream().to_table(name="copies")
    stream.process(Noted, name="p", initial=table).to("out")
    shown = as_text(app.topology())
    assert "count-1 emits every update" in shown
    with TestDriver(app) as driver, driver.batch():
        for _ in range(2):
            driver.topic("in").send("", key="a", at=1)
    assert driver.topic("out").read() == [("a", "1"), ("a", "1")]


def interpreted(sent: list[Sent]) -> list[tuple[str, str]]:
    limits: dict[str, int] = {}
    left: dict[str, int] = {}
    log: dict[str, str] = {}
    out: list[tuple[str, str]] = []
    for topic, key, value, at in sent:
        if topic == "limits":
            if value is None:
                limits.pop(key, None)
            else:
                limits[key] = int(value)
            continue
        if value == "fail":
            continue
        if key not in log:
            log[key] = f"{limits[key]}@{at}" if key in limits else ""
            left[key] = limits.get(key, 0)
        left[key] -= 1
        out.append((key, f"{left[key]} {log[key]}"))
    return out


SENT = st.one_of(
    st.tuples(
        st.just("limits"), st.sampled_from("abc"), st.sampled_from([None, "3", "8"]), st.just(0)
    ),
    st.tuples(st.just("in"), st.sampled_from("abc"), st.sampled_from(["", "", "fail"]), st.just(0)),
)


@settings(max_examples=60, deadline=None)
@given(sent=st.lists(SENT, max_size=15), cuts=st.lists(st.integers(0, 2), min_size=15, max_size=15))
def test_any_cut_and_crash_gives_what_an_interpreter_does(sent: list[Any], cuts: list[int]) -> None:
    records = [(topic, key, value, at) for at, (topic, key, value, _) in enumerate(sent)]
    batches: list[list[Sent]] = [[]]
    before = None
    for record, cut in zip(records, cuts, strict=False):
        if cut or record[0] != before:  # a driver reads topic by topic within a batch
            batches.append([])
        batches[-1].append(record)
        before = record[0]
    with TestDriver(limited_app(on_error="skip")) as driver:
        for batch, cut in zip(batches, cuts * 2, strict=False):
            with driver.batch():
                for topic, key, value, at in batch:
                    number = value if value is None or topic == "in" else int(value)
                    driver.topic(topic).send(number, key=key, at=at)
            if cut == 2:
                driver.crash()
        assert driver.topic("out").read() == interpreted(records)


def test_describe_tells_what_keys_begin_with() -> None:
    topology = limited_app().topology()
    assert len(topology.sub_topologies) == 1
    shown = as_text(topology)
    assert "process-3 p (initial state from to_table-1) <- stream-2" in shown
    assert "store p-begun: " in shown
    assert "n1 -. initial .-> n3" in as_mermaid(topology)


class Yields(Noted):
    def on_initial(self, ctx: ps.Context[str], value: Any) -> Any:
        yield value


class Named(Noted):
    begun = ps.ValueState(int)


def declare(
    processor: Any = Noted, key: Any = str, initial: Any = None, *, tumbling: bool = False
) -> None:
    app = ps.App("app")
    stream: Any = app.stream("in", key=key, value=str)
    counts: Any = app.stream("other", key=str, value=str).group_by_key()
    if tumbling:
        counts = counts.window(ps.tumbling("1m"))
    table = counts.count(name="counts")
    stream.process(processor, name="p", initial=table if initial is None else initial)


def behind_a_topic() -> None:
    app = ps.App("app")
    stream = app.stream("in", key=str, value=str)
    counts = stream.group_by(lambda text: text, key=str, name="by-text").count(name="counts")
    stream.process(Noted, name="p", initial=counts)


def of_what_it_writes() -> None:
    app = ps.App("app")
    stream = app.stream("in", key=str, value=str)
    last = stream.to_table(name="last")
    stream.rekey(lambda text: text, key=str, name="by-text").process(Noted, name="p", initial=last)
    app.topology()


def of_another() -> None:
    declare(initial=ps.App("other").table("t", key=str, value=int, name="t"))


def without() -> None:
    ps.App("app").stream("in", key=str, value=str).process(Noted, name="p")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: declare(Steps), r"Define on_initial\(self, ctx, value\) in it"),
        (without, r"Pass one: process\(..., initial=table\)"),
        (lambda: declare(Yields), "yields: it sets up state"),
        (lambda: declare(Named), "which keys have begun, p-begun. Call it something else"),
        (lambda: declare(key=int), "keys of type int, table 'counts' in initial= of type str"),
        (lambda: declare(key=bytes), "keys of type bytes, table 'counts' in initial= of type str"),
        (lambda: declare(tumbling=True), "no key would be found in it"),
        (lambda: declare(initial="limits"), "initial='limits', which is no table"),
        (of_another, "'t' of another application"),
        (behind_a_topic, r"Table 'counts' in initial= .* is behind the repartition topic of"),
        (of_what_it_writes, "process p reads to_table last, so both run in one task"),
    ],
)
def test_what_cannot_work_is_refused_when_it_is_declared(make: Any, told: str) -> None:
    with pytest.raises(TopologyError, match=told):
        make()
