"""The options of `penstock produce`, in groups, and what they mean together."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from penstock.cli.events.formats import Format
from penstock.durations import milliseconds
from penstock.errors import TopologyError

if TYPE_CHECKING:
    from penstock.cli.events.disorder import Shares
    from penstock.cli.events.model_loading import Model
    from penstock.cli.events.models import Fields
    from penstock.cli.events.pacing import Pace

_SOURCE, _FIELDS = "Where events come from", "Keys and time"
_PACE, _DISORDER = "How much and how fast", "Disorder"


class Unit(StrEnum):
    """Units of an event time."""

    S = "s"
    MS = "ms"
    US = "us"
    NS = "ns"
    ISO = "iso"


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Where events come from."""

    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:CLASS",
            help="Make events up by the types of the fields of a class (or file.py:Class); with"
            " --from, read them as such.",
            rich_help_panel=_SOURCE,
        ),
    ] = None
    template: Annotated[
        str | None,
        typer.Option(
            help='An event with placeholders, such as \'{"user": "u{zipf:1000}"}\'. Known: zipf,'
            " uniform, float, choice, counter, now_ms, uuid, hex, pad.",
            rich_help_panel=_SOURCE,
        ),
    ] = None
    file: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="A file with an event on each line; - is standard input.",
            rich_help_panel=_SOURCE,
        ),
    ] = None
    form: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="What the lines are, where the file's name does not say it.",
            rich_help_panel=_SOURCE,
        ),
    ] = None
    avro: Annotated[
        bool, typer.Option("--avro", help="Write the model as Avro.", rich_help_panel=_SOURCE)
    ] = False
    registry: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="The schema registry that knows the model: Avro in Confluent's format.",
            rich_help_panel=_SOURCE,
        ),
    ] = None

    def check(self) -> None:
        """Refuse what does not go together.

        Raises:
            TopologyError: naming the options.
        """
        if not (self.model or self.template or self.file):
            raise TopologyError(
                "Nothing says what to send. Give --model module:Class, --template '...', or"
                " --from FILE (- is standard input)."
            )
        if self.template is not None and (self.model or self.file):
            other = "--model" if self.model else "--from"
            raise TopologyError(f"--template and {other} are two sources of events. Give one.")
        if (self.avro or self.registry) and not self.model:
            raise TopologyError(
                "Avro needs to know the fields of the events. Give --model module:Class."
            )
        if self.form is not None and self.file is None:
            raise TopologyError("--format says what is in a file. Name it with --from.")

    def load(self) -> "Model | None":
        """Import the model, if there is one."""
        if self.model is None:
            return None
        from penstock.cli.events.model_loading import load_model

        return load_model(self.model, avro=self.avro or bool(self.registry), registry=self.registry)


@dataclass(frozen=True, kw_only=True)
class FieldOptions:
    """Keys, and times of events."""

    key: Annotated[
        str | None,
        typer.Option(metavar="FIELD", help="The field that is the key.", rich_help_panel=_FIELDS),
    ] = None
    keys: Annotated[
        str | None,
        typer.Option(
            metavar="HOW",
            help="How keys are drawn: zipf:1000, uniform:1000, cycle:1000 or counter.",
            rich_help_panel=_FIELDS,
        ),
    ] = None
    timestamp: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD",
            help="The field of the event time. Of a model it is timestamp, at, or the like if left"
            " out.",
            rich_help_panel=_FIELDS,
        ),
    ] = None
    unit: Annotated[
        Unit | None,
        typer.Option(help="The unit of that field, ms if left out.", rich_help_panel=_FIELDS),
    ] = None
    start: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Let event time begin there (2026-03-01T10:30, or '10m' ago) and go on by the"
            " rate, or 1 ms a record, instead of being now.",
            rich_help_panel=_FIELDS,
        ),
    ] = None

    def fields(self) -> "Fields":
        """Return what is said about fields."""
        from penstock.cli.events.models import Fields

        unit = None if self.unit is None else self.unit.value
        return Fields(key=self.key, timestamp=self.timestamp, unit=unit)

    def start_ms(self) -> int | None:
        """Return when event time begins, if that is not now."""
        if self.start is None:
            return None
        from penstock.cli.positions import parse_time
        from penstock.runtime.clock import now_ms

        return parse_time(self.start, now_ms())


@dataclass(frozen=True, kw_only=True)
class PaceOptions:
    """How much, how fast."""

    rate: Annotated[
        str | None,
        typer.Option(help="Records per second, such as 1000/s.", rich_help_panel=_PACE),
    ] = None
    count: Annotated[
        int | None,
        typer.Option(min=1, help="Stop after this many records.", rich_help_panel=_PACE),
    ] = None
    duration: Annotated[
        str | None, typer.Option(help="Stop after this time, as in 10s.", rich_help_panel=_PACE)
    ] = None
    seed: Annotated[
        int, typer.Option(help="The same seed makes the same events.", rich_help_panel=_PACE)
    ] = 0

    def pace(self) -> "Pace":
        """Return what was asked for."""
        from penstock.cli.events.pacing import Pace, parse_rate

        return Pace(
            rate=None if self.rate is None else parse_rate(self.rate),
            count=self.count,
            duration_ms=None if self.duration is None else milliseconds(self.duration),
        )


@dataclass(frozen=True, kw_only=True)
class DisorderOptions:
    """Shares of records that are not clean."""

    late: Annotated[
        str, typer.Option(metavar="SHARE", help="Late, such as 1%.", rich_help_panel=_DISORDER)
    ] = "0"
    late_by: Annotated[str, typer.Option(help="How late those are.", rich_help_panel=_DISORDER)] = (
        "10m"
    )
    duplicates: Annotated[
        str,
        typer.Option(
            metavar="SHARE", help="The clean record before, again.", rich_help_panel=_DISORDER
        ),
    ] = "0"
    out_of_order: Annotated[
        str,
        typer.Option(
            metavar="SHARE",
            help="Behind the next clean record of the partition.",
            rich_help_panel=_DISORDER,
        ),
    ] = "0"
    poison: Annotated[
        str,
        typer.Option(
            metavar="SHARE", help="Bytes that cannot be decoded.", rich_help_panel=_DISORDER
        ),
    ] = "0"

    def shares(self) -> "Shares":
        """Return what was asked for."""
        from penstock.cli.events.disorder import Shares, parse_share

        return Shares(
            late=parse_share(self.late, "--late"),
            duplicates=parse_share(self.duplicates, "--duplicates"),
            out_of_order=parse_share(self.out_of_order, "--out-of-order"),
            poison=parse_share(self.poison, "--poison"),
            late_by_ms=milliseconds(self.late_by),
        )
