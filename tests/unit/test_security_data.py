"""Data is never run: nothing in the package could, and nothing that is read makes anything happen.

`make lint` says the first of unpickling and the like (ruff's S rules); here it holds for whatever
loads code by a name, too, and for RocksDB's binding, which unpickles what it reads by default.
"""

import ast
import dataclasses
import json
import marshal
import os
import pickle  # noqa: TID251 - what an attacker writes
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, TypedDict

import msgspec
import pytest
import rocksdict

import penstock as ps
from penstock.engine import metadata
from penstock.errors import PenstockError, TopologyError
from penstock.operators.fields import compile_path
from penstock.serde import avro
from penstock.serde.columns import decode_column
from penstock.serde.types import data_type
from penstock.state.rocksdb import RocksMemory, RocksStore
from penstock.state.store import Position
from penstock.testing import TestDriver
from tests.installed import ROOT

FOLDERS = ("streams", "serde", "state", "topics", "cli")
RUNS_DATA = {
    *("pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "dbm", "copyreg"),
    *("marshal", "jsonpickle", "yaml", "ruamel", "code", "codeop", "runpy", "imp", "pty", "xmlrpc"),
    *("ctypes", "cffi", "pyarrow", "pandas", "numpy", "torch", "jinja2", "mako"),
}
RUNS_TEXT = {"eval", "exec", "compile", "__import__", "breakpoint", "execfile"}
LOADS_MODULES = {"import_module", "spec_from_file_location", "exec_module", "load_module"}
# Who loads a module by a name: what the command line names, and constants.
MAY_LOAD = {
    "streams/runtime/loading.py": "the application that the command line names",
    "cli/events/model_loading.py": "the class that the command line names",
    "streams/__init__.py": "a constant",
    "streams/testing/__init__.py": "a constant",
    "serde/__init__.py": "a constant",
    "serde/registry.py": "a constant",
}


def modules() -> dict[str, ast.Module]:
    """Every module of the package, by its path."""
    files = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]
    return {str(file.relative_to(ROOT)): ast.parse(file.read_text()) for file in files}


def offences(name: str, tree: ast.Module) -> Iterator[str]:
    """What could run data in a module."""
    for node in ast.walk(tree):
        imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            imported = [node.module or ""]
        for module in imported:
            if module.split(".")[0] in RUNS_DATA:
                yield f"{name}:{node.lineno} imports {module}"
        if not isinstance(node, ast.Call):
            continue
        called = node.func.id if isinstance(node.func, ast.Name) else ""
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if called in RUNS_TEXT:
            yield f"{name}:{node.lineno} calls {called}"
        if (called or method) in LOADS_MODULES and name not in MAY_LOAD:
            yield f"{name}:{node.lineno} loads a module by name"
        if (called or method) in ("Options", "WriteBatch") and not _raw(node):
            yield f"{name}:{node.lineno} makes {called or method} without raw_mode=True"
        if (called or method) in ("Rdict", "AccessType") and name != "state/rocksdb.py":
            yield f"{name}:{node.lineno} opens RocksDB"
        if any(k.arg == "shell" and not _is(k.value, False) for k in node.keywords):
            yield f"{name}:{node.lineno} starts a shell"
        if method in ("items", "keys", "values") and ast.unparse(node.func).startswith("self._db."):
            yield f"{name}:{node.lineno} reads RocksDB without its status"


def _raw(call: ast.Call) -> bool:
    return any(k.arg == "raw_mode" and _is(k.value, True) for k in call.keywords)


def _is(node: ast.AST, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def test_nothing_in_the_package_can_run_data() -> None:
    found = [offence for name, tree in modules().items() for offence in offences(name, tree)]
    assert found == []
    assert len(modules()) > 100
    assert set(MAY_LOAD) <= set(modules())


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from yaml import load",
        "import numpy.lib",
        "eval(text)",
        "builtins = __import__(name)",
        "importlib.import_module(name)",
        "Options()",
        "Options(raw_mode=False)",
        "rocksdict.WriteBatch()",
        "Rdict(path)",
        "subprocess.run(line, shell=True)",
        "for key in self._db.keys(): pass",
    ],
)
def test_what_could_run_data_is_found(line: str) -> None:
    """The control of the test above."""
    assert list(offences("state/other.py", ast.parse(line)))


