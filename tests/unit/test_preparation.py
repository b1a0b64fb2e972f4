"""Preparation: what can be decided without a cluster; the rest is in tests/kafka."""

import pytest

from penstock.errors import BrokerError
from penstock.runtime.preparation import RECOMMIT_MS, check_version, recommit_ms


@pytest.mark.parametrize("version", ["2.4-IV1", "2.0", "1.1-IV0", "0.11.0-IV2"])
def test_brokers_that_cannot_fence_by_group_are_refused(version):
    """The message names the version found and the one needed."""
    with pytest.raises(BrokerError, match=rf"Kafka {version}.*needs 2\.5"):
        check_version({"inter.broker.protocol.version": version})


@pytest.mark.parametrize("version", ["2.5-IV0", "2.10", "3.0-IV1", "4.3-IV0", ""])
def test_others_are_not(version):
    """Nor are those that say nothing."""
    check_version({"inter.broker.protocol.version": version})
    check_version({})


@pytest.mark.parametrize(
    ("minutes", "expected"), [(None, RECOMMIT_MS), (10_080, RECOMMIT_MS), (60, 360_000), (1, 6_000)]
)
def test_offsets_are_committed_again_long_before_they_expire(minutes, expected):
    """Every hour, or ten times in what the broker keeps them."""
    settings = {} if minutes is None else {"offsets.retention.minutes": str(minutes)}
    assert recommit_ms(settings) == expected
