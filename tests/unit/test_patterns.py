"""Patterns: what matches when, what is told, and what is refused."""

import operator
from functools import partial
from typing import Any

import msgspec
import pytest

import penstock as ps
from penstock import patterns
from penstock.errors import DataError, TopologyError
from penstock.testing import TestDriver
from tests.unit.patterns import all_shown, app_of, events, pattern
from tests.unit.processors import rows
from tests.unit.programs import Sent
from tests.unit.runner import Runner

# Pattern, events, and the matches as the times of their events.
CASES = [
    # One after the other; what is in between is passed over.
    ("a", "x a a", "1 | 2"),
    ("a b", "a b", "0 1"),
    ("a b", "b a x x b b", "1 4"),
    ("a b c", "a c b x c", "0 2 4"),
    ("a a", "a a a a", "0 1 | 2 3"),
    # The one that began first ends all others.
    ("a b", "a a b b", "0 2"),
    ("a b", "a a b a b", "0 2 | 3 4"),
    ("a ab b", "a a b b", "0 1 2"),
    # An event that ends a match begins none.
    ("a ab c", "a b c", "0 1 2"),
    ("a a c", "a a c a c", "0 1 2"),
    ("ab b", "a b b", "0 1"),
    # The next one.
    ("a ^b", "a x b", ""),
    ("a ^b", "a a b", "1 2"),
    ("a ^b ^c", "a b x a b c", "3 4 5"),
    ("a+ ^b", "a x a b", "0,2 3"),
    ("a+ ^b", "a x b", ""),
    ("a b? ^c", "a x c b c", "0 3 4"),
    ("a b? ^c", "a c", "0 1"),
    ("2a ^b", "a x a b", "0,2 3"),
    # One or more, until the next step takes one.
    ("a b+ c", "a c b x b c", "0 2,4 5"),
    ("a+ b", "a a b b", "0,1 2"),
    ("a+ ab", "a a a", "0 1"),
    ("a b+ c", "a c c", ""),
    # So many.
    ("3a", "a x a a a", "0,2,3"),
    ("2a b", "a b a a b", "0,2 4"),
    ("a 2b", "a b a b", "0 1,3"),
    # Optional ones: the furthest step takes it.
    ("a b? c", "a c", "0 1"),
    ("a b? c", "a b c", "0 1 2"),
    ("a b? b", "a b b", "0 1"),
    ("a b? c? d", "a c b d", "0 1 3"),
    # What must not come in between.
    ("a !r b", "a r b", ""),
    ("a !r b", "a r a b", "2 3"),
    ("a !r b", "a b r", "0 1"),
    ("a !r b c", "a b r c", "0 1 3"),
    ("a !b b", "a b", ""),
    ("a+ !r b", "a r a b", "2 3"),
    ("a b+ !r c", "a r b b r c", ""),
    ("a b+ !r c", "a r b b c", "0 2,3 4"),
    ("2a !r b", "a r a b", ""),
    ("a !r !s b", "a s b a b", "3 4"),
    ("a b? !r c", "a r c", ""),
    ("a b? !r c", "a r b c", "0 2 3"),
    ("a !r b? c", "a r b c", ""),
    ("a !r b? c", "a b r c", "0 1 3"),
    ("a b? !r c? !s d", "a r s c d", ""),
    ("2a b? !r c", "a r a c", "0,2 3"),
    # Within.
    ("a b |5", "a@0 b@5", "0 5"),
    ("a b |5", "a@0 b@6", ""),
    ("a b |5", "a@0 a@3 b@8", "3 8"),
    ("a b |5", "a@0 x@6 b@5", ""),
    ("a b |5!", "a@0 a@1 x@6", "0!"),
    ("a b |5!", "a@0 a@1 x@7", "0! | 1!"),
    ("a b+ c |5!", "a@0 b@2 b@4 x@9", "0 2,4!"),
    ("a !r b |5!", "a@0 r@1 x@9", ""),
    # In the order in which they come.
    ("a b", "a@9 b@3", "9 3"),
    ("a b", "b@3 a@1", ""),
    # What must not come until time is up.
    ("a !b |5", "a@0 x@6", "0"),
    ("a !b |5", "a@0 x@5", ""),
    ("a !b |5", "a@0 b@5 x@9", ""),
    ("a !b |5", "a@0 b@6", "0"),
    ("a !b |5", "a@0 a@1 x@9", "0 | 1"),
    ("a !b |5", "a@0 a@1 b@6 x@9", "0"),
    ("a+ !b |5", "a@0 a@1 a@4 x@9", "0,1,4"),
    ("a+ !b |5", "a@0 a@1 a@9 x@20", "0,1 | 9"),
    ("a+ !b |5", "a@0 a@0 x@9", "0,0"),
    ("a c !b |5!", "a@0 a@1 c@2 x@9", "0 2"),
    ("a c !b |5!", "a@0 x@9", "0!"),
    ("2a !b |5!", "a@0 x@9", "0!"),
    ("a c? !b |5", "a@0 x@9", "0"),
    ("a c? !b |5", "a@0 b@1 x@9", ""),
    ("a c? !b |5", "a@0 b@1 c@2 x@9", "0 2"),
    ("a c? !b |5!", "a@0 c@2 b@3 x@9", ""),
    # What begins too late is decided at once.
    ("a !b |5", "x@20 a@9 b@10", "9"),
    ("a b |5!", "x@20 a@9 b@10", "9!"),
    # Conditions that look back.
    ("a a> a>", "a1 a3 a2 a5", "0 1 3"),
    ("a b>", "a5 a2 b3", "1 2"),
    ("a a+> b", "a3 a1 a5 a4 a9 b", "0 2,4 5"),
    ("a !b> c", "a5 b3 c", "0 2"),
    ("a !b> c", "a5 b6 c", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "sent", "expected"), CASES)
