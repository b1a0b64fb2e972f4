"""Applications drawn from a seed: what is declared in tests by hand, put together at random.

Streams are mapped, filtered, split and merged a few times; then some of them get an end: an
aggregation, windows, memory, a table, behind a new key or not. What an end has to have left is
said by `Means`; a clean run of the same records says what that is.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeAlias

import penstock as ps
from penstock.runtime.settings import CommitSettings, KafkaSettings, Settings
from tests.sim import applications
from tests.sim.feeding import NEVER_MS, YEAR_9999_MS, EventFeeder, Feeder, Times
from tests.sim.plans import Plan
from tests.sim.remembering import GoneQuiet
from tests.sim.world import World

LEFT, RIGHT = "left", "right"
MOST_ENDS = 6
OUTPUTS = tuple(f"out-{number}" for number in range(MOST_ENDS))
STRANGE_MS = (NEVER_MS, 1, YEAR_9999_MS)  # a record of 0 ms is written again as one of now
DISORDERS_MS = (1, 500, 3_000)
FOREVER = "3000000d"  # from 1970 to behind the year 9999

Text: TypeAlias = ps.Stream[str, str]


class Changes(ps.Processor[str, str, str]):
    """Change what state gives in place, and fail behind that now and then."""

    seen = ps.ValueState(list[int])

    def process(self, ctx: ps.Context[str], value: str) -> Iterator[str]:
        seen = self.seen.get() or []
        seen.append(_number(value))
        self.seen.set(seen)
        seen.append(-1)  # this is written nowhere
        _refuse(value)
        yield f"{len(seen)}-{sum(seen)}"


class Means(Enum):
    """What of a topic is a function of the records of each input partition."""

    RECORDS = "all records, and their order for each key"
    EACH = "all records; their order depends on who was how far"
    LAST = "the last value of each key"


@dataclass(frozen=True)
class Way:
    """A stream that steps can be added to.

    Attributes:
        topics: the inputs that it has records of.
        ordered: whether its order is that of a partition: there is none between merged streams.
    """

    stream: Text
    topics: frozenset[str]
    ordered: bool = True


@dataclass(frozen=True)
class End:
    """Where a way ends.

    Attributes:
        topic: its output.
        what: how it was declared.
        means: what of it the inputs say.
    """

    topic: str
    what: str
    means: Means


class Drawn:
    """An application, drawn anew the same each time.

    Args:
        plan: that of the world.

    Attributes:
        app: the application.
        ends: its ends.
        steps: how it was put together.
    """

    def __init__(self, plan: Plan) -> None:
        self.app = _app(plan)
        self.ends: list[End] = []
        self.steps: list[str] = []
        self._emit = plan.emit
        self._draw = random.Random(plan.seed)
        self._names = 0
        self._ways = [
            Way(self.app.stream(topic, key=str, value=str), frozenset((topic,)))
            for topic in (LEFT, RIGHT)
        ]
        for _ in range(self._draw.randint(0, 4)):
            self._draw.choice((self._map, self._filter, self._branch, self._merge))()
        for topic in OUTPUTS[: self._draw.randint(2, MOST_ENDS)]:
            self._end(topic)

    # Steps

    def _map(self) -> None:
        way = self._pick()
        self._add(replace(way, stream=way.stream.map(_marked)), "map")

    def _filter(self) -> None:
        way = self._pick()
        self._add(replace(way, stream=way.stream.filter(_is_kept)), "filter")

    def _branch(self) -> None:
        way = self._pick()
        for stream in way.stream.branch(_is_early, _is_any):
            self._add(replace(way, stream=stream), "branch")

    def _merge(self) -> None:
        one, other = self._pick(), self._pick()
        merged = one.stream.merge(other.stream)
        self._add(Way(merged, one.topics | other.topics, ordered=False), "merge")

    def _pick(self) -> Way:
        return self._draw.choice(self._ways)

    def _add(self, way: Way, what: str) -> None:
        self.steps.append(f"{what} of {'+'.join(sorted(way.topics))}")
        self._ways.append(way)

    # Ends

    def _end(self, topic: str) -> None:
        way = self._pick()
        ends: list[Callable[[Way, str], Means]] = [
            self._plain, self._count, self._aggregate, self._regrouped, self._never_late,
        ]  # fmt: skip
        if way.ordered:
            ends += [self._closed, self._sessions, self._once, self._quiet]
            ends += [self._update_state, self._table, self._changed, self._gathered]
        end = self._draw.choice(ends)
        means = end(way, topic)
        what = f"{end.__name__.strip('_')} of {'+'.join(sorted(way.topics))}"
        self.ends.append(End(topic, what, means))

    def _name(self) -> str:
        self._names += 1
        return f"s{self._names}"

    def _plain(self, way: Way, topic: str) -> Means:
        way.stream.to(topic)
        return Means.RECORDS if way.ordered else Means.EACH

    def _table(self, way: Way, topic: str) -> Means:
        way.stream.to_table(name=self._name()).to(topic)
        return Means.LAST

    def _count(self, way: Way, topic: str) -> Means:
        way.stream.group_by_key().count(name=self._name(), emit=self._emit).to(topic)
        return Means.RECORDS if self._emit == "every_update" else Means.LAST

    def _aggregate(self, way: Way, topic: str) -> Means:
        grouped = way.stream.group_by_key()
        grouped.aggregate(int, _add_number, name=self._name(), emit=self._emit).to(topic)
        return Means.LAST

    def _regrouped(self, way: Way, topic: str) -> Means:
        grouped = way.stream.group_by(applications.last_letter, key=str, name=self._name())
        kind = self._draw.choice(("count", "reduce", "filter"))
        if kind == "count":
            grouped.count(name=self._name(), emit=self._emit).to(topic)
        elif kind == "reduce":
            grouped.reduce(max, name=self._name(), emit=self._emit).to(topic)
        else:
            grouped.aggregate(int, _add_number, name=self._name(), emit="commit").to(topic)
        return Means.LAST

    def _never_late(self, way: Way, topic: str) -> Means:
        """Windows that wait for everybody: then it does not matter who was how far."""
        kind = self._draw.choice((ps.tumbling("1s"), ps.hopping("2s", "1s"), ps.session("700ms")))
        name = self._name()
        grouped = way.stream.group_by(applications.last_letter, key=str, name=name)
        windows = grouped.window(kind, grace=FOREVER)
        windows.count(name=self._name(), emit=self._emit).to(topic)
        return Means.LAST

    def _closed(self, way: Way, topic: str) -> Means:
        grace = self._draw.choice(("0ms", "300ms", "2s"))
        kind = self._draw.choice(
            (ps.tumbling("1s"), ps.hopping("2s", "1s"), ps.hopping("3s", "1s"))
        )
        windows = way.stream.group_by_key().window(kind, grace=grace)
        counts = windows.count(name=self._name(), emit=self._emit)
        counts.to(topic, output_mode="append")
        return Means.EACH

    def _sessions(self, way: Way, topic: str) -> Means:
        grace = self._draw.choice(("0ms", "300ms", "2s"))
        windows = way.stream.group_by_key().window(ps.session("700ms"), grace=grace)
        name = self._name()
        windows.aggregate(int, _add_number, merge=_sum, name=name, emit=self._emit).to(topic)
        return Means.LAST

    def _once(self, way: Way, topic: str) -> Means:
        once = way.stream.drop_duplicates(applications.last_letter, within="2s", name=self._name())
        once.to(topic)
        return Means.RECORDS

    def _quiet(self, way: Way, topic: str) -> Means:
        way.stream.process(GoneQuiet, name=self._name()).to(topic)
        return Means.RECORDS

    def _update_state(self, way: Way, topic: str) -> Means:
        way.stream.update_state(_chained, name=self._name()).to(topic)
        return Means.RECORDS

    def _changed(self, way: Way, topic: str) -> Means:
        way.stream.process(Changes, name=self._name()).to(topic)
        return Means.RECORDS

    def _gathered(self, way: Way, topic: str) -> Means:
        grouped = way.stream.group_by_key()
        gathered = grouped.aggregate(
            list, _gather, name=self._name(), value=list[int], emit=self._emit
        )
        gathered.to(topic)
        return Means.LAST


class DrawnWorld(World):
    """A world of such an application.

    Attributes:
        drawn: the application, as it is made for each process.
    """

    inputs = (LEFT, RIGHT)
    outputs = (*OUTPUTS, applications.DEAD)

    def __init__(self, plan: Plan) -> None:
        self.drawn = Drawn(plan)
        super().__init__(plan)
        self.note(f"drawn: {', '.join(self.drawn.steps)}; {self.drawn.ends}")

    def make_feeder(self) -> Feeder:
        disorder_ms = random.Random(self.plan.seed).choice(DISORDERS_MS)
        strange = STRANGE_MS if self.plan.strange else ()
        times = Times(60_000, disorder_ms, strange)
        return EventFeeder(self.broker, self.draw, self.plan.partitions, self.inputs, times)

    def make_app(self) -> ps.App:
        return Drawn(self.plan).app


def _app(plan: Plan) -> ps.App:
    kafka = KafkaSettings(
        protocol=plan.protocol,
        session_timeout_ms=applications.SESSION_MS,
        transaction_timeout_ms=8_000,
        request_timeout_ms=2_000,
        max_poll_interval_ms=10_000,
    )
    commit = CommitSettings(purge_interval_ms=400)
    settings = Settings(kafka=kafka, state=applications.STATE, commit=commit)
    dead = ps.dead_letter(applications.DEAD, max_ratio=1, max_run=None)
    return ps.App(applications.ID, settings=settings, on_error=dead)


def _number(text: str) -> int:
    return int(text.split("-")[0])


def _marked(text: str) -> str:
    return f"{_number(text)}-{len(text)}-{text[-1]}"


def _is_kept(text: str) -> bool:
    return _number(text) % 5 != 0


def _is_early(text: str) -> bool:
    return text[-1] in "ab"


def _is_any(_: str) -> bool:
    return True


def _add_number(total: int, text: str) -> int:
    return total + _number(text)


def _sum(one: int, other: int) -> int:
    return one + other


def _refuse(text: str) -> None:
    if _number(text) % 11 == 0:
        raise ValueError("a bad one")


def _gather(found: list[int], text: str) -> list[int]:
    """Change the list in place, and fail behind that now and then."""
    found.append(_number(text))
    _refuse(text)
    return found


def _chained(text: str, before: str | None) -> tuple[str, str]:
    return text, f"{before}>{text}"
