"""State of a processor, as its class declares it: a value, a list or a map for each key.

What a class declares says which stores there are. A task binds it to its own stores, in `bound`;
what is not bound belongs to no key and raises.
"""

from collections.abc import Iterator
from typing import Any, Generic, NoReturn

from typing_extensions import TypeVar

from penstock.durations import Duration, milliseconds
from penstock.errors import TopologyError
from penstock.operators.moment import outside
from penstock.operators.processor import Kept
from penstock.serde.primitives import BYTES
from penstock.serde.timers import packed
from penstock.serde.types import DataType, Serde, Spec, data_type, is_immutable
from penstock.state.definition import StoreDefinition

T = TypeVar("T")
MK = TypeVar("MK")


class State(Kept):
    """What all of them have.

    Attributes:
        value: type and serde of what is kept.
        ttl_ms: how long it is kept without being written, 0 for ever.
        name: what the store is called behind the name of the process, None for the attribute.
    """

    def __init__(self, type: Any, ttl: Duration | None, name: str | None) -> None:
        self.value: DataType = type if isinstance(type, DataType) else data_type(type)
        self.ttl_ms = 0 if ttl is None else milliseconds(ttl)
        self.name = name
        self.owner: tuple[str, str] | None = None
        self.shared = False
        if ttl is not None and self.ttl_ms < 1:
            raise TopologyError(
                f"ttl={ttl!r} of a {self.__class__.__name__} is nothing: it would never be there."
                " Use 1 ms or more, or leave it out to keep it for ever.",
                operator="process",
            )

    def __set_name__(self, owner: type, name: str) -> None:
        place = (owner.__qualname__, name)
        self.shared = self.shared or self.owner not in (None, place)
        self.owner = self.owner or place

    @property
    def serde(self) -> Serde[Any]:
        """The serde of what is kept."""
        assert self.value.serde is not None
        return self.value.serde

    @property
    def shown(self) -> str:
        """What messages call it."""
        return f"self.{self.owner[1] if self.owner else 'state'}"

    def _refuse(self) -> NoReturn:
        raise outside(self.shown)


class ValueState(State, Generic[T]):
    """One value for each key.

    Args:
        type: type or serde of the value.
        ttl: how long the value is kept without being written, by event time; for ever if left out.
        name: the end of the store's name, `<process name>-<name>`; the attribute's if left out.

    Raises:
        TopologyError: if there is no serde for the type, or ttl is nothing.
    """

    def __init__(
        self, type: Spec[T], *, ttl: Duration | None = None, name: str | None = None
    ) -> None:
        super().__init__(type, ttl, name)

    def get(self) -> T | None:
        """Return the value of the key, None where there is none.

        It is a copy where it can be changed: what is changed in it has to be `set`.
        """
        self._refuse()

    def set(self, value: T) -> None:
        """Keep a value for the key.

        Args:
            value: of the declared type; None clears it.

        Raises:
            Exception: whatever the serde raises where the value has another type.
        """
        self._refuse()

    def clear(self) -> None:
        """Forget the value of the key."""
        self._refuse()


class ListState(State, Generic[T]):
    """A list for each key. Each element is stored by itself: to append costs one of them.

    Args:
        type: type or serde of an element.
        ttl: how long the list is kept without being appended to, as for `ValueState`.
        name: the end of the store's name, as there.

    Raises:
        TopologyError: as there.
    """

    def __init__(
        self, type: Spec[T], *, ttl: Duration | None = None, name: str | None = None
    ) -> None:
        super().__init__(type, ttl, name)

    def append(self, value: T) -> None:
        """Put an element at the end.

        Args:
            value: of the declared type.

        Raises:
            Exception: whatever the serde raises where the value has another type.
        """
        self._refuse()

    def __iter__(self) -> Iterator[T]:
        """Go through the elements that are there now, in the order in which they came."""
        self._refuse()

    def __len__(self) -> int:
        """Return how many elements there are."""
        self._refuse()

    def clear(self) -> None:
        """Forget all elements of the key."""
        self._refuse()


class MapState(State, Generic[MK, T]):
    """A map for each key. Each entry is stored by itself: to set one does not write the others.

    Args:
        key_type: type or serde of the map's own keys.
        type: type or serde of its values.
        ttl: how long an entry is kept without being written, as for `ValueState`.
        name: the end of the store's name, as there.

    Raises:
        TopologyError: as there.
    """

    def __init__(
        self,
        key_type: Spec[MK],
        type: Spec[T],
        *,
        ttl: Duration | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(type, ttl, name)
        self.key: DataType = data_type(key_type, key=True)

    def get(self, key: MK) -> T | None:
        """Return what a key of the map has, None where it is not there.

        Args:
            key: of the map.
        """
        self._refuse()

    def set(self, key: MK, value: T) -> None:
        """Set what a key of the map has; `state[key] = value` does the same.

        Args:
            key: of the map.
            value: of the declared type; None deletes the entry.

        Raises:
            Exception: whatever a serde raises where one of them has another type.
        """
        self._refuse()

    def delete(self, key: MK) -> None:
        """Delete an entry, if there is one.

        Args:
            key: of the map.
        """
        self._refuse()

    def items(self) -> list[tuple[MK, T]]:
        """Return all keys with their values, in the order of insertion where none was deleted."""
        self._refuse()

    def keys(self) -> list[MK]:
        """Return all keys of the map, in the order of `items`."""
        self._refuse()

    def values(self) -> list[T]:
        """Return all values, in the order of `items`."""
        self._refuse()

    def clear(self) -> None:
        """Delete all entries of the key."""
        self._refuse()

    def __getitem__(self, key: MK) -> T:
        found = self.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def __setitem__(self, key: MK, value: T) -> None:
        self.set(key, value)

    def __delitem__(self, key: MK) -> None:
        if key not in self:
            raise KeyError(key)
        self.delete(key)

    def __contains__(self, key: MK) -> bool:
        return self.get(key) is not None

    def __iter__(self) -> Iterator[MK]:
        return iter(self.keys())

    def __len__(self) -> int:
        self._refuse()


def store_of(state: State, name: str, key: Serde[Any]) -> StoreDefinition:
    """Return the store of a state: values by their key, what there are several of by theirs too.

    Args:
        state: as declared.
        name: of the store.
        key: of the keys that it is kept by.
    """
    value = packed(state.serde)
    if isinstance(state, MapState):
        own: DataType = state.key
        return StoreDefinition(name, packed(own.serde or BYTES, f"map {packed(key).format}"), value)
    if isinstance(state, ListState):
        return StoreDefinition(name, packed(key, "list"), value)
    if is_immutable(state.serde):
        return StoreDefinition(name, key, state.serde)
    return StoreDefinition(name, key, value, state.serde.decode)
