"""`penstock topics`: what topics there are. `topic_list` looks."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from penstock.cli.options import DEFAULT_BROKERS, AsJson, Brokers
from penstock.cli.terminal import print_table, waiting

NAMES = typer.Argument(help="Names, as in 'shop-*'; left out, all but Kafka's own.")
CREATE = typer.Option(
    min=1, help="Create the topics, if missing, with so many partitions.", metavar="N"
)


def topics(
    names: Annotated[list[str] | None, NAMES] = None,
    *,
    create: Annotated[int | None, CREATE] = None,
    brokers: Brokers = DEFAULT_BROKERS,
    as_json: AsJson = False,
) -> None:
    """List topics, their records, and whose the internal ones are; or create some.

    Records are counted by offsets: markers of transactions and what was compacted count too.

    Example: penstock topics orders accounts --create 4
    """
    from penstock.cli.topic_list import create_topics, list_topics

    if create:
        create_topics(names or [], create, brokers=brokers)
    with waiting("Looking up topics ..."):
        found = list_topics(names, brokers=brokers)
    if as_json:
        typer.echo(json.dumps([asdict(topic) for topic in found]))
    elif not found:
        like = f" like {' or '.join(names)}" if names else ""
        typer.echo(f"There is no topic{like} on {brokers}.")
    else:
        rows = [
            (
                *(topic.name, topic.partitions, topic.records),
                f"{topic.kind} of {topic.application or 'an unknown application'}"
                if topic.kind
                else "",
            )
            for topic in found
        ]
        print_table(("Topic", "Partitions", "Records", "Internal"), rows)
