"""Commands of the command line, called as a user calls them."""

import datetime
import json
from typing import Any

from typer.testing import CliRunner

from penstock.cli.main import app as commands


def call(*arguments: str, brokers: str) -> str:
    """Return what a command prints that succeeds."""
    done = CliRunner().invoke(commands, [*arguments, "--brokers", brokers])
    assert done.exit_code == 0, (done.stderr, done.exception)
    return done.stdout


def objects(*arguments: str, brokers: str) -> list[Any]:
    """Return the objects that a command prints, one on each line."""
    return [json.loads(row) for row in call(*arguments, "--json", brokers=brokers).splitlines()]


def refusal(*arguments: str, brokers: str) -> str:
    """Return the one paragraph that a command says instead."""
    done = CliRunner().invoke(commands, [*arguments, "--brokers", brokers])
    assert done.exit_code == 1, done.stdout
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def iso(time_ms: int) -> str:
    """Write a time as the commands take it."""
    return datetime.datetime.fromtimestamp(time_ms / 1000, datetime.UTC).isoformat()
