"""An application explained: what people read before they trust it with their data."""

from collections.abc import Iterator

import pytest

import penstock as ps
from penstock.topology.explain import WIDTH, as_explanation


def upper(text: str) -> str:
    """Upper case."""
    return text.upper()


class Probes(ps.Processor[str, str, str]):
    """Some state for ever, some for an hour, and a timer."""

    seen = ps.ValueState(int)
    recent = ps.MapState(str, int, ttl="1h")

    def process(self, ctx: ps.Context[str], value: str) -> Iterator[str]:
        """Nothing of it matters here."""
        yield value

    def on_timer(self, ctx: ps.Context[str], timer: ps.Timer) -> Iterator[str]:
        """Nothing."""
        return iter(())


def plain() -> ps.App:
    """No state, no function, one topic in and one out."""
    app = ps.App("plain")
    app.stream("in", key=str, value=str).to("out")
    return app


PLAIN = """\
Application plain, exactly once

Sub-topology 0
  reads   in
  writes  out

What is exactly once
  - holds: inputs are read from Kafka, of transactions what is committed.
  - holds: outputs, changelogs, repartition topics and the positions in the
    inputs are committed in one transaction, or not at all.
  - up to their readers: out must be read with isolation.level=read_committed.
"""


def shop() -> ps.App:
    """Windows behind a repartition topic, a count for ever, duplicates, a table, functions."""
    app = ps.App("shop", on_error=ps.dead_letter("bad"))
    orders = app.stream("orders", key=str, value=str).with_watermark("10s", idle="30s")
    windows = orders.group_by(upper, key=str, name="by").window(ps.tumbling("1m"), late="late")
    windows.count(name="per-minute").to("per-minute", output_mode="append")
    orders.group_by_key().count(name="orders").to_console()
    orders.drop_duplicates(within="1h", name="seen").peek(print).to("distinct")
    app.table("names", key=str, value=str, name="names").to_stream().filter(bool).to("named")
    return app


SHOP = """\
Application shop, exactly once

Sub-topology 0: 4 tasks
  reads   orders (4)
  keeps   orders, seen
  writes  shop-by-repartition (8), distinct (2)
  shows   to_console-9

Sub-topology 1: 8 tasks
  reads   shop-by-repartition (8)
  keeps   per-minute
  writes  per-minute

Sub-topology 2
  reads   names
  keeps   names
  writes  named

Repartition topics
  - shop-by-repartition: 8 partitions

What is exactly once
  - holds: inputs are read from Kafka, of transactions what is committed.
  - holds: outputs, changelogs, repartition topics and the positions in the
    inputs are committed in one transaction, or not at all.
  - up to their readers: per-minute, distinct and named must be read with
    isolation.level=read_committed.
  - not part of it: to_console-9 in this process. They show committed rows only;
    rows of a batch whose worker dies behind its commit are never shown.
  - not part of it: what peek-11 does outside. It is done before the commit, and
    again where a batch is run again.
  - not part of it: what the functions of rekey-2 and filter-16 do outside, such
    as calls and writes to a database. They run again where a batch does.
  - records that fail are written to bad, in the same transaction.

State
  - per-minute: a window is kept for 70 s of event time, then closed and
    deleted.
  - orders: GROWS with every new key, and nothing deletes a row. Where keys are
    many and go out of use, count in windows, or use update_state(ttl=...).
  - seen: a record is remembered for three times 1 h of event time at most.
  - names: a row for each key; a record with a null value deletes it.

Changes of tables
  - count-5 hands on one change per key and commit.
  - count-8 hands on one change per key and commit.
  - to_table-14 hands on every update: filter-16 could tell the difference.

Event time
  - count-5: windows close 10 s behind their end; a record after that is written
    to late. After 30 s without records time goes on by the clock.
  - drop_duplicates-10: a record more than 1 h behind the latest is dropped and
    counted. After 30 s without records time goes on by the clock.
  - stream-0: an event time more than 1 d ahead of the clock is a record that
    fails.
"""
COUNTS = {"orders": 4, "shop-by-repartition": 8, "distinct": 2}


