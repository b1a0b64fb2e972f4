"""`penstock dead-letters`: list, show and send again what an application could not process.

Arguments and what is printed only; `letters` reads dead letters, `redriving` sends them.
"""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from penstock.cli.options import DEFAULT_BROKERS, AsJson, Brokers
from penstock.cli.terminal import print_table, progress_bar, utc

if TYPE_CHECKING:
    from penstock.cli.redriving import Plan

Name: TypeAlias = Annotated[str, typer.Argument(help="The topic of the dead letters.")]
NO_LETTER = "no dead letter"
TITLES = ("Class", "Operator", "From", "Application", "Count", "Waiting", "First", "Last")

dead_letters = typer.Typer(
    no_args_is_help=True,
    help="List, show and send again the records that an application could not process.",
)


@dead_letters.command("list")
def list_(topic: Name, *, brokers: Brokers = DEFAULT_BROKERS, as_json: AsJson = False) -> None:
    """Count dead letters by what has failed where.

    First and last are timestamps of the records; those that wait were not redriven yet.

    Example:
      penstock dead-letters list orders-dead
    """
    from penstock.cli.letters import DeadLetterTopic, kinds

    letters = DeadLetterTopic(topic, brokers)
    with progress_bar(topic, letters.size(letters.begins)) as on_progress:
        redriven = letters.redriven()
        found = kinds(topic, letters.letters(letters.begins, on_progress), redriven)
    if as_json:
        typer.echo(json.dumps([asdict(kind) for kind in found]))
    elif not found:
        typer.echo(f"{topic} has no dead letters.")
    else:
        print_table(
            TITLES,
            [
                (
                    *(kind.error or NO_LETTER, kind.operator, kind.topic, kind.application),
                    *(kind.count, kind.waiting, utc(kind.first_ms), utc(kind.last_ms)),
                )
                for kind in found
            ],
        )


@dead_letters.command()
def show(
    topic: Name,
    partition: Annotated[int | None, typer.Argument(min=0, help="Of one dead letter.")] = None,
    offset: Annotated[int | None, typer.Argument(min=0, help="And its offset.")] = None,
    *,
    limit: Annotated[int, typer.Option(min=1, help="Show so many, the newest.")] = 10,
    brokers: Brokers = DEFAULT_BROKERS,
    as_json: AsJson = False,
) -> None:
    """Show all that is known of one dead letter, or of the newest ones.

    Bytes that are not UTF-8 are shown in hex.

    Examples:
      penstock dead-letters show orders-dead 3 17
      penstock dead-letters show orders-dead --limit 5
    """
    if (partition is None) != (offset is None):
        raise typer.BadParameter("one dead letter has both: TOPIC PARTITION OFFSET.")

    from penstock.cli.letters import DeadLetterTopic, as_object, described, newest

    letters = DeadLetterTopic(topic, brokers)
    if partition is None or offset is None:
        with progress_bar(topic, letters.size(letters.begins)) as on_progress:
            found = newest(letters.letters(letters.begins, on_progress), limit)
    else:
        found = [letters.find(partition, offset)]
    redriven = letters.redriven()
    for letter in found:
        waiting = letter.offset >= redriven[topic, letter.partition]
        if as_json:
            typer.echo(json.dumps(as_object(topic, letter, waiting=waiting)))
        else:
            typer.echo(described(topic, letter, waiting=waiting))
    if not found and not as_json:
        typer.echo(f"{topic} has no dead letters.")


@dead_letters.command()
def redrive(
    topic: Name,
    *,
    to: Annotated[str | None, typer.Option(help="Send all of them to this topic.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing, only count.")] = False,
    brokers: Brokers = DEFAULT_BROKERS,
    as_json: AsJson = False,
) -> None:
    """Send dead letters to the topics that they came from, once each.

    A redrive that was killed goes on where it was. Those that were written without their
    payload cannot be sent, and are left.

    Examples:
      penstock dead-letters redrive orders-dead --dry-run
      penstock dead-letters redrive orders-dead
    """
    from penstock.cli.letters import DeadLetterTopic
    from penstock.cli.redriving import Redrive

    work = Redrive(DeadLetterTopic(topic, brokers), to)
    with progress_bar(f"Looking through {topic}", work.size()) as on_progress:
        plan = work.plan(on_progress)
    if not dry_run:
        with progress_bar(f"Sending {topic}", work.size()) as on_progress:
            plan = work.run(plan, on_progress)
    typer.echo(_as_json(plan, dry_run) if as_json else _as_text(topic, plan, dry_run))


def _as_json(plan: "Plan", dry_run: bool) -> str:
    fields = {"sent": dict(plan.sent), "left": dict(plan.left), "dry_run": dry_run}
    return json.dumps(fields)


def _as_text(topic: str, plan: "Plan", dry_run: bool) -> str:
    verb = "Would send" if dry_run else "Sent"
    lines = [f"{verb} {sent:,} dead letters to {to}." for to, sent in sorted(plan.sent.items())]
    lines += [
        f"Left {left:,} {why}: 'penstock dead-letters show {topic}' shows them."
        for why, left in sorted(plan.left.items())
    ]
    return "\n".join(lines or [f"No dead letter of {topic} waits for a redrive."])