@pytest.mark.parametrize("how", ["one batch", "crashes"])
def test_what_matches(text: str, sent: str, expected: str, how: str) -> None:
    with TestDriver(app_of(text)) as driver:
        if how == "one batch":
            with driver.batch():
                for value, at in events(sent):
                    driver.topic("in").send(value, key="k", at=at)
        else:
            for value, at in events(sent):
                driver.topic("in").send(value, key="k", at=at)
                driver.crash()
        assert " | ".join(all_shown(driver.topic("out").read())) == expected


def play(text: str, sent: str, key: str = "k") -> list[tuple[Any, patterns.Match[str]]]:
    with TestDriver(app_of(text)) as driver:
        for value, at in events(sent):
            driver.topic("in").send(value, key=key, at=at)
        found: list[tuple[Any, patterns.Match[str]]] = driver.topic("out").read()
        return found


def test_a_match_has_its_events_by_step() -> None:
    [(key, match)] = play("a b? c+ d", "a1 c2 c3 d4")
    assert key == "k"
    assert (match["a0"], match.all("c2"), match["d3"]) == ("a1", ["c2", "c3"], "d4")
    assert match.events["c2"] == [patterns.Event("c2", 1), patterns.Event("c3", 2)]
    assert "b1" not in match
    assert match.all("b1") == []
    assert (match.start, match.end, match.timed_out) == (0, 3, False)
    with pytest.raises(KeyError, match="b1"):
        match["b1"]


def test_what_time_decides_ends_when_it_is_up() -> None:
    [(_, match)] = play("a !b |5", "a@10 x@90")
    assert (match.start, match.end, match.timed_out) == (10, 15, False)
    [(_, match)] = play("a b |5!", "a@10 x@90")
    assert (match.start, match.end, match.timed_out) == (10, 15, True)


def test_a_match_has_the_time_of_what_completes_it() -> None:
    app = ps.App("app")
    found = app.stream("in", key=str, value=str).match(pattern("a b |5!"), name="m")
    found.map_record(lambda record: (record.key, record.timestamp), key=str, value=int).to("out")
    with TestDriver(app) as driver:
        for value, at in events("a@0 b@3 a@10 x@50"):
            driver.topic("in").send(value, key="k", at=at)
        assert driver.topic("out").read() == [("k", 3), ("k", 16)]


def test_keys_do_not_see_each_other_but_share_time() -> None:
    with TestDriver(app_of("a b |5!")) as driver:
        for key, value, at in [("k", "a", 0), ("l", "b", 1), ("l", "a", 2), ("k", "b", 3)]:
            driver.topic("in").send(value, key=key, at=at)
        driver.topic("in").send("x", key="m", at=100)
        found = driver.topic("out").read()
    assert [(key, match.timed_out) for key, match in found] == [("k", False), ("l", True)]


@pytest.mark.parametrize("sent", ["a x b", "a a b b", "a x@60", "a r", "x x", "a a@8 x@60"])
def test_nothing_is_kept_of_what_is_over(sent: str) -> None:
    with TestDriver(app_of("a !r b |20")) as driver:
        for value, at in events(sent):
            driver.topic("in").send(value, key="k", at=at)
        assert rows(driver) == {"m-open": 0, "m-events": 0, "m-timers": 0}


