"""Combining: the metrics of several workers as those of one application.

What the catalogue has is combined by its rule. What is the user's own is added where it is a
counter or a histogram; of a gauge nobody knows what several of it mean, so each stays, with the
number of its worker as one more label.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from penstock.query.web.metrics import CATALOGUE, Metric, Name

WORKER: Final = "worker"
_ADDED: Final = ("counter", "histogram", "summary")
_CHOOSE: Final = {"sum": lambda a, b: a + b, "min": min, "max": max}

Key = tuple[str, tuple[tuple[str, str], ...]]


@dataclass
class _Combined:
    """One metric of several workers."""

    family: Family
    values: dict[Key, float] = field(default_factory=dict[Key, float])


def combined(
    texts: Mapping[int, str], own: Iterable[tuple[Name, Mapping[str, str], float]]
) -> bytes:
    """Return one exposition out of several.

    Args:
        texts: those of the workers, by their numbers.
        own: what the supervisor knows itself: names, labels and values.
    """
    found: dict[str, _Combined] = {}
    for number, text in sorted(texts.items()):
        for family in text_string_to_metric_families(text):
            _add(found, family, number)
    for name, labels, value in own:
        metric = CATALOGUE[name]
        plain = name.removesuffix("_total") if metric.kind == "counter" else name
        one = found.setdefault(name, _Combined(Family(plain, metric.help, metric.kind)))
        one.values[name, tuple(sorted(labels.items()))] = value
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_All(list(found.values())))
    return generate_latest(registry)


def _add(found: dict[str, _Combined], family: Family, number: int) -> None:
    name = f"{family.name}_total" if family.type == "counter" else family.name
    rule = _rule(name, family.type)
    one = found.setdefault(name, _Combined(Family(family.name, family.documentation, family.type)))
    for sample in family.samples:
        labels = sample.labels if rule else {**sample.labels, WORKER: str(number)}
        key = (sample.name, tuple(sorted(labels.items())))
        before = one.values.get(key)
        choose: Any = _CHOOSE[rule] if rule else max
        one.values[key] = sample.value if before is None else choose(before, sample.value)


def _rule(name: str, kind: str) -> str | None:
    metric: Metric | None = CATALOGUE.get(name)  # type: ignore[call-overload]
    if metric is not None:
        return metric.combine
    return "sum" if kind in _ADDED and not name.endswith("_created") else None


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
