"""Serdes: how keys and values become bytes. `serde.json(Order)`, or a type's own.

A type is enough almost everywhere: `str`, `int`, `float` and `bytes` have Kafka's own
formats, everything else is JSON by msgspec.
"""

from penstock.serde.json_serde import json
from penstock.serde.types import Serde

__all__ = ["Serde", "json"]
