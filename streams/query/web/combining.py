"""Combining: the metrics of several workers as those of one application.

Rule 1: what the catalogue has is combined by its rule. What is the user's own is added where it
        is a counter or a histogram; of a gauge nobody knows what several of it mean, so each
        stays, with the number of its worker as one more label.
Rule 2: a sum of counters never falls. What a run of a worker had counted when it was last asked
        stays in the sum behind its end: Prometheus would take a fall for a restart of all, and
        count everything again.
"""

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from penstock.query.web.metrics import CATALOGUE, Metric, Name

WORKER: Final = "worker"
_COUNTING: Final = ("counter", "histogram", "summary")
_CHOOSE: Final[Mapping[str, Callable[[float, float], float]]] = {
    "sum": operator.add,
    "min": min,
    "max": max,
}

Key = tuple[str, tuple[tuple[str, str], ...]]
Own = Iterable[tuple[Name, Mapping[str, str], float]]


@dataclass(frozen=True)
class Scraped:
    """What a worker has answered.

    Attributes:
        run: tells one run of it from the next.
        text: its exposition.
    """

    run: int
    text: str


@dataclass
class _Combined:
    """One metric of several workers."""

    family: Family
    values: dict[Key, float] = field(default_factory=dict[Key, float])

    def put(self, key: Key, value: float, rule: str) -> None:
        before = self.values.get(key)
        self.values[key] = value if before is None else _CHOOSE[rule](before, value)


@dataclass
class _Counted:
    """What a run of a worker has counted, when it was last asked."""

    run: int
    values: dict[tuple[str, Key], float] = field(default_factory=dict[tuple[str, Key], float])


class Combining:
    """Combine what workers answer, scrape after scrape."""

    def __init__(self) -> None:
        self._kinds: dict[str, Family] = {}
        self._last: dict[int, _Counted] = {}
        self._ended: dict[tuple[str, Key], float] = {}

    def combined(self, scraped: Mapping[int, Scraped], own: Own) -> bytes:
        """Return one exposition out of several.

        Args:
            scraped: those of the workers that answer, by their numbers.
            own: what the supervisor knows itself: names, labels and values.
        """
        found: dict[str, _Combined] = {}
        for number, one in sorted(scraped.items()):
            counted = self._counted(number, one.run)
            for family in text_string_to_metric_families(one.text):
                self._add(found, counted, family, number)
        for counts in (self._ended, *(counted.values for counted in self._last.values())):
            for (name, key), value in counts.items():
                self._of(found, name).put(key, value, "sum")
        for name, labels, value in own:
            metric = CATALOGUE[name]
            plain = name.removesuffix("_total") if metric.kind == "counter" else name
            self._kinds[name] = Family(plain, metric.help, metric.kind)
            self._of(found, name).values[name, tuple(sorted(labels.items()))] = value
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_All(list(found.values())))
        return generate_latest(registry)

    def _counted(self, number: int, run: int) -> _Counted:
        """Return where to put what a worker has counted; that of the run before is set aside."""
        last = self._last.get(number)
        if last is not None and last.run != run:
            for key, value in last.values.items():
                self._ended[key] = self._ended.get(key, 0.0) + value
        self._last[number] = _Counted(run)
        return self._last[number]

    def _of(self, found: dict[str, _Combined], name: str) -> _Combined:
        if name not in found:
            kind = self._kinds[name]
            found[name] = _Combined(Family(kind.name, kind.documentation, kind.type))
        return found[name]

    def _add(
        self, found: dict[str, _Combined], counted: _Counted, family: Family, number: int
    ) -> None:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        self._kinds[name] = family
        one = self._of(found, name)  # here, so that metrics keep the order of the workers
        rule = _rule(name)
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            if sample.name.endswith("_created"):
                continue
            if family.type in _COUNTING:
                counted.values[name, key] = sample.value
            elif rule is not None:
                one.put(key, sample.value, rule)
            else:
                labels = {**sample.labels, WORKER: str(number)}
                one.put((sample.name, tuple(sorted(labels.items()))), sample.value, "max")


def _rule(name: str) -> str | None:
    metric: Metric | None = CATALOGUE.get(name)  # type: ignore[call-overload]
    return None if metric is None else metric.combine


class _All(Collector):
    """What was combined, for prometheus_client to write."""

    def __init__(self, found: Sequence[_Combined]) -> None:
        self._found = found

    def collect(self) -> Iterator[Family]:
        for one in self._found:
            one.family.samples = [
                Sample(name, dict(labels), value) for (name, labels), value in one.values.items()
            ]
            yield one.family
