"""`penstock reset` without a broker: what is wrong is said before one is asked."""

import os
from pathlib import Path

import pytest
from confluent_kafka import TopicPartition
from typer.testing import CliRunner

import penstock as ps
from penstock.cli.application import Application, find_application
from penstock.cli.internal_topics import internal_topics, owner
from penstock.cli.main import app
from penstock.cli.reset import _goal, _lines
from penstock.cli.resetting import Goal, Plan, _delete, _refuse_unavailable
from penstock.engine.metadata import BatchId, Metadata, short_hash
from penstock.errors import BrokerError, StateError
from penstock.state.cleanup import is_state, state_folders
from penstock.state.directories import Lock, lock_of

NOBODY = 65_534
SHOP = Application("shop", "b:1", Path("/nowhere/shop"))
NAMES = [
    "orders",
    "shop-db-changelog",
    "shop-by-user-repartition",
    "shop-eu-totals-changelog",
    "shop-eu-x-repartition",
    "shop-totals-changelog",
    "shopping-totals-changelog",
]


@pytest.mark.parametrize("options", [[], ["--yes"], ["--topic", "orders", "--state"]])
def test_wrong_usage(options):
    assert CliRunner().invoke(app, ["reset", "shop", *options]).exit_code == 2


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("shop", ["--to", "soon"]),
        ("no.py", ["--state"]),
        ("/", ["--state"]),
        ("../..", ["--state"]),
    ],
)
def test_what_is_wrong_is_told_in_one_paragraph(name, options):
    result = CliRunner().invoke(app, ["reset", name, *options])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ["", ".", "..", "a b", "a\nb", "shop;x", "\x1b[31m", "x" * 300])
def test_a_hostile_id_never_becomes_part_of_a_path(name):
    result = CliRunner().invoke(app, ["reset", name, "--local-state"])
    assert result.exit_code == 1
    assert "cannot be the name of an application" in result.stderr
    assert (result.stderr.count("\n"), "\x1b" in result.stderr) == (1, False)


@pytest.mark.parametrize(
    ("to", "goal"),
    [
        (None, Goal()),
        ("earliest", Goal("earliest")),
        ("12", Goal(12)),
        ("1970-01-01T00:00:01", Goal(time_ms=1_000)),
    ],
)
def test_goals(to, goal):
    assert _goal(to, (), state=False, local_state=False) == goal
    assert goal.moves == (to is not None)


def test_a_plan_is_refused_while_workers_run():
    Plan(SHOP, {}).refuse_members()
    with pytest.raises(BrokerError, match=r"Workers of shop run \(1\): shop-1 on host"):
        Plan(SHOP, {}, members=("shop-1 on host",)).refuse_members()


def test_a_plan_shows_what_it_has_found_out():
    plan = Plan(
        SHOP,
        {("orders", 0): (5, 0), ("orders", 1): (0, 0)},
        ("shop-by-user-repartition",),
        ("shop-totals-changelog",),
        (Path("/nowhere/shop/totals/0"),),
        ("shop-eu-\x1b[31m-changelog",),
    )
    assert _lines(plan) == [
        "shop on b:1, with its local state in /nowhere/shop:",
        "  move orders/0 from 5 to 0",
        "  leave 1 partitions at their offsets",
        "  delete the topic shop-by-user-repartition",
        "  delete the topic shop-totals-changelog",
        "  delete the folder /nowhere/shop/totals/0",
        r"  leave shop-eu-\x1b[31m-changelog: it is not known to be of shop",
    ]
    assert _lines(Plan(SHOP, {}))[1:] == ["  there is nothing to do"]


# Which application


def test_an_application_is_named_by_its_id_or_by_its_file(tmp_path, monkeypatch):
    """The command line comes first, then the file, then the environment."""
    monkeypatch.setenv("PENSTOCK_BROKERS", "environment:1")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    found = find_application("shop")
    assert (found.id, found.brokers) == ("shop", "environment:1")
    assert (found.home, found.topology) == (tmp_path / "penstock/shop", None)
    file = tmp_path / "named_by_its_file.py"
    file.write_text(
        "import penstock as ps\napp = ps.App('store', brokers='code:1', state_dir='/code')\n"
        "app.stream('orders', key=str, value=str).to('copies')\n"
    )
    found = find_application(str(file))
    assert (found.id, found.brokers, str(found.home)) == ("store", "code:1", "/code/store")
    assert found.topology is not None
    found = find_application(str(file), brokers="line:1", state_dir=Path("/line"))
    assert (found.brokers, str(found.home)) == ("line:1", "/line/store")


# Which topics are its own


def committed(**offsets):
    """What a group has committed: metadata by topic."""
    return {
        (topic, 0): TopicPartition(topic, 0, 1, metadata=metadata)
        for topic, metadata in offsets.items()
    }


