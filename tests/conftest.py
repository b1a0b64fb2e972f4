"""What holds for every test."""

import os
import signal

# Tests of the HTTP server turn it on; hundreds of others need no port.
os.environ.setdefault("PENSTOCK_HTTP", "off")

# A shell starts its background jobs with SIGINT ignored, and a test's processes would inherit
# that: those that are to be stopped by it would run for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name functions by their name: an address would be another one in each process."""
    return getattr(val, "__name__", None) if callable(val) else None
