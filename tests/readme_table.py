"""The README's table of figures, held against the published results of bench/README.md.

A row of the README shows one figure of the benchmark, or several with dots between. It shows fewer
digits, so a figure is right if it is the benchmark's, rounded to the digits that are shown; a ratio
may be rounded from the benchmark's own or from the unrounded quotient of the two.
"""

import re
from collections.abc import Iterator

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"

# The rows of the README, and the benchmark's workload and figure for each number in them.
ROWS = {
    "map to a topic, records/s": [("map", "records/s")],
    "count over 1,000 keys, records/s": [("count-1k", "records/s")],
    "count over 100,000 keys, records/s": [("count-100k", "records/s")],
    "count under a new key, through a repartition topic, records/s": [
        ("regroup-1k", "records/s")
    ],
    "the four, CPU seconds per million records": [
        (part, "CPU s per million") for part in ("map", "count-1k", "count-100k", "regroup-1k")
    ],
    "the four, peak memory, MB": [
        (part, "peak RSS, MB") for part in ("map", "count-1k", "count-100k", "regroup-1k")
    ],
    "produce to visible at 1,000 records/s, p99, ms": [("latency", "p99, ms")],
    "restore of 3 million changelog records, records/s": [("restore", "records/s")],
    "start to first commit, s": [("start", "s to first commit")],
    "one of two workers joins, leaves, is killed and restarts: s without output": [
        ("rebalance", "joins, s without output"),
        ("rebalance", "leaves, s without output"),
        ("rebalance", "is killed and restarts, s without output"),
    ],
}  # fmt: skip


def differences(readme: str, bench: str) -> list[str]:
    """Return what the table of the README says other than the benchmark."""
    published = bench[bench.index(BEGIN) : bench.index(END)]
    measured = {(row[0], row[1]): row[2:5] for row in _rows(published) if len(row) == 7}
    shown = {row[0]: row[1:] for row in _rows(readme[readme.index("| Workload |") :])}
    faults = [f"the README has no row {title!r}" for title in ROWS if title not in shown]
    faults += [f"the README's row {title!r} is not known" for title in shown if title not in ROWS]
    for title in set(ROWS) & set(shown):
        for column, cell in enumerate(shown[title]):
            expected = [measured[at][column] for at in ROWS[title]]
            if not _same(cell, expected):
                faults.append(f"{title}: the README says {cell}, measured is {expected}")
    return faults


def _rows(text: str) -> Iterator[list[str]]:
    """The rows of a table, without its head, up to the first line that is none."""
    for line in text[text.index("| ---") :].splitlines()[1:]:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def _same(cell: str, expected: list[str]) -> bool:
    shown = [part.strip() for part in cell.split("·")]
    return len(shown) == len(expected) and all(map(_is, shown, expected))


def _is(shown: str, exact: str) -> bool:
    number, unit = re.fullmatch(r"([\d.,]+)( k)?", shown).groups()  # type: ignore[union-attr]
    value = float(exact.replace(",", "")) / (1_000 if unit else 1)
    digits = len(number.partition(".")[2])
    return abs(float(number.replace(",", "")) - value) <= 0.5 * 10**-digits + 1e-9
