"""A connection that breaks while a transaction is committed leaves open how often that was asked."""

from dataclasses import replace
from typing import Any

import pytest
from confluent_kafka import KafkaError

from penstock.runtime.faults import Unknown
from penstock.runtime.producer import TransactionalProducer
from penstock.testing.sim import SimBroker

BREAKS = KafkaError(KafkaError._TRANSPORT, "Disconnected")
PASSES = KafkaError(KafkaError._RESOLVE, "no such host")


def producer_that_hears(*errors: KafkaError) -> TransactionalProducer:
    """Make one whose client tells of errors behind its commits, one behind each."""
    broker, left = SimBroker(), list(errors)
    callbacks: list[Any] = []

    def make(config: dict[str, Any]) -> Any:
        callbacks.append(config["error_cb"])
        return broker.clients().producer(config)

    def hear(_: Any) -> None:
        if left:
            callbacks[-1](left.pop(0))

    made = TransactionalProducer(
        {"transactional.id": "counts"},
        transaction_timeout_ms=10_000,
        request_timeout_ms=5_000,
        clients=replace(broker.clients(), producer=make, hear=hear),
    )
    made.init(10_000)
    made.begin()
    return made


def test_a_connection_that_breaks_makes_a_commit_unknown_once() -> None:
    producer = producer_that_hears(BREAKS)
    with pytest.raises(Unknown, match="a connection broke meanwhile: Disconnected"):
        producer.commit()
    producer.renew(10_000)
    producer.begin()
    producer.commit()


def test_other_errors_that_the_client_goes_on_with_change_nothing() -> None:
    producer_that_hears(PASSES).commit()
