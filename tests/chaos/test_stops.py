"""A stop is in order, too, while the cluster keeps the worker waiting."""

from pathlib import Path

import pytest

from tests.chaos.load import map_and_count
from tests.chaos.proxy import INIT_PRODUCER_ID, Proxy
from tests.kafka.conftest import applications

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]


def test_a_stop_does_not_wait_for_the_transaction_coordinator(proxy: Proxy, tmp_path: Path) -> None:
    """It has not answered the worker that starts: nothing is begun, so nothing is abandoned."""
    with applications(f"127.0.0.1:{proxy.port}", tmp_path) as make:
        app = map_and_count(make)
        proxy.meet("request lost", INIT_PRODUCER_ID)
        app.start()
        app.wait_until(lambda: proxy.done > 0, "the producer waits")
        app.stop()
        assert app.said("Assigned: ") == 0
