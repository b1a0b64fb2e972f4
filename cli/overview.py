"""What an application is doing, at one look: its state, its workers, and its figures as text."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from penstock.cli.terminal import duration
from penstock.query.events import Terminated, Told
from penstock.query.merging import milliseconds_of
from penstock.query.progress import Progress, iso
from penstock.query.summing import Application, WorkerProgress

SILENT_MS = 15_000  # a worker tells that it idles every ten seconds
SEEN_MS = 60_000  # for as long is one shown that tells nothing any more
TOTAL = "triggerExecution"  # all phases of a batch together
GONE, SILENT = "gone", "silent"
EMPTY: Mapping[str, str] = {}
_UNITS = ("B", "kB", "MB", "GB", "TB")


class State(StrEnum):
    """What an application amounts to."""

    RUNNING = "running"
    BEHIND = "falling behind"
    SILENT = "silent"
    STOPPED = "not running"


@dataclass
class Heard:
    """What workers have told: those of the last seconds are summed, those of a minute are shown.

    Attributes:
        summed: those who count.
        seen: those who are shown.
        ended: the last words of those who have told that they end, and nothing since.
        newest: what was told last.
    """

    summed: Application = field(default_factory=lambda: Application(silent_ms=SILENT_MS))
    seen: Application = field(default_factory=lambda: Application(silent_ms=SEEN_MS))
    ended: dict[str, Terminated] = field(default_factory=dict[str, Terminated])
    newest: Told | None = None

    def add(self, told: Told) -> None:
        """Take note of what a worker has told."""
        self.summed.add(told)
        self.seen.add(told)
        if self.newest is None or _at_ms(told) >= _at_ms(self.newest):
            self.newest = told
        if not isinstance(told, Terminated):
            self.ended.pop(told.instance_id, None)
        elif all(of.instance_id != told.instance_id for of in self.seen.workers):
            self.ended[told.instance_id] = told  # no later run of it has told anything

    @property
    def last_end(self) -> Terminated | None:
        """What has ended the application, as far as its last words tell; None where others follow.

        An error comes before those who were stopped because of it.
        """
        if not isinstance(self.newest, Terminated):
            return None
        since_ms = _at_ms(self.newest) - SEEN_MS
        failed = [of for of in self.ended.values() if of.exception and _at_ms(of) >= since_ms]
        return max(failed, key=_at_ms, default=self.newest)

    def leave_out(self, worker: WorkerProgress) -> None:
        """Sum a worker no more: the group knows that it has ended, though it did not say so."""
        told = worker.idle or worker.progress
        if told:
            self.summed.add(
                Terminated(
                    id=told.id,
                    run_id=worker.run_id,
                    instance_id=worker.instance_id,
                    name=told.name,
                    timestamp=iso(worker.last_seen_ms),
                )
            )

    def reach(self, now_ms: int) -> None:
        """Note that it is this late."""
        self.summed.reach(now_ms)
        self.seen.reach(now_ms)


@dataclass(frozen=True)
class Worker:
    """A worker as it is shown.

    Attributes:
        instance: its identity.
        host: where it runs; "" where the group does not say.
        doing: in words; "gone" where the group knows it no more.
        partitions: how many inputs it has.
        input_rate: records per second that it reads.
        lag: records that wait in its inputs.
        p99_ms: latency of 99 of 100 records; None where none came.
        silent_s: how long ago it has told something.
    """

    instance: str
    host: str
    doing: str
    partitions: int
    input_rate: float
    lag: int
    p99_ms: int | None
    silent_s: float


@dataclass(frozen=True)
class Overview:
    """An application at one look.

    Attributes:
        application: its id.
        state: what it amounts to.
        members: how many workers its group has; None where nobody has asked.
        workers: those who have told something lately.
        progress: the sum over them; None where they have told of no batch yet.
        lag: records that wait, or offsets where the broker alone tells; None where nobody does.
        ended: the last words of what does not run any more, where there are any.
    """

    application: str
    state: State
    members: int | None
    workers: tuple[Worker, ...]
    progress: Progress | None
    lag: int | None
    ended: Terminated | None = None

    @property
    def headline(self) -> str:
        """The state in a sentence."""
        live = [worker for worker in self.workers if worker.doing not in (SILENT, GONE)]
        partitions = sum(worker.partitions for worker in live)
        who = f"{counted(len(live), 'worker')}, {counted(partitions, 'partition')}"
        if self.state is State.STOPPED:
            return f"{self.application} does not run."
        if not self.workers:
            told = f"{counted(self.members or 0, 'worker')} in its group, which have told nothing"
            return f"{self.application} runs: {told} of their progress."
        if self.state is State.SILENT:
            least = min(worker.silent_s for worker in self.workers)
            members = counted(self.members or len(self.workers), "worker")
            return f"{self.application} has told nothing for {duration(least)}: {members}."
        if self.state is State.BEHIND and self.progress:
            since = duration(self.progress.falling_behind_ms / 1000)
            return f"{self.application} runs and falls behind since {since}: {who}."
        return f"{self.application} runs: {who}."

    def as_object(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "application": self.application,
            "state": self.state.value,
            "members": self.members,
            "lag": self.lag,
            "workers": [
                {
                    "instance": worker.instance,
                    "host": worker.host or None,
                    "state": worker.doing,
                    "partitions": worker.partitions,
                    "input_rate": worker.input_rate,
                    "lag": worker.lag,
                    "latency_p99_ms": worker.p99_ms,
                    "silent_seconds": round(worker.silent_s, 1),
                }
                for worker in self.workers
            ],
            "progress": msgspec.to_builtins(self.progress),
            "ended": msgspec.to_builtins(self.ended),
        }


def overview(
    application: str,
    heard: Heard,
    now_ms: int,
    *,
    members: Collection[str] | None = None,
    hosts: Mapping[str, str] = EMPTY,
) -> Overview:
    """Make an overview of what workers have told.

    Args:
        application: its id.
        heard: what they have told.
        now_ms: the wall clock.
        members: names of those in its group, which begin with the worker's; None where that is
            not known.
        hosts: where they run, by their names.
    """
    heard.reach(now_ms)
    seen = heard.seen.workers
    if members is not None:  # until its session ends, the group keeps who has ended
        members = [name for name in members if not name.startswith((*heard.ended,))]
    here = {of.instance_id: _members(of, members or ()) for of in seen}
    # Members that have names of another kind tell nothing of who is gone.
    telling = members is not None and (not members or any(here.values()))
    gone = {of.instance_id for of in seen if telling and not here[of.instance_id]}
    for of in seen:
        if of.instance_id in gone:
            heard.leave_out(of)
    workers = tuple(
        _worker(
            of,
            next((hosts[name] for name in here[of.instance_id] if name in hosts), ""),
            now_ms,
            gone=of.instance_id in gone,
        )
        for of in seen
    )
    progress = heard.summed.progress
    state = _state(workers, progress, members)
    return Overview(
        application,
        state,
        None if members is None else len(members),
        workers,
        progress,
        progress.lag if progress else sum(of.lag for of in workers) if workers else None,
        heard.last_end if state is State.STOPPED else None,
    )


def _at_ms(told: Told) -> int:
    return milliseconds_of(told.timestamp)


def _members(of: WorkerProgress, members: Collection[str]) -> list[str]:
    return [name for name in members if of.instance_id and name.startswith(of.instance_id)]


def _state(
    workers: Sequence[Worker], progress: Progress | None, members: Collection[str] | None
) -> State:
    if any(of.doing not in (SILENT, GONE) for of in workers):
        return State.BEHIND if progress and progress.falling_behind else State.RUNNING
    if members or (members is None and workers):
        return State.SILENT if workers else State.RUNNING
    return State.STOPPED


def _worker(of: WorkerProgress, host: str, now_ms: int, *, gone: bool) -> Worker:
    progress, silent_ms = of.progress, now_ms - of.last_seen_ms
    doing = GONE if gone else SILENT if silent_ms > SILENT_MS else _doing(of)
    working = None if of.idle or doing in (SILENT, GONE) else progress
    lag = of.idle.lag if of.idle else progress.lag if progress else 0
    return Worker(
        of.instance_id,
        host,
        doing,
        0 if doing == GONE else sum(map(len, of.assigned.values())),
        working.input_rows_per_second if working else 0.0,
        0 if doing == GONE else lag,
        working.latency_ms.p99 if working and working.latency_ms else None,
        max(0.0, silent_ms / 1000),
    )


def _doing(of: WorkerProgress) -> str:
    if of.idle:
        return "waiting" if of.idle.lag else "idle"
    if of.progress is None:
        return "starting"
    return "falling behind" if of.progress.falling_behind else "processing"


def figures(progress: Progress) -> list[tuple[str, str]]:
    """Return what a progress says, as names and texts."""
    rows, rate = progress.num_input_rows, progress.input_rows_per_second
    out = rate * progress.sink.num_output_rows / rows if rows else 0.0
    found = [
        ("Input", f"{rate:,.0f} records/s"),
        ("Processing", f"{progress.processed_rows_per_second:,.0f} records/s while it works"),
        ("Output", f"{out:,.0f} records/s"),
        ("Lag", lag_text(progress)),
        ("Batches", _batches(progress)),
        ("Latency", latency(progress)),
    ]
    if "watermark" in progress.event_time:
        found.append(("Watermark", progress.event_time["watermark"]))
    if progress.state_operators:
        found.append(("State", _state_size(progress)))
    return found


def latency(progress: Progress) -> str:
    """Return how long records take from their timestamp to their commit."""
    of = progress.latency_ms
    if of is None:
        return "-"
    return ", ".join(
        f"{name} {millis(ms)}"
        for name, ms in (("p50", of.p50), ("p95", of.p95), ("p99", of.p99), ("max", of.max))
    )


def lag_text(progress: Progress) -> str:
    """Return how many records wait, and where most of them do."""
    found = [
        (of.lag or 0, f"{topic}/{number}")
        for source in progress.sources
        for topic, numbers in source.partitions.items()
        for number, of in numbers.items()
    ]
    most, where = max(found, default=(0, ""))
    text = f"{counted(progress.lag, 'record')}"
    return f"{text}, at most {most:,} in {where}" if most else text


def _batches(progress: Progress) -> str:
    each = progress.batch_duration / progress.batches if progress.batches else 0
    longest = millis(progress.max_batch_duration)
    return f"{progress.batches:,}, {millis(round(each))} each, {longest} the longest"


def _state_size(progress: Progress) -> str:
    stores = progress.state_operators
    disk = sum(of.custom_metrics.get("stateOnDiskBytes", 0) for of in stores)
    parts = [
        counted(len(stores), "store"),
        counted(sum(of.num_rows_total for of in stores), "row"),
        f"{size(sum(of.memory_used_bytes for of in stores))} in memory",
    ]
    return ", ".join([*parts, f"{size(disk)} on disk"] if disk else parts)


def troubles(several: Sequence[Progress]) -> str:
    """Return what has gone wrong in records of progress together; "" where nothing has."""
    counts = (
        ("failed", sum(of.num_failed_rows for of in several)),
        ("dead letters", sum(of.num_dead_letters for of in several)),
        ("late", sum(of.num_late_rows for of in several)),
        ("without key or value", sum(of.num_dropped_rows for of in several)),
    )
    return ", ".join(f"{count:,} {what}" for what, count in counts if count)


def phases(progress: Progress) -> list[tuple[str, int]]:
    """Return what batches spend their time with, in milliseconds, the most first."""
    found = [(name, ms) for name, ms in progress.duration_ms.items() if name != TOTAL and ms]
    return sorted(found, key=lambda phase: -phase[1])


def counted(number: int, one: str, several: str = "") -> str:
    """Return a number of things.

    >>> counted(1, "worker"), counted(2_000, "record")
    ('1 worker', '2,000 records')
    """
    return f"{number:,} {one if number == 1 else several or one + 's'}"


def millis(ms: int) -> str:
    """Return a time that is mostly short.

    >>> millis(12), millis(1_234), millis(90_000)
    ('12 ms', '1.2 s', '1 min 30 s')
    """
    return f"{ms} ms" if ms < 1_000 else duration(ms / 1000)


def size(count: float) -> str:
    """Return a number of bytes.

    >>> size(0), size(1_500), size(2_000_000_000_000_000)
    ('0 B', '1.5 kB', '2000.0 TB')
    """
    unit = 0
    while count >= 1000 and unit < len(_UNITS) - 1:
        count, unit = count / 1000, unit + 1
    return f"{count:.1f} {_UNITS[unit]}" if unit else f"{count:.0f} B"
