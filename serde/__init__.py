"""Serdes: how keys and values become bytes. `serde.json(Order)`, or a type's own.

A type is enough almost everywhere: `str`, `int`, `float` and `bytes` have Kafka's own
formats, everything else is JSON by msgspec. Avro is asked for: `serde.avro(Order)`; so are
windowed keys in Kafka Streams' formats: `serde.time_windowed(str, "1m")`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from penstock.serde.json_serde import json
from penstock.serde.types import Serde
from penstock.serde.windowed import session_windowed, time_windowed

if TYPE_CHECKING:
    from penstock.serde.avro_guard import AvroLimits
    from penstock.serde.avro_serde import avro

__all__ = ["AvroLimits", "Serde", "avro", "json", "session_windowed", "time_windowed"]

# fastavro takes 40 ms to load, which only those pay who use it.
_HOMES = {"AvroLimits": "penstock.serde.avro_guard", "avro": "penstock.serde.avro_serde"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'penstock.serde' has no attribute {name!r}")
