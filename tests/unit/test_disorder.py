"""Late, duplicate, out-of-order and poison records: how many there are, and where they stand."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.cli.events.disorder import Disorder, Kind, Shares, columns, parse_share
from penstock.cli.events.protocol import Rows, poisoned
from penstock.errors import TopologyError
from penstock.serde import avro, json
from penstock.serde.types import data_type

PARTITIONS = 3
ALL = Shares(late=0.1, duplicates=0.1, out_of_order=0.1, poison=0.1)


def spoil(value):
    return b"\xff" + value


def serve(shares, records, *, seed=0, cuts=(1_000,), partitions=PARTITIONS):
    """Send numbered events through in blocks; return what goes out, and the kinds of the plan."""
    disorder, numbers = Disorder(shares, seed, spoil), itertools.count()
    sizes, sent, left = itertools.cycle(cuts), [], records
    while left:
        asked = min(next(sizes), left)
        made = [kind for kind in disorder.plan(asked) if kind is not Kind.DUPLICATE]
        rows = [next(numbers) for _ in made]
        values = Rows([b"%d" % n for n in rows], None, rows)
        out, used = disorder.arrange(asked, values, [n % partitions for n in rows])
        assert used == asked
        sent += out
        left -= used
    return sent + disorder.rest()


def number(record):
    return int(record.value.removeprefix(b"\xff"))


shares = st.lists(st.floats(0, 0.25), min_size=4, max_size=4).map(
    lambda of: Shares(late=of[0], duplicates=of[1], out_of_order=of[2], poison=of[3])
)
seeds = st.integers(0, 2**32)
cuts = st.lists(st.integers(1, 50), min_size=1, max_size=4)


@given(shares, seeds, cuts)
def test_cuts_never_matter(shares, seed, cuts):
    """However records are cut into blocks, the same seed sends the same ones in the same order."""
    assert serve(shares, 300, seed=seed, cuts=cuts) == serve(shares, 300, seed=seed)


@given(shares, seeds, cuts)
def test_each_record_is_sent_and_duplicates_are_of_a_clean_one(shares, seed, cuts):
    """As many go out as were asked for; a duplicate is equal to a clean record before it."""
    sent = serve(shares, 300, seed=seed, cuts=cuts)
    assert len(sent) == 300
    made = [record for record in sent if record.kind is not Kind.DUPLICATE]
    assert sorted(map(number, made)) == list(range(len(made)))
    clean = set()
    for record in sent:
        if record.kind is Kind.CLEAN:
            clean.add((record.value, record.key, record.partition, record.time))
        if record.kind is Kind.DUPLICATE:
            assert record[:4] in clean
        assert (record.value[:1] == b"\xff") is (record.kind is Kind.POISON)


@given(shares, seeds, cuts)
def test_out_of_order_are_those_behind_a_later_one_of_their_partition(shares, seed, cuts):
    """And only those: everything else stands in its partition as it was made."""
    newest = dict.fromkeys(range(PARTITIONS), -1)
    for record in serve(shares, 300, seed=seed, cuts=cuts):
        if record.kind is Kind.DUPLICATE:
            continue
        behind = number(record) < newest[record.partition]
        assert behind is (record.kind is Kind.OUT_OF_ORDER)
        newest[record.partition] = max(newest[record.partition], number(record))


@given(seeds)
def test_out_of_order_comes_directly_behind_the_next_clean_one(seed):
    """Its neighbour in the partition, where there are only clean ones besides."""
    sent = serve(Shares(out_of_order=0.1), 200, seed=seed, partitions=1)
    kinds = {number(record): record.kind for record in sent}
    clean = -1
    for record in sent:
        if record.kind is Kind.CLEAN:
            clean = number(record)
        else:
            between = range(number(record), clean)
            assert between
            assert all(kinds[n] is Kind.OUT_OF_ORDER for n in between)


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_what_they_say(seed):
    """Each kind's number lies within five standard deviations of a binomial one."""
    records, wanted = 40_000, Shares(late=0.02, duplicates=0.1, out_of_order=0.05, poison=0.001)
    sent = serve(wanted, records, seed=seed)
    for kind, share in (
        (Kind.LATE, 0.02),
        (Kind.DUPLICATE, 0.1),
        (Kind.OUT_OF_ORDER, 0.05),
        (Kind.POISON, 0.001),
        (Kind.CLEAN, 0.829),
    ):
        found = sum(record.kind is kind for record in sent)
        bound = 5 * math.sqrt(records * share * (1 - share))
        assert abs(found - records * share) <= bound, kind


