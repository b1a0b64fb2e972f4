"""Find the sessions of each user, with how many requests they had and their p99 latency.

It reads `requests`. A session goes on as long as the next request of its user comes within 30
minutes. It is closed, and written to `sessions`, once event time is a minute behind that: so long
it waits for requests that come late. The p99 is estimated by a sketch of bounded size, however
long a session is, and exact for the few requests here. Sketches need an extra package:

    pip install 'penstock[sketches]'
"""

import msgspec

import penstock as ps


class Request(msgspec.Struct):
    user: str
    event_time: int  # milliseconds since the epoch
    latency_ms: float


class Stats(msgspec.Struct):
    n: int
    p99: float


app = ps.App("session-latency")

(
    app.stream("requests", value=Request, timestamp="event_time")
    .group_by("user", key=str, name="by-user")
    .window(ps.session("30m"), grace="1m")
    .agg(Stats, n=ps.count(), p99=ps.quantile("latency_ms", 0.99), name="latency-per-session")
    .to("sessions", output_mode="append")
)

if __name__ == "__main__":
    app.run()
