"""What Confluent's client leaves open of a registry's answer: how large it is, how long it takes.

Its `timeout` holds for each wait on the network, so an answer that comes byte by byte would
never end, and it is read whole whatever its size. httpx2, which it uses, is of an extra.
"""

import time
from collections.abc import Iterable, Iterator
from typing import Any

MAX_ANSWER_BYTES = 4 * 1024 * 1024  # JSON says a schema of a MiB in at most three


class AnswerTooLarge(ValueError):
    """The registry's answer has more bytes than it may have."""


def bound(session: Any, timeout: float) -> None:
    """Hold the answers of a session against limits while they arrive.

    Args:
        session: of httpx2.
        timeout: seconds that the body of an answer may take.
    """
    import httpx2

    class Bounded(httpx2.SyncByteStream):
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        def __iter__(self) -> Iterator[bytes]:
            late = httpx2.ReadTimeout(f"the answer takes more than {timeout:g} s")
            return _within_limits(self._stream, timeout, late)

        def close(self) -> None:
            self._stream.close()

    def on_response(response: httpx2.Response) -> None:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise httpx2.DecodingError("the answer is compressed, which was not asked for")
        response.stream = Bounded(response.stream)

    # Compressed, few bytes could become many.
    session.headers["Accept-Encoding"] = "identity"
    session.event_hooks = {"response": [on_response]}


def _within_limits(parts: Iterable[bytes], timeout: float, late: Exception) -> Iterator[bytes]:
    until = time.monotonic() + timeout
    left = MAX_ANSWER_BYTES
    for part in parts:
        left -= len(part)
        if left < 0:
            raise AnswerTooLarge(f"its answer has more than {MAX_ANSWER_BYTES} bytes")
        if time.monotonic() > until:
            raise late
        yield part
