"""From the options of `penstock produce` to the source of its events."""

from penstock.cli.events.files import FileEvents
from penstock.cli.events.formats import format_of
from penstock.cli.events.keys import draw_keys, text_keys
from penstock.cli.events.lines import Lines
from penstock.cli.events.model_loading import Model
from penstock.cli.events.models import ModelEvents
from penstock.cli.events.parsers import parser_of
from penstock.cli.events.protocol import Events, Keyed, poisoned
from penstock.cli.events.templates import Template
from penstock.cli.produce_options import FieldOptions, SourceOptions
from penstock.errors import TopologyError


def open_events(
    topic: str, source: SourceOptions, fields: FieldOptions, seed: int, *, poison: bool = False
) -> Events:
    """Make the source of events that the options ask for.

    Args:
        topic: where they go: a schema registry knows the model by it.
        source: where they come from.
        fields: which of their fields are key and event time, and how keys are drawn.
        seed: of what is drawn.
        poison: whether some of them have to become undecodable.

    Raises:
        TopologyError: if the options do not go together, or say what is not there.
    """
    source.check()
    model = source.load()
    if model is not None:
        for serde, key in ((model.serde, False), (model.keys.serde, True)):
            if prepare := getattr(serde, "prepare", None):
                prepare(topic, key=key, writes=True)
    events = _events(source, fields, model, seed)
    if poison:
        poisoned(b"", events.decode)
    return events


def _events(source: SourceOptions, fields: FieldOptions, model: Model | None, seed: int) -> Events:
    numbers = None if fields.keys is None else draw_keys(fields.keys, seed)
    if model is not None and source.file is None:
        return ModelEvents(model, seed, fields=fields.fields(), keys=numbers)
    if numbers is not None and fields.key is not None:
        raise TopologyError(
            f"--keys draws keys, and --key {fields.key} takes them from the events. Leave one of"
            " them out; a template draws by its placeholders: {zipf:1000}."
        )
    events = _written(source, fields, model, seed)
    if numbers is None:
        return events
    return Keyed(events, text_keys(numbers))


def _written(source: SourceOptions, fields: FieldOptions, model: Model | None, seed: int) -> Events:
    if source.template is not None:
        if fields.timestamp is not None:
            raise TopologyError(
                "--timestamp names a field of a model or a file. In a template write {now_ms}"
                " where the event time is to be."
            )
        return Template(source.template, seed, key=fields.key)
    assert source.file is not None
    parser = parser_of(format_of(source.file, source.form), model)
    return FileEvents(Lines(source.file), parser, model=model, fields=fields.fields())
