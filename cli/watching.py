"""The live view of an application: what it has been told, and the lines that a screen shows.

Each line is one row of the screen: what is too long is cut, what has no room is counted. Lines are
as many as the screen has, so that nothing scrolls.
"""

from collections import deque
from collections.abc import Collection, Sequence

from rich.text import Text

from penstock.cli.overview import (
    GONE,
    SILENT,
    Heard,
    Overview,
    State,
    Worker,
    counted,
    figures,
    millis,
    overview,
    phases,
    troubles,
)
from penstock.cli.telling import event
from penstock.cli.terminal import duration, printable, utc
from penstock.query.events import Event, Idle, Rebalance, Started, Told
from penstock.query.progress import Progress

SAMPLES = 60
SAMPLE_MS = 1_000
AWAY_MS = 3_000
MINUTE_MS = 60_000
EVENTS = 50
LABEL = 12  # columns of a name
SPARK = 24  # columns of a curve
SHORT = 12  # characters of an identity that tell workers apart
FEWEST_EVENTS = 4  # rows that they have, however many workers there are
_BARS = "▁▂▃▄▅▆▇█"
_STYLES = {
    State.RUNNING: "bold green",
    State.BEHIND: "bold yellow",
    State.SILENT: "bold yellow",
    State.STOPPED: "bold red",
}
_DOING = {"falling behind": "yellow", SILENT: "red", GONE: "red", "starting": "cyan"}


class Watched:
    """What is known of an application while somebody watches it.

    Args:
        application: its id.

    Attributes:
        members: names of those in its group; None where that is not known.
        problem: why nothing comes, in the cluster's words; "" where it has said nothing.
    """

    def __init__(self, application: str) -> None:
        self._application = application
        self._heard = Heard()
        self._events: deque[str] = deque(maxlen=EVENTS)
        self._lately: deque[tuple[int, Progress]] = deque()
        self._input: deque[float] = deque(maxlen=SAMPLES)
        self._lag: deque[float] = deque(maxlen=SAMPLES)
        self._sampled_ms = self._now_ms = 0
        self.members: Collection[str] | None = None
        self.problem = ""

    def take(self, several: Sequence[Told]) -> None:
        """Take note of what was told."""
        for each in several:
            self._heard.add(each)
            if isinstance(each, Progress):
                self._lately.append((self._now_ms, each))
            elif _matters(each):
                at = f"{each.timestamp[11:19]}  {_short(each.instance_id)}"
                self._events.append(f"{at}  {event(each)}")
            if isinstance(each, Started):
                self.members = None  # another one: the group is asked again

    def reach(self, now_ms: int) -> None:
        """Note that it is this late, and that the cluster answers.

        While it does not, time stands still: workers that cannot tell anything are not gone.
        """
        self._now_ms, self.problem = now_ms, ""
        while self._lately and self._lately[0][0] < now_ms - MINUTE_MS:
            self._lately.popleft()
        if now_ms - self._sampled_ms >= SAMPLE_MS:
            found = self.look()
            self._sampled_ms = now_ms
            self._input.append(sum(worker.input_rate for worker in found.workers))
            self._lag.append(found.lag or 0)

    @property
    def reached(self) -> bool:
        """Whether the cluster has ever answered."""
        return self._now_ms > 0

    def look(self) -> Overview:
        """Return what it is doing."""
        return overview(self._application, self._heard, self._now_ms, members=self.members)

    def lines(self, width: int, height: int, now_ms: int) -> list[Text]:
        """Return the rows of a screen.

        Args:
            width: its columns.
            height: its rows.
            now_ms: the wall clock.
        """
        found = self.look()
        head = [_headline(found, now_ms, width), Text()]
        if found.progress:
            head += [self._figure(name, text, width) for name, text in _shown(found.progress)]
        if wrong := troubles([each for _, each in self._lately]):
            head.append(Text.assemble((f"{'Let go':<{LABEL}}", "dim"), (wrong, "yellow")))
            head[-1].append(", in the last minute")
        if head[-1]:
            head.append(Text())
        left = height - len(head) - 1
        workers = _workers(found.workers, max(2, left - FEWEST_EVENTS))
        events = [Text(printable(text)) for text in self._events]
        room = left - len(workers) - 2
        shown = [Text("Last events", "bold"), *events[-room:]] if room > 0 and events else []
        body = [*head, *workers, *([Text()] if shown else []), *shown][: height - 1]
        body += [Text()] * (height - 1 - len(body))
        for text in body:
            text.truncate(width, overflow="ellipsis")
        return [*body, self._foot(width, now_ms)]

    def line(self, now_ms: int) -> str:
        """Return what it is doing on one line, for where there is no screen."""
        found = self.look()
        parts = [found.headline]
        if found.progress:
            parts.append(_brief(found.progress))
        return printable(" ".join([*parts, self._problem(now_ms)]).rstrip())

    def _figure(self, name: str, text: str, width: int) -> Text:
        curve = {"Input": self._input, "Lag": self._lag}.get(name)
        row = Text.assemble((f"{name:<{LABEL}}", "dim"), text)
        if curve is None or width < LABEL + len(text) + SPARK + 1:
            return row
        row.pad_right(width - SPARK - row.cell_len)
        return row.append(spark(list(curve)[-SPARK:]).rjust(SPARK), "cyan")

    def _foot(self, width: int, now_ms: int) -> Text:
        problem = self._problem(now_ms)
        text = Text(printable(problem), "bold yellow") if problem else Text("q ends it", "dim")
        text.truncate(width, overflow="ellipsis")
        return text

    def _problem(self, now_ms: int) -> str:
        if now_ms - self._now_ms < AWAY_MS:
            return ""
        since = utc(self._now_ms)[11:19]
        return f"Kafka has not answered since {since}; trying on. {self.problem}".rstrip()


