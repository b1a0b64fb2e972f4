"""A connection that breaks while a transaction is committed leaves open how often that was asked."""

import logging
from dataclasses import replace
from typing import Any

import pytest

from penstock.runtime.faults import Unknown
from penstock.runtime.producer import TransactionalProducer
from penstock.testing.sim import SimBroker

BREAKS = "FAIL [rdkafka#producer-5] [thrd:TxnCoordinator]: TxnCoordinator: [::1]:1: Disconnected"
PASSES = "FAIL [rdkafka#producer-5] [thrd:[::1]:2/2]: [::1]:2/2: Disconnected"


def producer_that_hears(*lines: str) -> TransactionalProducer:
    """Make one whose client logs lines behind its commits, one behind each."""
    broker, left = SimBroker(), list(lines)
    logs: list[Any] = []

    def make(config: dict[str, Any]) -> Any:
        logs.append(config["logger"])
        return broker.clients().producer(config)

    def hear(_: Any) -> None:
        if left:
            logs[-1].log(logging.INFO, "%s", left.pop(0))

    made = TransactionalProducer(
        {"transactional.id": "counts", "logger": logging.getLogger("client")},
        transaction_timeout_ms=10_000,
        request_timeout_ms=5_000,
        clients=replace(broker.clients(), producer=make, hear=hear),
    )
    made.init(10_000)
    made.begin()
    return made


def test_a_connection_that_breaks_makes_a_commit_unknown_once() -> None:
    producer = producer_that_hears(BREAKS)
    with pytest.raises(Unknown, match="a connection broke meanwhile: FAIL"):
        producer.commit()
    producer.renew(10_000)
    producer.begin()
    producer.commit()


def test_connections_to_others_that_break_change_nothing() -> None:
    producer_that_hears(PASSES).commit()
