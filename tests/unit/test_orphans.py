"""Who looks for partitions that nobody has, when, and who begins a rebalance."""

from math import inf
from typing import Any

import pytest

import penstock as ps
from penstock.engine.assignment import LeadMap
from penstock.errors import BrokerError
from penstock.runtime.orphans import OrphanWatch
from penstock.topics.admin import Owners

ALL = {("lines", 0), ("words", 0), ("words", 1)}


class Group:
    """A cluster with one group, and the consumer that is its member `me`."""

    def __init__(self, *members: set[tuple[str, int]], me: str = "m0") -> None:
        self.found: Owners | None = None
        self.share(*members)
        self.member_id: str | None = me
        self.asked = 0
        self.ready = True
        self.answers: bool | None = True
        self.rejoins = 0

    def share(self, *members: set[tuple[str, int]], stable: bool = True) -> None:
        owned = {f"m{number}": frozenset(mine) for number, mine in enumerate(members)}
        self.found = Owners(stable, owned)

    def owners(self, group: str) -> "Group":
        assert group == "app"
        self.asked += 1
        return self

    def committed(self, inputs: list[tuple[str, int]], timeout_s: float) -> object:
        assert inputs == [("lines", 0)]
        assert timeout_s < 1
        if self.answers is None:
            raise BrokerError("The group refuses.")
        return {inputs[0]: (-1, None)} if self.answers else None

    def done(self) -> bool:
        return self.ready

    def result(self) -> Owners | None:
        return self.found

    def rejoin(self) -> None:
        self.rejoins += 1


def watch(group: Any, interval_ms: float = 100) -> OrphanWatch:
    app = ps.App("app")
    app.stream("words", key=str, value=str).to("out")
    app.stream("lines", key=str, value=str).to("out")
    leads = LeadMap(app.topology(), {"words": 2, "lines": 1})
    return OrphanWatch(group, group, "app", leads, interval_ms)


def look(orphans: OrphanWatch, times: int, first_ms: int = 100) -> None:
    """Let it ask, and have the answer, so many times."""
    for number in range(times):
        orphans.check(first_ms + 100 * number)
        orphans.check(first_ms + 100 * number + 1)


def test_it_asks_after_a_rebalance_until_everything_has_an_owner() -> None:
    group = Group({("words", 0)}, {("words", 1)})
    orphans = watch(group)
    orphans.check(5_000)
    assert group.asked == 0
    orphans.rebalanced(5_000)
    orphans.check(5_099)
    assert group.asked == 0
    look(orphans, 1, 5_100)
    group.share({("words", 0)}, {("words", 1), ("lines", 0)})
    look(orphans, 10, 5_200)
    assert group.asked == 2
    assert group.rejoins == 0


def test_the_second_look_begins_a_rebalance() -> None:
    """Again and again, where that does not help."""
    group = Group({("words", 0)}, {("words", 1)})
    orphans = watch(group)
    orphans.rebalanced(0)
    look(orphans, 1)
    assert group.rejoins == 0
    look(orphans, 5, 200)
    assert group.rejoins == 3


def test_it_says_what_is_nobodys(caplog: pytest.LogCaptureFixture) -> None:
    orphans = watch(Group({("words", 0)}, set()))
    orphans.rebalanced(0)
    look(orphans, 2)
    assert "Nobody has lines/0, words/1 of the group app" in caplog.text


@pytest.mark.parametrize("answers", [False, None])
def test_a_coordinator_that_does_not_answer_is_not_asked_for_the_group(
    answers: bool | None,
) -> None:
    """The looks in front of that do not count any more."""
    group = Group({("words", 0)}, {("words", 1)})
    orphans = watch(group)
    orphans.rebalanced(0)
    look(orphans, 1)
    group.answers = answers
    look(orphans, 5, 200)
    assert group.asked == 1
    group.answers = True
    look(orphans, 1, 700)
    assert (group.asked, group.rejoins) == (2, 0)
    look(orphans, 1, 800)
    assert (group.asked, group.rejoins) == (3, 1)


@pytest.mark.parametrize(("me", "looks"), [("m0", 2), ("m1", 3), ("m2", 4)])
def test_the_smallest_member_is_the_first(me: str, looks: int) -> None:
    """The others follow where it does nothing."""
    group = Group({("words", 0)}, {("words", 1)}, set(), me=me)
    orphans = watch(group)
    orphans.rebalanced(0)
    look(orphans, looks - 1)
    assert group.rejoins == 0
    look(orphans, 1, 100 * looks)
    assert group.rejoins == 1


@pytest.mark.parametrize("me", ["m7", None])
def test_who_is_not_in_the_group_begins_nothing(me: str | None) -> None:
    group = Group(set())
    group.member_id = me
    orphans = watch(group)
    orphans.rebalanced(0)
    look(orphans, 10)
    assert group.rejoins == 0
    assert group.asked == 10


def test_what_moves_is_no_orphan() -> None:
    """Other partitions each time, a rebalance, or no answer in between: it begins anew."""
    group = Group({("words", 0), ("words", 1)})
    orphans = watch(group)
    orphans.rebalanced(0)
    look(orphans, 1)
    group.share({("words", 0), ("lines", 0)})
    look(orphans, 1, 200)
    group.share({("words", 0), ("lines", 0)}, stable=False)
    look(orphans, 1, 300)
    group.share({("words", 0), ("lines", 0)})
    look(orphans, 1, 400)
    group.found = None
    look(orphans, 1, 500)
    group.share({("words", 0), ("lines", 0)})
    look(orphans, 1, 600)
    orphans.rebalanced(650)
    look(orphans, 1, 750)
    assert group.asked == 7
    assert group.rejoins == 0


def test_workers_without_partitions_are_no_reason() -> None:
    group = Group(ALL, set(), set())
    orphans = watch(group)
    orphans.rebalanced(0)
    look(orphans, 10)
    assert (group.asked, group.rejoins) == (1, 0)


def test_it_waits_for_nothing() -> None:
    """One question at a time; an answer from before a rebalance counts for nothing."""
    group = Group({("words", 0)})
    group.ready = False
    orphans = watch(group)
    orphans.rebalanced(0)
    look(orphans, 5)
    assert group.asked == 1
    orphans.rebalanced(600)
    group.ready = True
    look(orphans, 1, 700)
    assert (group.asked, group.rejoins) == (2, 0)


def test_without_an_interval_it_never_looks() -> None:
    """As under KIP-848."""
    group = Group(set())
    orphans = watch(group, inf)
    orphans.rebalanced(0)
    look(orphans, 10)
    assert group.asked == 0
