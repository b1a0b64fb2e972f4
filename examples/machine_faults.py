"""Find machines that go wrong: what follows what, and what stays away, within five minutes.

It reads what machines report of themselves, and writes a fault where one was hot, then hotter by
five degrees, then shaking, and nobody has reset it until five minutes after it was hot. That is
known once the machine's event time has passed those minutes. No reading is part of two faults.
"""

import msgspec

import penstock as ps
from penstock import patterns


class Reading(msgspec.Struct):
    celsius: float
    vibration: float  # mm/s
    at: int  # seconds since the epoch
    reset: bool = False


class Fault(msgspec.Struct):
    hot_at: int
    celsius: float  # once it was hotter
    shaken: int  # how often
    vibration: float  # the worst


fault = (
    patterns.begin(Reading)
    .then("hot", lambda reading: reading.celsius > 90)
    .then("hotter", lambda reading, so_far: reading.celsius > so_far["hot"].celsius + 5)
    .one_or_more("shaking", lambda reading: reading.vibration > 5)
    .without("reset", lambda reading: reading.reset)
    .within("5m")
)


def report(found: patterns.Match[Reading]) -> Fault:
    shaken = [reading.vibration for reading in found.all("shaking")]
    return Fault(found["hot"].at, found["hotter"].celsius, len(shaken), max(shaken))


app = ps.App("machine-faults")

(
    app.stream("machine-readings", key=str, value=Reading, timestamp="at", unit="s")
    .match(fault, name="faults")
    .map(report)
    .to("machine-faults")
)

if __name__ == "__main__":
    app.run()