# What an attacker writes


class Evil:
    """Runs a command where it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("true",)


HINTS: dict[str, Any] = {
    "__reduce__": ["os.system", ["true"]],
    "__class__": "os.system",
    "__type__": "subprocess.Popen",
    "py/reduce": [{"py/function": "os.system"}, {"py/tuple": ["true"]}],
    "py/object": "subprocess.Popen",
    "$type": "System.Diagnostics.Process",
    "@type": "java.lang.Runtime",
    "java-class": "java.lang.ProcessBuilder",
    "a": "${script:javascript:1}",
    "b": "{{ self.__init__.__globals__ }}",
    "c": "__import__('os').system('true')",
}
PICKLE = pickle.dumps(Evil())
PAYLOADS = {
    "pickle": PICKLE,
    "pickle, protocol 0": pickle.dumps(Evil(), 0),
    "rocksdict's pickle": b"\x06" + PICKLE,
    "marshal": marshal.dumps(compile("__import__('os').system('true')", "x", "exec")),
    "yaml": b"!!python/object/apply:os.system ['true']",
    "json": json.dumps(HINTS).encode(),
    "json in json": json.dumps([HINTS, json.dumps(HINTS)]).encode(),
    "python": b"__import__('os').system('true')",
    "avro container": b"Obj\x01\x04\x16avro.schema" + json.dumps(HINTS).encode(),
    "confluent": struct.pack(">bI", 0, 7) + PICKLE,
    "xml": b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
}

ALARMS = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "pickle.find_class", "exec")
_raised: list[str] | None = None


def _hear(event: str, args: tuple[Any, ...]) -> None:
    if _raised is not None and event in ALARMS:
        _raised.append(f"{event} {args!r:.200}")


@cache
def _listen() -> None:
    """Hear of all that this process does, from now on: there is no way to take it back."""
    sys.addaudithook(_hear)


@contextmanager
def nothing_runs() -> Iterator[list[str]]:
    """Hold that no code is unpickled, executed or started meanwhile."""
    global _raised
    _listen()
    heard = _raised = []
    try:
        yield heard
    finally:
        _raised = None


class Record(msgspec.Struct):
    """Fields as in the hints, of any type."""

    a: Any
    b: Any = None


@dataclasses.dataclass
class Data:
    a: Any
    c: str = ""


class Typed(TypedDict):
    a: str


SCHEMA = {"type": "record", "name": "R", "fields": [{"name": "a", "type": ["null", "string"]}]}
TYPES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bytes": bytes,
    "dict": dict[str, Any],
    "list": list[Any],
    "Any in JSON": ps.serde.json(Any),
    "Struct": Record,
    "dataclass": Data,
    "TypedDict": Typed,
    "avro": avro(SCHEMA),
    "avro of a type": avro(Typed),
}


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
@pytest.mark.parametrize("declared", TYPES.values(), ids=TYPES)
def test_evil_bytes_run_nothing_wherever_they_are_decoded(declared: Any, payload: bytes) -> None:
    """As a value and as a key, alone and in a column; what comes out are plain values."""
    with suppress(TopologyError):
        decode_column(data_type(declared, key=True).serde, [])
    for key in (False, True):
        try:
            serde = data_type(declared, key=key).serde
        except TopologyError:
            continue
        assert serde is not None
        for decode in (serde.decode, lambda data, serde=serde: decode_column(serde, [data])[0]):
            with nothing_runs() as heard, suppress(Exception):
                check_plain(decode(payload), declared)
            assert heard == []


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_evil_bytes_run_nothing_on_their_way_through_an_application(payload: bytes) -> None:
    """As key, value and header of records, in state, restored from the changelog, as dead letters."""
    app = ps.App("app", on_error=ps.dead_letter("dead", max_ratio=1, max_run=None))
    raw = app.stream("raw", key=bytes, value=bytes)
    raw.group_by_key().reduce(lambda a, b: b, name="last").to("out")
    app.stream("typed", key=str, value=dict[str, Any]).map(lambda value: value["a"], value=str).to(
        "out-typed"
    )
    with nothing_runs() as heard, TestDriver(app) as driver:
        for topic in ("raw", "typed"):
            driver.topic(topic).send_bytes(payload, key=payload, headers=[("h", payload)])
        driver.crash()
        driver.topic("raw").send_bytes(b"x", key=b"k")
        driver.topic("raw").send_bytes(payload, key=payload)
    assert heard == []


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_evil_metadata_of_an_offset_runs_nothing(payload: bytes) -> None:
    """Whoever may commit for the group may write it."""
    with nothing_runs() as heard, suppress(PenstockError):
        metadata.decode(payload.decode(errors="replace"), "in/0")
    assert heard == []


@pytest.mark.parametrize("schema", [HINTS, {**SCHEMA, **HINTS}, {**SCHEMA, "logicalType": "eval"}])
def test_evil_hints_in_a_schema_run_nothing(schema: Any) -> None:
    """One of a registry, or of code."""
    with nothing_runs() as heard, suppress(PenstockError, ValueError):
        avro(schema).decode(b"\x02\x02a")
    assert heard == []


CONFIG = "rocksdict-config.json"


@pytest.mark.parametrize("config", ['{"raw_mode":false,"prefix_extractors":{}}', "", PICKLE])
def test_evil_bytes_in_the_state_folder_run_nothing(tmp_path: Path, config: str | bytes) -> None:
    """RocksDB's binding unpickles by default, and asks a file beside the data whether it should."""
    memory = RocksMemory(8 * 1024 * 1024)
    evil = PAYLOADS["rocksdict's pickle"]
    store = RocksStore(tmp_path / "0", memory)
    store.write([(b"k", evil), (evil, b"v")], Position(1, "id", 1))
    store.close()
    (tmp_path / "0" / CONFIG).write_bytes(config if isinstance(config, bytes) else config.encode())
    with nothing_runs() as heard:
        store = RocksStore(tmp_path / "0", memory)
        assert store.get_all([b"k", evil]) == [evil, b"v"]
        assert dict(store.scan()) == {b"k": evil, evil: b"v"}
        store.position()
        store.close()
    assert heard == []


