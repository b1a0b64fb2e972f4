"""Listener: what a user wants to be told of a running query."""

from typing import TYPE_CHECKING

from penstock.query.events import Idle, Rebalance, Restored
from penstock.query.progress import Progress

if TYPE_CHECKING:
    from penstock.query.query import Query


class Listener:
    """Override what you want to hear of: `app.start(listeners=[MyListener()])`.

    Each listener is called in a thread of its own, one call at a time, in the order in which
    things happen. One that raises is named in the log and called again next time; one that is too
    slow misses what it has no time for, and the log says how much. Neither stops or slows the
    query. At the end all listeners together have two seconds to hear what they have not heard yet.

    In a call the query may be looked at and stopped: `query.stop()` returns at once there. What
    would wait for the query, such as `await_termination()`, is refused.
    """

    def on_query_started(self, query: "Query") -> None:
        """The query begins to run in this process, and joins its group.

        A query that fails before that, because a topic or the cluster is not there, tells its end
        only.

        Args:
            query: the query.
        """

    def on_query_progress(self, query: "Query", progress: Progress) -> None:
        """Batches were committed, at most once a second.

        Args:
            query: the query.
            progress: what this worker did since it last told.
        """

    def on_query_idle(self, query: "Query", idle: Idle) -> None:
        """No record has come for ten seconds; told again each ten seconds.

        Args:
            query: the query.
            idle: what waits all the same.
        """

    def on_rebalance(self, query: "Query", rebalance: Rebalance) -> None:
        """The group has given partitions to this worker, or taken some.

        Args:
            query: the query.
            rebalance: which ones, and all that it has now.
        """

    def on_restore(self, query: "Query", restored: Restored) -> None:
        """Stores were restored, and their partitions run.

        Args:
            query: the query.
            restored: how many, of how many records, and how long it took.
        """

    def on_query_terminated(self, query: "Query", error: Exception | None) -> None:
        """The query has ended in this process; nothing is told after that.

        All is committed or aborted, and its partitions are given up. `query.is_active` turns
        False, and those who wait for the end go on, once all listeners have heard of it.

        Args:
            query: the query.
            error: what has ended it, None for a stop.
        """
