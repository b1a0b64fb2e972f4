"""`penstock broker`: the embedded Apache Kafka, running until it is told to stop.

It prints where it listens and where its data is, and nothing else: Kafka's own log goes to
files in the data folder. What runs it is `penstock.testing.kafka_server`.
"""

import signal
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

NODES = typer.Option(help="How many nodes: 1 or 3.", metavar="N")
DATA = typer.Option(help="Keep the data in this folder. Default: temporary.", metavar="DIR")
PORT = typer.Option(help="Port on 127.0.0.1 of the first node; others take free ones.", metavar="P")


def broker(
    *,
    nodes: Annotated[int, NODES] = 1,
    data: Annotated[Path | None, DATA] = None,
    port: Annotated[int, PORT] = 9092,
) -> None:
    """Run an Apache Kafka on this machine until Ctrl-C.

    Example:
      penstock broker --data kafka-data
    """
    from penstock.testing.kafka_server import KafkaServer  # loads librdkafka

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the same as Ctrl-C
    with KafkaServer(nodes=nodes, data=data, port=port) as kafka, suppress(KeyboardInterrupt):
        typer.echo(f"Apache Kafka listens on {kafka.bootstrap_servers}")
        typer.echo(f"Data: {kafka.data}{'' if data else ' (removed at the end)'}")
        typer.echo("Ctrl-C stops it.")
        kafka.wait()
