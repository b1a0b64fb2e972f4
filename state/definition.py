"""The definition of a store: its name, kind and formats. Names are the identity of state.

The definition is committed with the offsets and compared at the next start: state written
under another one would be misread.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from penstock.errors import TopologyError
from penstock.serde.types import Serde, format_of

MAX_NAME = 200  # Kafka takes 249 characters for `<application id>-<name>-changelog`
_NAME = re.compile(r"[a-zA-Z0-9_-][a-zA-Z0-9._-]*")


@dataclass(frozen=True)
class StoreDefinition:
    """A key-value store, one per partition of its task.

    Attributes:
        name: unique in the application, part of its changelog topic and directory.
        key: serde of its keys.
        value: serde of its values.
        result: what a reader is shown of a value, None for the value itself; no part of what
            the store holds.
    """

    name: str
    key: Serde[Any]
    value: Serde[Any]
    result: Callable[[Any], Any] | None = field(default=None, compare=False, repr=False)

    def describe(self) -> str:
        """Return the definition as text; equal text means that state can be read."""
        return f"key-value {format_of(self.key)} {format_of(self.value)}"

    def changelog(self, application: str) -> str:
        """Return the name of its changelog topic, as Kafka Streams names it."""
        return f"{application}-{self.name}-changelog"


def is_name(name: object) -> bool:
    """Whether a name is safe in topics and paths."""
    return isinstance(name, str) and bool(_NAME.fullmatch(name)) and len(name) <= MAX_NAME


def same_place(name: str) -> str:
    """Return what two names have in common that cannot stand beside each other.

    File systems may ignore case, and Kafka takes no two topics that differ in `.` and `_` only.

    >>> same_place("By.User") == same_place("by_user")
    True
    """
    return name.lower().replace(".", "_")


def check_name(name: str, what: str) -> str:
    """Return a name that is safe in topics and paths.

    Raises:
        TopologyError: if it has other characters than letters, digits, `.`, `_` and `-`,
            begins with a dot, or is longer than 200 characters.
    """
    if not is_name(name):
        raise TopologyError(
            f"{name!r} cannot be the name of {what}: it becomes part of topics and folders."
            f" Use letters, digits, '.', '_' and '-', not a dot first, at most {MAX_NAME}"
            " characters."
        )
    return name