def test_nothing_but_duplicates_is_one_clean_record_and_those():
    """The first one cannot repeat anything."""
    kinds = [record.kind for record in serve(Shares(duplicates=1), 5)]
    assert kinds == [Kind.CLEAN] + [Kind.DUPLICATE] * 4


def test_nothing_but_out_of_order_is_in_order():
    """There is nobody to come behind, so they are clean in the end."""
    sent = serve(Shares(out_of_order=1), 5, partitions=1)
    assert [(number(r), r.kind) for r in sent] == [(n, Kind.CLEAN) for n in range(5)]


def test_events_that_do_not_come_are_planned_again():
    """A file that ends, or a pipe that stands still, does not change the kinds of what follows."""
    disorder, whole = Disorder(ALL, 1, spoil), Disorder(ALL, 1, spoil)
    plan = disorder.plan(20)
    sent, used = disorder.arrange(20, Rows([b"0", b"1"], None, [0, 1]), [0, 0])
    assert [kind for kind in plan[:used] if kind is not Kind.DUPLICATE] == plan[:2]
    assert plan == whole.plan(20)
    assert disorder.plan(20 - used) == plan[used:]
    assert len(sent) <= used


def test_columns_keep_records_together():
    """Key, partition, time and kind of each stay its own."""
    sent = serve(ALL, 50)
    rows, partitions, kinds = columns(sent)
    together = zip(rows.values, rows.keys, partitions, rows.times, kinds, strict=True)
    assert list(together) == [tuple(record) for record in sent]


@pytest.mark.parametrize(
    ("text", "share"), [("1%", 0.01), ("0.01", 0.01), (" 2.5 %", 0.025), (".5", 0.5), ("100%", 1)]
)
def test_shares_as_they_are_written(text, share):
    """As a percentage or a fraction."""
    assert parse_share(text, "--late") == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "-1%", "101%", "1.5", "much", "1e-3", "nan", "%"])
def test_wrong_shares_are_refused(text):
    """The error names the option."""
    with pytest.raises(TopologyError, match="--late"):
        parse_share(text, "--late")


def test_shares_of_more_than_all_are_refused():
    """Every record is of one kind; exactly all is fine, in spite of rounding."""
    with pytest.raises(TopologyError, match="110%"):
        Shares(late=0.5, poison=0.6)
    assert Shares(late=0.1, duplicates=0.2, out_of_order=0.3, poison=0.4).clean == 0


@pytest.mark.parametrize(
    "serde",
    [data_type(str).serde, data_type(int).serde, data_type(float).serde, json(dict), avro("int"),
     avro("bytes"), avro({"type": "array", "items": "null"})],
)  # fmt: skip
@pytest.mark.parametrize("value", [b"", b"\x00", b'{"a": 1}', b"12345678", b"\x02" * 30])
def test_poison_cannot_be_decoded(serde, value):
    """Whatever the bytes were, and whatever reads them."""
    with pytest.raises(Exception):  # noqa: B017 - a serde may raise anything
        serde.decode(poisoned(value, serde.decode))


def test_where_all_bytes_are_good_there_is_no_poison():
    """The negative control of the test above."""
    with pytest.raises(TopologyError, match="any bytes are an event"):
        poisoned(b"x", data_type(bytes).serde.decode)
