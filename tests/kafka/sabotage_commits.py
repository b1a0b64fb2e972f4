"""Workers that break a rule of their commits: checkers, and kills at failpoints, have to notice."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer

from penstock.engine.transaction import Command, Event
from penstock.runtime import tasks
from penstock.runtime.cost import RecordCost
from penstock.runtime.faults import Abortable, Unknown
from penstock.runtime.producer import Connections, Offsets, TransactionalProducer
from penstock.runtime.worker import Worker
from penstock.state.disk import Held, Place
from penstock.state.store import Position
from tests.kafka import sabotage_restores
from tests.sim import sabotage, sabotage_topologies

TRIES = 10


def apply_early() -> None:
    """State reaches the disk although its transaction may still be aborted."""
    flush = Worker._COMMANDS[Command.FLUSH]

    def hasty(worker: Worker) -> Event | None:
        event = flush(worker)
        for owned in worker._touched.values():
            for name, opened in owned.stores.items():
                offset = worker._producer.delivered.get((opened.restore.topic, owned.partition))
                if offset is not None and owned.task:
                    items = owned.task.overlays[name]._flushed.items()
                    position = Position(offset, opened.topic_id, worker._now_ms())
                    opened.store.write(items, position)
                    opened.store.flush()
        return event

    Worker._COMMANDS[Command.FLUSH] = hasty


def be_deaf() -> None:
    """A connection that breaks at a commit is not noticed where the client mends it."""
    Connections.log = lambda *_: None  # type: ignore[method-assign]


def keep_the_producer() -> None:
    """After a commit whose outcome is unknown the producer goes on: it commits once more."""
    be_deaf()
    commit = TransactionalProducer.commit

    def again(self: TransactionalProducer) -> None:
        for _ in range(TRIES):
            try:
                commit(self)
            except Unknown:
                continue
            return
        raise AssertionError(f"not committed after {TRIES} tries")

    TransactionalProducer.commit = again  # type: ignore[method-assign]


def have_one_place() -> None:
    """Where somebody else holds a store, there is no other place for it."""

    def lock(_: Any, place: Place, wait: Callable[[], bool]) -> tuple[Place, Held]:
        return place, place.lock(wait)

    tasks.TaskStarter._lock = lock  # type: ignore[method-assign]


def guess(outcome: Event) -> None:
    """What became of a commit is guessed, instead of found out."""

    def resolve(worker: Worker) -> Event:
        worker._producer.renew(10_000)
        return outcome

    Worker._COMMANDS[Command.RESOLVE] = resolve


def forget_time() -> None:
    """It is not noticed that records have outlasted the transaction."""
    RecordCost.judge = lambda *_: None  # type: ignore[method-assign]


def unfence() -> None:
    """Offsets are committed as nobody's too, whatever has become of the membership."""
    forget_time()
    send_offsets = TransactionalProducer.send_offsets

    def send(self: TransactionalProducer, offsets: Offsets, consumer: Consumer) -> None:
        told = bytes(consumer.consumer_group_metadata())  # magic, generation, group, member
        magic, group = told[:7], told[11:].split(b"\0")[0].decode()
        assert magic == b"CGMDv2:"
        stranger = Consumer({"group.id": group, "bootstrap.servers": "127.0.0.1:1", "log_level": 0})
        send_offsets(self, offsets, stranger)

    TransactionalProducer.send_offsets = send  # type: ignore[method-assign]


def fail_some_commits() -> None:
    """Every third commit is refused in a way that lets its batch be aborted and run again."""
    commit, called = TransactionalProducer.commit, itertools.count(1)

    def sometimes(self: TransactionalProducer) -> None:
        if next(called) % 3 == 0:
            raise Abortable("one of three is refused")
        commit(self)

    TransactionalProducer.commit = sometimes  # type: ignore[method-assign]


RULES: dict[str, Callable[[], None]] = {
    "apply-early": apply_early,
    "be-deaf": be_deaf,
    "fail-some-commits": fail_some_commits,
    "forget-time": forget_time,
    "guess-aborted": lambda: guess(Event.FOUND_ABORTED),
    "guess-committed": lambda: guess(Event.FOUND_COMMITTED),
    "keep-the-producer": keep_the_producer,
    "one-place": have_one_place,
    "share-everything": lambda: sabotage_topologies.nothing_is_copied(pytest.MonkeyPatch()),
    "unfence": unfence,
    **sabotage_restores.RULES,
}


def break_rule(name: str) -> None:
    """Break a rule by its name, or one of `tests.sim.sabotage` by that of its function."""
    if name in RULES:
        RULES[name]()
    else:
        getattr(sabotage, name)(pytest.MonkeyPatch())
