"""Records that fail: who they are, what they leave behind, and when they are too many."""

import enum
import json
import random
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

import penstock as ps
from penstock.engine.failures import Guard
from penstock.errors import BrokerError, DataError, TopologyError
from penstock.operators.each import EachFailed, each
from penstock.operators.source import Fetched
from penstock.runtime.failure_log import FailureLog
from penstock.testing import TestDriver
from tests.unit.test_task import task_of

ANY = ps.dead_letter("dead", max_ratio=1, max_run=None)
POISON = 13


def picky(n: int) -> int:
    """Fail on some numbers."""
    if n % 100 == POISON:
        raise ValueError("poison")
    return n


def ones(_: int) -> int:
    """Count."""
    return 1


def mapped(app: ps.App) -> None:
    """A step without state fails."""
    app.stream("in", key=str, value=int).map(picky).to("out")


def counted(app: ps.App) -> None:
    """A step in front of state fails."""
    app.stream("in", key=str, value=int).map(picky).group_by_key().count(name="n").to("out")


def reduced(app: ps.App) -> None:
    """A step with state fails."""
    stream = app.stream("in", key=str, value=int)
    stream.group_by_key().reduce(lambda a, b: a + picky(b) % 100, name="n").to("out")


def behind_state(app: ps.App) -> None:
    """A step behind state fails: 13 is reached where it is not skipped."""
    stream = app.stream("in", key=str, value=int).map(ones, value=int)
    stream.group_by_key().reduce(lambda a, b: a + b, name="n").to_stream().map(picky).to("out")


def two_ways(app: ps.App) -> None:
    """A record has done one thing before it fails at another one."""
    stream = app.stream("in", key=str, value=int)
    stream.group_by_key().count(name="n").to("out")
    stream.map(picky).to("out")


def repartitioned(app: ps.App) -> None:
    """A step behind a repartition topic fails."""
    stream = app.stream("in", key=str, value=int).rekey(lambda n: n % 3, name="by", key=int)
    stream.group_by_key().reduce(lambda a, b: picky(b), name="n").to("out")


def exploded(app: ps.App) -> None:
    """One of the records that a record becomes fails."""
    app.stream("in", key=str, value=int).flat_map(lambda n: [n - 1, n, n + 1], value=int).map(
        picky
    ).to("out")


def run(declare: Any, numbers: list[int], *, policy: Any, cuts: random.Random) -> Any:
    """Run numbers through an application, cut anyhow; return what is there in the end."""
    app = ps.App("app", on_error=policy)
    declare(app)
    with TestDriver(app) as driver:
        at = 0
        while at < len(numbers):
            size = cuts.choice((1, 2, 7, 50))
            with driver.batch():
                for n in numbers[at : at + size]:
                    driver.topic("in").send(n, key=str(n % 3), at=1_000 + n)
            at += size
        out = driver.topic("out").read()
        clocks = [dict(task.clocks) for task in driver._tasks]
        stores = [
            sorted(row for row in store.store.scan())
            for task in driver._tasks
            for store in task.overlays.values()
        ]
        dead = driver.topic("dead").read() if policy is ANY else None
        headers = driver.topic("dead").read_headers() if policy is ANY else None
    return last(out), stores, clocks, dead, headers


def last(rows: list[tuple[Any, Any]]) -> dict[Any, Any]:
    """The last value of each key, and all of them where order does not tell."""
    return dict(rows)


DECLARED = [mapped, counted, reduced, two_ways, repartitioned]


@pytest.mark.parametrize("declare", DECLARED, ids=lambda declare: declare.__name__)
@pytest.mark.parametrize("seed", range(5))
def test_it_is_as_if_the_bad_records_had_never_come(declare: Any, seed: int) -> None:
    draw = random.Random(seed)
    numbers = [draw.randrange(1_000) for _ in range(300)]
    numbers += [100 * n + POISON for n in range(1, 8)]
    draw.shuffle(numbers)
    bad = [n for n in numbers if n % 100 == POISON]
    if declare in (reduced, repartitioned):  # the first value of a key is not looked at
        numbers = [0, 1, 2, *numbers]
    good = [n for n in numbers if n % 100 != POISON]
    out, stores, clocks, dead, headers = run(declare, numbers, policy=ANY, cuts=draw)
    expected = run(declare, good, policy="skip", cuts=draw)
    assert (out, stores) == expected[:2]
    assert clocks == expected[2]
    if declare is not repartitioned:
        assert sorted(int.from_bytes(value, "big") for _, value in dead) == sorted(bad)
    assert len(headers) == len(bad)
    assert all(told["__penstock.error.class"] == b"ValueError" for told in headers)


