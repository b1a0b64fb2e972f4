"""Options that several commands have, and the types that data can be shown as."""

from enum import StrEnum
from typing import Annotated, TypeAlias

import typer

DEFAULT_BROKERS = "localhost:9092"
APPLICATION = typer.Argument(
    metavar="APPLICATION", help="The id of the application, or its file.py or module:app."
)

Brokers: TypeAlias = Annotated[
    str, typer.Option(envvar="PENSTOCK_BROKERS", help="The Kafka brokers, HOST:PORT,...")
]
BrokersOf: TypeAlias = Annotated[
    str | None, typer.Option(help="The Kafka brokers, before those of the application.")
]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


class Kind(StrEnum):
    """The types that keys and values can be decoded as."""

    STR = "str"
    INT = "int"
    FLOAT = "float"
    BYTES = "bytes"
    JSON = "json"
