"""Drop what was delivered twice: readings of sensors that several gateways hear.

It reads `readings`, which have the gateway as their key, so copies of a reading lie in different
partitions, and a gateway sends again what nobody has acknowledged. `rekey` brings the readings of
a sensor together, and of those with one `event_time` the first is handed on. What is remembered is
forgotten a few minutes of event time later, on disk and in the changelog too. The counts of
`readings-per-sensor` are those of distinct readings.
"""

import msgspec

import penstock as ps


class Reading(msgspec.Struct):
    sensor: str
    event_time: int  # milliseconds since the epoch, by the sensor's clock
    celsius: float


app = ps.App("sensor-readings")

(
    app.stream("readings", key=str, value=Reading, timestamp="event_time")
    .rekey("sensor", key=str, name="by-sensor")
    .drop_duplicates("event_time", within="1m", name="seen")
    .group_by_key()
    .count(name="count-per-sensor")
    .to("readings-per-sensor")
)

if __name__ == "__main__":
    app.run()
