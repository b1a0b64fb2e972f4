"""Java and the jars are found, or the error names the way out; a half-filled cache is none."""

import fcntl
import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from penstock.errors import BrokerError
from penstock.testing import kafka_jars
from penstock.testing.kafka_jars import Jar

Patch = pytest.MonkeyPatch
JavaMaker = Callable[[str, int], Path]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment', 17),
        ('openjdk version "25" 2025-09-16', 25),
        ('java version "1.8.0_402"', 8),
        ('IMPLEMENTOR="Eclipse"\nJAVA_RUNTIME_VERSION="21.0.2+13"\nJAVA_VERSION="21.0.2"', 21),
        ("Error: could not find libjava.so", 0),
    ],
)
def test_the_major_version_is_read(text: str, version: int) -> None:
    assert kafka_jars.parse_version(text) == version


def test_java_home_comes_before_the_path(java: JavaMaker, monkeypatch: Patch) -> None:
    monkeypatch.setenv("PATH", f"{java('on-path', 21)}/bin:/usr/bin:/bin")
    monkeypatch.setenv("JAVA_HOME", str(java("home", 17)))
    assert kafka_jars.find_java().version == 17


def test_an_old_java_is_passed_over(java: JavaMaker, monkeypatch: Patch) -> None:
    monkeypatch.setenv("PATH", f"{java('on-path', 21)}/bin:/usr/bin:/bin")
    monkeypatch.setenv("JAVA_HOME", str(java("home", 11)))
    assert kafka_jars.find_java().version == 21


def test_without_a_release_file_java_is_asked(java: JavaMaker) -> None:
    home = java("home", 19)
    (home / "release").unlink()
    assert kafka_jars.java_version(home / "bin" / "java") == 19


def test_without_java_the_error_names_the_ways_out(java: JavaMaker, monkeypatch: Patch) -> None:
    found = [java("old", 11) / "bin" / "java", Path("nowhere") / "java"]
    monkeypatch.setattr(kafka_jars, "_java_candidates", lambda: iter(found))
    with pytest.raises(BrokerError, match=r"is Java 11.*does not run.*JAVA_HOME.*penstock\[demo\]"):
        kafka_jars.find_java()


def test_the_lock_names_the_broker_and_its_logging() -> None:
    names = [jar.name for jar in kafka_jars.locked_jars()]
    assert len(set(names)) == len(names)
    assert f"kafka_2.13-{kafka_jars.KAFKA_VERSION}.jar" in names
    assert any(name.startswith("log4j-slf4j-impl-") for name in names)


def test_prepared_jars_are_taken_as_they_are(tmp_path: Path, monkeypatch: Patch) -> None:
    (tmp_path / "kafka-server-4.3.1.jar").touch()
    monkeypatch.setenv("PENSTOCK_KAFKA_LIBS", str(tmp_path))
    assert kafka_jars.find_jars() == [tmp_path / "kafka-server-4.3.1.jar"]


