"""From the runs to the answer: medians, ratios of ours to theirs, and the gate they are held to.

A result is one workload measured on every engine in the same run of the harness; it is kept as
results/<workload>.json with every single run in it, and only that one run makes its ratios.
Nothing here fails on a slow figure: timings are shown, never asserted.
"""

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.workloads import Figures

FOLDER = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Gate:
    """A figure of a workload, whether more of it is better, and what it has to reach.

    The target is for the ratio ours/theirs. A figure that stands `alone` is a ratio itself, of
    one engine under two conditions: its target is for ours, whatever theirs is.
    """

    workload: str
    figure: str
    title: str
    digits: int
    more: bool
    target: float | None = None
    alone: bool = False

    def holds(self, value: float) -> bool | None:
        if self.target is None:
            return None
        return value >= self.target if self.more else value <= self.target

    @property
    def text(self) -> str:
        if self.target is None:
            return ""
        subject = "ours " if self.alone else ""
        return f"{subject}{'≥' if self.more else '≤'} {self.target:.2g}"


def throughput_gates(workload: str, *, rate: float, cpu: float | None) -> tuple[Gate, ...]:
    return (
        Gate(workload, "records_per_s", "records/s", 0, True, rate),
        Gate(workload, "second_half_per_s", "second half, records/s", 0, True),
        Gate(workload, "cpu_s_per_million", "CPU s per million", 2, False, cpu),
        Gate(workload, "peak_mb", "peak RSS, MB", 0, False, 0.6),
    )


# The gate: what has to hold before anything more is built on the engine.
GATES = (
    *throughput_gates("map", rate=2, cpu=1 / 3),
    *throughput_gates("count-1k", rate=3, cpu=1 / 4),
    *throughput_gates("count-100k", rate=2.6, cpu=1 / 4),
    *throughput_gates("regroup-1k", rate=2, cpu=None),
    *throughput_gates("tumbling", rate=2.8, cpu=None),
    *throughput_gates("hopping", rate=2, cpu=None),
    *throughput_gates("session", rate=2, cpu=None),
    Gate("partitions", "records_per_s_64", "64 partitions, records/s", 0, True),
    Gate("partitions", "cpu_s_per_million_64", "64 partitions, CPU s per million", 2, False),
    Gate("partitions", "records_per_s_ratio", "64 to 4, records/s", 2, True, alone=True),
    Gate("partitions", "cpu_s_per_million_ratio", "64 to 4, CPU per record", 2, False, 1.3, True),
    Gate("latency", "p50_ms", "p50, ms", 1, False),
    Gate("latency", "p99_ms", "p99, ms", 1, False, 1 / 3),
    Gate("restore", "restored_per_s", "records/s", 0, True, 0.9),
    Gate("restore", "full_start_s", "s to ready, start included", 2, False),
    Gate("start", "first_commit_s", "s to first commit", 2, False, 1 / 2),
    Gate("rebalance", "leaves_s", "leaves, s without output", 2, False, 1 / 2),
    Gate("rebalance", "joins_s", "joins, s without output", 2, False, 1 / 2),
    Gate("rebalance", "restarts_s", "restarts, s without output", 2, False, 1 / 2),
    Gate("rebalance", "crashes_s", "is killed and restarts, s without output", 2, False, 1 / 2),
    Gate("rebalance", "dies_s", "is killed, s without output", 2, False),
    Gate("recovery", "first_s", "first kill, s to the lag before it", 2, False, 1 / 2),
    Gate("recovery", "fifth_s", "fifth kill, s to the lag before it", 2, False, 1 / 2),
    Gate("recovery", "restored_share", "part of the state that is restored", 3, False, 0.1, True),
    Gate("overhead", "rate_ratio", "looked at, to alone, records/s", 3, True, 0.98, True),
    Gate("overhead", "cpu_ratio", "looked at, to alone, CPU per record", 3, False, alone=True),
    Gate("http", "answers_per_s", "answers/s at half load", 0, True, 2_000, True),
    Gate("http", "p99_ms", "p99 of an answer, ms", 1, False, 20, True),
    Gate("http", "busy", "half load, % of a core", 0, False, alone=True),
    Gate("idle", "busy", "idle, % of a core", 2, False, 1, True),
    Gate("idle", "peak_mb", "idle, MB", 0, False, 120, True),
)


@dataclass
class Result:
    """One workload, all engines, all runs."""

    workload: str
    command: str
    machine: dict[str, str]
    input: dict[str, int]
    runs: dict[str, list[Figures]] = field(default_factory=dict)

    def add(self, engine: str, figures: Figures) -> None:
        self.runs.setdefault(engine, []).append(figures)

    def median(self, engine: str, figure: str) -> float | None:
        values = [run[figure] for run in self.runs.get(engine, []) if figure in run]
        return statistics.median(values) if values else None

    def save(self) -> None:
        FOLDER.mkdir(exist_ok=True)
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        (FOLDER / f"{self.workload}.json").write_text(text + "\n")


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    gate: Gate
    ours: float | None
    theirs: float | None

    @property
    def ratio(self) -> float | None:
        return self.ours / self.theirs if self.ours is not None and self.theirs else None

    @property
    def judged(self) -> float | None:
        """What the gate's target is for, and what the chart shows."""
        return self.ours if self.gate.alone else self.ratio

    @property
    def reached(self) -> bool | None:
        return None if self.judged is None else self.gate.holds(self.judged)

    def cells(self) -> list[str]:
        figures = [
            "n/a" if value is None else f"{value:,.{self.gate.digits}f}"
            for value in (self.ours, self.theirs)
        ]
        ratio = "n/a" if self.ratio is None else f"{self.ratio:.2f}"
        verdict = {None: "", True: "yes", False: "no"}[self.reached]
        return [self.gate.workload, self.gate.title, *figures, ratio, self.gate.text, verdict]


def rows(results: Iterable[Result]) -> list[Row]:
    by_name = {result.workload: result for result in results}
    return [
        Row(gate, result.median("penstock", gate.figure), result.median("streams", gate.figure))
        for gate in GATES
        if (result := by_name.get(gate.workload))
    ]


def load() -> list[Result]:
    """The latest result of every workload, in the order of the gates."""
    found = {path.stem: Result(**json.loads(path.read_text())) for path in FOLDER.glob("*.json")}
    return [found[name] for name in dict.fromkeys(gate.workload for gate in GATES) if name in found]
