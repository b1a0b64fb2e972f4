"""Bad records of the applications in `apps.py`, and the dead letters that they have to leave."""

from tests.kafka.apps import BAD
from tests.kafka.checking import Record
from tests.kafka.workers import Application

UNDECODABLE = b"\xff\xff"


def is_bad(record: Record) -> bool:
    value = record.value or b""
    return value.startswith(BAD.encode()) or value == UNDECODABLE


def good(records: list[Record]) -> list[Record]:
    return [record for record in records if not is_bad(record)]


def check_dead_letters(app: Application) -> None:
    """Each bad record is there once, as it came, and says where it comes from."""
    bad = {(r.topic, r.partition, r.offset): r for r in app.read_inputs() if is_bad(r)}
    found = app.read_output(1)
    assert len(found) == len(bad), f"{len(found)} dead letters of {len(bad)} bad records"
    for letter in found:
        told = {name: (value or b"").decode() for name, value in letter.headers or []}
        error = {name.rpartition(".")[2]: text for name, text in told.items()}
        origin = bad.pop((error["topic"], int(error["partition"]), int(error["offset"])))
        assert (letter.key, letter.value) == (origin.key, origin.value)
        assert letter.timestamp == origin.timestamp
        own = [pair for pair in letter.headers or [] if not pair[0].startswith("__penstock.")]
        assert own == (origin.headers or [])
        assert error["class"] in ("ZeroDivisionError", "UnicodeDecodeError")
        assert error["application"] == app.id
