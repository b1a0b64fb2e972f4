"""Forwarding: a question about a table to the worker that has the answer.

Rule 1: a question is forwarded once. It says so, and for whom it is meant: who is not that worker,
        or does not have what is asked for, answers that it was moved.
Rule 2: what another worker says is bounded in time and in size; redirects are not followed.
"""

import http.client
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, urlencode

from penstock.query.peers import Peer

TO, FROM = "penstock-to", "penstock-forwarded"
TIMEOUT_S = 3.0
MOST_BYTES = 32 * 1024 * 1024


class Unreachable(Exception):
    """A worker does not answer, or not as one of ours does."""


class Answered(NamedTuple):
    """What a worker has answered.

    Attributes:
        status: the code.
        body: JSON.
    """

    status: int
    body: bytes


def ask(
    peer: Peer, parts: tuple[str, ...], query: Mapping[str, str], *, sender: str, token: str | None
) -> Answered:
    """Ask a worker, in a thread that may wait.

    Args:
        peer: whom.
        parts: of the path.
        query: the parameters.
        sender: who asks.
        token: what to show.

    Raises:
        Unreachable: if there is no answer.
    """
    path = "/".join(quote(part, safe="") for part in ("", *parts))
    target = f"{path}?{urlencode(query)}" if query else path
    headers = {FROM: sender, TO: peer.instance_id, "connection": "close"}
    if token:
        headers["authorization"] = f"Bearer {token}"
    connection = http.client.HTTPConnection(peer.address, peer.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", target, headers=headers)
        found = connection.getresponse()
        body = found.read(MOST_BYTES + 1)
        if found.getheader("content-type") != "application/json" or len(body) > MOST_BYTES:
            raise Unreachable(f"{peer} does not answer as a worker does")
        return Answered(found.status, body)
    except (OSError, http.client.HTTPException, ValueError, OverflowError) as error:
        raise Unreachable(f"{peer} does not answer: {type(error).__name__}") from error
    finally:
        connection.close()
