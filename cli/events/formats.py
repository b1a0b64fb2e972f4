"""What the lines of a file are: said by an option, or by the file's name."""

from enum import StrEnum

from penstock.errors import TopologyError


class Format(StrEnum):
    """What files are made of."""

    JSONL = "jsonl"
    CSV = "csv"
    TEXT = "text"


_ENDINGS = {
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".json": Format.JSONL,
    ".csv": Format.CSV,
    ".txt": Format.TEXT,
}


def format_of(path: str, given: Format | None) -> Format:
    """Return the format of a file, by its name where it is not given.

    Raises:
        TopologyError: if the name does not say it.
    """
    if given is not None:
        return given
    if path == "-":
        return Format.JSONL
    for ending, found in _ENDINGS.items():
        if path.lower().endswith(ending):
            return found
    raise TopologyError(
        f"The name of {path} does not say what its lines are. Add --format jsonl, csv or text."
    )
