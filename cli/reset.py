"""`penstock reset`: set an application back. `resetting` plans and does it."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penstock.cli.options import APPLICATION, AsJson, BrokersOf
from penstock.cli.terminal import printable, waiting

if TYPE_CHECKING:
    from penstock.cli.resetting import Goal, Plan

TO = typer.Option(
    help="Move its offsets: earliest, latest, an offset, a time, or how long ago, as in 2h."
)
TOPIC = typer.Option(help="Only those of this input; may be given again.")
STATE = typer.Option("--state", help="Delete its internal topics and its local state too.")
LOCAL_STATE = typer.Option("--local-state", help="Delete its state on this host, which is a copy.")
STATE_DIR = typer.Option(help="Where local state lies. Default: as the application has it.")


def reset(
    application: Annotated[str, APPLICATION],
    *,
    to: Annotated[str | None, TO] = None,
    topic: Annotated[list[str] | None, TOPIC] = None,
    state: Annotated[bool, STATE] = False,
    local_state: Annotated[bool, LOCAL_STATE] = False,
    state_dir: Annotated[Path | None, STATE_DIR] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do it.")] = False,
    brokers: BrokersOf = None,
    as_json: AsJson = False,
) -> None:
    """Set a stopped application back. Without --yes it only shows what it would do.

    What the application has written to its output topics stays.

    Examples:
      penstock reset shop --to earliest --state
      penstock reset shop.py --to 2026-03-01T10:30 --yes
      penstock reset shop --local-state --yes
    """
    if to is None and not (state or local_state):
        raise typer.BadParameter("say what: --to, --state, --local-state, or several of them.")
    if topic and to is None:
        raise typer.BadParameter("--topic says whose offsets are moved: add --to.")

    from penstock.cli.application import find_application
    from penstock.cli.resetting import Reset

    goal = _goal(to, tuple(topic or ()), state, local_state)
    found = find_application(application, brokers=brokers, state_dir=state_dir)
    with waiting(f"Looking {found.id} up ..."):
        work = Reset(found)
        plan = work.plan(goal)
    if not as_json:
        typer.echo("\n".join(_lines(plan)))
    if yes:
        with waiting(f"Setting {found.id} back ..."):
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


def _lines(plan: "Plan") -> list[str]:
    application = plan.application
    moved = [(at, of, to) for at, (of, to) in plan.offsets.items() if of != to]
    lines = [f"  move {topic}/{number} from {of} to {to}" for (topic, number), of, to in moved]
    if stay := len(plan.offsets) - len(moved):
        lines.append(f"  leave {stay} partitions at their offsets")
    lines += [f"  delete the topic {topic}" for topic in plan.topics]
    lines += [f"  delete the folder {folder}" for folder in plan.folders]
    if plan.changelogs and not plan.offsets:
        lines.append("  no offset is committed: it begins where its inputs say (start=)")
    lines += [f"  leave {what}: it is not known to be of {application.id}" for what in plan.left]
    head = f"{application.id} on {application.brokers}, with its local state in {application.home}:"
    return [printable(line) for line in [head, *(lines or ["  there is nothing to do"])]]


def _as_object(plan: "Plan", *, done: bool) -> dict[str, Any]:
    return {
        "application": plan.application.id,
        "offsets": [
            {"topic": topic, "partition": number, "from": before, "to": after}
            for (topic, number), (before, after) in plan.offsets.items()
        ],
        "topics": list(plan.topics),
        "folders": [str(folder) for folder in plan.folders],
        "left": list(plan.left),
        "members": list(plan.members),
        "done": done,
    }
