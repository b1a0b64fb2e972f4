"""The application under simulation: a map, a count, and a count behind a new key; a map apart.

The maps refuse some records, which are to leave nothing but a dead letter, though the counts
have taken them already.
"""

import penstock as ps
from penstock.runtime.settings import (
    CommitSettings,
    GroupProtocol,
    Guarantee,
    KafkaSettings,
    Settings,
    StateSettings,
)
from penstock.topology.node import Emit

ID = "sim"
WORDS, UPPER, COUNTS, LETTERS = "words", "upper", "counts", "letters"
LINES, LOUD = "lines", "loud"
DEAD = "dead"
INPUTS, OUTPUTS = (WORDS, LINES), (UPPER, COUNTS, LOUD, DEAD)
BAD = "bad"
ENDINGS = "abcd"
STORES = ("per-key", "per-letter")

SESSION_MS = 3_000
STATE = StateSettings(
    memory_bytes=1_000_000,
    flush_interval_ms=500,
    lock_timeout_ms=2_000,
    restore_slice_ms=1,
    cleanup_delay_ms=1_500,
)
COMMIT = CommitSettings(purge_interval_ms=400)


def upper(text: str) -> str:
    if text.startswith(BAD):
        raise ValueError("a bad one")
    return text.upper()


def last_letter(text: str) -> str:
    return text[-1]


def make_app(emit: Emit, guarantee: Guarantee, protocol: GroupProtocol) -> ps.App:
    """Make it; `emit` is that of both counts."""
    kafka = KafkaSettings(
        protocol=protocol,
        session_timeout_ms=SESSION_MS,
        transaction_timeout_ms=8_000,
        request_timeout_ms=2_000,
        max_poll_interval_ms=10_000,
    )
    settings = Settings(kafka=kafka, state=STATE, commit=COMMIT)
    dead = ps.dead_letter(DEAD, max_ratio=1, max_run=None)
    app = ps.App(ID, settings=settings, guarantee=guarantee, on_error=dead)
    words = app.stream(WORDS, key=str, value=str)
    words.group_by_key().count(name="per-key", emit=emit).to(COUNTS)
    by_letter = words.group_by(last_letter, key=str, name="by-letter")
    by_letter.count(name="per-letter", emit=emit).to(LETTERS)
    words.map(upper).to(UPPER)
    app.stream(LINES, key=str, value=str).map(upper).to(LOUD)
    return app
