"""Options that several commands have."""

from typing import Annotated, TypeAlias

import typer

DEFAULT_BROKERS = "localhost:9092"

Brokers: TypeAlias = Annotated[
    str, typer.Option(envvar="PENSTOCK_BROKERS", help="The Kafka brokers, HOST:PORT,...")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
