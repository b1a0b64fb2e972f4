"""Functions of windows and processors may change in place what they get: nothing committed notices.

Each application here lives twice: with functions that change accumulators, values and state in
place and fail on some records behind that, and with the same functions on copies. Whatever is
sent, committed together, lost in a crash or refused, both write the same.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock as ps
import penstock.engine.steps
import penstock.operators.bound
import penstock.operators.by_key
import penstock.operators.states
import penstock.serde.sessions
import penstock.serde.sliding
import penstock.state.overlay
from penstock.testing import TestDriver

Total = dict[str, Any]
Function = Callable[..., Any]
Make = Callable[[ps.App, Callable[[Function], Function]], None]

BAD = 7
STEP_MS = 40


def shared(f: Function) -> Function:
    """Call it with what it is given."""
    return f


def copied(f: Function) -> Function:
    """Call it with copies, and copy what it returns."""

    def on_copies(*args: Any) -> Any:
        return copy.deepcopy(f(*copy.deepcopy(args)))

    return on_copies


def new() -> Total:
    return {"n": 0, "seen": []}


def add(total: Total, value: Total) -> Total:
    """Change the accumulator and the value, deeply, and fail where the value is bad."""
    total["n"] += value["n"]
    total["seen"].append(value["n"])
    value["seen"].append(total["n"])
    if value["n"] == BAD:
        raise RuntimeError("a bad one")
    return total


def merge(one: Total, other: Total) -> Total:
    one["n"] += other["n"]
    one["seen"] += other["seen"]
    other["seen"].clear()
    return one


def change(value: Total, total: Total | None) -> tuple[Total | None, Total | None]:
    found = add(total if total is not None else new(), value)
    return found, found


def windows(window: Any) -> Make:
    def make(app: ps.App, wrap: Callable[[Function], Function]) -> None:
        stream = app.stream("in", key=str, value=Total)
        found = stream.group_by_key().window(window, grace="1s")
        table = found.aggregate(new, wrap(add), merge=wrap(merge), name="s", value=Total)
        table.to("out")
        stream.to("beside")

    return make


def updates(app: ps.App, wrap: Callable[[Function], Function]) -> None:
    stream = app.stream("in", key=str, value=Total)
    stream.update_state(wrap(change), name="s", state=Total, value=Total).to("out")
    stream.to("beside")


class Kept(msgspec.Struct):
    """A value of a type of its own."""

    n: int = 0
    seen: list[int] = []


def processors(app: ps.App, wrap: Callable[[Function], Function]) -> None:
    mine = wrap(lambda value: value)

    class Keeper(ps.Processor[str, Total, Total]):
        """Change what state gives, and what was given to it."""

        total = ps.ValueState(Kept)
        every = ps.ListState(Total)
        by_number = ps.MapState(int, Total)

        def process(self, ctx: ps.Context[str], value: Total) -> Iterator[Total]:
            total = mine(self.total.get()) or Kept()
            before = [mine(of) for of in self.every]
            for of in before:
                of["seen"].append(-1)  # this is written nowhere
            entry = mine(self.by_number.get(value["n"] % 2)) or new()
            self.by_number[value["n"] % 2] = mine(entry)
            self.every.append(mine(value))
            self.total.set(mine(total))
            total.seen.append(len(before))  # nor is this: it was set before
            entry["seen"].append(1)
            if value["n"] == BAD:
                raise RuntimeError("a bad one")
            if value["n"] % 2:
                total.n += 1
                self.total.set(mine(total))
            yield {"n": total.n, "seen": [*total.seen, *[of["n"] for of in before]]}
            yield {"n": len(self.by_number), "seen": [mine(of) for of in self.by_number.values()]}

    stream = app.stream("in", key=str, value=Total)
    stream.process(Keeper, name="s", value=Total).to("out")
    stream.to("beside")


MAKES: dict[str, Make] = {
    "tumbling": windows(ps.tumbling("100ms")),
    "hopping": windows(ps.hopping("200ms", "100ms")),
    "sliding": windows(ps.sliding("100ms")),
    "session": windows(ps.session("100ms")),
    "update_state": updates,
    "process": processors,
}
NUMBERS = st.lists(st.integers(0, 6) | st.just(BAD), min_size=1, max_size=5)
STEPS = st.lists(NUMBERS | st.just("crash"), max_size=8)


def outcome(make: Make, wrap: Callable[[Function], Function], steps: list[Any]) -> list[Any]:
    """Return all that is written, sent in batches; time goes to and fro."""
    app = ps.App("app", on_error="skip")
    make(app, wrap)
    sent = 0
    with TestDriver(app) as driver:
        for step in steps:
            if step == "crash":
                driver.crash()
                continue
            with driver.batch():
                for n in step:
                    sent += 1
                    at = 1_000 + sent * STEP_MS - (n % 3) * STEP_MS
                    driver.topic("in").send({"n": n, "seen": []}, key=f"k{n % 2}", at=at)
        return [driver.topic(name).read() for name in ("out", "beside")]


@pytest.mark.parametrize("name", MAKES)
@settings(max_examples=60, deadline=None)
@given(steps=STEPS)
def test_changes_in_place_reach_nobody(name: str, steps: list[Any]) -> None:
    make = MAKES[name]
    assert outcome(make, shared, steps) == outcome(make, copied, steps)


TELLING = [[1, 2, 3], [BAD, 5, 1, BAD, 3], "crash", [2, 4, BAD, 1], [1, BAD, 3, 5]]
COPYING = (
    penstock.engine.steps,
    penstock.operators.bound,
    penstock.operators.by_key,
    penstock.operators.states,
    penstock.serde.sessions,
    penstock.serde.sliding,
    penstock.state.overlay,
)


@pytest.mark.parametrize("name", MAKES)
def test_without_copies_they_are_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all that can be changed taken for what cannot."""
    make = MAKES[name]
    expected = outcome(make, copied, TELLING)
    assert outcome(make, shared, TELLING) == expected
    for module in COPYING:
        monkeypatch.setattr(module, "is_immutable", lambda _: True)
    assert outcome(make, shared, TELLING) != expected