def test_a_prepared_folder_without_kafka_is_refused(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setenv("PENSTOCK_KAFKA_LIBS", str(tmp_path))
    with pytest.raises(BrokerError, match="no jars of Apache Kafka"):
        kafka_jars.find_jars()


def test_what_is_fetched_once_stays(repository: "Repository") -> None:
    jars = kafka_jars.find_jars()
    assert [jar.read_bytes() for jar in jars] == [b"one", b"two"]
    assert kafka_jars.find_jars() == jars
    assert repository.requests == 2


@pytest.mark.parametrize("missing", ["one-1.jar", "jars.sha256"])
def test_a_half_filled_cache_is_fetched_again(repository: "Repository", missing: str) -> None:
    folder = kafka_jars.find_jars()[0].parent
    (folder / missing).unlink()
    assert [jar.read_bytes() for jar in kafka_jars.find_jars()] == [b"one", b"two"]
    assert repository.requests == 4


def test_a_change_of_the_lock_is_fetched(repository: "Repository", monkeypatch: Patch) -> None:
    kafka_jars.find_jars()
    repository.content["two-1.jar"] = b"2"
    monkeypatch.setattr(kafka_jars, "locked_jars", lambda: [lock("one", b"one"), lock("two", b"2")])
    assert [jar.read_bytes() for jar in kafka_jars.find_jars()] == [b"one", b"2"]


def test_an_interrupted_fetch_leaves_nothing(repository: "Repository", cache: Path) -> None:
    repository.content["two-1.jar"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        kafka_jars.find_jars()
    assert [path.name for path in cache.iterdir()] == ["kafka-4.3.1.lock"]


def test_what_a_killed_fetch_left_is_removed(repository: "Repository", cache: Path) -> None:
    (cache / ".kafka-4.3.1-killed" / "jars").mkdir(parents=True)
    kafka_jars.find_jars()
    assert not list(cache.glob(".kafka*"))


def test_a_jar_that_is_not_the_locked_one_is_refused(repository: "Repository", cache: Path) -> None:
    repository.content["two-1.jar"] = b"something else"
    with pytest.raises(BrokerError, match=r"two-1\.jar .*SHA-256.*PENSTOCK_KAFKA_LIBS"):
        kafka_jars.find_jars()
    assert not (cache / "kafka-4.3.1").exists()
    assert repository.requests == 1 + kafka_jars.FETCH_ATTEMPTS


def test_a_fault_of_the_network_is_tried_again(repository: "Repository") -> None:
    repository.faults = [ConnectionError("reset by peer"), RuntimeError("HTTP 503")]
    assert len(kafka_jars.find_jars()) == 2


def test_one_process_fetches_and_the_others_wait(
    repository: "Repository", cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "kafka-4.3.1.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        waiting = threading.Thread(target=kafka_jars.find_jars)
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        assert repository.requests == 0
    waiting.join(10)
    assert repository.requests == 2
    assert "Waiting for another process that fetches" in capsys.readouterr().err


@pytest.fixture
def java(tmp_path: Path) -> JavaMaker:
    """Make folders that look like a Java installation of some version."""

    def make(name: str, version: int) -> Path:
        executable = tmp_path / name / "bin" / "java"
        executable.parent.mkdir(parents=True)
        executable.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}.0.1\"' >&2\n")
        executable.chmod(0o755)
        (tmp_path / name / "release").write_text(f'JAVA_VERSION="{version}.0.1"\n')
        return tmp_path / name

    return make


@dataclass
class Repository:
    """A Maven repository of two jars, which counts what is asked of it, and can fail."""

    folder: Path
    content: dict[str, bytes | BaseException]
    faults: list[Exception]
    requests: int = 0


@dataclass
class Artifact:
    """What jgo's artifact does for us: it resolves to a file of its cache."""

    jar: Jar
    repository: Repository

    @property
    def cached_path(self) -> Path:
        return self.repository.folder / self.jar.name

    def resolve(self) -> Path:
        if self.cached_path.exists():
            return self.cached_path
        self.repository.requests += 1
        if self.repository.faults:
            raise self.repository.faults.pop()
        content = self.repository.content[self.jar.name]
        if isinstance(content, BaseException):
            raise content
        self.cached_path.write_bytes(content)
        return self.cached_path


def lock(name: str, content: bytes) -> Jar:
    return Jar(hashlib.sha256(content).hexdigest(), f"org/example/{name}/1/{name}-1.jar")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: Patch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PENSTOCK_KAFKA_LIBS", raising=False)
    return tmp_path / "cache" / "penstock"


@pytest.fixture
def repository(tmp_path: Path, cache: Path, monkeypatch: Patch) -> Repository:
    (tmp_path / "maven").mkdir()
    content: dict[str, bytes | BaseException] = {"one-1.jar": b"one", "two-1.jar": b"two"}
    repository = Repository(tmp_path / "maven", content, [])
    jars = [lock("one", b"one"), lock("two", b"two")]
    monkeypatch.setattr(kafka_jars, "locked_jars", lambda: jars)
    monkeypatch.setattr(kafka_jars, "_maven", lambda cache, advance: repository)
    monkeypatch.setattr(kafka_jars, "_artifact", Artifact)
    return repository
