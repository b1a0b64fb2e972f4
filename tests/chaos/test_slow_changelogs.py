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
from confluent_kafka import Producer

from tests.chaos.load import end, load, map_and_count
from tests.chaos.proxy import END_TXN, OFFSET_FETCH, PRODUCE, Proxy
from tests.chaos.test_cuts import transactional_id
from tests.chaos.test_sigkill import folder
from tests.kafka.checking import partitions_of
from tests.kafka.conftest import applications
from tests.kafka.workers import WAIT_S, Application

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

SOON_OUT = {
    "session_timeout_ms": 1_000,
    "request_timeout_ms": 15_000,  # what was on its way when it was stopped is not given up
    "transaction_timeout_ms": 20_000,
    "max_poll_interval_ms": 25_000,
}
SENT_S = 1.0  # whatever a worker sends beside the record is with the broker by then
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
            old.wait_until(lambda: has_begun(old), "every task has committed something")
            with proxy.holding(PRODUCE, old.changelog("counts")):
                old.wait_until(lambda: proxy.held > 0, "its changelog record is on its way")
                time.sleep(SENT_S)
                old.signal(signal.SIGSTOP)
                asked = proxy.watch(OFFSET_FETCH, new.id)
                new.start()
                new.wait_for(f"{old.inputs[0]}/0")  # it is assigned
                new.wait_until(lambda: asked.passed > 0, "it has asked for the offsets")
                time.sleep(LOOKED_S)
            ended = proxy.watch(END_TXN, transactional_id(old))
            old.signal(signal.SIGCONT)
            old.wait_until(lambda: ended.passed > 0, "it ends its transaction")
            old.kill()  # back in the group it would take tasks, whose stores then are restored anew
            end_transaction_of(old)
            new.wait_for_progress()
        end(new)


def has_begun(app: Application) -> bool:
    """Whether something of each partition is committed."""
    committed = app.committed()
    return all(committed.get(at, 0) > 0 for at in partitions_of(app.servers, app.inputs))


def end_transaction_of(app: Application) -> None:
    """End what a dead worker has left open: readers see nothing that is committed behind it.

    Nobody else does before its timeout, as its identity is its own.
    """
    config = {"bootstrap.servers": app.servers, "transactional.id": transactional_id(app)}
    Producer(config).init_transactions(WAIT_S)
