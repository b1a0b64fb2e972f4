"""Misuses that a type checker has to catch: each line with a mark, and no other one.

Read by `test_typing.py`, which runs the checkers over it; never imported.
"""

import re
from typing import Any

from typing_extensions import TypeIs

import penstock as ps
from penstock.testing import TestDriver

from programs import Customer, Fraud, Line, OnOrder, Order, PageView, Payment, Refund, Rush  # isort: skip

app = ps.App("misuse")
orders = app.stream("orders", key=str, value=Order)
grouped = orders.group_by_key()
counts = grouped.count(name="counts")
windowed = grouped.window(ps.tumbling("1m")).count(name="per-minute")

# The application
ps.App()  # E the id is missing
ps.App("a", "localhost:9092")  # E settings are keyword-only
ps.App("a", broker="localhost:9092")  # E no such setting
ps.App("a", guarantee="at_most_once")  # E no such guarantee
ps.App("a", on_error="ignore")  # E no such policy
ps.Settings(commits=ps.CommitSettings())  # E no such group
ps.CommitSettings(50)  # E keyword-only
ps.CommitSettings(interval_ms="50ms")  # E milliseconds are int

# Queries
query = app.start()
ps.run([app])  # E the applications themselves
ps.wait_any(app)  # E queries, no applications
ps.wait_any(query, "1s")  # E timeout= is keyword-only
query.explain(True)  # E keyword-only
query.progress_stream(True)  # E keyword-only
app.start(listeners=ps.Listener())  # E several of them

# Sources
app.stream("q", key=str)  # E a key without a value
app.stream("q", value=Order(id="a", customer_id=1, total=1.0))  # E a value is no type
app.stream("q", value=Order, timestamp=lambda o: o.at)  # E no such field
app.stream("q", value=PageView, timestamp=lambda view: view.user)  # E a time is int
app.stream("q", value=PageView, timestamp="at", unit="m")  # E no such unit
app.stream("q", start="now")  # E no such position
app.stream(ps.Topic("q", key=str, value=Order), value=Order)  # E the Topic has its types
app.stream(re.compile(b"q"))  # E a pattern of bytes
ps.Topic("q", key=str)  # E a key without a value
ps.Topic("q", Order)  # E keyword-only

# Steps
orders.map(lambda order: order.nope)  # E no such field
orders.map(lambda order: order.total, value=str)  # E mypy the function returns float
orders.flat_map(lambda order: order.total)  # E not iterable
orders.filter(lambda: True)  # E takes the value
orders.peek(lambda key, value: None)  # E takes the value alone
orders.map_record(lambda record: record.value)  # E no pair
orders.map_record(lambda record: (record.value.nope, 1))  # E no such field
orders.map_record(lambda record: (record.key, record.value), key=int)  # E mypy the key is str
orders.select(Line, 5)  # E paths are text
orders.select("id", number=5)  # E paths are text
orders.explode(5)  # E a path is text
orders.merge("orders")  # E no stream
orders.merge(counts)  # E a table is no stream: to_stream() first
orders.branch(True)  # E no predicate
orders.window("10s")  # E no such step yet
orders.count(name="c")  # E group first
orders.with_watermark()  # E how late they may be is missing
orders.with_watermark(5)  # E a duration is text or timedelta
orders.with_watermark("5s", "10s")  # E keyword-only
orders.with_watermark("5s", idle=30)  # E a duration is text or timedelta
counts.with_watermark("5s")  # E a table is no stream: to_stream() first


# Deduplication
orders.drop_duplicates("id", name="d")  # E how long is missing
orders.drop_duplicates("id", within="1h")  # E the name is missing
orders.drop_duplicates("id", within=5, name="d")  # E a duration is text or timedelta
orders.drop_duplicates(5, within="1h", name="d")  # E a path is text
orders.drop_duplicates(lambda order: order.nope, within="1h", name="d")  # E no such field
orders.drop_duplicates(within="1h", name="d").map(lambda order: order.nope)  # E no such field

