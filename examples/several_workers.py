"""Share the work of one application: two workers add up bike trips per station.

    penstock run several_workers.py --workers 2

A worker is a process with partitions of its own, their state on its disk, and one transaction at a
time. Any number may join, leave or be killed, on one host or many: Kafka's group protocol moves the
partitions, changelog topics bring the state, and every trip is counted once. A trip lies in the
partition of its bike; `group_by` sends it to the worker that has its station.
"""

import msgspec

import penstock as ps


class Trip(msgspec.Struct):
    bike: int
    start_station: str
    started: int  # milliseconds since the epoch
    duration_s: int


class StationTotal(msgspec.Struct):
    trips: int = 0
    minutes: float = 0.0


def add(total: StationTotal, trip: Trip) -> StationTotal:
    total.trips += 1
    total.minutes = round(total.minutes + trip.duration_s / 60, 2)
    return total


app = ps.App("bike-stations")

(
    app.stream("bike-trips", key=str, value=Trip, timestamp="started")
    .filter(lambda trip: trip.duration_s >= 60)  # put back at once: no trip
    .group_by("start_station", name="by-station")
    .aggregate(StationTotal, add, name="totals-per-station")
    .to("station-totals")
)

if __name__ == "__main__":
    app.run()
