"""`penstock topics`: what topics there are. `topic_list` looks."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from penstock.cli.options import DEFAULT_BROKERS, AsJson, Brokers
from penstock.cli.terminal import print_table, waiting

PATTERN = typer.Argument(help="Names, as in 'shop-*'; left out, all but Kafka's own.")


def topics(
    pattern: Annotated[str | None, PATTERN] = None,
    *,
    brokers: Brokers = DEFAULT_BROKERS,
    as_json: AsJson = False,
) -> None:
    """List topics with their partitions and records, and whose the internal ones are.

    Records are counted by offsets: markers of transactions and what was compacted count too.

    Example: penstock topics 'shop-*'
    """
    from penstock.cli.topic_list import list_topics

    with waiting("Looking up topics ..."):
        found = list_topics(pattern, brokers=brokers)
    if as_json:
        typer.echo(json.dumps([asdict(topic) for topic in found]))
    elif not found:
        typer.echo(f"There is no topic{f' like {pattern}' if pattern else ''} on {brokers}.")
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
