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


def closed_hops() -> dict[tuple[str, int, int], int]:
    """Count by user, start and end of a window, of those that have waited for their ten minutes."""
    found, newest = Counter[tuple[str, int, int]](), 0
    for _, value in events("hopping-count"):
        activity = json.loads(value)
        minute = activity["Creation_Time"] // (60 * 10**9)
        newest = max(newest, minute)
        for start in range(minute - minute % 5 - 5, minute + 1, 5):
            found[activity["User"], start * 60_000, (start + 10) * 60_000] += 1
    return {of: n for of, n in found.items() if of[2] + 10 * 60_000 <= newest * 60_000}


def closed_sessions() -> dict[tuple[str, int, int], dict[str, Any]]:
    """Cut the sorted requests of each user at gaps; leave out what the newest one leaves open."""
    rows = sorted((r["user"], r["event_time"], r["latency_ms"]) for r in _values("session-latency"))
    sessions: list[list[tuple[str, int, float]]] = []
    for row in rows:
        last = sessions[-1][-1] if sessions else ("", 0, 0.0)
        if row[0] != last[0] or row[1] - last[1] > 30 * 60_000:
            sessions.append([])
        sessions[-1].append(row)
    newest = max(at for _, at, _ in rows)
    return {
        (of[0][0], of[0][1], of[-1][1]): {
            "n": len(of),
            "p99": sorted(latency for *_, latency in of)[int(0.99 * len(of))],
        }
        for of in sessions
        if of[-1][1] + 31 * 60_000 < newest
    }


def distinct_readings() -> dict[str, int]:
    distinct = {(reading["sensor"], reading["event_time"]) for reading in _values("deduplication")}
    return Counter(sensor for sensor, _ in distinct)


def alerts() -> list[tuple[str, dict[str, Any]]]:
    """Look back from each large payment; the events are in the order of time."""
    found: list[tuple[str, dict[str, Any]]] = []
    before: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for card, value in events("card-fraud"):
        amount, at = (json.loads(value)[name] for name in ("amount", "at"))
        if amount > 500:
            probes, next_at = 0, at
            for earlier in reversed([then for then, paid in before[str(card)] if paid < 1]):
                if next_at - earlier >= 600_000:
                    break
                probes, next_at = probes + 1, earlier
            if probes >= 3:
                found.append((str(card), {"probes": probes, "amount": amount}))
        before[str(card)].append((at, amount))
    return found


def _values(example: str) -> list[dict[str, Any]]:
    return [json.loads(value) for _, value in events(example)]


def distance_km(start: tuple[float, float], end: tuple[float, float]) -> float:
    """The angle between two vectors from the centre of the earth, times its radius."""
    a, b = map(_vector, (start, end))
    return RADIUS_KM * math.acos(sum(x * y for x, y in zip(a, b, strict=True)))


def _vector(at: tuple[float, float]) -> tuple[float, float, float]:
    latitude, longitude = map(math.radians, at)
    across = math.cos(latitude)
    return across * math.cos(longitude), across * math.sin(longitude), math.sin(latitude)
