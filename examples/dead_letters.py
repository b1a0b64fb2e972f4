"""Put records that fail aside, in the transaction of their neighbours.

It reads meter readings and writes the average power of each interval. A reading that is no JSON,
has the wrong type, or makes a function raise, goes to `readings-dead`: key, value, timestamp and
headers as they came, and headers `__penstock.error.*` that say what happened. More failures in a
row than `max_run` are no fault of the records: they stop the application.

    penstock dead-letters list readings-dead
    penstock dead-letters redrive readings-dead     # once the cause is mended
"""

import msgspec

import penstock as ps


class Reading(msgspec.Struct):
    kwh: float  # since the last reading
    minutes: float
    at: int  # end of the interval, seconds since the epoch


class Power(msgspec.Struct):
    kw: float
    at: int


def average(reading: Reading) -> Power:
    return Power(round(reading.kwh / (reading.minutes / 60), 3), reading.at)


app = ps.App("meter-power", on_error=ps.dead_letter("readings-dead", max_run=10))

(
    app.stream("meter-readings", key=str, value=Reading, timestamp="at", unit="s")
    .map(average)
    .to("meter-power")
)

if __name__ == "__main__":
    app.run()
