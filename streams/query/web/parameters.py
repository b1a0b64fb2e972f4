"""Parameters of questions about tables, as the text of a request says them."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request

from penstock.query.layout import Layout, Place, Selection, prefix_of
from penstock.query.web.json_rows import decode_cursor, key_of, prefix_of_text, time_of
from penstock.serde.types import format_of
from penstock.state.definition import StoreDefinition

MOST_ROWS, ROWS = 1_000, 100


class Refused(Exception):
    """There is no answer, and this is why."""

    def __init__(self, status: int, reason: str, error: str) -> None:
        super().__init__(error)
        self.status = status
        self.reason = reason


def parsed(
    store: StoreDefinition, layout: Layout, text: str, parse: Callable[[Layout, str], Any]
) -> Any:
    """Return what a text means.

    Raises:
        Refused: if it means nothing.
    """
    try:
        return parse(layout, text)
    except Exception as error:
        raise Refused(
            400,
            "bad-key",
            f"That is no key of the store {store.name}: its keys are {format_of(layout.key)}.",
        ) from error


def selected_of(request: Request, store: StoreDefinition, layout: Layout) -> Selection:
    """Return which rows are asked for.

    Raises:
        Refused: if it means nothing.
    """
    given = request.query_params
    if "prefix" in given and ("from" in given or "to" in given):
        raise Refused(400, "bad-request", "Pass prefix, or from and to, not both.")
    try:
        if "prefix" in given:
            prefix = parsed(store, layout, given["prefix"], prefix_of_text)
            return layout.beginning(prefix_of(store, layout, prefix))
        if layout.windowed:
            return layout.since(*times_of(request))
        bounds = [
            parsed(store, layout, given[name], key_of) if name in given else None
            for name in ("from", "to")
        ]
        return layout.between(*bounds)
    except TypeError as error:
        raise Refused(400, "bad-key", str(error)) from error


def times_of(request: Request) -> tuple[int | None, int | None]:
    """Return from when to when windows begin.

    Raises:
        Refused: if it means nothing.
    """
    given = request.query_params
    try:
        start, stop = (time_of(given[name]) if given.get(name) else None for name in ("from", "to"))
    except (ValueError, OverflowError) as error:
        raise Refused(
            400, "bad-request", "from and to are times: milliseconds, or ISO 8601."
        ) from error
    if any(at is not None and abs(at) >= 2**62 for at in (start, stop)):
        raise Refused(400, "bad-request", "from and to are times of this age.")
    return start, stop


def limit_of(request: Request) -> int:
    """Return how many rows a page has at most.

    Raises:
        Refused: if it means nothing.
    """
    text = request.query_params.get("limit", str(ROWS))
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= MOST_ROWS):
        raise Refused(400, "bad-request", f"limit is a number of rows, 1 to {MOST_ROWS}.")
    return int(text)


def after_of(request: Request) -> Place | None:
    """Return behind which place a page begins.

    Raises:
        Refused: if it means nothing.
    """
    text = request.query_params.get("after")
    try:
        return decode_cursor(text) if text else None
    except Exception as error:
        why = "after is what the page before has said, as it stands there."
        raise Refused(400, "bad-request", why) from error


def numbers_of(request: Request) -> list[int]:
    """Return which partitions another worker asks for.

    Raises:
        Refused: if it means nothing.
    """
    try:
        return [int(text) for text in request.query_params.get("partitions", "").split(",")]
    except ValueError as error:
        raise Refused(400, "bad-request", "partitions are numbers.") from error
