"""The distribution: what it holds, what importing it costs, and what it exports."""

import ast
import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

import penstock as ps
from tests.installed import ROOT, configuration

SETUPTOOLS = configuration()["tool"]["setuptools"]
FOLDERS: dict[str, str] = SETUPTOOLS["package-dir"]
NOT_PACKAGED = {"bench", "tests"}


def folders_with_code() -> set[str]:
    found = (file.parent.relative_to(ROOT) for file in ROOT.glob("[a-z]*/**/__init__.py"))
    return {str(folder) for folder in found if folder.parts[0] not in {*NOT_PACKAGED, "build"}}


def test_the_mapping_holds_every_folder_with_code_and_no_other() -> None:
    assert set(FOLDERS.values()) == folders_with_code()
    assert sorted(FOLDERS) == sorted(SETUPTOOLS["packages"])


def test_a_package_lies_where_its_name_says() -> None:
    for package, folder in FOLDERS.items():
        name = package.removeprefix("penstock").lstrip(".").replace(".", "/")
        assert folder in (name, f"streams/{name}".rstrip("/"))


def test_every_data_file_is_packaged() -> None:
    for package, folder in FOLDERS.items():
        patterns = SETUPTOOLS["package-data"].get(package, [])
        for file in data_files(ROOT / folder):
            name = str(file.relative_to(ROOT / folder))
            assert any(fnmatch(name, pattern) for pattern in patterns), file


def data_files(folder: Path) -> Iterator[Path]:
    """What is no code, with what lies in folders that are no packages."""
    for found in folder.iterdir():
        if found.is_file() and found.suffix not in (".py", ".pyc"):
            yield found
        elif found.is_dir() and not list(found.rglob("*.py")) and found.name != "__pycache__":
            yield from data_files(found)


def test_the_version_is_the_distributions() -> None:
    assert importlib.metadata.version("penstock") == ps.__version__


def test_the_exported_names_are_those_that_checkers_see() -> None:
    """Names are loaded lazily by a table; the imports under TYPE_CHECKING say the same."""
    tree = ast.parse((ROOT / "streams" / "__init__.py").read_text())
    seen = {
        alias.asname: node.module
        for block in tree.body
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name)
        for node in ast.walk(block)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen.pop("serde") == "penstock"
    assert seen == ps._HOMES
    assert len(dir(ps)) <= 60


@pytest.mark.parametrize("name", dir(ps))
def test_every_exported_name_is_there(name: str) -> None:
    assert getattr(ps, name) is not None


CLIENTS = frozenset({"confluent_kafka", "rocksdict"})
SERVERS = frozenset({"h11", "httptools", "prometheus_client", "starlette", "uvicorn"})


@pytest.mark.parametrize(
    ("modules", "missing"),
    [
        ("penstock", CLIENTS | SERVERS | {"matplotlib"}),
        ("penstock.engine.task", CLIENTS | SERVERS | {"matplotlib"}),
        ("penstock.engine.transaction", CLIENTS | SERVERS | {"matplotlib"}),
        ("penstock.testing", CLIENTS | SERVERS | {"matplotlib"}),
        ("penstock.runtime.run", SERVERS),  # a worker that serves nothing
        ("penstock.runtime.supervisor", CLIENTS | SERVERS | {"penstock.app"}),
        ("penstock.runtime.supervisor, penstock.query.web.front", CLIENTS | {"penstock.app"}),
    ],
)
def test_nothing_is_loaded_that_is_not_needed(modules: str, missing: frozenset[str]) -> None:
    code = f"import {modules}, sys; print(sorted({set(missing)} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_image_holds_every_folder_of_the_package() -> None:
    lines = (ROOT / "deploy" / "Dockerfile").read_text().splitlines()
    copies = [line.split()[1:-1] for line in lines if line.startswith("COPY")]
    copied = {source for sources in copies for source in sources}
    assert {folder.split("/")[0] for folder in FOLDERS.values()} <= copied
    assert all((ROOT / source).exists() for source in copied)
