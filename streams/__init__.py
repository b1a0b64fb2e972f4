"""Penstock: stateful, exactly-once stream processing on Kafka, in Python.

    import penstock as ps

    app = ps.App("word-count")
    (app.stream("lines", value=str)
        .map(str.lower, value=str)
        .to("lower"))
    app.run()

Everything public is here; `penstock.patterns`, `penstock.serde` and `penstock.testing` hold what
belongs to them.
Names are loaded when they are first used, so that importing a part never loads the rest.
"""

import importlib
from typing import TYPE_CHECKING, Any

from penstock.version import __version__ as __version__

if TYPE_CHECKING:
    from penstock import serde as serde
    from penstock.aggregators import Aggregator as Aggregator
    from penstock.aggregators import approx_distinct as approx_distinct
    from penstock.aggregators import collect as collect
    from penstock.aggregators import count as count
    from penstock.aggregators import first as first
    from penstock.aggregators import last as last
    from penstock.aggregators import max as max
    from penstock.aggregators import mean as mean
    from penstock.aggregators import min as min
    from penstock.aggregators import quantile as quantile
    from penstock.aggregators import stddev as stddev
    from penstock.aggregators import sum as sum
    from penstock.aggregators import top_k as top_k
    from penstock.app import App as App
    from penstock.durations import Duration as Duration
    from penstock.errors import BrokerError as BrokerError
    from penstock.errors import BugError as BugError
    from penstock.errors import DataError as DataError
    from penstock.errors import PenstockError as PenstockError
    from penstock.errors import StateError as StateError
    from penstock.errors import TopologyError as TopologyError
    from penstock.grouped import Grouped as Grouped
    from penstock.grouped import WindowedGrouped as WindowedGrouped
    from penstock.memory import Memory as Memory
    from penstock.operators.on_error import DeadLetter as DeadLetter
    from penstock.operators.on_error import dead_letter as dead_letter
    from penstock.operators.processor import Context as Context
    from penstock.operators.processor import Processor as Processor
    from penstock.operators.processor import Timer as Timer
    from penstock.operators.record import Record as Record
    from penstock.operators.states import ListState as ListState
    from penstock.operators.states import MapState as MapState
    from penstock.operators.states import ValueState as ValueState
    from penstock.query.listener import Listener as Listener
    from penstock.query.progress import Progress as Progress
    from penstock.query.query import Query as Query
    from penstock.query.status import Status as Status
    from penstock.query.store import Store as Store
    from penstock.query.waiting import wait_any as wait_any
    from penstock.runtime.settings import CommitSettings as CommitSettings
    from penstock.runtime.settings import HttpSettings as HttpSettings
    from penstock.runtime.settings import KafkaSettings as KafkaSettings
    from penstock.runtime.settings import ProgressSettings as ProgressSettings
    from penstock.runtime.settings import Settings as Settings
    from penstock.runtime.settings import StateSettings as StateSettings
    from penstock.runtime.settings import WorkerSettings as WorkerSettings
    from penstock.runtime.several import run as run
    from penstock.serde.types import Serde as Serde
    from penstock.stream import Stream as Stream
    from penstock.table import Table as Table
    from penstock.table import WindowedTable as WindowedTable
    from penstock.topics.topic import Topic as Topic
    from penstock.windows import Windowed as Windowed
    from penstock.windows import hopping as hopping
    from penstock.windows import session as session
    from penstock.windows import sliding as sliding
    from penstock.windows import tumbling as tumbling

_HOMES = {
    "Aggregator": "penstock.aggregators",
    "App": "penstock.app",
    "BrokerError": "penstock.errors",
    "BugError": "penstock.errors",
    "CommitSettings": "penstock.runtime.settings",
    "Context": "penstock.operators.processor",
    "DataError": "penstock.errors",
    "DeadLetter": "penstock.operators.on_error",
    "Duration": "penstock.durations",
    "Grouped": "penstock.grouped",
    "HttpSettings": "penstock.runtime.settings",
    "KafkaSettings": "penstock.runtime.settings",
    "Listener": "penstock.query.listener",
    "ListState": "penstock.operators.states",
    "MapState": "penstock.operators.states",
    "Memory": "penstock.memory",
    "PenstockError": "penstock.errors",
    "Processor": "penstock.operators.processor",
    "Progress": "penstock.query.progress",
    "ProgressSettings": "penstock.runtime.settings",
    "Query": "penstock.query.query",
    "Record": "penstock.operators.record",
    "Serde": "penstock.serde.types",
    "Settings": "penstock.runtime.settings",
    "StateError": "penstock.errors",
    "StateSettings": "penstock.runtime.settings",
    "Status": "penstock.query.status",
    "Store": "penstock.query.store",
    "Stream": "penstock.stream",
    "Table": "penstock.table",
    "Timer": "penstock.operators.processor",
    "Topic": "penstock.topics.topic",
    "TopologyError": "penstock.errors",
    "ValueState": "penstock.operators.states",
    "Windowed": "penstock.windows",
    "WindowedGrouped": "penstock.grouped",
    "WindowedTable": "penstock.table",
    "WorkerSettings": "penstock.runtime.settings",
    "approx_distinct": "penstock.aggregators",
    "collect": "penstock.aggregators",
    "count": "penstock.aggregators",
    "dead_letter": "penstock.operators.on_error",
    "first": "penstock.aggregators",
    "hopping": "penstock.windows",
    "last": "penstock.aggregators",
    "max": "penstock.aggregators",
    "mean": "penstock.aggregators",
    "min": "penstock.aggregators",
    "quantile": "penstock.aggregators",
    "run": "penstock.runtime.several",
    "session": "penstock.windows",
    "sliding": "penstock.windows",
    "stddev": "penstock.aggregators",
    "sum": "penstock.aggregators",
    "top_k": "penstock.aggregators",
    "tumbling": "penstock.windows",
    "wait_any": "penstock.query.waiting",
}

_NAMES = [*_HOMES, "__version__", "serde"]
if not TYPE_CHECKING:  # checkers take the imports above, and no list that is computed
    __all__ = _NAMES


def __getattr__(name: str) -> Any:
    if name == "serde":
        return importlib.import_module("penstock.serde")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'penstock' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_NAMES)
