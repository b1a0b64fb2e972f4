"""Enrich each record by a function: flights get the cities and the distance.

It reads `flights`, looks both airports up in a table in memory, and writes `flights-enriched`; keys
and timestamps stay. A batch that fails is read again, and its functions are called again: a table
gives the same answer then, a call over the network is made twice. A flight with an airport that is
not in the table fails, and goes to `flights-unknown` as it came.
"""

from math import asin, cos, radians, sin, sqrt

import msgspec

import penstock as ps

AIRPORTS = {  # the city; latitude and longitude in degrees
    "FRA": ("Frankfurt", (50.0333, 8.5706)),
    "GRU": ("São Paulo", (-23.4356, -46.4731)),
    "HND": ("Tokyo", (35.5523, 139.7798)),
    "JFK": ("New York", (40.6398, -73.7789)),
    "LHR": ("London", (51.4706, -0.4619)),
    "SIN": ("Singapore", (1.3502, 103.9944)),
}


class Flight(msgspec.Struct):
    origin: str
    destination: str
    departure: str  # ISO 8601


class EnrichedFlight(msgspec.Struct):
    origin: str
    destination: str
    km: int
    departure: str


def enrich(flight: Flight) -> EnrichedFlight:
    origin, start = AIRPORTS[flight.origin]
    destination, end = AIRPORTS[flight.destination]
    return EnrichedFlight(origin, destination, round(distance_km(start, end)), flight.departure)


def distance_km(start: tuple[float, float], end: tuple[float, float]) -> float:
    """Measure along the great circle, by the haversine formula."""
    north, south, east = radians(start[0]), radians(end[0]), radians(end[1] - start[1])
    h = sin((south - north) / 2) ** 2 + cos(north) * cos(south) * sin(east / 2) ** 2
    return 2 * 6371.0 * asin(sqrt(h))


app = ps.App("flights", on_error=ps.dead_letter("flights-unknown"))

(
    app.stream("flights", key=str, value=Flight, timestamp="departure", unit="iso")
    .map(enrich)
    .to("flights-enriched")
)

if __name__ == "__main__":
    app.run()
