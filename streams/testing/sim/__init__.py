"""A Kafka cluster, its clients, a disk and the time, all in memory and in one thread."""

from penstock.testing.sim.broker import SimBroker as SimBroker
from penstock.testing.sim.disk import SimDisk as SimDisk
from penstock.testing.sim.disk import Survives as Survives
from penstock.testing.sim.process import Crash as Crash
from penstock.testing.sim.process import Fate as Fate
from penstock.testing.sim.process import Process as Process

__all__ = ["Crash", "Fate", "Process", "SimBroker", "SimDisk", "Survives"]
