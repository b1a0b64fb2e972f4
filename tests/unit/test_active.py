"""An application runs once per state folder in one process."""

from pathlib import Path

import pytest

from penstock.errors import TopologyError
from penstock.runtime.active import ActiveRuns


def test_one_runs_until_it_leaves(tmp_path: Path) -> None:
    """The same id with the same folder is refused; after the end it may come again."""
    runs = ActiveRuns()
    runs.enter("app", tmp_path)
    with pytest.raises(TopologyError, match="'app' runs in this process already"):
        runs.enter("app", tmp_path)
    runs.leave("app", tmp_path)
    runs.enter("app", tmp_path)


def test_another_folder_or_id_is_another_worker(tmp_path: Path) -> None:
    """A folder by another name is the same one."""
    runs = ActiveRuns()
    runs.enter("app", tmp_path)
    runs.enter("app", tmp_path / "two")
    runs.enter("other", tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    for same in (tmp_path / "two" / "..", tmp_path / "link"):
        with pytest.raises(TopologyError):
            runs.enter("app", same)


def test_who_was_refused_ends_nothing_of_others(tmp_path: Path) -> None:
    """Leaving twice, or without having entered, is nothing."""
    runs = ActiveRuns()
    runs.leave("app", tmp_path)
    runs.enter("app", tmp_path)
    runs.leave("app", tmp_path)
    runs.leave("app", tmp_path)
