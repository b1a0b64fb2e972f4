"""A topic as an application declares it: its name, what it holds, and where event time is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, overload

from typing_extensions import TypeVar

from penstock.serde.types import RAW, DataType, Serde, Spec, data_type

K = TypeVar("K")
V = TypeVar("V")
K2 = TypeVar("K2")
V2 = TypeVar("V2")


@dataclass(frozen=True, init=False)
class Topic(Generic[K, V]):
    """A topic with its key and value types, shared by applications and tests.

    Args:
        name: the topic's name.
        key: type or serde of the keys, such as `ps.Windowed[str]` for those of windows; left out,
            keys are raw bytes or None.
        value: type or serde of the values; left out, values are raw bytes or None.
        timestamp: event time, as a field path or a function of the value; left out, it is
            the record's own timestamp.
        unit: unit of the event time: "s", "ms", "us", "ns", or "iso" for text or a datetime.
        config: topic configuration, used where Penstock or a test creates the topic.

    Raises:
        TopologyError: if a type has no serde.
    """

    name: str
    key_type: DataType
    value_type: DataType
    timestamp: str | Callable[[Any], int] | None = None
    unit: str = "ms"
    config: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)

    @overload
    def __init__(
        self: "Topic[bytes | None, Any]",
        name: str,
        *,
        timestamp: str | Callable[[Any], int] | None = None,
        unit: str = "ms",
        config: Mapping[str, str] | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "Topic[bytes | None, V2]",
        name: str,
        *,
        value: Spec[V2],
        timestamp: str | Callable[[V2], int] | None = None,
        unit: str = "ms",
        config: Mapping[str, str] | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "Topic[K2, V2]",
        name: str,
        *,
        key: Spec[K2],
        value: Spec[V2],
        timestamp: str | Callable[[V2], int] | None = None,
        unit: str = "ms",
        config: Mapping[str, str] | None = None,
    ) -> None: ...
    def __init__(
        self,
        name: str,
        *,
        key: Any = None,
        value: Any = None,
        timestamp: str | Callable[[Any], int] | None = None,
        unit: str = "ms",
        config: Mapping[str, str] | None = None,
    ) -> None:
        put = object.__setattr__
        put(self, "name", name)
        put(self, "key_type", RAW if key is None else data_type(key, key=True))
        put(self, "value_type", RAW if value is None else data_type(value))
        put(self, "timestamp", timestamp)
        put(self, "unit", unit)
        put(self, "config", dict(config or {}))

    @property
    def key(self) -> Serde[K]:
        """The serde of the keys."""
        return self.key_type.serde  # type: ignore[return-value]

    @property
    def value(self) -> Serde[V]:
        """The serde of the values."""
        return self.value_type.serde  # type: ignore[return-value]
