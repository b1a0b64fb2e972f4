"""Requests of a transaction are cut off, lost or repeated, one at a time: nothing comes of it.

In each state of the transaction, and where a new producer asks for its identity. The store, the
outputs and the offsets agree afterwards, and the store is the one that was there: none was set
aside or restored. PENSTOCK_SEED repeats a run.
"""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.load import end, load, map_and_count
from tests.chaos.proxy import (
    ADD_OFFSETS_TO_TXN,
    ADD_PARTITIONS_TO_TXN,
    END_TXN,
    INIT_PRODUCER_ID,
    PRODUCE,
    TXN_OFFSET_COMMIT,
    Fate,
    Proxy,
)
from tests.chaos.sampling import sample
from tests.chaos.test_lost_answers import SOON
from tests.kafka.conftest import ApplicationFactory, applications
from tests.kafka.feeding import feed, words
from tests.kafka.workers import Application

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

STATES = {
    "begun": ADD_PARTITIONS_TO_TXN,
    "producing": PRODUCE,
    "flushed": ADD_OFFSETS_TO_TXN,
    "sending offsets": TXN_OFFSET_COMMIT,
    "committing": END_TXN,
}
FATES: tuple[Fate, ...] = ("cut in front of it", "cut behind it", "request twice")
LOST: tuple[Fate, ...] = ("cut behind it", "cut in front of it", "request lost", "answer lost")


@pytest.fixture
def make(proxy: Proxy, tmp_path: Path) -> Iterator[ApplicationFactory]:
    """Make applications whose clients all come through the proxy."""
    with applications(f"127.0.0.1:{proxy.port}", tmp_path) as make:
        yield make


def test_a_connection_that_is_cut_in_any_state_harms_nothing(
    proxy: Proxy, make: ApplicationFactory, draw: random.Random
) -> None:
    """One of the fates in each."""
    meet_all(proxy, make, [(draw.choice(FATES), state) for state in STATES])


@pytest.mark.full
@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("fate", FATES)
def test_a_connection_that_is_cut_five_times_harms_nothing(
    state: str, fate: Fate, proxy: Proxy, make: ApplicationFactory
) -> None:
    meet_all(proxy, make, [(fate, state)] * 5)


@pytest.mark.full
def test_a_guess_behind_a_cut_is_found(proxy: Proxy, make: ApplicationFactory) -> None:
    with pytest.raises(AssertionError, match="is there twice"):
        meet_all(proxy, make, [("cut behind it", "committing")], sabotage="guess-aborted")


def meet_all(
    proxy: Proxy, make: ApplicationFactory, cases: list[tuple[Fate, str]], **options: Any
) -> None:
    app = map_and_count(make, kafka=SOON, **options)
    with load(app):
        app.start()
        app.wait_for_progress()
        for fate, state in cases:
            met = proxy.done
            proxy.meet(fate, STATES[state], transactional_id(app))
            app.wait_until(lambda met=met: proxy.done > met, f"{fate} while {state}")
            app.wait_for_progress()
    end(app)
    check_nothing_was_restored(app)


@sample("fate", LOST)
def test_a_producer_whose_identity_is_lost_on_its_way_asks_again(
    fate: Fate, proxy: Proxy, make: ApplicationFactory
) -> None:
    """At the start of a worker, and behind a commit whose outcome is not known."""
    app = map_and_count(make, kafka=SOON)
    with load(app):
        proxy.meet(fate, INIT_PRODUCER_ID, app.id)
        app.start()
        app.wait_for_progress()
        met = proxy.done
        proxy.meet("request lost", END_TXN, app.id)
        proxy.meet(fate, INIT_PRODUCER_ID, app.id)
        app.wait_until(lambda: proxy.done == met + 2, f"{fate}, and the commit in front of it")
        app.wait_for_progress()
    end(app)
    check_nothing_was_restored(app)


def test_a_store_that_is_restored_is_noticed(proxy: Proxy, make: ApplicationFactory) -> None:
    app = map_and_count(make, kafka=SOON)
    feed(app.servers, app.inputs[0], words(1_000))
    app.run_through()
    check_nothing_was_restored(app)
    app.forget_stores()
    app.run_through()
    with pytest.raises(AssertionError, match="Restored counts/"):
        check_nothing_was_restored(app)


def transactional_id(app: Application) -> str:
    """Return by what the worker's producer, and nobody else, can be told."""
    slot = app.state_dir / app.id / ".slots" / "0.id"
    return f"{app.id}-{slot.read_text()}"


def check_nothing_was_restored(app: Application) -> None:
    """Hold that the worker has kept the stores that it had, from its first start on."""
    told = app.log.read_text()
    assert "Restored " not in told, told
    assert "is not used" not in told, told
    folders = {path.name for path in (app.state_dir / app.id / "counts").iterdir() if path.is_dir()}
    assert folders == {str(partition) for partition in range(4)}
