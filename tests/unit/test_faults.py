"""What the Kafka client raises, sorted by what has to be done about it."""

import pytest
from confluent_kafka import KafkaError, KafkaException

from penstock.runtime.faults import Abortable, Unknown, sorted_out


def error(code, *, fatal=False, abort=False):
    """An error as the client makes it."""
    return KafkaException(KafkaError(code, "what happened", fatal, False, abort))


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (error(KafkaError.UNKNOWN_MEMBER_ID, abort=True), Abortable),
        (error(KafkaError._TIMED_OUT), Unknown),
        (error(KafkaError._FENCED, fatal=True), Unknown),
        (error(KafkaError._FENCED, fatal=True, abort=True), Unknown),
    ],
)
def test_only_what_can_be_aborted_is_aborted(raised, kind):
    """Everything else makes the producer unusable, or nobody knows."""
    with pytest.raises(kind, match="what happened") as caught, sorted_out():
        raise raised
    if kind is Unknown:
        assert caught.value.code == raised.args[0].code()


def test_a_fatal_error_inside_of_another_call_is_one_too():
    """The client raises it from its callbacks; Python wraps what comes out of turn."""
    with pytest.raises(Unknown) as caught, sorted_out():
        raise SystemError("a result with an exception set") from error(
            KafkaError._FENCED, fatal=True
        )
    assert caught.value.code == KafkaError._FENCED


def test_other_errors_pass():
    """They are nobody's business here."""
    for other in (SystemError("broken"), ValueError("x")):
        with pytest.raises(type(other)), sorted_out():
            raise other
