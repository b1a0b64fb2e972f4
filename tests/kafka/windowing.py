"""What windows on a real cluster have to be: recounted from the inputs, and read from the outputs."""

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import count

import msgspec

from tests.kafka import checking
from tests.kafka.feeding import BEGIN_MS, Row
from tests.kafka.workers import Application

SIZE_MS, GRACE_MS, GAP_MS = 1_000, 100, 400
SKEW_MS, STEP_MS = 300_000, 40
EVENT_STEP_MS = 7
PARTITIONS, ENDINGS = 4, 40
Wait = Callable[[Callable[[], bool], str], None]
Window = tuple[bytes, int]  # a key, and where its window starts
Session = tuple[bytes, int, int]  # a key, the times of the first and of the last record


def skewed(seed: int = 1) -> Iterator[Row]:
    """Make rows for ever, in order in each of four partitions, which are five minutes apart."""
    draw = random.Random(seed)
    for number in count():
        partition = number % PARTITIONS
        at = BEGIN_MS - SKEW_MS * (partition + 5) + number // PARTITIONS * STEP_MS
        # Every other ten seconds most endings are silent: sessions end.
        few = 3 if at // 10_000 % 2 else ENDINGS
        value = f"word-{draw.randrange(few):02}"
        yield Row(f"key-{partition}-{draw.randrange(5)}", value, at, None, partition)


def events(*, keys: int = 20, seed: int = 1, disorder_ms: int = 400) -> Iterator[Row]:
    """Make rows for ever, out of order, some of them later than the grace."""
    draw = random.Random(seed)
    for number in range(1_000_000):
        at = BEGIN_MS - SKEW_MS + number * EVENT_STEP_MS - draw.randrange(disorder_ms)
        yield Row(f"key-{draw.randrange(keys)}", f"word-{number}", at)


def interpreted(records: Iterable[checking.Record]) -> tuple[dict[int, Counter[Window]], int]:
    """Count as a naive reader does: by partition and window, and how many records were late."""
    clocks: dict[int, int] = defaultdict(lambda: -1)
    counts: dict[int, Counter[Window]] = defaultdict(Counter)
    late = 0
    for record in records:
        clocks[record.partition] = clock = max(clocks[record.partition], record.timestamp)
        start = record.timestamp // SIZE_MS * SIZE_MS
        if start + SIZE_MS + GRACE_MS <= clock:
            late += 1
        else:
            counts[record.partition][record.key or b"", start] += 1
    for partition, of in counts.items():
        for window in [w for w in of if w[1] + SIZE_MS + GRACE_MS > clocks[partition]]:
            del of[window]
    return counts, late


def closed(records: Iterable[checking.Record]) -> list[tuple[Window, int]]:
    """Return the windows of an output in its order, with their counts."""
    found: list[tuple[Window, int]] = []
    for record in records:
        key = msgspec.json.decode(record.key or b"", type=dict[str, object])
        window = (str(key["key"]).encode(), int(str(key["start"])))
        assert key["end"] == window[1] + SIZE_MS
        found.append((window, int.from_bytes(record.value or b"", "big")))
    return found


def check_closed(inputs: Iterable[checking.Record], outputs: Iterable[checking.Record]) -> int:
    """Compare windows that were appended with what a naive reader makes of the inputs.

    Keys stay in their partition, those of results too. Returns how many records are late.
    """
    expected, late = interpreted(inputs)
    by_partition: dict[int, list[checking.Record]] = defaultdict(list)
    for record in outputs:
        by_partition[record.partition].append(record)
    for partition, windows in expected.items():
        found = closed(by_partition[partition])
        assert found == sorted(found, key=lambda of: of[0][1]), "not in the order of time"
        assert len(found) == len(dict(found)), "a window has closed twice"
        assert dict(found) == windows
    return late


def check_in_order(inputs: Iterable[checking.Record], outputs: Iterable[checking.Record]) -> None:
    """The same where each key stays in its partition, but results go where their keys do."""
    expected, late = interpreted(inputs)
    assert late == 0
    found = closed(outputs)
    assert len(found) == len(dict(found)), "a window has closed twice"
    assert dict(found) == {window: n for of in expected.values() for window, n in of.items()}
    starts: dict[bytes, list[int]] = defaultdict(list)
    for (key, start), _ in found:
        starts[key].append(start)
    assert all(of == sorted(of) for of in starts.values()), "not in the order of time"


def check_all(app: Application, wait_until: Wait) -> None:
    """Wait until all windows of `all-windows` are closed, and compare them with the inputs."""
    inputs = app.read_inputs()
    windows, (sessions, open_sessions) = regrouped(inputs), in_sessions(inputs)
    assert len(sessions) > ENDINGS, "hardly a session has ended: that is no test"
    wait_until(lambda: len(app.read_output(1)) >= len(windows), "all windows are closed")
    wait_until(lambda: len(app.read_output(2)) >= len(sessions), "all sessions are closed")
    check_in_order(inputs, app.read_output(0))
    found = closed(app.read_output(1))
    assert len(found) == len(dict(found)), "a window has closed twice"
    assert dict(found) == windows
    assert appended(app.read_output(2)) == sessions
    assert upserted(app.read_output(3)) == sessions | open_sessions


def regrouped(inputs: Iterable[checking.Record]) -> dict[Window, int]:
    """Count all records by ending and window, those left out that may still be open."""
    expected: Counter[Window] = Counter()
    newest = 0
    for record in inputs:
        newest = max(newest, record.timestamp)
        expected[_ending(record), record.timestamp // SIZE_MS * SIZE_MS] += 1
    return {of: n for of, n in expected.items() if of[1] + SIZE_MS <= newest}


def in_sessions(inputs: Iterable[checking.Record]) -> tuple[dict[Session, int], dict[Session, int]]:
    """Count all records by ending and session: those that are closed, and the others."""
    times: dict[bytes, list[int]] = defaultdict(list)
    for record in inputs:
        times[_ending(record)].append(record.timestamp)
    newest = max((max(of) for of in times.values()), default=0)
    found: list[tuple[Session, int]] = []
    for key, of in times.items():
        for at in sorted(of):
            last, n = found[-1] if found else ((b"", 0, 0), 0)
            if last[0] == key and at - last[2] <= GAP_MS:
                found[-1] = (key, last[1], at), n + 1
            else:
                found.append(((key, at, at), 1))
    done = {session: n for session, n in found if session[2] + GAP_MS < newest}
    return done, {session: n for session, n in found if session not in done}


def upserted(outputs: Iterable[checking.Record]) -> dict[Session, int]:
    """Read sessions as one who upserts and deletes by key."""
    found: dict[Session, int] = {}
    for record in outputs:
        session = _session(record)
        if record.value is None:
            assert found.pop(session, None), f"{session} is deleted, and was never there"
        else:
            found[session] = int.from_bytes(record.value, "big")
    return found


def appended(outputs: Iterable[checking.Record]) -> dict[Session, int]:
    """Read sessions, each of which is there once."""
    found: dict[Session, int] = {}
    ends: dict[bytes, int] = {}
    for record in outputs:
        session = _session(record)
        assert session not in found, f"{session} has closed twice"
        assert ends.get(session[0], 0) < session[2], f"{session} is not in the order of time"
        ends[session[0]] = session[2]
        found[session] = int.from_bytes(record.value or b"", "big")
    return found


def _session(record: checking.Record) -> Session:
    key = msgspec.json.decode(record.key or b"", type=dict[str, object])
    return str(key["key"]).encode(), int(str(key["start"])), int(str(key["end"]))


def _ending(record: checking.Record) -> bytes:
    return (record.value or b"")[-2:]
