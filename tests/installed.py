"""The package as it lies when it is installed: `penstock/` with its parts at their places.

An editable install maps the folders by an import hook that no static checker can follow.
"""

import shutil
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def configuration() -> dict[str, Any]:
    """Return pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def install(site: Path) -> Path:
    """Copy the packages into a folder of packages and return it."""
    for package, folder in configuration()["tool"]["setuptools"]["package-dir"].items():
        target = site / package.replace(".", "/")
        target.mkdir(parents=True)
        for file in (ROOT / folder).iterdir():
            if file.is_file():
                shutil.copy(file, target)
    return site
