"""Waiting for one of several queries to end."""

import queue
from collections.abc import Sequence

from penstock.durations import Duration, milliseconds
from penstock.errors import TopologyError
from penstock.query.query import Query


def wait_any(*queries: Query, timeout: Duration | None = None) -> Query | None:
    """Wait until one of several queries has ended, and return it: the first one that does.

    Those that have ended before count too, in the order in which they are given.

        first = ps.wait_any(orders.start(), refunds.start())

    Args:
        queries: those to wait for.
        timeout: how long to wait; left out, as long as it takes.

    Returns:
        the query that has ended, None where none has before the timeout.

    Raises:
        TopologyError: if no query is given, or in a callback of one of them, which would wait for
            itself.
        PenstockError: the error that has ended it; the others go on.
    """
    if not queries:
        raise TopologyError("wait_any() has no query to wait for. Pass what app.start() returns.")
    for query in queries:
        query.refuse_in_callback("wait_any")
    first = first_ended(queries, timeout)
    error = first.exception() if first else None
    if error:
        raise error
    return first


def first_ended(queries: Sequence[Query], timeout: Duration | None = None) -> Query | None:
    """Wait as `wait_any` does, and return what has ended, however it has."""
    ended: queue.SimpleQueue[Query] = queue.SimpleQueue()
    forget = [query.when_ended(ended.put) for query in queries]
    try:
        return ended.get(timeout=None if timeout is None else milliseconds(timeout) / 1000)
    except queue.Empty:
        return None
    finally:
        for each in forget:
            each()
