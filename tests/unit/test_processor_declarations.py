"""Processors as they are declared: what is found in a class, and what is refused."""

import functools
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import pytest

import penstock as ps
from penstock.errors import TopologyError
from tests.unit.processors import (
    Fraud,
    Payment,
    app_of,
    play,
)

V = TypeVar("V")


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
