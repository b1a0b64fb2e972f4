"""The application that a command is about, named by its id or by its file."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.cli.options import DEFAULT_BROKERS

if TYPE_CHECKING:
    from penstock.topology.graph import Topology


@dataclass(frozen=True)
class Application:
    """An application, and where it is at home.

    Attributes:
        id: its id, which is safe in the names of topics and folders.
        brokers: the cluster.
        home: the folder of its local state on this host.
        topology: what it declares; None for one that is named by its id.
        progress_topic: where its workers tell of their progress.
    """

    id: str
    brokers: str
    home: Path
    topology: "Topology | None" = None
    progress_topic: str = ""


def find_application(
    named: str, *, brokers: str | None = None, state_dir: Path | None = None
) -> Application:
    """Return the application of an id, of a file.py or of a module:app.

    What the command line says comes before what the application says, then the environment.

    Raises:
        TopologyError: if there is no such file or module, or the id cannot be one.
    """
    from penstock.state.definition import check_name
    from penstock.state.directories import default_state_dir
    from penstock.topics.internal import progress_topic

    name, topology, topic = named, None, None
    if named.endswith(".py") or ":" in named or "/" in named:
        from penstock.runtime.loading import load

        app = load(named)
        name, topology, topic = app.id, app.topology(), app.settings.progress.topic
        brokers, state_dir = brokers or app.brokers, state_dir or app.state_dir
    check_name(name, "an application")
    servers = brokers or os.environ.get("PENSTOCK_BROKERS") or DEFAULT_BROKERS
    root = (state_dir or default_state_dir()).absolute()
    progress = progress_topic(name, topic, 0).name
    return Application(name, servers, root / name, topology, progress)