def _matters(told: Event) -> bool:
    """Whether an event changes anything: not idling, nor a rebalance that moves nothing."""
    if isinstance(told, Rebalance):
        return bool(told.taken or told.given_back)
    return not isinstance(told, Idle)


def _brief(progress: Progress) -> str:
    rates = dict(figures(progress))
    latest = progress.latency_ms
    p99 = f", p99 {millis(latest.p99)}" if latest else ""
    return f"Input {rates['Input']}, output {rates['Output']}, lag {progress.lag:,}{p99}."


def _shown(progress: Progress) -> list[tuple[str, str]]:
    spent = phases(progress)
    total = sum(ms for _, ms in spent) or 1
    shares = ", ".join(f"{name} {100 * ms / total:.0f} %" for name, ms in spent[:4])
    return [*figures(progress), ("Time spent", shares or "-")]


def _headline(found: Overview, now_ms: int, width: int) -> Text:
    row = Text(printable(found.headline), _STYLES[found.state])
    clock = utc(now_ms)[11:19]
    if row.cell_len + len(clock) + 2 <= width:
        row.pad_right(width - len(clock) - row.cell_len)
        row.append(clock, "dim")
    return row


def _workers(workers: Sequence[Worker], room: int) -> list[Text]:
    """Return a table in so many rows; what does not fit is counted in the last of them."""
    if not workers:
        return []
    fits = len(workers) <= room - 1
    rows = [
        f"{'Worker':<{SHORT}}  {'State':<14}{'Partitions':>10}{'Input/s':>11}"
        f"{'Lag':>11}{'p99':>9}  Told"
    ]
    found = [Text(rows[0], "bold")]
    for worker in workers if fits else workers[: max(0, room - 2)]:
        p99 = "-" if worker.p99_ms is None else millis(worker.p99_ms)
        found.append(
            Text.assemble(
                f"{_short(worker.instance):<{SHORT}}  ",
                (f"{worker.doing:<14}", _DOING.get(worker.doing, "")),
                f"{worker.partitions:>10}{worker.input_rate:>11,.0f}{worker.lag:>11,}{p99:>9}  ",
                f"{duration(worker.silent_s)} ago",
            )
        )
    if not fits:
        found.append(Text(f"and {counted(len(workers) - len(found) + 1, 'more worker')}", "dim"))
    return found


def _short(instance: str) -> str:
    return printable(instance)[:SHORT]


def spark(values: Sequence[float]) -> str:
    """Return numbers as a curve of one row, from nothing to the largest.

    >>> spark([0, 1, 2, 4])
    '▁▃▅█'
    """
    most = max(values, default=0) or 1
    return "".join(_BARS[round(value / most * (len(_BARS) - 1))] for value in values)
