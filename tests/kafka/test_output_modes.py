"""What a worker prints is committed, whatever kills it: never more, and in the order of commits."""

import re
from collections import defaultdict
from collections.abc import Iterator

import pytest

from tests.kafka.conftest import ApplicationFactory, TopicFactory
from tests.kafka.feeding import endless_words
from tests.kafka.kills import kill_under_load
from tests.kafka.workers import Application

pytestmark = pytest.mark.kafka


def batches(app: Application, mode: str) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield what its workers have printed: title and rows; one that was cut off is left out."""
    printed = app.log.read_text()
    for batch in re.findall(rf"^Batch: \d+\n(counts {mode}: .*?)\n\n", printed, re.M | re.S):
        title, _, body = batch.partition("\n")
        rows = re.findall(r"^\| *(key-\d+)\| *(\d+)\|$", body, re.M)
        assert len(rows) == len(dict(rows))
        yield title, {key: int(count) for key, count in rows}


def test_what_is_printed_is_committed(topic: TopicFactory, application: ApplicationFactory) -> None:
    app = application("console", topic("words"), topic("counts"))
    kill_under_load(app, endless_words(), per_second=3_000)
    app.run_through()
    app.check_count()
    written: dict[str, list[int]] = defaultdict(list)
    for record in app.read_output():
        written[(record.key or b"").decode()].append(int.from_bytes(record.value or b"", "big"))
    shown: dict[str, list[int]] = defaultdict(list)
    for _, rows in batches(app, "update"):
        for key, count in rows.items():
            shown[key].append(count)
    assert shown.keys() == written.keys()
    for key, counts in shown.items():
        assert set(counts) <= set(written[key]), f"{key} was shown with what was never committed"
        assert counts == sorted(set(counts)), f"{key} was shown twice, or in another order"
    *_, (title, last) = batches(app, "complete")
    assert title.startswith("counts complete: partitions 0-3 of worker ")
    assert last == {key: counts[-1] for key, counts in written.items()}