def test_an_event_is_kept_once_and_as_long_as_it_is_wanted() -> None:
    with TestDriver(app_of("a+ b+ c |20")) as driver:
        sent = driver.topic("in")
        for value, at in events("a a x a b@7"):
            sent.send(value, key="k", at=at)
        assert rows(driver)["m-events"] == 1 + 2 * 4  # how many, and each by key and by number
        sent.send("x", key="k", at=22)
        assert rows(driver)["m-events"] == 1 + 2 * 2
        sent.send("c", key="k", at=23)
        assert all_shown(driver.topic("out").read()) == ["3 7 23"]
        assert set(rows(driver).values()) == {0}


def test_an_event_that_only_bars_a_way_is_not_kept() -> None:
    with TestDriver(app_of("a b? !r c")) as driver:
        for value in "ar":
            driver.topic("in").send(value, key="k")
        assert rows(driver) == {"m-open": 1, "m-events": 1 + 2}


def test_too_many_events_go_by_the_error_policy() -> None:
    def app(**options: Any) -> ps.App:
        app = ps.App("app", **options)
        stream = app.stream("in", key=str, value=str)
        stream.match(pattern("a b"), name="m", max_events=2).to("out")
        return app

    with TestDriver(app()) as driver:
        driver.topic("in").send("a", key="k")
        driver.topic("in").send("a", key="k")
        driver.topic("in").send("a", key="l")
        with pytest.raises(DataError, match=r"(?s)'m' has 2 events of one key.*raise max_events"):
            driver.topic("in").send("a", key="k")
    with TestDriver(app(on_error=ps.dead_letter("dead"))) as driver:
        for value in "aaab":
            driver.topic("in").send(value, key="k")
        assert [value for _, value in driver.topic("dead").read()] == [b"a"]
        assert len(driver.topic("out").read()) == 1


def test_a_condition_that_raises_leaves_everything_as_it_was() -> None:
    def fails(value: str) -> bool:
        if value == "boom":
            raise ValueError("as told")
        return value == "b"

    app = ps.App("app", on_error="skip")
    wanted = patterns.begin(str).then("a", lambda v: v in ("a", "boom")).then("b", fails)
    app.stream("in", key=str, value=str).match(wanted, name="m").to("out")
    with TestDriver(app) as driver, driver.batch():
        for value in ("a", "boom", "b"):
            driver.topic("in").send(value, key="k")
    assert [match.all("a") for _, match in driver.topic("out").read()] == [["a"]]


def test_an_argument_with_a_default_is_no_look_back() -> None:
    app = ps.App("app")
    wanted = patterns.begin(str).then("a", lambda value, wanted="a": value == wanted)
    app.stream("in", key=str, value=str).match(wanted, name="m").to("out")
    with TestDriver(app) as driver:
        driver.topic("in").send("a", key="k")
        assert len(driver.topic("out").read()) == 1


class Reading(msgspec.Struct):
    celsius: float


def test_values_of_any_type_with_a_serde() -> None:
    hot = patterns.begin(Reading).times("hot", lambda reading: reading.celsius > 90, count=2)
    app = ps.App("app")
    readings = app.stream("in", key=str, value=Reading)
    readings.match(hot, name="m").to("out")
    readings.match(hot, name="n").map(lambda m: m["hot"].celsius, value=float).to("first")
    with TestDriver(app) as driver:
        for celsius in (91.5, 80.0, 95.0):
            driver.topic("in").send(Reading(celsius), key="k", at=1)
            driver.crash()
        events = [patterns.Event(Reading(celsius), 1) for celsius in (91.5, 95.0)]
        assert driver.topic("out").read() == [("k", patterns.Match({"hot": events}, 1, 1))]
        assert driver.topic("first").read() == [("k", 91.5)]


def test_deletions_of_a_table_are_no_events() -> None:
    app = ps.App("app")
    changes: Any = app.table(ps.Topic("in", key=str, value=str), name="t").to_stream()
    changes.match(patterns.begin(str).times("any", lambda _: True, count=2), name="m").to("out")
    with TestDriver(app) as driver:
        for value in ("a", None, "b"):
            driver.topic("in").send(value, key="k")
        assert [match.all("any") for _, match in driver.topic("out").read()] == [["a", "b"]]


