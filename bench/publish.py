"""Writes the latest results into README.md and chart.png: python -m bench.publish.

The README is changed between its two markers only. The chart shows ratios ours/theirs against
the gate, where more is better and where less is, and below them the ratios of ours alone.
"""

from pathlib import Path
from typing import Any

from bench import results
from bench.results import Result, Row

FOLDER = Path(__file__).parent
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
HEAD = ["Workload", "Figure", "Penstock", "Kafka Streams", "Ratio", "Gate", "Reached"]
INK, MUTED, REACHED, MISSED, FREE = "#1f2937", "#6b7280", "#0f766e", "#c2410c", "#94a3b8"


def publish() -> list[str]:
    """Write table and chart; returns what was written."""
    found = results.load()
    if not found:
        raise SystemExit("There are no results yet: run `make bench` first.")
    readme = FOLDER / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n{markdown(found)}\n{END}{after}")
    return ["bench/README.md", *draw(results.rows(found))]


def markdown(found: list[Result]) -> str:
    lines = [HEAD, ["---", "---", "---:", "---:", "---:", "---:", "---"]]
    lines += [row.cells() for row in results.rows(found)]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    return f"{table}\n\n{provenance(found)}"


def provenance(found: list[Result]) -> str:
    """Which command on which machine made each line: once, if it is the same for all."""
    sources: dict[str, list[str]] = {}
    for result in found:
        machine = ", ".join(f"{name} {value}" for name, value in result.machine.items())
        runs = " and ".join(f"{len(runs)} of {engine}" for engine, runs in result.runs.items())
        sizes = ", ".join(f"{value:,} {name}" for name, value in result.input.items())
        sources.setdefault(f"`{result.command}` on {machine}", []).append(
            f"{result.workload} ({sizes}; runs: {runs})"
        )
    return "\n".join(f"- {'; '.join(made)}: {source}." for source, made in sources.items())


def draw(rows: list[Row]) -> list[str]:
    """Panels of bars with the gate as a tick on each. Nothing without matplotlib."""
    try:
        import matplotlib as mpl
    except ImportError:
        print("No chart: pip install 'penstock[bench]' (matplotlib)")
        return []
    mpl.use("agg")
    from matplotlib import pyplot

    panels = sort_into_panels(rows)
    if not panels:
        print("No chart: a ratio needs both engines")
        return []
    figure, axes = pyplot.subplots(
        len(panels),
        figsize=(8.5, 1.6 + 0.36 * sum(map(len, panels.values()))),
        height_ratios=[len(part) + 0.8 for part in panels.values()],
        squeeze=False,
        layout="constrained",
    )
    for axis, (title, part) in zip(axes[:, 0], panels.items(), strict=True):
        draw_panel(axis, title, part)
    figure.suptitle(
        "Penstock ÷ Kafka Streams, same run, exactly once, one worker : one thread",
        fontsize=11,
        color=INK,
        x=0.01,
        ha="left",
    )
    figure.savefig(FOLDER / "chart.png", dpi=150, metadata={"Software": None})
    pyplot.close(figure)
    return ["bench/chart.png"]


def sort_into_panels(rows: list[Row]) -> dict[str, list[Row]]:
    """Bars that can be compared with each other, under what says how to read them."""
    panels: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row.gate.alone, not row.gate.more)):
        subject = "Penstock alone, " if row.gate.alone else ""
        title = f"{subject}{'more' if row.gate.more else 'less'} is better"
        if row.judged is not None:
            panels.setdefault(title, []).append(row)
    return panels


def draw_panel(axis: Any, title: str, rows: list[Row]) -> None:
    places = range(len(rows))
    ratios = [row.judged or 0 for row in rows]
    reach = 0.0
    colors = [{True: REACHED, False: MISSED, None: FREE}[row.reached] for row in rows]
    axis.barh(places, ratios, height=0.62, color=colors)
    axis.axvline(1, color=MUTED, linewidth=0.8, linestyle=(0, (3, 3)), zorder=0)
    for place, row in zip(places, rows, strict=True):
        target = row.gate.target
        if target is not None:
            axis.plot([target] * 2, [place - 0.42, place + 0.42], color=INK, linewidth=2)
        gate = f"   gate {row.gate.text}" if row.gate.text else ""
        beyond = max(row.judged or 0, target or 0)
        reach = max(reach, beyond)
        axis.annotate(
            f"{row.judged:.2f}x{gate}",
            (beyond, place),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color=INK,
        )
    axis.set_yticks(places, [f"{row.gate.workload}: {row.gate.title}" for row in rows], fontsize=8)
    axis.set_xlim(0, 1.35 * max(1, reach))
    axis.set_title(title, fontsize=9, color=MUTED, loc="left")
    axis.tick_params(colors=INK, labelsize=8, length=0)
    axis.invert_yaxis()
    axis.spines[["top", "right", "left"]].set_visible(False)


if __name__ == "__main__":
    print("wrote", ", ".join(publish()))
