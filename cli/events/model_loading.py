"""From what stands behind `--model` to a type and its serde.

    shop:Order           the class Order of the module shop
    jobs/shop.py:Order   the class Order of a file
    shop.py              the one class of a file that can be sent

It may be a Struct, dataclass or TypedDict, any other type that has a serde, a serde object
(`serde.avro(Order)`), or a `Topic`, which also says what keys are and where event time is.
"""

import dataclasses
import typing
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from penstock import serde as serdes
from penstock.errors import TopologyError
from penstock.operators.fields import fields_of, type_name
from penstock.runtime.loading import load_module
from penstock.serde.types import UNKNOWN, DataType, Serde, data_type
from penstock.topics.topic import Topic

_MOST_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class Model:
    """What events are.

    Attributes:
        name: what it is called in messages.
        type: the Python type.
        serde: how it is written.
        keys: type and serde of the keys, where the model says them.
        timestamp: the field of the event time, where the model says it.
        unit: of that field.
    """

    name: str
    type: Any
    serde: Serde[Any]
    keys: DataType = UNKNOWN
    timestamp: str | None = None
    unit: str = "ms"


def load_model(target: str, *, avro: bool = False, registry: str | None = None) -> Model:
    """Import what a target names.

    Args:
        target: as above.
        avro: whether it is written as Avro.
        registry: URL of the schema registry, if it is written with one.

    Raises:
        TopologyError: if there is no such thing, or no serde for it.
    """
    place, _, name = target.partition(":")
    module = load_module(place, example="'penstock produce orders --model shop.py:Order'")
    found = getattr(module, name, None) if name else _only(module, place)
    model = _model(found, name or type_name(found))
    if model is None:
        wrong = f"has no {name!r}" if found is None else f"has {name!r}, of which no events can be"
        raise TopologyError(f"{place} {wrong}. {_choices(module)}")
    if avro:
        model = dataclasses.replace(model, serde=_avro(model, registry))
    return model


def _avro(model: Model, registry: str | None) -> Serde[Any]:
    if model.type is None or (typing.get_origin(model.type) is None and not _is_class(model.type)):
        raise TopologyError(
            f"--avro derives a schema from a type, and {model.name} is none. Name a class, or a"
            " serde.avro(...) with the schema."
        )
    made: Serde[Any] = serdes.avro(model.type, registry=registry)
    return made


def _model(found: Any, name: str) -> Model | None:
    if isinstance(found, Topic):
        timestamp = found.timestamp if isinstance(found.timestamp, str) else None
        value, keys = found.value_type, found.key_type
        keys = UNKNOWN if keys.type is bytes else keys
        return _typed(name, value, keys=keys, timestamp=timestamp, unit=found.unit)
    if not isinstance(found, type) and isinstance(found, Serde):
        return _typed(name, data_type(found))
    if _is_class(found) or typing.get_origin(found) is not None:
        return _typed(name, data_type(found))
    return None


def _typed(name: str, value: DataType, **options: Any) -> Model:
    if value.type is None or value.serde is None:
        raise TopologyError(
            f"{name} says not what type its values are, so none can be made up. Name the class:"
            f" --model module:Class."
        )
    return Model(name=name, type=value.type, serde=value.serde, **options)


def _is_class(found: Any) -> bool:
    return isinstance(found, type) and not issubclass(found, BaseException)


def _only(module: ModuleType, place: str) -> Any:
    found = _models(module)
    if len(found) != 1:
        raise TopologyError(f"{place} does not say which class is meant. {_choices(module, place)}")
    return getattr(module, found[0])


def _choices(module: ModuleType, place: str = "") -> str:
    found = _models(module)
    if not found:
        return "It has no Struct, dataclass or TypedDict: declare one there, or name another file."
    shown = ", ".join(found[:_MOST_SHOWN]) + (", ..." if len(found) > _MOST_SHOWN else "")
    example = f" Name one: --model {place}:{found[0]}." if place else ""
    return f"Its classes that can be sent: {shown}.{example}"


def _models(module: ModuleType) -> list[str]:
    """Return the names of the classes with fields that a module declares itself."""
    return [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__ and fields_of(value)
    ]
