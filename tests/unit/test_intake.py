"""What is held of inputs that wait for others: bounded in records and in bytes."""

from types import SimpleNamespace
from typing import Any

import pytest

from penstock.engine.order import InputOrder
from penstock.operators.source import Fetched
from penstock.runtime import intake
from penstock.runtime.intake import Intake

A, B = ("a", 0), ("b", 0)
MIB = 1024 * 1024


class Recorded:
    """A consumer that hands out what it is told to, and notes who is paused."""

    def __init__(self) -> None:
        self.found: list[Fetched] = []
        self.paused: set[tuple[str, int]] = set()

    def seek(self, positions: object) -> None:
        pass

    def fetch(self, wait_s: float, limit: int) -> list[Fetched]:
        found, self.found = self.found, []
        return found

    def pause(self, inputs: list[tuple[str, int]]) -> None:
        self.paused.update(inputs)

    def resume(self, inputs: list[tuple[str, int]]) -> None:
        self.paused.difference_update(inputs)


class Waiting:
    """A task of two inputs; the second one has nothing, and the first one waits for it."""

    def __init__(self) -> None:
        self.consumer = Recorded()
        self.intake = Intake(self.consumer)  # type: ignore[arg-type]
        order = InputOrder(
            [A, B],
            max_idle_ms=1_000,
            times=lambda run: run.timestamps,
            latest=lambda inputs: dict.fromkeys(inputs, 5),
        )
        owned: Any = SimpleNamespace(
            inputs=[A, B], lead=SimpleNamespace(ordered=True), order=order, offsets={A: 0, B: 0}
        )
        self.owned = owned
        self.intake.take(owned)
        self.offset = 0

    def come(self, records: int, size: int) -> None:
        values, offsets = [bytes(size)] * records, range(self.offset, self.offset + records)
        self.offset += records
        keys = [b""] * records
        self.consumer.found.append(
            Fetched(*A, keys, values, list(offsets), offsets, None, self.offset)
        )
        self.intake.fetch(0, 0)

    def take(self, now_ms: float) -> int:
        found = self.intake.next(now_ms)
        return len(found.offsets) if found else 0


@pytest.mark.parametrize(
    ("records", "size", "enough"),
    [(intake.MOST_HELD_RECORDS, 10, 2), (6, 10 * MIB, 2), (1, 100 * MIB, 1)],
    ids=["many", "large", "one"],
)
def test_an_input_that_waits_is_paused_when_it_holds_enough(
    records: int, size: int, enough: int
) -> None:
    """Two inputs share the bytes; when half of it is left, more comes."""
    waiting = Waiting()
    for number in range(1, enough + 1):
        assert not waiting.consumer.paused
        waiting.come(records, size)
        assert waiting.take(now_ms=0) == 0
        assert waiting.consumer.paused == ({A} if number == enough else set())
    for _ in range(enough):
        assert waiting.take(now_ms=2_000) == records
    assert not waiting.consumer.paused


def test_what_is_dropped_holds_nothing() -> None:
    waiting = Waiting()
    waiting.come(1, 100 * MIB)
    assert waiting.consumer.paused
    waiting.intake.drop(waiting.owned)
    assert not waiting.consumer.paused
    waiting.come(1, 10)
    assert not waiting.consumer.paused
