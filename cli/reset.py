"""`penstock reset`: set an application back. `resetting` plans and does it."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.options import DEFAULT_BROKERS, AsJson
from penstock.cli.terminal import printable, waiting

if TYPE_CHECKING:
    from penstock.cli.resetting import Goal, Plan

APPLICATION = typer.Argument(help="The id of the application, or its file.py or module:app.")
TO = typer.Option(
    help="Move its offsets: earliest, latest, an offset, a time, or how long ago, as in 2h."
)
TOPIC = typer.Option(help="Only those of this input; may be given again.")
STATE = typer.Option("--state", help="Delete its internal topics and its local state too.")
LOCAL_STATE = typer.Option("--local-state", help="Delete its state on this host, which is a copy.")
STATE_DIR = typer.Option(help="Where local state lies. Default: as the application has it.")
BROKERS = typer.Option(help="The Kafka brokers, before those of the application.")


def reset(
    application: Annotated[str, APPLICATION],
    *,
    to: Annotated[str | None, TO] = None,
    topic: Annotated[list[str] | None, TOPIC] = None,
    state: Annotated[bool, STATE] = False,
    local_state: Annotated[bool, LOCAL_STATE] = False,
    state_dir: Annotated[Path | None, STATE_DIR] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it.")] = False,
    brokers: Annotated[str | None, BROKERS] = None,
    as_json: AsJson = False,
) -> None:
    """Set a stopped application back. Without --yes it only shows what it would do.

    What the application has written to its output topics stays.

    Examples: penstock reset shop --to earliest --state,
    penstock reset shop.py --to 2026-03-01T10:30 --yes, penstock reset shop --local-state --yes
    """
    if to is None and not (state or local_state):
        raise typer.BadParameter("say what: --to, --state, --local-state, or several of them.")
    if topic and to is None:
        raise typer.BadParameter("--topic says whose offsets are moved: add --to.")

    from penstock.cli.resetting import Reset

    goal = _goal(to, tuple(topic or ()), state, local_state)
    name, servers, folder = _resolve(application, brokers, state_dir)
    work = Reset(name, brokers=servers, home=folder / name)
    with waiting(f"Looking {name} up ..."):
        plan = work.plan(goal)
    if not as_json:
        typer.echo("\n".join(_lines(plan, servers)))
    if yes:
        with waiting(f"Setting {name} back ..."):
            work.apply(plan)
    if as_json:
        typer.echo(json.dumps(_as_object(plan, done=yes)))
    elif yes:
        typer.echo("Done.")
    else:
        plan.refuse_members()
        typer.echo("Nothing is changed yet: --yes does it.")


def _goal(to: str | None, topics: tuple[str, ...], state: bool, local_state: bool) -> "Goal":
    from penstock.cli.positions import parse_time
    from penstock.cli.resetting import Goal
    from penstock.runtime.clock import now_ms

    if to is None or to in ("earliest", "latest"):
        return Goal(to, None, topics, state, local_state)
    if to.isdecimal():
        return Goal(int(to), None, topics, state, local_state)
    return Goal(None, parse_time(to, now_ms()), topics, state, local_state)


def _resolve(
    application: str, brokers: str | None, state_dir: Path | None
) -> tuple[str, str, Path]:
    """Return the id, the cluster and the folder of local state."""
    from penstock.runtime.loading import load
    from penstock.state.definition import check_name
    from penstock.state.directories import default_state_dir

    if application.endswith(".py") or ":" in application or "/" in application:
        app = load(application)
        application = app.id
        brokers, state_dir = brokers or app.brokers, state_dir or app.state_dir
    check_name(application, "an application")
    servers = brokers or os.environ.get("PENSTOCK_BROKERS") or DEFAULT_BROKERS
    return application, servers, (state_dir or default_state_dir()).absolute()


def _lines(plan: "Plan", servers: str) -> list[str]:
    lines = [f"{plan.application} on {servers}:"]
    for (topic, number), (before, after) in plan.offsets.items():
        lines.append(f"  move {printable(topic)}/{number} from {before} to {after}")
    lines += [f"  delete the topic {topic}" for topic in plan.topics]
    lines += [f"  delete the folder {folder}" for folder in plan.folders]
    return lines if len(lines) > 1 else [*lines, "  there is nothing to do"]


def _as_object(plan: "Plan", *, done: bool) -> dict[str, Any]:
    return {
        "application": plan.application,
        "offsets": [
            {"topic": topic, "partition": number, "from": before, "to": after}
            for (topic, number), (before, after) in plan.offsets.items()
        ],
        "topics": list(plan.topics),
        "folders": [str(folder) for folder in plan.folders],
        "members": list(plan.members),
        "done": done,
    }
