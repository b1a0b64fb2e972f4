"""Workers that restore wrongly, or believe what they should not: the tests of restores notice.

Each of those tests runs here once more, with a build that breaks the rule which it holds.
"""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from penstock.testing.kafka_server import KafkaServer
from tests.chaos.sampling import sample
from tests.kafka import test_disks, test_foreign_state, test_restore
from tests.kafka.conftest import ApplicationFactory, TopicFactory
from tests.kafka.test_restore import counted
from tests.kafka.workers import Application

__all__ = ["counted"]  # a fixture

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

Test: TypeAlias = Callable[[Application, Path], None]

TRUSTED = "trust-the-disk"
OPEN_MS = 20_000  # longer than anything takes
GOES_ON = (AssertionError, subprocess.TimeoutExpired)  # the worker does, where it has to end


def of_another_topic(app: Application, _: Path) -> None:
    test_restore.test_state_of_a_recreated_changelog_is_set_aside(app)


def beyond_the_end(app: Application, _: Path) -> None:
    check = test_restore.test_state_that_cannot_be_right_is_set_aside
    check(test_restore.beyond_the_end, "the changelog ends at", app)


def too_old(app: Application, _: Path) -> None:
    check = test_restore.test_state_that_cannot_be_right_is_set_aside
    check(test_restore.too_old, "minutes old", app)


def before_its_start(app: Application, folder: Path) -> None:
    test_restore.test_state_from_before_the_changelogs_start_is_set_aside(app, folder)


def continued(app: Application, folder: Path) -> None:
    test_restore.test_state_of_an_old_run_is_continued_from_where_it_was(app, folder)


def ended_by_a_marker(app: Application, _: Path) -> None:
    test_restore.test_deleted_stores_are_restored(app)


def aborted(app: Application, _: Path) -> None:
    test_restore.test_an_aborted_transaction_at_the_end_of_a_changelog_is_no_state(app)


def left_open(app: Application, _: Path) -> None:
    test_restore.test_a_dead_producers_open_transaction_is_waited_for(OPEN_MS, app)


def emptied(app: Application, _: Path) -> None:
    test_restore.test_a_changelog_whose_records_are_gone_restores_to_nothing(app)


def damaged(app: Application, _: Path) -> None:
    test_restore.test_files_that_are_damaged_where_it_shows_at_the_start_are_set_aside(
        "footer", app
    )


def cut_off(app: Application, _: Path) -> None:
    test_foreign_state.test_a_manifest_that_is_cut_off_is_damage_or_an_older_state(app)


BROKEN: list[tuple[Test, str]] = [
    (aborted, "restored_from_uncommitted_records"),
    (ended_by_a_marker, "wait-for-records"),
    (left_open, "end-anywhere"),
    (emptied, "begin-at-zero"),
    (continued, "believe-the-disk"),
    (of_another_topic, TRUSTED),
    (beyond_the_end, TRUSTED),
    (too_old, TRUSTED),
    (before_its_start, TRUSTED),
    (damaged, "keep-what-is-damaged"),
    (cut_off, "keep-what-is-damaged"),
]


@sample("check, broken", BROKEN)
def test_a_broken_build_is_noticed(
    check: Test, broken: str, counted: Application, tmp_path: Path
) -> None:
    counted.options["sabotage"] = broken
    with pytest.raises(AssertionError):
        check(counted, tmp_path)


@pytest.mark.full
def test_a_changelog_that_was_made_anew_empty_is_told(counted: Application) -> None:
    """That it is believed is a known hole: where there is state on a disk, the log says so."""
    test_restore.make_anew(counted, counted.changelog("counts"))
    test_restore.count_more(counted)
    test_restore.assert_set_aside(counted, test_restore.EMPTIED)
    assert f"penstock reset {counted.id} --to earliest --state" in counted.text()
    with pytest.raises(AssertionError, match="went from"):
        counted.check_count()


@pytest.mark.full
def test_to_believe_another_application_is_noticed(
    counted: Application, topic: TopicFactory, application: ApplicationFactory
) -> None:
    counted.options["sabotage"] = TRUSTED
    with pytest.raises(AssertionError):
        test_foreign_state.test_state_of_another_application_is_set_aside(
            counted, topic, application
        )


@pytest.mark.full
def test_to_believe_another_format_is_noticed(counted: Application) -> None:
    """What another version has written means something else."""
    test_restore.plant(counted)
    counted.options["sabotage"] = f"be-newer,{TRUSTED}"
    test_restore.count_more(counted)
    with pytest.raises(AssertionError, match=r"went from|ended with"):
        test_restore.assert_exact(counted)


@pytest.mark.full
def test_without_an_age_deleted_keys_come_back(
    topic: TopicFactory, application: ApplicationFactory, tmp_path: Path
) -> None:
    def trusting(name: str, inputs: Any, outputs: Any, **options: Any) -> Application:
        return application(name, inputs, outputs, sabotage=TRUSTED, **options)

    check = test_foreign_state.test_deletions_that_the_changelog_has_forgotten_stay_deleted
    with pytest.raises(AssertionError, match=r"b'key-\d' is .*, the changelog says None"):
        check(topic, trusting, tmp_path)


@pytest.mark.full
def test_a_position_without_what_a_full_disk_has_refused_is_noticed(
    kafka: KafkaServer, topic: TopicFactory, tmp_path: Path
) -> None:
    app = test_disks.bounded(kafka.bootstrap_servers, tmp_path, topic)
    app.options["sabotage"] = "position-first"
    with pytest.raises(AssertionError, match="the changelog says"):
        test_disks.fill_the_disk(app)


@pytest.mark.full
def test_to_set_aside_what_may_not_be_written_is_noticed(
    kafka: KafkaServer, topic: TopicFactory, tmp_path: Path
) -> None:
    app = test_disks.bounded(kafka.bootstrap_servers, tmp_path, topic)
    app.options["sabotage"] = "take-refusals-for-damage"
    try:
        with pytest.raises(GOES_ON):
            test_disks.test_a_folder_that_may_not_be_written_stops_the_worker_before_it_reads(app)
    finally:
        app.close()
