"""A commit that comes so late that the next transaction is open does not end that one.

The client repeats what it has had no answer to when its connection breaks; the broker cannot tell
the ends of two transactions of one producer apart. So after an unknown outcome, and after a
connection that broke at the commit, the producer is replaced: what is still on its way is of
another epoch then. The negative controls keep it.
"""

from pathlib import Path

import pytest

from tests.chaos.load import end, load, map_and_count
from tests.chaos.proxy import ADD_OFFSETS_TO_TXN, END_TXN, Proxy
from tests.chaos.sampling import sample
from tests.chaos.test_lost_answers import SOON
from tests.kafka.conftest import applications
from tests.kafka.workers import Application

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

TAKEN = 0
FENCED = (47, 90)  # INVALID_PRODUCER_EPOCH, PRODUCER_FENCED
AT_ONCE_S, UNKNOWN_S = 0.0, 1.5  # the connection breaks before, or after a request may take


@sample("cut_s", [AT_ONCE_S, UNKNOWN_S])
def test_a_commit_that_comes_in_the_next_transaction_is_refused(
    cut_s: float, proxy: Proxy, tmp_path: Path
) -> None:
    with applications(f"127.0.0.1:{proxy.port}", tmp_path) as make:
        app = map_and_count(make, kafka=SOON)
        assert let_a_commit_come_late(app, proxy, cut_s) in FENCED
        end(app)


@sample("cut_s, broken", [(UNKNOWN_S, "keep-the-producer"), (AT_ONCE_S, "be-deaf")])
def test_with_the_producer_kept_it_would_commit_records_without_their_offsets(
    cut_s: float, broken: str, proxy: Proxy, tmp_path: Path
) -> None:
    with applications(f"127.0.0.1:{proxy.port}", tmp_path) as make:
        app = map_and_count(make, kafka=SOON, sabotage=broken)
        assert let_a_commit_come_late(app, proxy, cut_s) == TAKEN
        with pytest.raises(AssertionError, match="is there twice"):
            end(app)


def let_a_commit_come_late(app: Application, proxy: Proxy, cut_s: float) -> int:
    """Let a commit come when the next transaction has all but its offsets, and its worker die.

    Returns:
        what the broker has answered.
    """
    with load(app):
        app.start()
        app.wait_for_progress()
        late = len(proxy.late)
        proxy.meet("request late", END_TXN, app.id, until=ADD_OFFSETS_TO_TXN, cut_s=cut_s)
        app.wait_until(lambda: len(proxy.late) > late, "the commit has come")
        app.kill()
        app.start()
        app.wait_for_progress()
    return proxy.late[-1]
