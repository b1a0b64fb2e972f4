"""Admin: what can be decided without a cluster; the rest is in tests/kafka."""

import pytest

from penstock.errors import BrokerError
from penstock.topics.admin import check_protocol


@pytest.mark.parametrize("version", ["2.4-IV1", "2.0", "1.1-IV0", "0.11.0-IV2"])
def test_brokers_that_cannot_fence_by_group_are_refused(version):
    with pytest.raises(BrokerError, match=r"127\.0\.0\.1:9092.*" + version) as found:
        check_protocol(version, "127.0.0.1:9092")
    assert "2.5" in str(found.value)


@pytest.mark.parametrize("version", ["2.5-IV0", "2.10", "3.0-IV1", "4.3-IV0", None, ""])
def test_others_are_not(version):
    check_protocol(version, "127.0.0.1:9092")
