"""The page about making events: its commands run as they stand there, one after the other."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kafka.checking import read, topics

pytestmark = pytest.mark.kafka

PAGE = Path(__file__).parents[2] / "docs" / "producing.md"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.usefixtures("no_topics")
def test_the_commands_run(kafka, tmp_path):
    """In a folder with the file that the page shows; each command succeeds."""
    (program,) = blocks("python")
    (tmp_path / "shop.py").write_text(program)
    tool = tmp_path / "bin" / "penstock"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" -P -m penstock.cli "$@"\n')
    tool.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{tool.parent}:{os.environ['PATH']}",
        "PENSTOCK_BROKERS": kafka.bootstrap_servers,
    }
    commands = "".join(blocks("sh"))
    assert commands.count("penstock produce") == 9
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", commands],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {"orders", "orders-avro", "views", "lines"} <= topics(kafka.bootstrap_servers)
    assert len(read(kafka.bootstrap_servers, "views").records) == 10_002
    assert len(read(kafka.bootstrap_servers, "lines").records) == 3
    assert len((tmp_path / "counts.jsonl").read_text().splitlines()) > 50
