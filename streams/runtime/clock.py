"""The one place that reads the wall clock.

Everything else takes the time as an argument, so that tests and the simulation can make
it. Durations within a process are measured by `time.monotonic`, never by this.
"""

import time


def now_ms() -> int:
    """Tell the time in milliseconds since the epoch, UTC."""
    return time.time_ns() // 1_000_000
