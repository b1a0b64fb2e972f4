"""A real schema registry for tests: Apicurio Registry, in memory, through its Confluent API.

Its distribution comes from the Maven repository (136 MB, once), is held to its SHA-256, and lies
in the cache folder beside Kafka's jars.
"""

import hashlib
import json
import socket
import subprocess
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from penstock.testing.kafka_jars import cache_folder, find_java

VERSION = "2.6.13.Final"
SHA256 = "3cda1b34aa020fb4ac4dd6a66018d757e81e437f97e20a1f92d366b70091c6ba"
START_S = 60.0  # 3 s on a quiet machine


@contextmanager
def apicurio() -> Iterator[str]:
    """Run a registry, and give the URL of its Confluent API."""
    folder = cache_folder() / f"apicurio-registry-{VERSION}"
    if not folder.exists():
        fetch(folder)
    port = free_port()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [
                str(find_java().executable),
                "-Xmx200m",
                "-XX:+UseSerialGC",
                "-Dquarkus.http.host=127.0.0.1",
                f"-Dquarkus.http.port={port}",
                "-jar",
                f"apicurio-registry-app-{VERSION}-runner.jar",
            ],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        try:
            url = f"http://127.0.0.1:{port}/apis/ccompat/v7"
            if not answers(f"{url}/subjects", process):
                log.seek(0)
                raise AssertionError(f"Apicurio Registry did not start:\n{log.read()[-5_000:]}")
            yield url
        finally:
            process.kill()
            process.wait()


def request(method: str, url: str, body: Any = None) -> Any:
    """Ask a registry what the client has no call for."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/vnd.schemaregistry.v1+json"}
    asked = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(asked, timeout=10) as answer:
        return json.load(answer)


def answers(url: str, process: "subprocess.Popen[bytes]") -> bool:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            request("GET", url)
        except (OSError, urllib.error.URLError):
            time.sleep(0.1)
        else:
            return True
    return False


def fetch(folder: Path) -> None:
    """Fetch the distribution into a folder, which appears whole or not at all."""
    from jgo.config import GlobalSettings
    from jgo.maven import MavenContext, PythonResolver

    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        maven = MavenContext(resolver=PythonResolver(), repo_cache=Path(scratch) / "maven")
        maven.remote_repos.update(GlobalSettings.load().repositories)
        project = maven.project("io.apicurio", "apicurio-registry-app").at_version(VERSION)
        archive = project.artifact(classifier="all", packaging="tar.gz").resolve()
        with archive.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        assert found == SHA256, f"{archive.name} has the SHA-256 {found}"
        ready = Path(scratch) / "ready"
        with tarfile.open(archive) as tar:
            tar.extractall(ready, filter="data")
        if not folder.exists():  # another run may have been faster
            ready.rename(folder)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
