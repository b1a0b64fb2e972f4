"""Count activity by user in windows of ten minutes, one every five: each once, when it has closed.

It reads `activity`: what phones have felt, a record per reading, under the phone's name. The counts
are by user, so `group_by` sends the readings to the worker that has the user. Phones are out of
reach at times, so readings come late and out of order: `with_watermark` lets a window wait until
event time is ten minutes behind its end. Then it closes, and its result is final: that is the
append mode. Windows that wait for time to go on when the events are over have no result.
"""

import msgspec

import penstock as ps


class Activity(msgspec.Struct):
    User: str
    gt: str  # the activity, such as "walk"
    Creation_Time: int  # nanoseconds since the epoch


app = ps.App("phone-activity")

(
    app.stream("activity", key=str, value=Activity, timestamp="Creation_Time", unit="ns")
    .with_watermark("10m")
    .group_by("User", key=str, name="by-user")
    .window(ps.hopping("10m", "5m"))
    .count(name="count-per-user")
    .to("activity-per-user", output_mode="append")
)

if __name__ == "__main__":
    app.run()
