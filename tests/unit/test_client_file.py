"""Settings of the Kafka client in a file: what is read, and what is refused without being shown."""

from pathlib import Path

import pytest

from penstock.cli.client_file import VARIABLE, client_file
from penstock.cli.cluster import client_config, connect
from penstock.errors import TopologyError


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def write(text: str) -> Path:
        path = tmp_path / "client.properties"
        path.write_text(text)
        monkeypatch.setenv(VARIABLE, str(path))
        return path

    return write


def test_settings_are_those_of_the_file(write):
    """Comments and empty lines are passed over; a value may have an equals sign in it."""
    write("# who we are\n\nsasl.username = ann\nsasl.password=a=b\n! old\n")
    assert client_file() == {"sasl.username": "ann", "sasl.password": "a=b"}
    assert client_config("x:1")["sasl.password"] == "a=b"


def test_without_a_file_there_are_none(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert client_file() == {}


def test_the_brokers_of_the_command_line_hold(write):
    write("bootstrap.servers=other:1")
    assert client_config("x:1")["bootstrap.servers"] == "x:1"


@pytest.mark.parametrize("text", ["sasl.username\n", "=x\n"])
def test_a_line_that_is_no_setting_is_named_and_not_quoted(write, text):
    path = write(f"a=b\n{text}")
    with pytest.raises(TopologyError, match=f"{path}, line 2 is no setting") as refused:
        client_file()
    assert "sasl" not in str(refused.value)


def test_a_file_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setenv(VARIABLE, "/nowhere/x.properties")
    with pytest.raises(TopologyError, match=r"/nowhere/x.properties cannot be read"):
        client_file()


def test_a_setting_that_the_client_does_not_know_is_said(write):
    write("sasl.jaas.config=swordfish-42\n")
    with pytest.raises(TopologyError, match=r"Java JAAS .* Correct the file") as refused:
        connect("127.0.0.1:1")
    assert "swordfish" not in str(refused.value)
