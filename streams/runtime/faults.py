"""What can go wrong between us and the cluster, by what has to be done about it.

Kafka's error codes say too little: `_FENCED` can be fatal or a coordinator's timeout. The
three predicates of the client decide: retriable, requires abort, and everything else.
"""

from collections.abc import Generator
from contextlib import contextmanager

from confluent_kafka import KafkaError, KafkaException


class Abortable(Exception):
    """The transaction has failed and can be aborted; the producer stays usable."""


class Unknown(Exception):
    """The producer is unusable, or nobody knows whether the transaction was committed."""


@contextmanager
def sorted_out() -> Generator[None]:
    """Turn what the transactional producer raises into Abortable or Unknown."""
    try:
        yield
    except KafkaException as error:
        problem: KafkaError = error.args[0]
        text = f"{problem.name()}: {problem.str()}"
        if problem.txn_requires_abort() and not problem.fatal():
            raise Abortable(text) from error
        raise Unknown(text) from error
