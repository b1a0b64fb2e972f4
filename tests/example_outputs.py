"""What the examples have to put out, recounted from their events without the framework."""

import json
import math
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

from penstock import examples

FOLDER = Path(str(examples.__file__)).parent
RADIUS_KM = 6371.0


def events(example: str) -> list[tuple[str | None, str]]:
    """Return keys and values as they stand in the file."""
    rows = (FOLDER / f"{example.replace('-', '_')}.tsv").read_text().splitlines()
    return [
        (a if tab else None, b if tab else a) for a, tab, b in (r.partition("\t") for r in rows)
    ]


def views_per_user() -> dict[str, int]:
    views = [json.loads(value) for _, value in events("quickstart")]
    return Counter(view["user"] for view in views if view["page"] != "/health")


def words() -> dict[str, int]:
    """Letters and apostrophes make words; quotation marks are no apostrophes here."""
    text = " ".join(value for _, value in events("word-count")).lower()
    return Counter("".join(c if c.isalpha() or c == "'" else " " for c in text).split())


def modes() -> tuple[dict[str, int], dict[tuple[str, int], int]]:
    """Count by word; and by book and minute, of the minutes that a later line has closed."""
    words, minutes, newest = Counter[str](), Counter[tuple[str, int]](), Counter[str]()
    for book, value in events("output-modes"):
        line = json.loads(value)
        found = "".join(c if c.isalpha() else " " for c in line["text"].lower()).split()
        minute = line["at"] // 60_000
        words.update(found)
        minutes[str(book), minute] += len(found)
        newest[str(book)] = max(newest[str(book)], minute)
    return words, {at: n for at, n in minutes.items() if at[1] < newest[at[0]]}


def station_totals() -> dict[str, dict[str, Any]]:
    durations: dict[str, list[int]] = defaultdict(list)
    for _, value in events("several-workers"):
        trip = json.loads(value)
        if trip["duration_s"] >= 60:
            durations[trip["start_station"]].append(trip["duration_s"])
    return {
        station: {"trips": len(found), "minutes": sum(found) / 60}
        for station, found in durations.items()
    }


def machine_faults() -> list[tuple[str, dict[str, Any]]]:
    """Look behind each hot reading, machine by machine, from the end of the last fault on."""
    machines: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for machine, value in events("machine-faults"):
        machines[str(machine)].append(json.loads(value))
    found: list[tuple[str, dict[str, Any]]] = []
    for machine, readings in machines.items():
        at = 0
        while at < len(readings):
            fault, stop = _fault(readings, at)
            found += [(machine, fault)] if fault else []
            at = stop
    return found


def _fault(readings: list[dict[str, Any]], at: int) -> tuple[dict[str, Any] | None, int]:
    """Return the fault that begins with a reading, if there is one, and where to look next."""
    hot = readings[at]
    if hot["celsius"] <= 90 or readings[-1]["at"] <= hot["at"] + 300:
        return None, at + 1
    near = [n for n in range(at + 1, len(readings)) if readings[n]["at"] <= hot["at"] + 300]
    hotter = [n for n in near if readings[n]["celsius"] > hot["celsius"] + 5][:1]
    shaken = [n for n in near if hotter and n > hotter[0] and readings[n]["vibration"] > 5]
    if not shaken or any(readings[n].get("reset") for n in near if n > shaken[0]):
        return None, at + 1
    fault = {
        "hot_at": hot["at"],
        "celsius": readings[hotter[0]]["celsius"],
        "shaken": len(shaken),
        "vibration": max(readings[n]["vibration"] for n in shaken),
    }
    return fault, shaken[-1] + 1


def average_power() -> list[tuple[str, float]]:
    found: list[tuple[str, float]] = []
    for meter, value in events("dead-letters"):
        try:
            reading = json.loads(value)
            found.append((str(meter), float(reading["kwh"]) * 60 / reading["minutes"]))
        except (ValueError, ZeroDivisionError):
            continue
    return found


def distance_km(start: tuple[float, float], end: tuple[float, float]) -> float:
    """The angle between two vectors from the centre of the earth, times its radius."""
    a, b = map(_vector, (start, end))
    return RADIUS_KM * math.acos(sum(x * y for x, y in zip(a, b, strict=True)))


def _vector(at: tuple[float, float]) -> tuple[float, float, float]:
    latitude, longitude = map(math.radians, at)
    across = math.cos(latitude)
    return across * math.cos(longitude), across * math.sin(longitude), math.sin(latitude)
