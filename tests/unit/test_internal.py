"""Internal topics: what exists and is not what the application needs is refused."""

import pytest

from penstock.errors import TopologyError
from penstock.topics.internal import CHANGELOG_CONFIG, InternalTopic, verify

NEEDED = InternalTopic("app-s-changelog", 4)


def test_a_changelog_is_compacted_and_keeps_event_time():
    """Without these settings a changelog would lose or distort state."""
    assert NEEDED.config == {"cleanup.policy": "compact", "message.timestamp.type": "CreateTime"}
    assert NEEDED.config is not CHANGELOG_CONFIG


def test_what_fits_is_accepted():
    """Equal settings, and ones that the broker does not tell, are fine; others do not matter."""
    verify(NEEDED, 4, {**NEEDED.config, "retention.ms": "1"})
    verify(NEEDED, 4, {})


def test_another_partition_count_is_refused_with_both():
    """The message has the found and the needed count, and the way out."""
    with pytest.raises(TopologyError, match=r"has 3 partitions.*needs 4.*new application id"):
        verify(NEEDED, 3, dict(NEEDED.config))


@pytest.mark.parametrize("name", CHANGELOG_CONFIG)
def test_another_setting_is_refused_with_the_command(name):
    """The message has the found and the needed value, and the command that sets it."""
    with pytest.raises(TopologyError) as caught:
        verify(NEEDED, 4, {**NEEDED.config, name: "delete"})
    text = str(caught.value)
    assert f"has {name}=delete" in text
    assert f"--entity-name app-s-changelog --add-config {name}={NEEDED.config[name]}" in text
    assert caught.value.topic == "app-s-changelog"