# Aggregations
grouped.window(ps.tumbling("10s"), late=ps.Topic("late"))  # E a topic's name
grouped.window(ps.tumbling("10s"), grace=5)  # E a duration is text or timedelta
grouped.count()  # E the name is missing
grouped.count("counts")  # E keyword-only
grouped.count(name="counts", emit="always")  # E no such mode
grouped.reduce(lambda one, other: one.total, name="r")  # E another type
grouped.reduce(lambda one: one, name="r")  # E takes two
grouped.aggregate(float, lambda total, order: total + order.nope, name="a")  # E no such field
grouped.aggregate(float, lambda total, order: order.id, name="a")  # E pyright another type
grouped.aggregate(0.0, lambda total, order: total + order.total, name="a")  # E init is a function
grouped.to("t")  # E a group is no table

# Processors
orders.process(Fraud, name="p")  # E it takes a Payment, these are orders
orders.process(OnOrder)  # E the name is missing
orders.process(OnOrder(), name="p")  # E an instance is no class
orders.process(OnOrder, name="p", value=int)  # E mypy it hands on text
ages = app.table("ages", key=int, value=int, name="ages")
orders.process(OnOrder, name="p", initial=ages)  # E its keys are numbers
orders.process(OnOrder, name="p", initial=app.stream("q"))  # E a stream is no table
orders.process(OnOrder, name="p").to(ps.Topic("t", key=str, value=Order))  # E it hands on text
app.stream("q", key=str, value=Rush).process(OnOrder, name="q").to("t")
app.stream("q", key=int, value=Payment).process(Fraud, name="r")  # E it takes keys of text
orders.update_state(lambda order, state: order, name="u", state=int)  # E no pair
orders.update_state(lambda order, n: (order.nope, n), name="u", state=int)  # E no such field
ps.ValueState(0)  # E a value is no type
ps.ValueState(int, "1h")  # E keyword-only
ps.MapState(str)  # E what are its values
ps.ValueState(int).set("a")  # E another type
ps.ListState(str).append(1)  # E another type
ps.MapState(str, int)["a"] = "b"  # E another type
ps.MapState(str, int).get(1)  # E another key


class Misused(ps.Processor[str, Order, str]):
    seen = ps.ValueState(int)

    def process(self, ctx: ps.Context[str], value: Order) -> list[str]:
        self.seen = 1  # E mypy state is set by set()
        ctx.set_timer("t", 5)  # E keyword-only
        ctx.set_timer("t", at="5s")  # E a time is int
        ctx.set_timer("t", at=5, clock="sun")  # E no such clock
        return [self.seen.get() + 1, ctx.key]  # E there may be none


# Windows
minutes = grouped.window(ps.tumbling("1m"))
per_minute = minutes.count(name="per-minute")
plain = ps.Topic("w", key=str, value=int)
of_windows = ps.Topic("w", key=ps.Windowed[str], value=int)
others = ps.Topic("w", key=ps.Windowed[int], value=int)
binary = ps.Topic("w", key=ps.serde.time_windowed(str, "1m"), value=int)
grouped.window()  # E the windows are missing
grouped.window("1m")  # E no windows
grouped.window(ps.tumbling("1m"), "10s")  # E keyword-only
grouped.window(ps.tumbling("1m"), grace=10)  # E a duration is text or timedelta
ps.tumbling(60_000)  # E a duration is text or timedelta
ps.tumbling("1d", "6h")  # E keyword-only
ps.tumbling("1d", zone=1)  # E a zone is text
ps.hopping("10m")  # E the advance is missing
ps.hopping("10m", "5m", zone="Europe/Madrid")  # E days do not overlap
ps.sliding("10m", grace="1m")  # E it belongs to window()
ps.session("10m", offset="1m")  # E sessions begin with a record
ps.Windowed("a", 0)  # E the end is missing
ps.serde.time_windowed(str)  # E the size is missing
minutes.count()  # E the name is missing
minutes.window(ps.tumbling("1h"))  # E no windows of windows
per_minute.to("t", output_mode="complete")  # E a topic takes no complete
per_minute.to(plain)  # E the keys are of_windows
per_minute.to(others)  # E of_windows keys of another type
per_minute.to(of_windows, output_mode="append")
per_minute.to(binary, output_mode="append")
counts.to(of_windows)  # E the keys are not of_windows
counts.to_stream(output_mode="append")  # E a table without windows has no append
per_minute.to_stream().map(lambda count: count + 1)  # E a deletion is None
per_minute.to_stream(output_mode="append").map(lambda count: count + 1)
app.stream(of_windows).map_record(lambda record: (record.key.nope, 1))  # E no such attribute
app.stream(of_windows).map_record(lambda record: (record.key.key, 1), key=str)

