"""Broken builds: each breaks one rule that drawn applications rely on, and some seed notices."""

from typing import Any

from penstock.engine import steps
from penstock.operators import bound, states
from penstock.state import overlay
from tests.sim import sabotage, sabotage_remembering, sabotage_windows
from tests.sim.sabotage import Patch


def nothing_is_copied(patch: Any) -> None:
    """What functions change in place stays changed, though it is rolled back."""
    for module in (bound, overlay, states, steps):
        patch.setattr(module, "is_immutable", lambda _: True)


SABOTAGES: list[Patch] = [
    sabotage.not_rewound,
    sabotage.unknown_is_taken_for_aborted,
    sabotage.inputs_uncommitted,
    sabotage_windows.clocks_are_forgotten,
    sabotage_windows.merged_sessions_stay,
    sabotage_remembering.timers_of_aborted_batches_stay,
    nothing_is_copied,
    sabotage_remembering.what_an_aborted_batch_knew_stays_known,
]
