"""Kafka Streams beside Penstock: the same input leaves the same windows.

The applications are those of the benchmark, on the same topics. A JDK is needed to compile the
Java side.
"""

import random
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from bench import observe
from bench.engines import Engine, UnavailableError, kafka_streams, penstock
from bench.topics import FIRST_EVENT_MS, Topics, event, send_at
from bench.worker import Sampler
from bench.workloads import Bench, application
from penstock.testing.kafka_server import KafkaServer

pytestmark = pytest.mark.kafka

RECORDS, KEYS = 4_000, 30
GRACE_MS = 700
# There, a record whose own sliding window has closed is missing in those that open after it.
LONG_GRACE_MS = 3_600_000
STEP_MS = {"tumbling": 25, "hopping": 900, "sliding": 100, "session": 400}  # between records
Windows = dict[tuple[str, int], int]  # key and start of a window, and its count

_TIME = struct.Struct(">q")
_SESSION = struct.Struct(">qq")


@pytest.fixture(scope="module")
def streams() -> Engine:
    """Kafka Streams, compiled once."""
    try:
        return kafka_streams()
    except UnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture
def bench(kafka: KafkaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """What the harness of the benchmark needs."""
    monkeypatch.setenv("BENCH_GRACE_MS", str(GRACE_MS))
    # With its cache, a session that has closed takes records until the next commit comes by.
    monkeypatch.setenv("BENCH_CACHE_BYTES", "0")
    made = Bench(Topics(kafka.bootstrap_servers), tmp_path, Sampler(kafka.pid(1)), 60)
    yield made
    made.broker.close()


def disordered(step_ms: int) -> Iterator[tuple[str, bytes, int]]:
    """Events of which some come late, and some too late."""
    draw = random.Random(7)
    for number in range(RECORDS):
        late_ms = draw.choice((0, 0, 0, 500, 5_000, 60_000, 900_000))
        user = f"u{draw.randrange(KEYS):05}"
        yield (
            user,
            event(number, user),
            FIRST_EVENT_MS + number * step_ms - draw.randrange(late_ms + 1),
        )


def ours(key: bytes) -> tuple[str, int]:
    found = msgspec.json.decode(key)
    return found["key"], found["start"]


def theirs(key: bytes) -> tuple[str, int]:
    return key[:-8].decode(), _TIME.unpack(key[-8:])[0]


def their_session(key: bytes) -> tuple[str, int]:
    _, start = _SESSION.unpack(key[-16:])
    return key[:-16].decode(), start


def left_by(
    bench: Bench,
    engine: Engine,
    workload: str,
    source: str,
    decode: Callable[[bytes], tuple[str, int]],
) -> Windows:
    """Run an application over a topic; return the windows that its output ends with."""
    with application(bench, engine, workload, source) as app:
        with app.worker() as worker:
            app.wait(
                worker,
                lambda: observe.committed_records(bench.topics.admin, app.id, source) >= RECORDS,
                f"{RECORDS} committed records",
                0.2,
            )
        last = {
            message.key(): message.value()
            for message in observe.read_to_end(bench.brokers, app.sink)
        }
    return {
        decode(key): int.from_bytes(value, "big")
        for key, value in last.items()
        if key is not None and value is not None
    }


@pytest.mark.parametrize("workload", STEP_MS)
def test_the_same_input_leaves_the_same_windows(
    workload: str, bench: Bench, streams: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    if workload == "sliding":
        monkeypatch.setenv("BENCH_GRACE_MS", str(LONG_GRACE_MS))
    source = bench.topics.create(f"disordered-{workload}")
    send_at(bench.brokers, source, disordered(STEP_MS[workload]))
    decode = their_session if workload == "session" else theirs
    expected = left_by(bench, streams, workload, source, decode)
    found = left_by(bench, penstock(), workload, source, ours)
    assert found == expected
    total = sum(found.values())
    some_are_late = total < RECORDS * (10 if workload == "hopping" else 1)
    assert some_are_late or workload == "sliding"
