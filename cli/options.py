"""What several commands have: options, types that data can be shown as, and how they show help."""

from enum import StrEnum
from typing import Annotated, Any, TypeAlias

import typer
from typer.core import TyperCommand

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


class Command(TyperCommand):
    """A command whose examples stand on lines of their own in --help."""

    def __init__(self, *args: Any, help: str | None = None, **options: Any) -> None:
        # Lines behind this mark are not wrapped.
        super().__init__(
            *args, help=(help or "").replace("\n\nExample", "\n\n\bExample"), **options
        )
