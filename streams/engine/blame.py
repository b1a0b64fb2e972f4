"""Blame: which records of an input have failed, and at which step."""

from bisect import bisect_left
from collections.abc import Mapping

from penstock.engine.failures import Failure, cause
from penstock.engine.steps import Steps
from penstock.operators.each import EachFailed
from penstock.operators.on_error import DeadLetter
from penstock.operators.source import Fetched
from penstock.topology.graph import Topology
from penstock.topology.node import Node


class Blame:
    """Makes failures of what the steps of a task have raised.

    Args:
        topology: all steps.
        steps: those at work.
    """

    def __init__(self, topology: Topology, steps: Steps) -> None:
        self._topology = topology
        self._steps = steps

    def refused(self, fetched: Fetched, errors: Mapping[int, Exception]) -> list[Failure]:
        """Return failures at the step that reads an input.

        Args:
            fetched: records of the input.
            errors: what has failed, by offset; others may be among it.
        """
        if not errors:
            return []
        return self._all(fetched, errors, self._steps.sources[fetched.topic][0])

    def raised(self, failed: EachFailed, fetched: Fetched) -> list[Failure]:
        """Return the records of an input that failed in the chunk of the step at work.

        Behind a store the chunk does not say which they are: then none.
        """
        at = self._steps.chunk.offsets
        if at is None:
            return []
        errors: dict[int, Exception] = {}
        for index, error in failed.errors.items():
            errors.setdefault(at[index], error)
        return self._all(fetched, errors, self._steps.at)

    def left_out(self, fetched: Fetched) -> list[Failure]:
        """Return the records of an input that steps have left out, as failures there."""
        return [
            failure
            for offset, (error, step) in self._steps.left_out.items()
            for failure in self._all(fetched, {offset: error}, step)
        ]

    def alone(self, fetched: Fetched, index: int, error: Exception) -> Failure:
        """Return the failure of a record that was run alone, at the step at work."""
        return self._failure(fetched, index, error, self._steps.at)

    def _all(self, fetched: Fetched, errors: Mapping[int, Exception], step: Node) -> list[Failure]:
        found = ((_index(fetched, offset), error) for offset, error in errors.items())
        return [self._failure(fetched, at, error, step) for at, error in found if at is not None]

    def _failure(self, fetched: Fetched, index: int, error: Exception, step: Node) -> Failure:
        policy, error = self._topology.on_error_of(fetched.topic), cause(error)
        if policy != "fail":
            # Until the commit, frames would hold the whole chunk.
            error.__traceback__ = error.__context__ = None
        return Failure(
            fetched.topic,
            fetched.partition,
            fetched.offsets[index],
            fetched.keys[index],
            fetched.values[index],
            fetched.timestamps[index],
            fetched.headers_at(index),
            error,
            f"{self._topology.labels[step]} {step.detail}".rstrip(),
            step.store.name if step.store else None,
            private=isinstance(policy, DeadLetter) and not policy.payload,
        )


def _index(fetched: Fetched, offset: int) -> int | None:
    """Return where a record is among those that were fetched, None if it is not there."""
    at = bisect_left(fetched.offsets, offset)
    return at if at < len(fetched.offsets) and fetched.offsets[at] == offset else None
