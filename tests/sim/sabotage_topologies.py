"""Broken builds: each breaks one rule that drawn applications rely on, and some seed notices."""

from tests.sim import sabotage, sabotage_remembering, sabotage_windows
from tests.sim.sabotage import Patch

SABOTAGES: list[Patch] = [
    sabotage.not_rewound,
    sabotage.unknown_is_taken_for_aborted,
    sabotage.inputs_uncommitted,
    sabotage_windows.clocks_are_forgotten,
    sabotage_windows.merged_sessions_stay,
    sabotage_remembering.timers_of_aborted_batches_stay,
    sabotage_remembering.what_an_aborted_batch_knew_stays_known,
]
