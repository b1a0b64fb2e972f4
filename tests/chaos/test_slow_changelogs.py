"""A successor's restore misses no committed batch, however slow the record in the changelog was.

The old worker is stopped when its changelog record is still on its way to the broker; it goes on
when the successor has looked at the changelog, and the record is there at last. What holds that
takes two broken rules to break: a worker sends its offsets only when its records are acknowledged,
and its successor looks up the end of the changelog only when the offsets are stable.
"""

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.load import end, load, map_and_count
from tests.chaos.proxy import PRODUCE, Proxy
from tests.chaos.test_sigkill import folder, lost_its_tasks
from tests.kafka.checking import open_transactions
from tests.kafka.conftest import applications

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

SOON_OUT = {
    "session_timeout_ms": 1_000,
    "request_timeout_ms": 6_000,
    "transaction_timeout_ms": 10_000,
    "max_poll_interval_ms": 12_000,
}
SENT_S = 0.3  # whatever a worker sends beside the record is with the broker by then
LOOKED_S = 1.0
OFFSETS_FIRST, ENDS_FIRST = "offsets_before_the_flush", "ends_before_the_offsets"
EXACTLY = "stop-at-the-end"  # what is behind it may come along, which is luck


@pytest.mark.full
@pytest.mark.parametrize(
    "broken", [EXACTLY, f"{EXACTLY},{OFFSETS_FIRST}", f"{EXACTLY},{ENDS_FIRST}"]
)
def test_a_restore_misses_nothing_of_a_slow_changelog(
    broken: str, proxy: Proxy, tmp_path: Path
) -> None:
    take_over(proxy, tmp_path, sabotage=broken)


@pytest.mark.full
def test_without_both_orders_a_committed_batch_is_missed(proxy: Proxy, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"went from|ended with"):
        take_over(proxy, tmp_path, sabotage=f"{EXACTLY},{OFFSETS_FIRST},{ENDS_FIRST}")


def take_over(proxy: Proxy, root: Path, **options: Any) -> None:
    """Let a worker be stopped in its flush, and another one, with a disk of its own, take over."""
    servers = f"127.0.0.1:{proxy.port}"
    with (
        applications(servers, folder(root, "old")) as make_old,
        applications(servers, folder(root, "new")) as make_new,
    ):
        old = map_and_count(make_old, kafka=SOON_OUT, **options)
        topics = old.inputs, old.outputs
        new = make_new("map-and-count", *topics, kafka=SOON_OUT, id=old.id, **options)
        with load(old):
            old.start()
            old.wait_for_progress()
            with proxy.holding(PRODUCE, old.changelog("counts")):
                old.wait_until(lambda: proxy.held > 0, "its changelog record is on its way")
                time.sleep(SENT_S)
                old.signal(signal.SIGSTOP)
                new.start()
                new.wait_for(f"{old.inputs[0]}/0")  # it is assigned
                time.sleep(LOOKED_S)
            old.signal(signal.SIGCONT)
            old.wait_until(lambda: lost_its_tasks(old), "it has lost its tasks")
            old.kill()
            new.wait_for_progress()
        # The old one has an identity of its own: what it has left open ends by its timeout.
        written = [*new.outputs, new.changelog("counts")]
        new.wait_until(lambda: not open_transactions(new.servers, written), "nothing is open")
        end(new)