def test_what_fails_behind_state_undoes_the_state() -> None:
    """The thirteenth record of a key fails at flush, as does the next one: twelve stay."""
    app = ps.App("app", on_error=ANY)
    behind_state(app)
    with TestDriver(app) as driver:
        for size in (5, 8, 1):
            with driver.batch():
                for _ in range(size):
                    driver.topic("in").send(7, key="a")
        (value,) = {value for _, value in driver.topic("out").read()[-1:]}
        dead = driver.topic("dead").read()
    assert value == 12
    assert len(dead) == 2


def test_all_that_becomes_of_a_bad_record_is_left_out() -> None:
    app = ps.App("app", on_error=ANY)
    exploded(app)
    with TestDriver(app) as driver:
        with driver.batch():
            for n in (1, POISON + 1, 2):
                driver.topic("in").send(n, key="a")
        assert [value for _, value in driver.topic("out").read()] == [0, 1, 2, 1, 2, 3]
        assert len(driver.topic("dead").read()) == 1


def test_a_dead_letter_is_the_record_and_tells_what_happened() -> None:
    app = ps.App("app", on_error=ANY)
    mapped(app)
    with TestDriver(app) as driver:
        driver.topic("in").send(1, key="a")
        driver.topic("in").send(POISON, key="b", at=77, headers=[("trace", b"x")])
        assert driver.topic("dead").read() == [(b"b", POISON.to_bytes(8, "big"))]
        assert driver.topic("dead").read_timestamps() == [77]
        (headers,) = driver.topic("dead").read_headers()
    assert (headers["__penstock.error.operator"] or b"").startswith(b"map-1 picky (")
    assert headers == {
        "trace": b"x",
        "__penstock.error.class": b"ValueError",
        "__penstock.error.message": b"poison",
        "__penstock.error.topic": b"in",
        "__penstock.error.partition": b"0",
        "__penstock.error.offset": b"1",
        "__penstock.error.operator": headers["__penstock.error.operator"],
        "__penstock.error.application": b"app",
    }


QUOTED = "canary-41"


class Colour(enum.Enum):
    """The decoder quotes a value that is none of these."""

    RED = "red"


def quoting(text: str) -> str:
    """Fail as much code does: with the value in the message."""
    raise ValueError(f"no such thing: {text!r}")


def quoted_by_a_function(app: ps.App) -> None:
    app.stream("in", value=str).map(quoting).to("out")


def quoted_by_the_decoder(app: ps.App) -> None:
    app.stream("in", value=dict[str, Colour]).to("out")


def quoted_by_the_encoder(app: ps.App) -> None:
    app.stream("in", value=str).map(lambda text: {text: object()}, value=dict[str, Any]).to("out")


def quoted_in_state(app: ps.App) -> None:
    stream = app.stream("in", key=str, value=str).group_by_key()
    stream.reduce(lambda a, b: quoting(b), name="n").to("out")


def quoted_behind_state(app: ps.App) -> None:
    stream = app.stream("in", key=str, value=str).group_by_key()
    stream.reduce(lambda a, b: b, name="n").to_stream().map(quoting).to("out")