def risky() -> ps.App:
    """At least once, records skipped, state of a process, every update."""
    app = ps.App("risky", guarantee="at_least_once", on_error="skip")
    records = app.stream("in", key=str, value=str).process(Probes, name="probes", value=str)
    records.group_by_key().count(name="n", emit="every_update").to("out")
    return app


RISKY = """\
Application risky, at least once

Sub-topology 0
  reads   in
  keeps   probes-seen, probes-recent, probes-timers, n
  writes  out

At least once
  - does not hold: what a worker has written before it dies is written again by
    the next one. Outputs double, and counts and sums in stores count those
    records twice.
  - so it is for outputs, changelogs, repartition topics and the positions in
    the inputs: guarantee='exactly_once' commits them together.
  - not part of it: what the functions of process-1 do outside, such as calls
    and writes to a database. They run again where a batch does.
  - records that fail are skipped (on_error='skip'), counted and logged.

State
  - probes-seen: GROWS with every new key, unless the process clears self.seen.
    Give it a ttl=. Changelog risky-probes-seen-changelog.
  - probes-recent: kept for 1 h of event time after it was written. Changelog
    risky-probes-recent-changelog.
  - probes-timers: a timer is kept until it fires. Changelog
    risky-probes-timers-changelog.
  - n: GROWS with every new key, and nothing deletes a row. Where keys are many
    and go out of use, count in windows, or use update_state(ttl=...). Changelog
    risky-n-changelog.

Changes of tables
  - count-2 hands on every update: it says emit='every_update'.

Event time
  - process-1: its timers and ttl= go by event time. Without new records time
    stands still, and what is open stays open.
  - stream-0: an event time more than 1 d ahead of the clock is a record that
    fails.

Steps
"""


def test_an_application_without_state() -> None:
    """Only what there is to say is said."""
    assert plain().explain() == PLAIN


def test_an_application_with_everything() -> None:
    """As a running query explains it, with partition counts where they are known."""
    app = shop()
    found = as_explanation(app.topology(), app.guarantee, COUNTS)
    assert found == SHOP
    assert app.explain() == SHOP.replace(": 4 tasks", "").replace(": 8 tasks", "").replace(
        "8 partitions", "as many partitions as its inputs"
    ).replace(" (4)", "").replace(" (8)", "").replace(" (2)", "")


def test_an_application_at_least_once() -> None:
    """What may double is said, and all steps where one asks for them."""
    app = risky()
    found = app.explain(extended=True)
    assert found.startswith(RISKY)
    steps = app.describe().split("\n", 1)[1]
    assert found.removeprefix(RISKY) == steps
    assert app.explain() + "\nSteps\n" != found  # changelogs are not told there
    assert "changelog" not in app.explain().split("State", 1)[1]


@pytest.mark.parametrize("app", [plain(), shop(), risky()], ids=lambda app: app.id)
def test_lines_fit_a_terminal(app: ps.App) -> None:
    """80 columns; a name that is longer stands in a line of its own."""
    assert max(map(len, app.explain().splitlines())) <= WIDTH


def test_a_table_that_a_process_reads_is_current() -> None:
    """It hands on every update, and says who reads it."""
    app = ps.App("app")
    table = app.table("names", key=str, value=str, name="names")

    class Begin(ps.Processor[str, str, str]):
        name = ps.ValueState(str, ttl="1d")

        def on_initial(self, ctx: ps.Context[str], value: str) -> None:
            self.name.set(value)

        def process(self, ctx: ps.Context[str], value: str) -> Iterator[str]:
            yield value

    app.stream("in", key=str, value=str).process(Begin, name="begin", value=str, initial=table).to(
        "out"
    )
    found = app.explain()
    assert "begin-begun: GROWS: a row for each key that has begun." in found
