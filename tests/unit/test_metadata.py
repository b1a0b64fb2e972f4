"""The string that a commit leaves beside an offset: what goes in comes out, garbage is named."""

import base64
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.engine.metadata import (
    MAX_BYTES,
    BatchId,
    Metadata,
    check_size,
    decode,
    short_hash,
)
from penstock.errors import BrokerError, TopologyError

u64 = st.integers(0, 2**64 - 1)
u32 = st.integers(0, 2**32 - 1)
i64 = st.integers(-(2**63), 2**63 - 1)
definitions = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
metadata = st.builds(
    Metadata,
    st.builds(BatchId, u64, u64),
    st.frozensets(u32, max_size=20),
    st.dictionaries(u32, definitions, max_size=10),
    st.dictionaries(u32, i64, max_size=10),
)


@given(metadata)
def test_what_is_committed_is_read(committed):
    """Encoding and decoding give the same batch, siblings, stores and clocks."""
    assert decode(committed.encode(), "in/0") == committed


@pytest.mark.parametrize("nothing", [None, ""])
def test_no_metadata_is_none(nothing):
    """A partition that nobody committed has no memory."""
    assert decode(nothing, "in/0") is None


@given(metadata, st.data())
def test_cut_metadata_is_refused(committed, data):
    """A prefix of metadata is an error that names the partition, never half a memory."""
    whole = base64.b64decode(committed.encode())
    cut = whole[: data.draw(st.integers(1, len(whole) - 1))]
    with pytest.raises(BrokerError, match="in/0"):
        decode(base64.b64encode(cut).decode(), "in/0")


@given(st.text(min_size=1))
def test_text_of_somebody_else_is_refused(text):
    """Whatever is not ours, nor Kafka Streams', raises BrokerError and nothing else."""
    if _is_ours(text):
        assert decode(text, "in/0") is not None
        return
    with pytest.raises(BrokerError, match="in/0"):
        decode(text, "in/0")


def _is_ours(text: str) -> bool:
    """Whether text is base64 of at least the head of a known format."""
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return False
    return len(data) >= 9 and data[0] == 2


def test_a_newer_version_is_refused():
    """Metadata of a version that is not known is an error, not a guess."""
    data = bytearray(base64.b64decode(Metadata(BatchId(1, 2)).encode()))
    data[1] = 2
    with pytest.raises(BrokerError, match=r"in/0 .* version 2, .* Run that one again"):
        decode(base64.b64encode(data).decode(), "in/0")


def test_kafka_streams_metadata_is_understood():
    """Version 2 of Kafka Streams gives every store its partition time as the clock."""
    emitted = struct.pack(">i", 1) + struct.pack(">i", 1) + b"s" + struct.pack(">q", 7)
    for rest in (b"", emitted):
        text = base64.b64encode(struct.pack(">bq", 2, 1_700_000_000_000) + rest).decode()
        found = decode(text, "in/0")
        assert found is not None
        assert found.batch is None
        assert found.clock("any") == 1_700_000_000_000


def test_a_clock_that_is_not_there_is_minus_one():
    """A store without a clock begins before all time; its own clock is its own."""
    found = Metadata(BatchId(1, 2), clocks={short_hash("a"): 5})
    assert (found.clock("a"), found.clock("b")) == (5, -1)


@given(
    st.lists(st.text(min_size=1, max_size=30), max_size=200, unique=True),
    st.dictionaries(st.text(min_size=1, max_size=30), definitions, max_size=100),
)
def test_what_passes_the_size_check_fits(siblings, stores):
    """Metadata of topics and stores that are not refused fits into what the broker keeps."""
    try:
        check_size(siblings, stores)
    except TopologyError as error:
        assert str(MAX_BYTES) in str(error)  # noqa: PT017
        return
    worst = Metadata(
        BatchId(2**64 - 1, 2**64 - 1),
        frozenset(map(short_hash, siblings)),
        {short_hash(name): text for name, text in stores.items()},
        {short_hash(name): 2**63 - 1 for name in stores},
    )
    assert len(base64.b64decode(worst.encode())) <= MAX_BYTES
    assert len(worst.encode()) <= 4_095


def test_too_many_siblings_are_refused():
    """A sub-topology whose metadata could not be committed is a TopologyError."""
    check_size([f"t{n}" for n in range(700)], {})
    with pytest.raises(TopologyError, match="Split the application"):
        check_size([f"t{n}" for n in range(800)], {})


def test_a_long_definition_is_refused_at_declaration():
    """A store's definition that its length byte cannot hold fails before the first commit."""
    with pytest.raises(TopologyError, match="store 's'"):
        check_size([], {"s": "key-value str " + "x" * 300})
