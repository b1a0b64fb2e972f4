"""The public names are exactly the intended ones, and the pure core is pure."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import penstock
import penstock.engine
import penstock.operators
import penstock.serde
import penstock.testing
import penstock.topology

PENSTOCK = {
    "App",
    "BrokerError",
    "BugError",
    "CommitSettings",
    "DataError",
    "DeadLetter",
    "dead_letter",
    "Duration",
    "Grouped",
    "HttpSettings",
    "KafkaSettings",
    "Listener",
    "PenstockError",
    "Progress",
    "ProgressSettings",
    "Query",
    "Record",
    "Serde",
    "Settings",
    "StateError",
    "StateSettings",
    "Status",
    "Store",
    "Stream",
    "Table",
    "Topic",
    "TopologyError",
    "WorkerSettings",
    "Aggregator",
    "Windowed",
    "WindowedGrouped",
    "WindowedTable",
    "approx_distinct",
    "collect",
    "count",
    "first",
    "hopping",
    "last",
    "max",
    "mean",
    "min",
    "quantile",
    "run",
    "session",
    "stddev",
    "sum",
    "top_k",
    "tumbling",
    "wait_any",
    "Context",
    "ListState",
    "MapState",
    "Memory",
    "Processor",
    "Timer",
    "ValueState",
    "sliding",
    "__version__",
    "serde",
}
SERDE = {"AvroLimits", "Serde", "avro", "json", "session_windowed", "time_windowed"}
TESTING = {"KafkaServer", "TestDriver", "TestTopic"}
PURE = [
    f"{package.__name__}.{info.name}"
    for package in (penstock.engine, penstock.operators, penstock.topology)
    for info in pkgutil.iter_modules(package.__path__)
]
# What the engine must not know of, besides clients: the clock, threads, and the log.
IMPURE = {"confluent_kafka", "rocksdict", "time", "threading", "logging", "asyncio", "socket"}


def loaded(code: str) -> set[str]:
    """The modules that a program has loaded at its end."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("module", "names"),
    [(penstock, PENSTOCK), (penstock.serde, SERDE), (penstock.testing, TESTING)],
)
def test_the_exported_names_are_the_intended_ones(module, names):
    """Each name is there on purpose, is loaded when asked for, and none is missing."""
    assert set(module.__all__) == names
    assert len(module.__all__) == len(names) <= 60
    for name in names:
        assert getattr(module, name) is not None


@pytest.mark.parametrize("module", [penstock, penstock.testing])
def test_an_unknown_name_is_an_attribute_error(module):
    """Lazy loading does not hide misspelled names."""
    with pytest.raises(AttributeError, match="no attribute 'Steam'"):
        module.Steam  # noqa: B018 - reading it is the test


def test_a_star_import_gives_the_surface():
    """`from penstock import *` finds every exported name."""
    names: dict[str, object] = {}
    exec("from penstock import *", names)
    assert set(names) - {"__builtins__"} == PENSTOCK


def test_importing_penstock_loads_nothing_heavy():
    """`import penstock` loads neither client, database nor JSON library."""
    heavy = {"confluent_kafka", "rocksdict", "msgspec", "penstock.app"}
    assert not heavy & loaded("import penstock")


def test_declaring_an_application_needs_no_client():
    """A topology can be declared and described where no client is installed."""
    code = "import penstock as ps\napp = ps.App('a')\napp.stream('t').to('o')\napp.describe()"
    assert not {"confluent_kafka", "rocksdict"} & loaded(code)


def test_the_pure_core_is_pure():
    """Engine, operators and topology load no client and no database, all of them together."""
    assert len(PURE) > 20
    found = loaded("\n".join(f"import {name}" for name in PURE))
    assert set(PURE) <= found
    assert not {"confluent_kafka", "rocksdict"} & found


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_imports_nothing_impure(name):
    """No clock, thread, log or socket is named in the engine's own modules."""
    file = importlib.import_module(name).__file__
    tree = ast.parse(Path(str(file)).read_text())
    plain = [node for node in ast.walk(tree) if isinstance(node, ast.Import)]
    imported = {alias.name for node in plain for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {module.split(".")[0] for module in imported} & IMPURE


def test_the_check_notices_a_client():
    """A module that loads the client is seen by the same look."""
    assert "confluent_kafka" in loaded("import penstock.topics.admin")
