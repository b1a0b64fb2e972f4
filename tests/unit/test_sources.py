"""What the options of `penstock produce` mean together, and what does not go together."""

import subprocess
import sys
import uuid

import pytest
from typer.testing import CliRunner

from penstock.cli.events.protocol import Due
from penstock.cli.events.sources import open_events
from penstock.cli.main import app
from penstock.cli.produce_options import FieldOptions, SourceOptions
from tests.unit.registry_double import registry_double

NOW = 1_700_000_000_000
ORDER = """
import msgspec
class Order(msgspec.Struct):
    user: str
    total: float
    at: int
class Blob(msgspec.Struct, array_like=True):
    data: bytes
raw = bytes
"""


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A file with models."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    file = tmp_path / f"shop_{uuid.uuid4().hex}.py"
    file.write_text(ORDER)
    yield str(file)
    sys.modules.pop(file.stem, None)


def refused(*arguments):
    """Return the one paragraph that produce says; it never gets as far as to ask a broker."""
    done = CliRunner().invoke(app, ["produce", "orders", *arguments, "--brokers", "127.0.0.1:1"])
    assert (done.exit_code, done.stdout) == (1, ""), done.exception
    assert done.stderr.count("\n") == 1
    return done.stderr


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ([], ("--model", "--template", "--from")),
        (["--template", "1", "--model", "SHOP:Order"], ("--template and --model",)),
        (["--template", "1", "--from", "-"], ("--template and --from",)),
        (["--template", "1", "--avro"], ("--model module:Class",)),
        (["--template", "1", "--format", "csv"], ("--from",)),
        (["--template", "1", "--timestamp", "at"], ("{now_ms}",)),
        (["--template", '{"a": 1}', "--key", "a", "--keys", "zipf:9"], ("--keys", "{zipf:1000}")),
        (["--template", "{foo}"], ("{foo}", "{zipf:N[:s]}")),
        (["--model", "SHOP:Order", "--key", "buyer"], ("no field 'buyer'", "user, total, at")),
        (["--model", "SHOP:Order", "--keys", "zipf"], ("--keys zipf", "zipf:N")),
        (["--model", "SHOP:Blob", "--avro"], ("array_like",)),
        (["--model", "SHOP:raw", "--poison", "1%"], ("any bytes are an event",)),
        (["--model", "no_such_module:Order"], ("no module no_such_module", "penstock produce")),
        (["--from", "nothing.csv"], ("nothing.csv", "No such file")),
        (["--from", "SHOP"], ("--format",)),
    ],
)
def test_what_is_wrong_is_said_before_a_broker_is_asked(shop, options, parts):
    """One paragraph, naming the options and what to do."""
    said = refused(*(option.replace("SHOP", shop) for option in options))
    for part in parts:
        assert part in said


def opened(source, fields=None, seed=0):
    return open_events("orders", SourceOptions(**source), FieldOptions(**(fields or {})), seed)


def test_keys_stand_beside_a_template_and_a_file(shop, tmp_path):
    """Text keys, drawn, in no field; fewer where there are fewer events."""
    rows = opened({"template": "{counter}"}, {"keys": "cycle:2"}).take(Due([NOW] * 3))
    assert (rows.values, rows.keys) == ([b"0", b"1", b"2"], [b"key-0", b"key-1", b"key-0"])
    file = tmp_path / "events.jsonl"
    file.write_text("1\n2\n")
    rows = opened({"file": str(file)}, {"keys": "cycle:9"}).take(Due([NOW] * 5))
    assert (rows.values, rows.keys) == ([b"1", b"2"], [b"key-0", b"key-1"])


def test_a_model_reads_a_file(shop, tmp_path):
    """And writes it as Avro, if it is told to."""
    file = tmp_path / "orders.csv"
    file.write_text("user,total,at\nann,2,7\n")
    events = opened({"file": str(file), "model": f"{shop}:Order", "avro": True}, {"key": "user"})
    rows = events.take(Due([NOW]))
    order = events.decode(rows.values[0])
    assert (order.user, order.total, order.at, rows.keys) == ("ann", 2.0, 7, [b"ann"])


def test_start_sets_event_time():
    """A time or how long ago; now if it is left out."""
    assert FieldOptions().start_ms() is None
    assert FieldOptions(start="2023-11-14T22:13:20").start_ms() == NOW


WITH_REGISTRY = """
import sys
from penstock.cli.events.protocol import Due
from penstock.cli.produce_options import FieldOptions, SourceOptions
from penstock.cli.events.sources import open_events
source = SourceOptions(model=sys.argv[1], registry=sys.argv[2])
events = open_events("orders", source, FieldOptions(), 0)
value = events.take(Due([1_700_000_000_000])).values[0]
print(value[:5].hex(), events.decode(value).at)
"""


def test_a_registry_knows_the_model_before_anything_is_sent(shop):
    """Under the topic's name, and the bytes name the schema. As a process, for its connections."""
    pytest.importorskip("httpx2", reason="needs penstock[registry]")
    with registry_double() as double:
        double.put("other", '"string"')
        command = [sys.executable, "-c", WITH_REGISTRY, f"{shop}:Order", double.url]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert list(double.subjects) == ["other", "orders-value"]
    assert done.stdout.split() == ["0000000002", str(NOW)]
