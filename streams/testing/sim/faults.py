"""Errors as the Kafka client raises them: code and what may be done about it."""

from confluent_kafka import KafkaError, KafkaException


def error(code: int, text: str) -> KafkaException:
    """Make an error that says nothing about transactions."""
    return KafkaException(KafkaError(code, text))


def timed_out(text: str) -> KafkaException:
    """Make an error after which the same call may be made again; what it did is not known."""
    return KafkaException(KafkaError(KafkaError._TIMED_OUT, text, retriable=True))


def abortable(code: int, text: str) -> KafkaException:
    """Make an error after which the transaction has to be aborted."""
    return KafkaException(KafkaError(code, text, txn_requires_abort=True))


def fatal(code: int, text: str) -> KafkaException:
    """Make an error after which the client is of no use any more."""
    return KafkaException(KafkaError(code, text, fatal=True))
