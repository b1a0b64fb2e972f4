"""What has a store that can be read: a table."""

from typing import Generic

from typing_extensions import TypeVar

K_co = TypeVar("K_co", covariant=True)
V_co = TypeVar("V_co", covariant=True)


class Stored(Generic[K_co, V_co]):
    """A table, as far as `query.store(table)` needs to know it."""

    @property
    def name(self) -> str:
        """The name of its store."""
        raise NotImplementedError
