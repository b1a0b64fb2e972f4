"""Count page views per user, exactly once.

It reads the topic `page-views`, leaves the health checks out, and keeps a count for each user in
RocksDB and in a changelog topic. With each commit it writes the counts that have changed to
`views-per-user`. Both topics have to exist; the brokers are those of PENSTOCK_BROKERS, or
localhost:9092.
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
