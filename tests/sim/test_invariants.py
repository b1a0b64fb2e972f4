"""Each invariant is noticed to be broken by its own checker, and holds where nothing is broken."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.sim import invariants, judging_topologies, judging_windows, sabotage, sabotage_windows
from tests.sim.plans import Plan, exact_plan
from tests.sim.sabotage import Patch
from tests.sim.seeds import Kind, check_noticed, live
from tests.sim.topologies import DrawnWorld
from tests.sim.windows import WindowsWorld
from tests.sim.world import World

pytestmark = pytest.mark.usefixtures("quiet")

NOTICED_WITHIN = 150
WHOLE = 5

BROKEN: dict[str, tuple[Callable[[World], None], Patch]] = {
    "I1": (invariants.nothing_is_lost, sabotage.unknown_is_taken_for_committed),
    "I2": (invariants.nothing_is_there_twice, sabotage.unknown_is_taken_for_aborted),
    "I3": (invariants.keys_keep_their_order, sabotage.outputs_are_turned_around),
    "I4": (invariants.aggregates_are_those_of_the_recount, sabotage.bad_records_leave_state),
    "I5": (
        invariants.stores_are_the_fold_of_what_is_committed,
        sabotage.applied_before_the_commit,
    ),
    "I6": (
        invariants.outputs_and_offsets_become_visible_together,
        sabotage.offsets_have_a_transaction_of_their_own,
    ),
    "I7": (invariants.no_aborted_record_is_read, sabotage.inputs_uncommitted),
    "I8": (
        invariants.each_commit_goes_on_where_the_last_one_ended,
        sabotage.offsets_without_a_member,
    ),
    "I9": (invariants.offsets_never_go_back, sabotage.epochs_are_not_checked),
    "I10": (invariants.everything_is_processed, sabotage.only_the_first_task_is_begun),
    "I11": (invariants.refused_records_are_one_dead_letter, sabotage.dead_letters_go_apart),
}


def stalling_plan(seed: int) -> Plan:
    """Draw a plan in which workers often stand still when they send offsets, and others go on."""
    often = ("stall", "send_offsets_to_transaction")
    return replace(exact_plan(seed), workers=2, protocol="consumer", favourite=often)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_invariant_is_noticed_by_its_checker(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    check, broken = BROKEN[name]
    kind = Kind(stalling_plan if name in ("I8", "I9") else exact_plan, World, check)
    for seed in range(WHOLE):
        live(kind, seed)
    broken(monkeypatch)
    check_noticed(kind, NOTICED_WITHIN)


OTHERS: dict[str, tuple[Kind[Any], Patch, str]] = {
    "I12": (
        Kind(exact_plan, WindowsWorld, judging_windows.judge),
        sabotage_windows.times_are_not_guarded,
        "",
    ),
    "I13": (
        Kind(exact_plan, DrawnWorld, judging_topologies.judge),
        sabotage_windows.clocks_are_forgotten,
        "I13",
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_broken_invariant_of_other_applications_is_noticed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, broken, match = OTHERS[name]
    broken(monkeypatch)
    check_noticed(kind, NOTICED_WITHIN, match)


def test_every_invariant_has_its_broken_build() -> None:
    assert {check for check, _ in BROKEN.values()} == set(invariants.ALL)
