"""The benchmark: Penstock beside Kafka Streams, on one broker, in one run. See README.md."""


class RunFailedError(Exception):
    """A run gave no figure; the message says why, with the end of the worker's log."""
