"""Settings of the Kafka client in a file, for clusters that ask who one is.

The file is like those of Kafka's own tools (`--command-config`): `name=value` on a line, `#` begins
a comment. The names are librdkafka's, as in KafkaSettings(client=...).
"""

import os
from pathlib import Path
from typing import Final

from penstock.errors import TopologyError

VARIABLE: Final = "PENSTOCK_CLIENT_CONFIG"  # `penstock --client-config FILE` sets it


def client_file() -> dict[str, str]:
    """Return the settings of the file that is named, none where none is.

    Raises:
        TopologyError: if the file cannot be read, or a line of it is no setting.
    """
    name = os.environ.get(VARIABLE)
    if not name:
        return {}
    try:
        lines = Path(name).read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TopologyError(
            f"The client settings in {name} cannot be read: {error}. Correct --client-config, or"
            f" {VARIABLE}."
        ) from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        setting, equals, value = line.partition("=")
        if not line.strip() or line.lstrip().startswith(("#", "!")):
            continue
        if not equals or not setting.strip():
            raise TopologyError(
                f"{name}, line {number} is no setting. Write name=value, as in"
                " security.protocol=SASL_SSL; a comment begins with #."
            )
        found[setting.strip()] = value.strip()
    return found
