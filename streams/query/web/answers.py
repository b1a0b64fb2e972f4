"""Answers: JSON as all endpoints give it, and refusals that say what to do."""

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

JSON = "application/json"
FAILED = "The answer could not be made: the log of the process says why. Try again."


class BrokenOff(Exception):
    """What is passed on has ended in the middle: nothing of ours has failed."""


def answer(found: Any, status: int = 200) -> Response:
    """Return something as JSON: structs, dicts and lists of what JSON knows."""
    return Response(msgspec.json.encode(found), status, media_type=JSON)


def refusal(
    status: int, reason: str, error: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return why there is no answer, as `{"error": a sentence, "reason": a word}`.

    Args:
        status: the code; 404 and 400 are final, 503 may be tried again.
        reason: a word for programs, such as "not-found".
        error: for people: what is wrong and what to do. No text of the request stands in it,
            nor of an exception that may quote records.
        headers: more of them.
    """
    body = msgspec.json.encode({"error": error, "reason": reason})
    return Response(body, status, headers, media_type=JSON)


async def failed(_: Request, __: Exception) -> Response:
    """Return what a caller is told where an endpoint has failed: not why, which the log says."""
    return refusal(500, "failed", FAILED)
