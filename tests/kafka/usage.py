"""What a process takes of its host, as the kernel tells it, and whether that grows."""

import re
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

MIB = 1024 * 1024


class Usage(NamedTuple):
    """What a process has at one moment.

    Attributes:
        at_s: the moment, monotonic.
        memory: what is resident of it, in bytes.
        files: its open files, sockets among them, without tables.
        tables: open files with a store's data: they come with flushes, and go with compactions.
        threads: those that live.
    """

    at_s: float
    memory: int
    files: int
    tables: int
    threads: int


# How much a measure may be larger at the end of a line through all samples than at its beginning.
ALLOWED = {"memory": 12 * MIB, "files": 6, "tables": 60, "threads": 3}


def usage(pid: int) -> Usage:
    """Look at a process now."""
    names = [_target(file) for file in Path(f"/proc/{pid}/fd").iterdir()]
    tables = sum(name.endswith(".sst") for name in names)
    memory, threads = _told(pid, "VmRSS") * 1024, _told(pid, "Threads")
    return Usage(time.monotonic(), memory, len(names) - tables, tables, threads)


def peak(pid: int) -> int:
    """The most memory that a process has had, in bytes."""
    return _told(pid, "VmHWM") * 1024


def per_second(samples: Sequence[Usage], measure: str) -> float:
    """The slope of the line through all samples that is nearest to them."""
    line = statistics.linear_regression(
        [sample.at_s for sample in samples], [getattr(sample, measure) for sample in samples]
    )
    return line.slope


def grown(samples: Sequence[Usage]) -> dict[str, float]:
    """By how much each measure has grown from the first to the last sample, by that line."""
    seconds = samples[-1].at_s - samples[0].at_s
    return {measure: per_second(samples, measure) * seconds for measure in ALLOWED}


def leaking(samples: Sequence[Usage]) -> set[str]:
    """The measures that have grown by more than they may."""
    return {measure for measure, by in grown(samples).items() if by > ALLOWED[measure]}


def shown(samples: Sequence[Usage]) -> str:
    """Say how it went, for the log of a test."""
    first, last = samples[0], samples[-1]
    hours = 3600
    return (
        f"{len(samples)} samples in {last.at_s - first.at_s:.0f} s:"
        f" {first.memory / MIB:.1f} -> {last.memory / MIB:.1f} MiB"
        f" ({per_second(samples, 'memory') * hours / MIB:+.1f} MiB/h),"
        f" {first.files} -> {last.files} files"
        f" ({per_second(samples, 'files') * hours:+.1f}/h),"
        f" {first.tables} -> {last.tables} tables"
        f" ({per_second(samples, 'tables') * hours:+.1f}/h),"
        f" {first.threads} -> {last.threads} threads"
        f" ({per_second(samples, 'threads') * hours:+.1f}/h)"
    )


def _target(file: Path) -> str:
    """What a descriptor stands for; nothing where it has been closed meanwhile."""
    try:
        return str(file.readlink())
    except OSError:
        return ""


def _told(pid: int, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M)
    assert found, name
    return int(found[1])
