"""The stores that an application declares, held against those that the last commit knew.

A name is the identity of a store's state. What was committed under a name says how it was
written, so a changed definition is found out; and a store that was renamed would begin empty
without a word, so that is refused too. Names are committed as hashes: which they are, the
changelog topics on the cluster tell.
"""

import logging

from penstock.engine.metadata import Metadata, short_hash
from penstock.errors import TopologyError
from penstock.state.definition import StoreDefinition
from penstock.topics.admin import Admin
from penstock.topology.graph import Topology

log = logging.getLogger("penstock")

_SUFFIX = "-changelog"


class Definitions:
    """Compare the stores of tasks with what stands in their committed metadata.

    Args:
        topology: the application.
        admin: knows the changelog topics.
    """

    def __init__(self, topology: Topology, admin: Admin) -> None:
        self._application = topology.application
        self._admin = admin
        self._declared = {short_hash(store.name) for node in topology for store in node.stores}
        self._told: set[int] = set()

    def check(self, stores: tuple[StoreDefinition, ...], found: Metadata, where: str) -> bool:
        """Return whether a task has all the stores that its last commit knew.

        Args:
            stores: as the task's sub-topology declares them.
            found: what the last commit has left.
            where: the task.

        Raises:
            TopologyError: if one was written under another definition, or looks renamed.
        """
        for store in stores:
            before = found.stores.get(short_hash(store.name))
            if before is not None and before != store.describe():
                raise _changed(store, before, where)
        gone = {name: of for name, of in found.stores.items() if name not in self._declared}
        for store in stores:
            if short_hash(store.name) not in found.stores and store.describe() in gone.values():
                old = next(name for name, of in gone.items() if of == store.describe())
                raise self._renamed(self._name(old), store, where)
        self._tell(gone, where)
        return not gone

    def _tell(self, gone: dict[int, str], where: str) -> None:
        """Say once of each store that nobody keeps it any more."""
        for name, definition in gone.items():
            if name not in self._told:
                self._told.add(name)
                log.warning(
                    "The store %s (%s), which %s had, is not declared any more: its state stays"
                    " as it is.", self._name(name), definition, where,
                )  # fmt: skip

    def _name(self, hashed: int) -> str:
        prefix = f"{self._application}-"
        names = (
            topic.removeprefix(prefix).removesuffix(_SUFFIX)
            for topic in self._admin.topics()
            if topic.startswith(prefix) and topic.endswith(_SUFFIX)
        )
        known = next((name for name in names if short_hash(name) == hashed), None)
        return repr(known) if known else "of unknown name"

    def _renamed(self, old: str, store: StoreDefinition, where: str) -> TopologyError:
        return TopologyError(
            f"The store {old} of {where} is not declared any more, and {store.name!r} is new and"
            f" of the same kind ({store.describe()}). If it was renamed, it would begin empty:"
            " names are the identity of state. Nothing was read. Give it back its old name, or"
            f" start over: penstock reset {self._application} --to earliest --state. If the two"
            f" have nothing in common, run the application once without {store.name!r}.",
            store=store.name,
        )


def _changed(store: StoreDefinition, before: str, where: str) -> TopologyError:
    return TopologyError(
        f"The store {store.name!r} was written as '{before}' (committed for {where}),"
        f" and is now declared as '{store.describe()}': its state would be misread."
        " Give the store a new name to begin anew, or restore the declaration.",
        store=store.name,
    )
