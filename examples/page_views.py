"""Count page views per user, exactly once.

It reads the topic `page-views` and writes every new count to `views-per-user`; both have to
exist. The brokers are those of PENSTOCK_BROKERS, or localhost:9092.
"""

import msgspec

import penstock as ps


class PageView(msgspec.Struct):
    user: str
    page: str
    at: int  # milliseconds since the epoch


app = ps.App("page-views")

(
    app.stream("page-views", key=str, value=PageView, timestamp="at")
    .filter(lambda view: view.page != "/health")
    .group_by_key()
    .count(name="views-per-user")
    .to("views-per-user")
)

if __name__ == "__main__":
    app.run()
