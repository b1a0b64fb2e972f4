"""Patterns against a naive matcher, however the input is cut and whatever fails in between.

The naive one keeps all events of a key in a list. With each it goes again through the fate of
every event that could have begun a match, from what stands in the list alone: which events a match
that begins there takes, found anew each time from the words of the pattern.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock import patterns
from tests.unit.patterns import Word, app_of, limit, number, shown, words
from tests.unit.programs import Sent
from tests.unit.runner import Cut, Runner

Event = tuple[str, int]
Verdict = Literal["open", "dead", "complete"]


@dataclass
class Fate:
    """What becomes of a match that begins with an event.

    Attributes:
        verdict: as far as the events say.
        at: the event that decided.
        taken: which step took which event, by their places.
    """

    verdict: Verdict
    at: int
    taken: dict[int, int]


class Naive:
    """One key.

    Attributes:
        said: what was found, with the time of the record that says it.
    """

    def __init__(self, text: str) -> None:
        self.steps: list[Word] = []
        self.never: list[list[Word]] = []
        for word in words(text):
            if word.kind == "without":
                self.never[-1].append(word)
            else:
                self.steps.append(word)
                self.never.append([])
        self.within, self.timeouts = limit(text)
        self.events: list[Event] = []
        self.used = -1  # no match begins with an event up to here
        self.fired: set[int] = set()

    def add(self, event: Event) -> list[str]:
        """Take an event; return the match that it completes."""
        self.events.append(event)
        now = len(self.events) - 1
        for begin in range(self.used + 1, now + 1):
            fate = self.fate(begin)
            if begin not in self.fired and fate and (fate.verdict, fate.at) == ("complete", now):
                self.used = now
                return [self.show(fate)]
        return []

    def due(self, until: int) -> list[tuple[int, int]]:
        """Return the times up to which something is decided, with the event that began it."""
        if self.within is None:
            return []
        begun = [n for n in range(self.used + 1, len(self.events)) if n not in self.fired]
        over = [(self.events[n][1] + self.within + 1, n) for n in begun]
        return [(at, n) for at, n in over if at <= until and self.is_open(n)]

    def is_open(self, begin: int) -> bool:
        fate = self.fate(begin)
        return fate is not None and fate.verdict == "open"

    def fire(self, begin: int) -> list[str]:
        """Decide by time."""
        self.fired.add(begin)
        fate = self.fate(begin)
        assert fate is not None
        last = max(fate.taken)
        step = fate.taken[last]
        enough = sum(at == step for at in fate.taken.values()) >= self.least(step)
        rest = range(step + 1, len(self.steps))
        ways = enough and all(self.least(n) == 0 for n in rest) and bool(self.never[-1])
        gaps = range(step, len(self.steps))
        if ways and not any(self.seen(fate.taken, gap, len(self.events) - 1) for gap in gaps):
            self.used = max(self.used, last)
            return [self.show(fate)]
        return [self.show(fate) + "!"] if self.timeouts else []

    def fate(self, begin: int) -> Fate | None:
        """Return what becomes of a match that begins with an event, None if it begins none."""
        if not self.satisfies(self.steps[0], {}, begin):
            return None
        taken = {begin: 0}
        if self.is_complete(taken):
            return Fate("complete", begin, taken)
        for at in range(begin + 1, len(self.events)):
            stands = taken[max(taken)]
            if self.seen(taken, stands, at):
                return Fate("dead", at, taken)
            step = self.goes_to(taken, at)
            if step is not None:
                taken[at] = step
                if self.is_complete(taken):
                    return Fate("complete", at, taken)
            elif self.is_stuck(taken):
                return Fate("dead", at, taken)
        return Fate("open", len(self.events), taken)

    def goes_to(self, taken: dict[int, int], at: int) -> int | None:
        last = max(taken)
        stands = taken[last]
        reach = [stands, *self.ahead(taken)]
        for step in reversed(reach):
            word = self.steps[step]
            filled = sum(of == step for of in taken.values())
            if step == stands and word.kind != "one_or_more" and filled >= word.count:
                continue
            if step != stands and any(self.seen(taken, g, at) for g in range(stands, step)):
                continue
            if step != stands and word.kind == "next" and at != last + 1:
                continue
            if self.satisfies(word, taken, at):
                return step
        return None

    def ahead(self, taken: dict[int, int]) -> list[int]:
        """The steps that a match may go on to, if nothing bars the way."""
        stands = taken[max(taken)]
        if sum(of == stands for of in taken.values()) < self.least(stands):
            return []
        found: list[int] = []
        for step in range(stands + 1, len(self.steps)):
            found.append(step)
            if self.least(step):
                break
        return found

    def is_stuck(self, taken: dict[int, int]) -> bool:
        """Whether the event that has come was the last that could be next."""
        stands = taken[max(taken)]
        word, filled = self.steps[stands], sum(of == stands for of in taken.values())
        ahead = self.ahead(taken)
        full = word.kind != "one_or_more" and filled >= word.count
        return full and bool(ahead) and all(self.steps[step].kind == "next" for step in ahead)

    def seen(self, taken: dict[int, int], gap: int, until: int) -> bool:
        """Whether something has come up to an event that must not come behind a step."""
        own = sorted(at for at, step in taken.items() if step == taken[max(taken)])
        if gap == taken[max(taken)]:
            since = own[0]
        elif len(own) >= self.least(taken[max(taken)]):
            since = own[max(1, self.least(taken[max(taken)])) - 1]
        else:
            return False
        return any(
            self.satisfies(word, {n: of for n, of in taken.items() if n < at}, at)
            for word in self.never[gap]
            for at in range(since + 1, until + 1)
        )

    def satisfies(self, word: Word, taken: dict[int, int], at: int) -> bool:
        value = self.events[at][0]
        if word.looks_back and number(value) <= number(self.events[max(taken)][0]):
            return False
        return value[0] in word.letters

    def least(self, step: int) -> int:
        return 0 if self.steps[step].kind == "optional" else self.steps[step].count

    def is_complete(self, taken: dict[int, int]) -> bool:
        last = len(self.steps) - 1
        filled = sum(step == last for step in taken.values())
        return not self.never[-1] and filled >= max(1, self.least(last))

    def show(self, fate: Fate) -> str:
        steps = sorted(set(fate.taken.values()))
        return " ".join(
            ",".join(str(self.events[at][1]) for at, of in sorted(fate.taken.items()) if of == step)
            for step in steps
        )


@dataclass
class Keys:
    """All keys, and the time that they share."""

    text: str
    keys: dict[str, Naive] = field(default_factory=dict[str, Naive])
    clock: int = -1
    said: list[tuple[str, int, str]] = field(default_factory=list[tuple[str, int, str]])

    def add(self, key: str, value: str, at: int) -> None:
        self.clock = max(self.clock, at)
        self.fire()
        naive = self.keys.setdefault(key, Naive(self.text))
        self.said += [(key, at, text) for text in naive.add((value, at))]
        self.fire()

    def fire(self) -> None:
        while due := sorted(
            (at, key, begin) for key, of in self.keys.items() for at, begin in of.due(self.clock)
        ):
            at, key, begin = due[0]
            self.said += [(key, at, text) for text in self.keys[key].fire(begin)]


STEP = st.builds(
    "{}{}{}".format,
    st.sampled_from(["", "", "2", "^"]),
    st.sampled_from(["a", "b", "c", "ab", "bc"]),
    st.sampled_from(["", "", ">"]),
) | st.builds(
    "{}{}{}".format,
    st.sampled_from(["a", "b", "c", "ab", "bc"]),
    st.sampled_from("+?"),
    st.sampled_from(["", "", ">"]),
)
NEVER = st.builds("!{}{}".format, st.sampled_from(["b", "c", "r", "r"]), st.sampled_from(["", ">"]))
FIRST = st.sampled_from(["a", "a", "ab", "2a", "a+"])


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A pattern that is not refused."""
    some = [draw(FIRST), *draw(st.lists(STEP | STEP | NEVER, max_size=3))]
    within = draw(st.none() | st.integers(1, 12))
    if within is None and some[-1][0] == "!":
        some.append("c")
    elif some[-1][0] != "!" and any(sign in some[-1] for sign in "+?"):
        some += ["c"] if within is None else ["!r"]
    limited = "" if within is None else f" |{within}{draw(st.sampled_from(['', '!']))}"
    return " ".join(some) + limited


