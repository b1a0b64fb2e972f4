"""The application of `penstock demo`: page views, which come by page, counted per user."""

import logging
import os

import msgspec

import penstock as ps


class PageView(msgspec.Struct):
    """One view of a page."""

    user: str
    page: str
    at: int


# This switch is not documented: it breaks the promise, with commits so rare that a kill
# always falls between two, so that a test can see the demo's check find it out.
BROKEN = "PENSTOCK_DEMO_BREAK" in os.environ

app = ps.App(
    "page-views",
    state_dir=os.environ.get("PENSTOCK_DEMO_STATE"),
    guarantee="at_least_once" if BROKEN else "exactly_once",
    settings=ps.Settings(
        commit=ps.CommitSettings(interval_ms=3_000, min_interval_ms=3_000)
        if BROKEN
        else ps.CommitSettings()
    ),
)

(
    app.stream("page-views", key=str, value=PageView, timestamp="at")
    .filter(lambda view: view.page != "/health")
    .group_by("user", name="by-user")
    .count(name="views-per-user", emit="every_update")
    .to("views-per-user")
)

if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(message)s")
    app.run()
