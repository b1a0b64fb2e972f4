"""What the benchmark's table and chart say of figures: which number a gate is held against."""

import pytest

from bench import publish, results
from bench.results import Gate, Result, Row

FASTER = Gate("map", "records_per_s", "records/s", 0, True, 2)
CHEAPER = Gate("map", "cpu_s_per_million", "CPU s per million", 2, False, 0.5)
GROWTH = Gate("partitions", "ratio", "64 to 4", 2, False, 1.3, alone=True)
FREE = Gate("map", "peak_mb", "peak RSS, MB", 0, False)


@pytest.mark.parametrize(
    ("gate", "ours", "theirs", "reached"),
    [
        (FASTER, 20, 10, True),
        (FASTER, 19, 10, False),
        (CHEAPER, 5, 10, True),
        (CHEAPER, 6, 10, False),
        (FREE, 6, 10, None),
        (FASTER, 20, None, None),
    ],
)
def test_a_target_is_for_the_ratio_of_ours_to_theirs(gate, ours, theirs, reached):
    assert Row(gate, ours, theirs).reached is reached


@pytest.mark.parametrize("theirs", [None, 0.1, 1.2, 100])
@pytest.mark.parametrize(("ours", "reached"), [(1.3, True), (1.31, False)])
def test_the_target_of_a_figure_that_stands_alone_is_for_ours_whatever_theirs_is(
    ours, theirs, reached
):
    assert Row(GROWTH, ours, theirs).reached is reached


def test_a_row_without_ours_is_not_judged():
    assert Row(GROWTH, None, 1.0).reached is None


def test_a_row_shows_both_figures_their_ratio_and_what_the_gate_is_for():
    assert Row(CHEAPER, 5, 10).cells() == [
        "map", "CPU s per million", "5.00", "10.00", "0.50", "≤ 0.5", "yes",
    ]  # fmt: skip
    assert Row(GROWTH, 1.4, None).cells() == [
        "partitions", "64 to 4", "1.40", "n/a", "n/a", "ours ≤ 1.3", "no",
    ]  # fmt: skip


def test_the_chart_keeps_ratios_to_theirs_apart_from_those_of_ours_alone():
    rows = [Row(GROWTH, 1.1, 1.2), Row(CHEAPER, 5, 10), Row(FASTER, 20, 10), Row(FASTER, 20, None)]
    panels = publish.sort_into_panels(rows)
    assert {title: [row.judged for row in part] for title, part in panels.items()} == {
        "more is better": [2.0],
        "less is better": [0.5],
        "Penstock alone, less is better": [1.1],
    }


def test_figures_are_medians_over_the_runs_that_have_them():
    result = Result("map", "python -m bench", {}, {})
    for value in (9.0, 1.0, 3.0):
        result.add("penstock", {"records_per_s": value})
    result.add("penstock", {})
    result.add("streams", {"records_per_s": 2.0})
    found = {row.gate.figure: (row.ours, row.theirs) for row in results.rows([result])}
    assert found["records_per_s"] == (3.0, 2.0)
    assert found["peak_mb"] == (None, None)


def test_every_gate_names_a_figure_once():
    named = [(gate.workload, gate.figure) for gate in results.GATES]
    assert len(named) == len(set(named))