def memory(*stores):
    return Metadata(BatchId(1, 2), stores={short_hash(name): "x" for name in stores}).encode()


def test_its_own_are_those_of_the_stores_and_repartitions_that_it_has_committed():
    """An input that is named like a changelog is none, nor is that of another application."""
    offsets = committed(
        **{"orders": memory("totals"), "shop-db-changelog": "", "shop-by-user-repartition": ""}
    )
    found = internal_topics(SHOP, NAMES, ["shop"], offsets)
    assert found.own == ("shop-by-user-repartition", "shop-totals-changelog")
    assert found.others == (
        "shop-db-changelog",
        "shop-eu-totals-changelog",
        "shop-eu-x-repartition",
    )
    assert found.known
    found = internal_topics(SHOP, NAMES, ["shop", "shop-eu"], offsets)
    assert found.others == ("shop-db-changelog",)


def test_without_offsets_its_own_are_those_that_it_declares():
    declared = ps.App("shop")
    orders = declared.stream("orders", key=str, value=str)
    orders.group_by(len, key=int, name="by-user").count(name="totals")
    shop = Application("shop", "b:1", Path("/nowhere/shop"), declared.topology())
    found = internal_topics(shop, NAMES, [], {})
    assert found.own == ("shop-by-user-repartition", "shop-totals-changelog")
    assert found.known


def test_without_offsets_its_own_are_those_that_have_a_folder(tmp_path):
    (tmp_path / "shop" / "totals").mkdir(parents=True)
    (tmp_path / "shop" / ".slots").mkdir()
    (tmp_path / "shop" / "db").symlink_to(tmp_path)
    found = internal_topics(Application("shop", "b:1", tmp_path / "shop"), NAMES, [], {})
    assert (found.changelogs, found.known) == (("shop-totals-changelog",), True)
    (tmp_path / "link").symlink_to(tmp_path / "shop")
    found = internal_topics(Application("shop", "b:1", tmp_path / "link"), NAMES, [], {})
    assert found.own == ()


@pytest.mark.parametrize("metadata", ["", "no metadata of ours", "AgAAAAAAAAAA"])
def test_nothing_is_known_where_nothing_tells(metadata):
    """Offsets that another program has moved, or those of Kafka Streams."""
    found = internal_topics(SHOP, NAMES, [], committed(orders=metadata))
    assert (found.own, found.known) == ((), False)
    assert "shop-totals-changelog" in found.others


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("orders", (None, None)),
        ("shop-by-user-repartition", ("shop", "repartition")),
        ("shop-eu-totals-changelog", ("shop-eu", "changelog")),
        ("shopping-totals-changelog", (None, "changelog")),
        ("shop-eu-progress", ("shop-eu", "progress")),
        ("shop-workers", ("shop", "workers")),
        ("factory-workers", (None, None)),
        ("workers", (None, None)),
    ],
)
def test_internal_topics_are_named_after_the_application_with_the_longest_id(name, found):
    assert owner(name, ["shop", "shop-eu", "other"]) == found


# Which folders are


@pytest.fixture
def home(tmp_path):
    """The folder of an application with a partition of ours, and three that are not."""
    counts = tmp_path / "shop" / "counts"
    for name in ("0", "1", "photos", "2"):
        (counts / name).mkdir(parents=True)
    (counts / "0" / "000001.log").touch()
    for name in ("0", "photos", "2"):
        lock_of(counts / name).touch()
    (counts / "2" / "letter.txt").touch()
    return tmp_path / "shop"


def test_only_folders_that_penstock_has_made_are_deleted(home):
    """By name, lock and content; the negative control are the others."""
    assert {folder.name: is_state(folder) for folder in state_folders(home)} == {
        "0": True, "1": False, "photos": False, "2": False,
    }  # fmt: skip
    _delete([home / "counts" / "0"], home)
    assert [folder.name for folder in state_folders(home)] == ["1", "2", "photos"]


def test_a_folder_that_is_in_use_is_refused_before_anything_is_changed(home):
    folder = home / "counts" / "0"
    lock = Lock.acquire(lock_of(folder))
    with pytest.raises(StateError, match="nothing is changed"):
        _refuse_unavailable([folder])
    lock.release()
    _refuse_unavailable([folder])


def test_a_folder_of_another_user_is_refused_before_anything_is_changed(home):
    folder = home / "counts" / "0"
    if os.geteuid():
        folder.parent.chmod(0o500)
    else:
        os.seteuid(NOBODY)
    try:
        with pytest.raises(StateError, match=r"This user may not delete .*; nothing is changed"):
            _refuse_unavailable([folder])
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        folder.parent.chmod(0o700)