ROWS = st.lists(
    st.tuples(
        st.sampled_from(["k", "k", "l"]),
        st.builds("{}{}".format, st.sampled_from("aaabbbcccrx"), st.sampled_from(["", 1, 2])),
        st.sampled_from([-2, 0, 1, 1, 1, 2, 3, 8]),
    ),
    min_size=4,
    max_size=20,
)
CUTS = st.lists(
    st.builds(
        Cut,
        st.integers(1, 4),
        st.sampled_from(["go", "commit", "commit", "abort", "restart", "restore"]),
    ),
    max_size=10,
)


def timed(rows: Iterable[tuple[str, str, int]]) -> list[tuple[str, str, int]]:
    """Give records times that mostly go on."""
    found: list[tuple[str, str, int]] = []
    clock = 10
    for key, value, step in rows:
        clock = max(0, clock + step)
        found.append((key, value, clock))
    return found


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=texts(), rows=ROWS, cuts=CUTS, cache=st.sampled_from([1, 100]))
def test_a_pattern_finds_what_the_naive_matcher_finds(
    text: str, rows: list[tuple[str, str, int]], cuts: list[Cut], cache: int
) -> None:
    """In the same order, with the same times; and no event is kept that no open match has taken."""
    sent = timed(rows)
    naive = Keys(text)
    for row in sent:
        naive.add(*row)
    runner = Runner(app_of(text).topology(), cache_entries=cache)
    runner.run([Sent("in", key.encode(), value.encode(), at) for key, value, at in sent], cuts)
    out = [row for batch in runner.batches for row in batch.outputs["out"]]
    found = [(str(row.key, "utf-8"), row.timestamp, decoded(row.value)) for row in out if row.key]
    assert found == naive.said
    wanted = {key: len(kept(of)) for key, of in naive.keys.items() if kept(of)}
    assert len([*runner.stores["m-open"].scan()]) == len(wanted)
    assert len([*runner.stores["m-events"].scan()]) == sum(1 + 2 * n for n in wanted.values())


def kept(naive: Naive) -> set[int]:
    """The events of the matches that are open."""
    begun = [n for n in range(naive.used + 1, len(naive.events)) if n not in naive.fired]
    fates = [naive.fate(begin) for begin in begun]
    return {at for fate in fates if fate and fate.verdict == "open" for at in fate.taken}


def decoded(data: bytes | None) -> str:
    return shown(msgspec.json.decode(data or b"", type=patterns.Match[str]))
