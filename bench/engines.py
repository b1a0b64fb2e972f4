"""What is compared: how a worker of each engine is started.

Both take the same arguments (`map|count|regroup --brokers … --in … --out … --app-id …
--state-dir …`) and run until SIGTERM. The Java side is compiled once per version of its
sources into the cache folder; without a JDK it is left out with a message. Running them is
not here but in `worker`.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from penstock.errors import PenstockError
from penstock.testing.kafka_jars import KAFKA_VERSION, cache_folder, find_jars, find_java

KAFKA_STREAMS = f"org.apache.kafka:kafka-streams:{KAFKA_VERSION}"
# Without a bound a JVM takes a quarter of the machine: peaks of 0.6 to 1.9 GB here, and no
# faster. The bound is in its favour (JDK_JAVA_OPTIONS=… python -m bench --engines streams).
HEAP = "-Xmx512m"
SOURCES = Path(__file__).parent / "java"
ROOT = Path(__file__).parent.parent


class UnavailableError(Exception):
    """An engine cannot run here; the message says why."""


@dataclass(frozen=True)
class Engine:
    name: str
    title: str
    command: tuple[str, ...]


def penstock() -> Engine:
    return Engine("penstock", "Penstock", (sys.executable, "-m", "bench.apps"))


def kafka_streams() -> Engine:
    """Kafka Streams on the same Java as the broker, with a bounded heap.

    Raises:
        UnavailableError: without a JDK, or if the jars cannot be had.
    """
    javac = find_javac()
    try:
        java = find_java().executable
        jars = streams_jars()
    except (PenstockError, RuntimeError, OSError) as error:
        raise UnavailableError(str(error)) from error
    classes = compile_sources(javac, jars)
    path = os.pathsep.join(map(str, [classes, SOURCES, *jars]))
    return Engine("streams", "Kafka Streams", (str(java), HEAP, "-cp", path, "BenchStreams"))


ENGINES = {"penstock": penstock, "streams": kafka_streams}


def find_javac() -> Path:
    if home := os.environ.get("JAVA_HOME"):
        javac = Path(home) / "bin" / "javac"
        if javac.is_file():
            return javac
    if found := shutil.which("javac"):
        return Path(found)
    raise UnavailableError("no javac in JAVA_HOME or on PATH (it takes a JDK)")


def streams_jars() -> list[Path]:
    """Resolve Kafka Streams, with the logging of the broker's jars beside it.

    A prepared folder (PENSTOCK_KAFKA_LIBS) may hold it already, as Kafka's download does.
    """
    jars = find_jars()
    if any(jar.name.startswith("kafka-streams-") for jar in jars):
        return jars
    try:
        import jgo
    except ImportError:
        raise UnavailableError("its jars come through jgo: pip install 'penstock[demo]'") from None
    logging = [jar for jar in jars if jar.name.startswith("log4j-")]
    return [*jgo.build(KAFKA_STREAMS).all_jars, *logging]


def compile_sources(javac: Path, jars: list[Path]) -> Path:
    """Compile bench/java into the cache folder, unless this version of it is there."""
    sources = sorted(SOURCES.glob("*.java"))
    told = hashlib.sha256(f"{javac.resolve()} {[jar.name for jar in jars]}".encode())
    for source in sources:
        told.update(source.read_bytes())
    classes = cache_folder() / "bench" / told.hexdigest()[:16]
    if classes.is_dir():
        return classes
    classes.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=classes.parent) as scratch:
        target = Path(scratch) / "classes"
        command = [javac, "-d", target, "-cp", os.pathsep.join(map(str, jars)), *sources]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise UnavailableError(f"javac says\n{done.stderr}")
        target.rename(classes)
    return classes
