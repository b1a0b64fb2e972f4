"""What Confluent's client leaves open of a registry's answer: how large it is, how long it takes.

Its `timeout` holds for each wait on the network, so an answer that comes byte by byte would
never end, and it is read whole whatever its size. httpx2, which it uses, is of an extra.
"""

import time
from collections.abc import Iterator
from typing import Any

import httpx2

from penstock.serde.registry import AnswerTooLarge

MAX_ANSWER_BYTES = 4 * 1024 * 1024  # JSON says a schema of a MiB in at most three


def bound(session: Any, timeout: float) -> None:
    """Hold the answers of a session against limits while they arrive.

    Args:
        session: of httpx2.
        timeout: seconds that the body of an answer may take.
    """

    def on_response(response: httpx2.Response) -> None:
        response.stream = _Bounded(response.stream, timeout)

    # Compressed, few bytes could become many.
    session.headers["Accept-Encoding"] = "identity"
    session.event_hooks = {"response": [_refuse_compressed, on_response]}


def _refuse_compressed(response: httpx2.Response) -> None:
    if response.headers.get("Content-Encoding", "identity") != "identity":
        raise httpx2.DecodingError("the answer is compressed, which was not asked for")


class _Bounded(httpx2.SyncByteStream):
    def __init__(self, stream: Any, timeout: float) -> None:
        self._stream = stream
        self._timeout = timeout

    def __iter__(self) -> Iterator[bytes]:
        until = time.monotonic() + self._timeout
        left = MAX_ANSWER_BYTES
        for part in self._stream:
            left -= len(part)
            if left < 0:
                raise AnswerTooLarge(f"its answer has more than {MAX_ANSWER_BYTES} bytes")
            if time.monotonic() > until:
                raise httpx2.ReadTimeout(f"the answer takes more than {self._timeout:g} s")
            yield part

    def close(self) -> None:
        self._stream.close()
