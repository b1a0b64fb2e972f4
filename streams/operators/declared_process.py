"""A class of the user's as a step: which stores it needs, and what it hands on.

What cannot work is refused here, before a record is read.
"""

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from typing_extensions import TypeVar

from penstock.errors import TopologyError
from penstock.operators.processing import Process
from penstock.operators.processor import Processor
from penstock.operators.states import State, store_of
from penstock.serde.primitives import BYTES
from penstock.serde.timers import FiledSerde, packed
from penstock.serde.types import UNKNOWN, DataType, Serde, data_type, hinted
from penstock.state.definition import StoreDefinition, check_name, same_place

TIMERS = "timers"
BEGUN = "begun"


def declare_process(
    make: Callable[[], Processor[Any, Any, Any]],
    name: str,
    key: DataType,
    value: Any,
    *,
    begins: bool = False,
) -> tuple[Process, DataType]:
    """Return the step of a processor, and the type that it hands on.

    Args:
        make: the class, or a function that makes an instance.
        name: of the process.
        key: of the records.
        value: the declared type of what it hands on, None for what the class says.
        begins: whether keys begin with what a table has for them.

    Raises:
        TopologyError: if this is no processor, or its state cannot be kept.
    """
    check_name(name, "a process")
    sample = _sample(make, name)
    kind: type[Any] = sample.__class__
    own: dict[str, Any] = sample.__dict__
    _check_initial(kind, name, begins=begins)
    states = _states(kind, own, name, begins=begins)
    has_timers = _defines(kind, "on_timer")
    stores = _stores(name, states, key.serde, has_timers=has_timers, begins=begins)
    if not isinstance(value, DataType):
        value = _result(kind) if value is None else data_type(value)
    return Process(name, make, states, stores, has_timers, key.serde, begins), value


def _sample(make: Any, name: str) -> Any:
    shown = getattr(make, "__name__", repr(make))
    if isinstance(make, Processor):
        raise _wrong(
            name,
            "was given an instance. Each task makes one of its own: pass the class, or a function"
            " that makes it.",
        )
    try:
        sample: Any = make()
    except TypeError as error:
        raise _wrong(
            name,
            f"cannot make a {shown}: {error}. Pass a function that makes it:"
            f" process(lambda: {shown}(...), name={name!r}).",
        ) from error
    kind: Any = sample.__class__
    if not _derives(kind):
        raise _wrong(name, f"was given {shown}, which makes no ps.Processor. Derive it from that.")
    if not _defines(kind, "process"):
        raise _wrong(
            name, f"was given {shown}, which does nothing. Define process(self, ctx, value) in it."
        )
    return sample


def _derives(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Processor)


def _defines(kind: type[Any], method: str) -> bool:
    return getattr(kind, method) is not getattr(Processor, method)


def _check_initial(kind: type[Any], name: str, *, begins: bool) -> None:
    defined = _defines(kind, "on_initial")
    if begins and not defined:
        raise _wrong(
            name,
            f"was given initial=, but {kind.__name__} does nothing with it. Define"
            " on_initial(self, ctx, value) in it, or leave initial= out.",
        )
    if defined and not begins:
        raise _wrong(
            name,
            f"would never call on_initial of {kind.__name__}: no table says what keys begin with."
            " Pass one: process(..., initial=table).",
        )
    if defined and inspect.isgeneratorfunction(kind.on_initial):
        raise _wrong(
            name,
            f"cannot hand on what on_initial of {kind.__name__} yields: it sets up state, and"
            " nothing else. Keep it in state, and yield it in process.",
        )


def _states(
    kind: type[Any], own: Mapping[str, Any], name: str, *, begins: bool
) -> tuple[tuple[str, str, State], ...]:
    """Return the state of a class by attribute, with the end of its store's name."""
    for attribute, value in own.items():
        if isinstance(value, State):
            raise _wrong(
                name,
                f"has state in self.{attribute}, which is made with the instance. Declare it in"
                f" the class, or its store is not known: {attribute} = ps.{type(value).__name__}"
                "(...).",
            )
    found: dict[str, State] = {}
    for of in reversed(kind.__mro__):
        for attribute, value in vars(of).items():
            found.pop(attribute, None)
            if isinstance(value, State):
                found[attribute] = value
    _check_states(found, name, begins=begins)
    return tuple((attribute, of.name or attribute, of) for attribute, of in found.items())


def _check_states(states: dict[str, State], name: str, *, begins: bool) -> None:
    owners: dict[str, str] = {}
    for attribute, state in states.items():
        if state.shared:
            raise _wrong(
                name,
                f"has state {attribute!r} that has another name or class too. Declare each by"
                f" itself: {attribute} = ps.{type(state).__name__}(...).",
            )
        if state.value.serde is None:
            raise _wrong(
                name,
                f"has state {attribute!r} without a type. Pass one, such as"
                f" ps.{type(state).__name__}(int).",
            )
        ending = state.name or attribute
        check_name(f"{name}-{ending}", f"the store of {attribute!r} in process {name!r}")
        if same_place(ending) == TIMERS:
            raise _wrong(
                name,
                f"has state {attribute!r} in a store where its timers go, {name}-{TIMERS}. Call it"
                " something else.",
            )
        if begins and same_place(ending) == BEGUN:
            raise _wrong(
                name,
                f"has state {attribute!r} in a store where it keeps which keys have begun,"
                f" {name}-{BEGUN}. Call it something else.",
            )
        other = owners.setdefault(same_place(ending), attribute)
        if other != attribute:
            raise _wrong(
                name,
                f"has state {other!r} and {attribute!r} in one store, {name}-{ending}. Give each a"
                " name= of its own.",
            )


def _stores(
    name: str, states: tuple[tuple[str, str, State], ...], key: Serde[Any] | None, *,
    has_timers: bool, begins: bool,
) -> tuple[StoreDefinition, ...]:  # fmt: skip
    if not states and not has_timers and not begins:
        return ()
    if key is None:
        raise _wrong(
            name,
            "keeps state by keys of a type that is not known. Pass key= where the stream is"
            " declared, or re-keyed.",
        )
    stores = [store_of(state, f"{name}-{ending}", key) for _, ending, state in states]
    if has_timers or any(state.ttl_ms for _, _, state in states):
        timers = StoreDefinition(f"{name}-{TIMERS}", packed(key, TIMERS), FiledSerde())
        stores.append(timers)
    if begins:
        stores.append(StoreDefinition(f"{name}-{BEGUN}", key, BYTES))
    return tuple(stores)


def _result(kind: type) -> DataType:
    """Return what a class says that it hands on: R of Processor[K, V, R]."""
    arguments = _arguments(kind)
    return hinted(arguments[2]) if arguments and len(arguments) == 3 else UNKNOWN


def _arguments(kind: Any) -> tuple[Any, ...] | None:
    """Return the types that stand for those of Processor in a class, however it derives."""
    bases: Any = kind.__dict__.get("__orig_bases__", kind.__bases__)
    for base in bases:
        origin: Any = typing.get_origin(base) or base
        if not _derives(origin):
            continue
        given = typing.get_args(base)
        if origin is Processor:
            return given
        arguments = _arguments(origin)
        known: Any = dict(zip(getattr(origin, "__parameters__", ()), given, strict=False))
        return arguments and tuple(
            known.get(of, of) if isinstance(of, TypeVar | typing.TypeVar) else of
            for of in arguments
        )
    return None


def _wrong(name: str, what: str) -> TopologyError:
    return TopologyError(f"Process {name!r} {what}", operator="process")
