"""What can go wrong between us and the cluster, by what has to be done about it.

Kafka's error codes say too little: `_FENCED` can be fatal or a coordinator's timeout. The
three predicates of the client decide: retriable, requires abort, and everything else.
"""

import queue
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager

from confluent_kafka import KafkaError, KafkaException

ABOUT_DATA = (
    KafkaError.INVALID_RECORD,
    KafkaError.INVALID_TIMESTAMP,
    KafkaError.MSG_SIZE_TOO_LARGE,
)


class Abortable(Exception):
    """The transaction has failed and can be aborted; the producer stays usable.

    Attributes:
        about_data: whether the broker does not take one of the records.
    """

    def __init__(self, message: str, *, about_data: bool = False) -> None:
        super().__init__(message)
        self.about_data = about_data


class Unknown(Exception):
    """The producer is unusable, or nobody knows whether the transaction was committed.

    Attributes:
        code: the client's error code, where it has one.
    """

    def __init__(self, message: str, *, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def sorted_out() -> Generator[None]:
    """Turn what the transactional producer raises into Abortable or Unknown.

    Fatal errors come out of any call that serves the client's events, `poll` and `flush` among
    them; where one of Python's own calls was under way, as the cause of a SystemError.
    """
    try:
        yield
    except KafkaException as error:
        raise _sorted(error) from error
    except SystemError as error:
        if isinstance(error.__cause__, KafkaException):
            raise _sorted(error.__cause__) from error
        raise


def _sorted(error: KafkaException) -> Abortable | Unknown:
    problem: KafkaError = error.args[0]
    text = f"{problem.name()}: {problem.str()}"
    if problem.txn_requires_abort() and not problem.fatal():
        return Abortable(text, about_data=problem.code() in ABOUT_DATA)
    return Unknown(text, code=problem.code())


def bounded(call: Callable[[], None], timeout_s: float, doing: str) -> None:
    """Make a call that the client may never return from, whatever timeout it is given.

    `send_offsets_to_transaction` is such a one while the group's coordinator is away
    (librdkafka #5456, #5511, reproduced in tests/chaos). The call is left to its thread then.

    Raises:
        Unknown: if the call has not returned after timeout_s.
        Exception: what the call raises.
    """
    answer: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - it is raised in the thread that waits
            answer.put(error)
        else:
            answer.put(None)

    threading.Thread(target=work, name=f"penstock-{doing}", daemon=True).start()
    try:
        problem = answer.get(timeout=timeout_s)
    except queue.Empty:
        raise Unknown(f"{doing} has not returned within {timeout_s:g} s") from None
    if problem is not None:
        raise problem
