"""Listener: what a user wants to be told of a running query."""

from typing import TYPE_CHECKING

from penstock.query.events import Idle, Rebalance, Restored
from penstock.query.progress import Progress

if TYPE_CHECKING:
    from penstock.query.query import Query


class Listener:
    """Override what you want to hear of: `app.start(listeners=[MyListener()])`.

    Each listener is called in a thread of its own, one call at a time. One that raises is named
    in the log and called again next time; one that is too slow misses what it has no time for,
    and the log says how much. Neither stops or slows the query.
    """

    def on_query_started(self, query: "Query") -> None:
        """The query begins to run in this process.

        Args:
            query: the handle on it.
        """

    def on_query_progress(self, query: "Query", progress: Progress) -> None:
        """Batches were committed, at most once a second.

        Args:
            query: the handle on it.
            progress: what they did.
        """

    def on_query_idle(self, query: "Query", idle: Idle) -> None:
        """No record has come for ten seconds; told again each ten seconds.

        Args:
            query: the handle on it.
            idle: when, and whether records wait all the same.
        """

    def on_rebalance(self, query: "Query", rebalance: Rebalance) -> None:
        """The group has given partitions to this worker, or taken some.

        Args:
            query: the handle on it.
            rebalance: which ones, and what the worker has now.
        """

    def on_restore(self, query: "Query", restored: Restored) -> None:
        """Stores were restored, and their partitions run.

        Args:
            query: the handle on it.
            restored: how many, and how long it took.
        """

    def on_query_terminated(self, query: "Query", error: Exception | None) -> None:
        """The query has ended in this process.

        Args:
            query: the handle on it.
            error: what ended it; None where it was stopped.
        """
