"""Write docs/metrics.md from the catalogue of metrics: make docs.

metrics.py [--check]      --check writes nothing, and fails if the page is not current
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from penstock.query.web.metrics import CATALOGUE, Combine, Metric

PAGE = Path(__file__).parent.parent / "docs" / "metrics.md"
INTRODUCTION = """\
# Metrics

What `/metrics` says, for Prometheus. `make docs` writes this page from the catalogue in
`streams/query/web/metrics.py`; a test holds it to that.

A worker answers for itself; the supervisor of `penstock run --workers N` answers for all of its
workers, each metric combined as the last column says: values with the same labels are added, or
the worst of them counts. Counters begin at 0 with each start of a worker, as Prometheus expects:
take `rate()` or `increase()` of them. What is not known is absent.

Metrics of your own, in the default registry of `prometheus_client`, stand behind these. The
supervisor adds their counters and histograms; of a gauge it shows each worker's, with the label
`worker`.
"""
SECTIONS = {
    "penstock_info": "The worker",
    "penstock_records_in_total": "Input",
    "penstock_records_out_total": "Output",
    "penstock_batches_total": "Batches",
    "penstock_state_rows": "State",
    "penstock_late_records_total": "Records that come to nothing",
    "penstock_tasks": "Tasks",
    "process_cpu_seconds_total": "The process",
    "penstock_workers": "The supervisor alone",
}
COMBINED: dict[Combine, str] = {"sum": "added", "min": "the lowest", "max": "the highest"}


def page() -> str:
    """Return the whole page."""
    return "\n".join([INTRODUCTION, *_rows()]) + "\n"


def _rows() -> Iterator[str]:
    for number, (name, metric) in enumerate(CATALOGUE.items()):
        if name in SECTIONS:
            yield f"{'' if number == 0 else chr(10)}## {SECTIONS[name]}\n"
            yield "| Name | Type | Labels | What it says | Workers |\n|" + " --- |" * 5
        yield _row(name, metric)


def _row(name: str, metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{name}` | {metric.kind} | {labels} | {metric.help} | {COMBINED[metric.combine]} |"


def main(arguments: list[str]) -> int:
    """Write the page, or compare it; the result is the exit code."""
    text = page()
    if "--check" not in arguments:
        PAGE.write_text(text)
        return 0
    if PAGE.exists() and PAGE.read_text() == text:
        return 0
    print(f"{PAGE.name} is not what the catalogue says: make docs")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
