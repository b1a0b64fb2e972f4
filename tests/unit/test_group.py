"""Who may run beside whom in a group."""

from collections.abc import Sequence

import pytest

from penstock.errors import TopologyError
from penstock.runtime.group import PAUSE_S, foreign, wait_for_group
from penstock.topics.admin import Member

OURS = Member("shop-0001", "/10.0.0.1", "slot-a-0001")
MINE_DEAD = Member("shop-0002", "/10.0.0.1", "slot-me-0002")
OLDER = Member("shop-0002", "/10.0.0.2", "slot-b-0002")
STRANGER = Member("rdkafka", "/10.0.0.3", None)


class Group:
    """A group whose members change with each look, as the admin client sees it."""

    def __init__(self, *looks: Sequence[Member]) -> None:
        self.looks = list(looks)
        self.slept = 0.0

    def members(self, group: str) -> list[Member]:
        assert group == "shop"
        return list(self.looks.pop(0) if len(self.looks) > 1 else self.looks[0])

    def sleep(self, seconds: float) -> None:
        self.slept += seconds

    def wait(self, wait_ms: int = 2_000, *, stopped: bool = False) -> None:
        wait_for_group(
            self,  # type: ignore[arg-type]
            "shop",
            client_id="shop-0001",
            slot="slot-me",
            wait_ms=wait_ms,
            stopped=lambda: stopped,
            sleep=self.sleep,
        )


def test_those_of_the_same_layout_and_the_own_dead_are_no_strangers():
    """A member of the own slot cannot be alive: its lock is taken."""
    assert foreign([OURS, MINE_DEAD], "shop-0001", "slot-me") == []
    assert foreign([OURS, OLDER, STRANGER], "shop-0001", "slot-me") == [OLDER, STRANGER]


def test_an_empty_group_is_joined_at_once():
    """Also one with workers of the same layout."""
    for looks in ([], [OURS]):
        group = Group(looks)
        group.wait()
        assert group.slept == 0


def test_what_has_died_is_waited_for():
    """A dead static member is listed until its session ends."""
    group = Group([OLDER], [OLDER], [OURS])
    group.wait()
    assert group.slept == 2 * PAUSE_S


@pytest.mark.parametrize(
    ("member", "said"),
    [(OLDER, "another version of shop.*shop-0002 on /10.0.0.2.*full stop"),
     (STRANGER, "another program.*rdkafka on /10.0.0.3.*another id")],
)  # fmt: skip
def test_who_stays_keeps_the_newcomer_out(member, said):
    """After one session, with what is there and what to do."""
    group = Group([OURS, member])
    with pytest.raises(TopologyError, match=said):
        group.wait()
    assert group.slept == pytest.approx(2.0)


def test_a_stop_ends_the_wait():
    """The worker ends in order instead."""
    group = Group([OLDER])
    group.wait(stopped=True)
    assert group.slept == 0
