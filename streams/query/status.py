"""Status: what a query is doing at this moment."""

import msgspec


class Status(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What a query is doing now.

    Attributes:
        message: in words: "Initializing", "Waiting for partitions", "Restoring state (3 of 8
            stores)", "Processing", "Waiting for data to arrive", "Kafka does not answer",
            "Stopping", "Terminated".
        is_data_available: whether records wait in an input.
        is_trigger_active: whether a batch is open.
    """

    message: str
    is_data_available: bool
    is_trigger_active: bool


AWAY = "Kafka does not answer"  # the page knows it by these words
INITIALIZING = Status(message="Initializing", is_data_available=False, is_trigger_active=False)
TERMINATED = Status(message="Terminated", is_data_available=False, is_trigger_active=False)
