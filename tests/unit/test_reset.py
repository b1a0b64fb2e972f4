"""`penstock reset` without a broker: what is wrong is said before one is asked."""

import pytest
from typer.testing import CliRunner

from penstock.cli.main import app
from penstock.cli.reset import _goal
from penstock.cli.resetting import Goal, Plan
from penstock.errors import BrokerError


@pytest.mark.parametrize("options", [[], ["--yes"], ["--topic", "orders", "--state"]])
def test_wrong_usage(options):
    assert CliRunner().invoke(app, ["reset", "shop", *options]).exit_code == 2


@pytest.mark.parametrize(
    ("name", "options"), [("shop", ["--to", "soon"]), ("a b", ["--state"]), ("no.py", ["--state"])]
)
def test_what_is_wrong_is_told_in_one_paragraph(name, options):
    result = CliRunner().invoke(app, ["reset", name, *options])
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1


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
    Plan("shop", {}, (), (), ()).refuse_members()
    with pytest.raises(BrokerError, match=r"Workers of shop run \(1\): shop-1 on host"):
        Plan("shop", {}, (), (), ("shop-1 on host",)).refuse_members()