@pytest.mark.parametrize(
    ("text", "sent", "expected"),
    [
        ("a !b |5", "a1@0 a2@1 b1@3 x1@90", ["1"]),
        ("a b |5!", "a1@0 b1@90 a2@80 b2@85 x1@200", ["80 85", "0!"]),
        ("a b |5!", "a1@0 a1@80 b1@82 x1@200", ["80 82", "0!"]),
        ("a !b |5", "a1@0 x1@90 b1@5", []),
    ],
)
def test_behind_a_repartition_topic_time_comes_after_the_events(
    text: str, sent: str, expected: list[str]
) -> None:
    """What is too far behind the first event does nothing to it, though the timer is to fire."""
    app = ps.App("app")
    stream = app.stream("in", key=str, value=str).rekey(lambda v: v[1:], key=str, name="by-number")
    stream.match(pattern(text), name="m").to("out")
    with TestDriver(app) as driver:
        with driver.batch():
            for value, at in events(sent):
                driver.topic("in").send(value, key="k", at=at)
        assert all_shown(driver.topic("out").read()) == expected


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([("a", "a"), ("b", "b"), ("c", "c")], [("a", "a"), ("x", "x"), ("c", "c")], "0 2 3"),
        ([("a", "a"), ("c", "c")], [("z", "z"), ("a", "a"), ("x", "x"), ("c", "c")], "0 2 3"),
        ([("a", "a"), ("c", "c")], [("other", "a"), ("x", "x"), ("c", "c")], ""),
    ],
)
def test_open_matches_go_by_the_names_of_steps_where_the_pattern_is_changed(
    before: list[tuple[str, str]], after: list[tuple[str, str]], expected: str
) -> None:
    first = Runner(named(before).topology())
    first.run([Sent("in", b"k", b"a", 0)], [])
    then = Runner(named(after).topology())
    then.stores = first.stores
    then._open()
    then.run([Sent("in", b"k", value, at) for at, value in [(2, b"x"), (3, b"c")]], [])
    [batch] = then.batches
    found = [msgspec.json.decode(row.value or b"", type=Any) for row in batch.outputs["out"]]
    times = [[event["timestamp"] for of in m["events"].values() for event in of] for m in found]
    assert times == ([[int(at) for at in expected.split()]] if expected else [])
    assert [[*store.scan()] for store in then.stores.values()] == [[], []]


def named(steps: list[tuple[str, str]]) -> ps.App:
    app = ps.App("app")
    wanted = patterns.begin(str)
    for name, letter in steps:
        wanted = wanted.then(name, partial(operator.eq, letter))
    app.stream("in", key=str, value=str).match(wanted, name="m").to("out")
    return app


def begun() -> patterns.Pattern[str]:
    return patterns.begin(str).then("a", lambda v: v == "a")


def yes(value: str) -> bool:
    return True


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: begun().then("a", yes), r"'a'.*a step of that name.*Call one of them else"),
        (lambda: begun().without("a", yes), r"without\('a'\).*a step of that name"),
        (lambda: begun().without("r", yes).then("r", yes), r"then\('r'\).*a step of that name"),
        (lambda: begun().then("", yes), r"then\(''\) has no name.*Give it one"),
        (lambda: begun().within("0s"), r"within\('0s'\) leaves no time.*Use 1 ms or more"),
        (lambda: begun().within("1s").within("2s"), r"comes twice.*Leave one out"),
        (lambda: begun().times("b", yes, count=0), r"count=0\) waits for nothing.*Use 1 or more"),
        (lambda: patterns.begin(str).next("a", yes), r"next\('a'\) is the first.*Put then"),
        (lambda: patterns.begin(str).optional("a", yes), r"optional\('a'\) is the first step"),
        (lambda: patterns.begin(str).without("a", yes), r"without\('a'\) is the first step"),
        (
            lambda: patterns.begin(str).then("a", lambda v, m: v in m),
            r"looks at the match so far: there is none.*Give it a function of the value",
        ),
        (lambda: patterns.begin(str), r"pattern 'm' is empty.*then\("),
        (lambda: begun().without("r", yes), r"ends with without\('r'\).*Add within\('5m'\)"),
        (lambda: begun().optional("b", yes), r"ends with optional\('b'\).*Add without.*or leave it out"),
        (lambda: begun().one_or_more("b", yes), r"one_or_more\('b'\).*Add without.*use then or times"),
        (lambda: patterns.begin(int).then("a", bool), r"one of int.*are str.*Declare it with patterns.begin\(str\)"),
    ],
)  # fmt: skip
def test_what_cannot_match_is_refused_with_what_to_do(made: Any, message: str) -> None:
    stream = ps.App("app").stream("in", key=str, value=str)
    with pytest.raises(TopologyError, match=message):
        stream.match(made(), name="m")


def test_what_cannot_be_stored_is_refused() -> None:
    stream = ps.App("app").stream("in", key=str, value=str)
    with pytest.raises(TopologyError, match=r"max_events=0 keeps none. Use 1 or more"):
        stream.match(begun(), name="m", max_events=0)
    with pytest.raises(TopologyError, match=r"type of the values in which match 'm'.*Pass value="):
        stream.map(lambda v: v).match(begun(), name="m")
    with pytest.raises(TopologyError, match=r"changes the key.*name='by-"):
        stream.rekey(lambda v: v, key=str).match(begun(), name="m")
