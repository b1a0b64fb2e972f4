"""A commit whose answer is lost, or that is late itself, is neither repeated nor forgotten.

A proxy loses exactly one end of transaction at a time. The negative controls are workers
that guess what became of it instead of finding out.
"""

import random
from pathlib import Path

import pytest

from tests.chaos.load import end, load, map_and_count
from tests.chaos.proxy import END_TXN, Fate, Proxy
from tests.chaos.sampling import sample
from tests.kafka.conftest import applications
from tests.kafka.workers import QUICK, Application

pytestmark = [pytest.mark.kafka, pytest.mark.chaos]

SOON = QUICK | {"request_timeout_ms": 700}  # a lost answer is missed after that


@sample("rounds", [1, 5])
@pytest.mark.parametrize("fate", ["answer lost", "request lost", "request late"])
def test_what_became_of_a_commit_is_found_out(
    fate: Fate, rounds: int, proxy: Proxy, tmp_path: Path, draw: random.Random
) -> None:
    with applications(f"127.0.0.1:{proxy.port}", tmp_path) as make:
        app = map_and_count(make, kafka=SOON)
        with load(app):
            app.start()
            app.wait_for_progress()
            for _ in range(rounds):
                meet(app, proxy, fate)
        end(app)


@sample(
    "fate, guess, wrong",
    [("answer lost", "aborted", "is there twice"), ("request lost", "committed", "are lost")],
)
def test_a_guess_would_be_found(
    fate: Fate, guess: str, wrong: str, proxy: Proxy, tmp_path: Path
) -> None:
    with applications(f"127.0.0.1:{proxy.port}", tmp_path) as make:
        app = map_and_count(make, kafka=SOON, sabotage=f"guess-{guess}")
        with load(app):
            app.start()
            app.wait_for_progress()
            meet(app, proxy, fate)
        with pytest.raises(AssertionError, match=wrong):
            end(app)


def meet(app: Application, proxy: Proxy, fate: Fate) -> None:
    """Let the next end of a transaction meet its fate, and the worker go on."""
    met, unknown = proxy.done, app.said("fails while committing")
    proxy.meet(fate, END_TXN)
    app.wait_until(lambda: proxy.done > met, fate)
    app.wait_until(lambda: app.said("fails while committing") > unknown, "it has noticed")
    app.wait_for_progress()