@pytest.mark.parametrize(
    "declare",
    [
        quoted_by_a_function,
        quoted_by_the_decoder,
        quoted_by_the_encoder,
        quoted_in_state,
        quoted_behind_state,
    ],
    ids=lambda declare: declare.__name__,
)
@pytest.mark.parametrize("payload", [False, True])
def test_a_dead_letter_may_go_without_all_that_is_of_the_record(
    declare: Any, payload: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Key, value, headers, and what was raised, which quotes them; in the log too."""
    app = ps.App("app", on_error=ps.dead_letter("dead", max_ratio=1, payload=payload))
    declare(app)
    value = json.dumps({"a": QUOTED}).encode()
    with TestDriver(app) as driver:
        for _ in range(2):  # the first value of a key is not looked at
            driver.topic("in").send_bytes(value, key=QUOTED.encode(), headers=[("h", b"canary-41")])
        dead = driver.topic("dead")
        (*_, told), (*_, letter) = dead.read_headers(), dead.read()
        failure = [f for task in driver._tasks for f in task.failures][-1]
    FailureLog(app.topology()).tell([failure], 0)
    assert (letter == (None, None)) is not payload
    everything = f"{told} {letter} {failure} {failure.as_error('Stop.')} {caplog.text}"
    assert (QUOTED in everything) is payload
    assert told["__penstock.error.class"]
    assert (told["__penstock.error.topic"], told["__penstock.error.partition"]) == (b"in", b"0")
    omitted = None if payload else b"key, value, headers, message"
    assert told.get("__penstock.error.omitted") == omitted


def test_too_many_records_without_payload_stop_without_quoting_one() -> None:
    app = ps.App("app", on_error=ps.dead_letter("dead", max_run=1, payload=False))
    quoted_by_a_function(app)
    with pytest.raises(DataError, match="max_run=1") as caught, TestDriver(app) as driver:
        for _ in range(2):
            driver.topic("in").send(QUOTED)
    assert "ValueError" in str(caught.value)
    assert QUOTED not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("key", "value"),
    [(b"a", b"short"), (b"\xff", POISON.to_bytes(8, "big")), (None, b"12345678")],
    ids=["value", "key", "null key"],
)
def test_bytes_that_are_no_record_are_dead_letters(key: bytes | None, value: bytes) -> None:
    app = ps.App("app", on_error=ANY)
    app.stream("in", key=str, value=int).map_record(
        lambda r: (r.key, r.value), key=str, value=int
    ).to("out")
    with TestDriver(app) as driver:
        with driver.batch():
            driver.topic("in").send(1, key="a")
            driver.topic("in").send_bytes(value, key=key)
            driver.topic("in").send(2, key="a")
        assert driver.topic("out").read() == [("a", 1), ("a", 2)]
        assert driver.topic("dead").read() == [(key, value)]


def test_a_stream_may_have_a_policy_of_its_own() -> None:
    app = ps.App("app", on_error="skip")
    app.stream("strict", value=int, on_error="fail").map(picky).to("out")
    app.stream("loose", value=int).map(picky).to("out")
    with TestDriver(app) as driver:
        driver.topic("loose").send(POISON)
        with pytest.raises(
            DataError, match=r"map-1 picky .* failed on strict/0 offset 0.*on_error='skip'"
        ):
            driver.topic("strict").send(POISON)


def test_two_streams_of_one_topic_have_one_policy() -> None:
    app = ps.App("app")
    app.stream("in", value=int, on_error="skip").to("a")
    app.stream("in", value=int).to("b")
    with pytest.raises(TopologyError, match="on_error"):
        app.topology()


def test_dead_letters_do_not_come_back() -> None:
    app = ps.App("app", on_error=ps.dead_letter("in"))
    app.stream("in", value=int).to("a")
    with pytest.raises(TopologyError, match="where its own dead letters go"):
        app.topology()


@pytest.mark.parametrize("wrong", ["ignore", None, 3])
def test_what_is_no_policy_is_refused(wrong: Any) -> None:
    with pytest.raises(TopologyError, match="dead_letter"):
        ps.App("app", on_error=wrong)


@pytest.mark.parametrize("wrong", [{"max_ratio": 0}, {"max_ratio": 2}, {"max_run": 0}])
def test_limits_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(TopologyError, match="max_r"):
        ps.dead_letter("dead", **wrong)


def test_a_record_larger_than_the_dead_letter_topic_goes_without_its_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = ps.App("app", on_error=ANY)
    mapped(app)
    monkeypatch.setattr(TestDriver, "max_message_bytes", lambda self, topic: 600)
    with TestDriver(app) as driver:
        driver.topic("in").send_bytes(b"x" * 600, key=b"k")
        driver.topic("in").send_bytes(b"x", key=b"k" * 600)
        first, second = driver.topic("dead").read_headers()
        assert driver.topic("dead").read() == [(b"k", None), (None, None)]
    assert first["__penstock.error.omitted"] == b"value"
    assert second["__penstock.error.omitted"] == b"key, value, headers"


def test_a_fault_of_the_cluster_is_no_fault_of_the_record() -> None:
    def away(_: int) -> int:
        raise BrokerError("away")

    app = ps.App("app", on_error="skip")
    app.stream("in", value=int).map(away).to("out")
    with TestDriver(app) as driver, pytest.raises(BrokerError):
        driver.topic("in").send(1)


def test_a_bad_record_leaves_the_clocks_that_were_committed() -> None:
    """Also where it is in the first chunk of a task that has been at work before."""
    app = ps.App("app", on_error="skip")
    app.stream("in", key=str, value=int).group_by_key().reduce(lambda a, b: picky(b), name="n").to(
        "out"
    )
    with TestDriver(app) as driver:
        driver.topic("in").send(1, key="a", at=500)
        (task,) = driver._tasks
        task.discard({"n": 7_000})
        driver.topic("in").send(POISON, key="a", at=9_000)
        assert task.clocks == {"n": 7_000}
        task.clocks = {"n": 8_000}  # as a worker sets them at the start
        driver.topic("in").send(POISON, key="a", at=9_000)
        assert task.clocks == {"n": 8_000}


# Too many


def rows(start: int, count: int) -> Fetched:
    values: list[bytes | None] = [b""] * count
    return Fetched(
        "in", 0, values, values, [0] * count, range(start, start + count), None, start + count
    )


def failing(fetched: Fetched, offsets: Iterator[int] | range) -> list[Any]:
    from penstock.engine.failures import Failure

    return [
        Failure("in", 0, offset, None, None, 0, None, ValueError("x"), "map-1", None)
        for offset in offsets
    ]


def look(guard: Guard, start: int, count: int, bad: range) -> None:
    fetched = rows(start, count)
    guard.look(fetched, failing(fetched, bad))


def test_as_many_in_a_row_as_are_allowed_may_fail() -> None:
    guard = Guard(ps.dead_letter("dead", max_ratio=1, max_run=100))
    look(guard, 0, 60, range(10, 60))
    look(guard, 60, 50, range(60, 110))
    with pytest.raises(DataError, match=r"101 records in a row.*max_run=100"):
        look(guard, 110, 5, range(110, 111))


def test_a_good_record_ends_a_row() -> None:
    guard = Guard(ps.dead_letter("dead", max_ratio=1, max_run=100))
    look(guard, 0, 100, range(100))
    look(guard, 100, 1, range(0))
    look(guard, 101, 100, range(101, 201))


def test_the_share_is_judged_from_a_thousand_records_on() -> None:
    guard = Guard(ps.dead_letter("dead", max_ratio=0.1, max_run=None))
    look(guard, 0, 999, range(0, 999, 2))
    with pytest.raises(DataError, match=r"501 of the last 1001 records.*max_ratio=0.1"):
        look(guard, 999, 2, range(999, 1000))


def test_only_the_last_records_are_judged() -> None:
    guard = Guard(ps.dead_letter("dead", max_ratio=0.1, max_run=None))
    for start in range(0, 100_000, 1_000):
        look(guard, start, 1_000, range(start, start + 100))
    for start in range(100_000, 120_000, 1_000):
        look(guard, start, 1_000, range(0))
    with pytest.raises(DataError, match="max_ratio"):
        for start in range(120_000, 130_000, 1_000):
            look(guard, start, 1_000, range(start, start + 300))


def test_what_is_run_again_is_not_counted_again() -> None:
    guard = Guard(ps.dead_letter("dead", max_ratio=1, max_run=100))
    for _ in range(5):
        look(guard, 0, 100, range(100))


# A column


def test_each_tells_of_every_failure_and_calls_once() -> None:
    called: list[int] = []

    def function(n: int) -> int:
        called.append(n)
        if n == 2:
            raise StopIteration
        return picky(n)

    with pytest.raises(EachFailed) as caught:
        each(function, [1, POISON, 2, 3, POISON])
    assert called == [1, POISON, 2, 3, POISON]
    kinds = {at: type(error) for at, error in caught.value.errors.items()}
    assert kinds == {1: ValueError, 2: RuntimeError, 4: ValueError}


def test_a_failure_holds_nothing_but_its_record() -> None:
    """Until the commit it must not hold its chunk, neither by a traceback nor by a context."""
    app = ps.App("app", on_error="skip")
    (
        app.stream("in", key=str, value=dict[str, int])
        .map(lambda v: 1 // v["n"], value=int)
        .to("out")
    )
    values = [b'{"n":1}', b'{"n":', b'{"n":0}', b"{", b'{"n":2}']
    task = task_of(app)
    task.process(
        Fetched("in", 0, [b"k"] * 5, values, [0] * 5, list(range(5)), None, 5),
    )
    errors = [failure.error for failure in task.take_failures()]
    assert len(errors) == 3
    assert all(error.__traceback__ is error.__context__ is None for error in errors)