def test_evil_bytes_are_heard_where_somebody_runs_them(tmp_path: Path) -> None:
    """The control of all of them: pickle itself, and RocksDB's binding left to itself."""
    runs: list[Callable[[], object]] = [
        lambda: pickle.loads(PICKLE),
        lambda: exec(marshal.loads(PAYLOADS["marshal"])),
        lambda: exec(PAYLOADS["python"]),
    ]
    for run in runs:
        with nothing_runs() as heard:
            run()
        assert any(alarm.startswith("os.system") for alarm in heard)
    store = rocksdict.Rdict(str(tmp_path / "0"))
    store["k"] = Evil()
    with nothing_runs() as heard:
        assert store["k"] == 0  # what the command has returned
    store.close()
    assert any(alarm.startswith("os.system") for alarm in heard)


# Selectors


@pytest.mark.parametrize(
    "path",
    [
        "__class__",
        "a.__class__.__init__.__globals__",
        "__init__.__globals__.os.system",
        "__reduce__",
        "a); __import__('os').system('true'",
        "a.__import__('os')",
        "",
        "a..b",
    ],
)
@pytest.mark.parametrize("of", [Record, Data, Typed])
def test_a_path_names_fields_and_nothing_else(path: str, of: Any) -> None:
    """No code is made of it: what is no field of the type is refused where it is declared."""
    declared: Any = {Record: Strict, Data: StrictData, Typed: Typed}[of]
    with nothing_runs() as heard, pytest.raises(TopologyError):
        compile_path(path, declared)
    assert heard == []


@pytest.mark.parametrize("path", ["__class__", "keys", "__reduce__.__self__"])
def test_a_path_into_a_plain_dict_is_a_key(path: str) -> None:
    """Not an attribute of the dictionary."""
    get, _ = compile_path(path, dict)
    with pytest.raises(KeyError):
        get({"a": 1})


class Strict(msgspec.Struct):
    a: str


@dataclasses.dataclass
class StrictData:
    a: str


def check_plain(value: Any, declared: Any) -> None:
    """Hold that a value is data: of the declared class, or what JSON and Avro have."""
    if isinstance(value, dict):
        for part in (*value, *value.values()):
            check_plain(part, declared)
    elif isinstance(value, list):
        for part in value:
            check_plain(part, declared)
    elif isinstance(value, Record | Data):
        check_plain(value.a, declared)
    else:
        assert value is None or type(value) in (str, int, float, bool, bytes), type(value)