# Sinks
orders.to(ps.Topic("t", key=str, value=Customer))  # E another value
orders.to(ps.Topic("t", key=int, value=Order))  # E another key
orders.to(ps.Topic("t", key=str, value=Refund))  # E another value
orders.to(lambda order: order.total)  # E a topic's name is text
counts.to(ps.Topic("t", key=str, value=str))  # E another value
counts.to("t", output_mode="append")  # E a table without windows has no append
counts.to("t", output_mode="complete")  # E a topic takes no complete
windowed.to("t", output_mode="complete")  # E a topic takes no complete
windowed.to_stream(output_mode="complete")  # E a stream has no whole
windowed.to_console(output_mode="all")  # E no such mode
print(windowed.to_memory().rows()[0][0].nope)  # E a windowed key has no such attribute
counts.to_console(output_mode="append")  # E a table without windows has no append
counts.to_memory(output_mode="append")  # E a table without windows has no append
counts.to_console(20)  # E keyword-only
counts.to_console(truncate=20)  # E cells are cut or not
print(counts.to_memory().rows()[0][1].nope)  # E an int has no such attribute
orders.to_console(output_mode="complete")  # E a stream has no whole
orders.to_memory(output_mode="complete")  # E a stream has no whole
print(orders.to_memory().rows()[0][1].nope)  # E an order has no such attribute
counts.to(lambda count: "t")  # E a table goes to one topic
counts.map(str)  # E no such step yet
counts.to_stream().map(lambda count: count + 1)  # E a deletion is None

# Variance
rush = app.stream("rush", key=str, value=Rush)
rushes = ps.Topic("rush", key=str, value=Rush)


def takes_rush(stream: ps.Stream[str, Rush], group: ps.Grouped[str, Rush]) -> None: ...
def takes_topic(topic: ps.Topic[str, Order]) -> None: ...
def takes_table(table: ps.Table[str, bool]) -> None: ...


takes_rush(orders, rush.group_by_key())  # E not every order is a rush
takes_rush(rush, grouped)  # E not every order is a rush
takes_topic(rushes)  # E topics are invariant
takes_table(counts)  # E not every int is a bool


def only_refunds(event: Order | Refund) -> TypeIs[Refund]:
    return isinstance(event, Refund)


# A stream keeps what a filter has found out, and no more
events = orders.merge(app.stream("refunds", key=str, value=Refund))
events.map(lambda event: event.total)  # E a refund has no total
events.filter(only_refunds).map(lambda event: event.total)  # E a refund has no total
events.filter(only_refunds).map(lambda event: event.reason)
refunds = events.filter(lambda event: isinstance(event, Refund))
refunds.map(lambda refund: refund.reason)  # E a lambda does not narrow: that takes a TypeIs

# What is observed
orders.observe("rows", rows=ps.count()).map(lambda order: order.total)
orders.observe("no", total=ps.sum(lambda order: order.nope))  # E a field that is not there
orders.observe("no", rows=5)  # E no aggregator
orders.observe(5, rows=ps.count())  # E a name is text
orders.observe("rows again", rows=ps.count()).map(lambda order: order.nope)  # E still an Order

# The driver
with TestDriver(app) as driver:
    topic = driver.topic(ps.Topic("orders", key=str, value=Order))
    topic.send(Order(id="a", customer_id=1, total=1.0), key=5)  # E another key
    topic.send(Customer(1, "a"), key="a")  # E another value
    topic.send(None, key="a", at="1s")  # E milliseconds are int
    topic.send_bytes("text")  # E bytes
    key, value = topic.read()[0]
    print(key.nope)  # E no such attribute
    driver.store(5)  # E a table or a name
    driver.store(counts).range(5)  # E another key
    driver.store(counts).fetch("a")  # E no windows
    driver.store(counts).get(5)  # E another key
    print(driver.store(counts).get("a").nope)  # E None or int
    driver.advance(5)  # E a duration is text or timedelta

# Caught when the application is declared, not by a checker
orders.select("nope")
orders.explode("nope")
found: Any = app.stream("q").map(lambda value: value.anything)
