"""Programs as users write them: they pass mypy --strict and pyright strict, and they run.

Each function builds one application. `test_typing.py` checks the types, and builds each of
them once. Types that a checker has to infer stand in `assert_type`.
"""

import datetime
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, assert_type

import msgspec
from typing_extensions import TypeIs

import penstock as ps
from penstock.testing import TestDriver


class PageView(msgspec.Struct):
    user: str
    page: str
    at: int


class Item(msgspec.Struct):
    code: str
    quantity: int


class Invoice(msgspec.Struct):
    number: str
    city: str
    items: list[Item]


class Line(msgspec.Struct):
    number: str
    code: str
    quantity: int


class Order(msgspec.Struct, tag=True):
    id: str
    customer_id: int
    total: float


class Refund(msgspec.Struct, tag=True):
    id: str
    reason: str


class Rush(Order):
    pass


@dataclass
class Customer:
    id: int
    city: str


class Total(TypedDict):
    orders: int
    total: float


class Average:
    """An aggregator of one's own."""

    def init(self) -> list[float]:
        return [0.0, 0.0]

    def add(self, state: list[float], value: Order, /) -> list[float]:
        return [state[0] + 1, state[1] + value.total]

    def merge(self, a: list[float], b: list[float], /) -> list[float]:
        return [a[0] + b[0], a[1] + b[1]]

    def result(self, state: list[float], /) -> float:
        return state[1] / state[0] if state[0] else 0.0


ORDERS = ps.Topic("orders", key=str, value=Order)
TOTALS = ps.Topic("totals", key=str, value=Total)


def words() -> ps.App:
    app = ps.App("words")
    counts = (
        app.stream("lines", value=str)
        .flat_map(str.split, value=str)
        .map_record(lambda record: (record.value, record.value), key=str, value=str)
    )
    counts.to("words")
    words = app.stream("words", key=str, value=str)
    table = words.group_by_key().count(name="per-word")
    table.to("words-counted")
    assert_type(counts, ps.Stream[str, str])
    assert_type(table, ps.Table[str, int])
    return app


def invoices() -> ps.App:
    app = ps.App("invoices")
    lines = (
        app.stream("invoices", key=str, value=Invoice)
        .explode("items", rename="item")
        .select("number", "city", "item.code", quantity="item.quantity")
    )
    lines.to("lines")
    assert_type(lines, ps.Stream[str, dict[str, Any]])
    return app


def invoices_typed() -> ps.App:
    app = ps.App("invoices-typed")
    lines = app.stream("invoices", key=str, value=Invoice).flat_map(
        lambda invoice: [Line(invoice.number, i.code, i.quantity) for i in invoice.items],
        value=Line,
    )
    lines.to(ps.Topic("lines", key=str, value=Line))
    assert_type(lines, ps.Stream[str, Line])
    return app


def selected() -> ps.App:
    app = ps.App("selected")
    views = app.stream("views", key=str, value=PageView, timestamp="at", unit="ms")
    short = views.select(Line, number="user", code="page", quantity="at")
    short.to("short")
    assert_type(short, ps.Stream[str, Line])
    return app


def mapped() -> ps.App:
    app = ps.App("mapped")
    orders = app.stream(ORDERS)

    def total(order: Order) -> float:
        return order.total

    by_function = orders.map(total)
    by_method = orders.map(lambda order: order.id, value=str).map(str.upper)
    by_class = orders.map(lambda order: Customer(order.customer_id, "?"), value=Customer)
    assert_type(by_function, ps.Stream[str, float])
    assert_type(by_method, ps.Stream[str, str])
    assert_type(by_class, ps.Stream[str, Customer])
    by_function.to("totals")
    by_class.to(lambda customer: f"customers-{customer.city}")
    return app


def raw() -> ps.App:
    app = ps.App("raw")
    stream = app.stream("bytes")
    assert_type(stream, ps.Stream[bytes | None, Any])
    stream.peek(print).filter(None.__ne__).to("copy")
    assert_type(app.stream("values", value=PageView), ps.Stream[bytes | None, PageView])
    assert_type(app.stream("td", value=Total), ps.Stream[bytes | None, Total])
    app.stream("lists", value=list[int])
    app.stream("dicts", value=dict[str, Any])
    return app


def many_topics() -> ps.App:
    app = ps.App("many-topics")
    new_year = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
    eu = app.stream(["orders-eu", "orders-us"], key=str, value=Order, start="latest")
    by_name = app.stream(re.compile("orders-(fr|de)"), key=str, value=Order, start=new_year)
    merged = eu.merge(by_name)
    assert_type(merged, ps.Stream[str, Order])
    merged.to("all-orders")
    return app


def is_refund(event: Order | Refund) -> TypeIs[Refund]:
    return isinstance(event, Refund)


def unions() -> ps.App:
    app = ps.App("unions")
    orders = app.stream(ORDERS)
    refunds = app.stream("refunds", key=str, value=Refund)
    events = orders.merge(refunds)
    assert_type(events, ps.Stream[str, Order | Refund])
    assert_type(events.filter(is_refund), ps.Stream[str, Refund])
    assert_type(orders.filter(lambda order: order.total > 0), ps.Stream[str, Order])
    assert_type(
        app.stream("counts", key=int, value=str).merge(orders), ps.Stream[int | str, str | Order]
    )
    events.to(ps.Topic("events", key=str, value=serde_of(Order, Refund)))
    return app


class Tagged:
    """A serde of one's own."""

    def __init__(self, *kinds: type[Any]) -> None:
        self.kinds = kinds

    def encode(self, value: Order | Refund, /) -> bytes:
        return msgspec.json.encode(value)

    def decode(self, data: bytes, /) -> Order | Refund:
        return msgspec.json.decode(data, type=Order | Refund)


def serde_of(*kinds: type[Any]) -> ps.Serde[Order | Refund]:
    return Tagged(*kinds)


def branches() -> ps.App:
    app = ps.App("branches")
    big, small = app.stream(ORDERS).branch(lambda o: o.total > 100, lambda o: True)
    assert_type(big, ps.Stream[str, Order])
    big.to("big-orders")
    small.to("small-orders")
    return app


def larger(one: Order, other: Order) -> Order:
    return one if one.total > other.total else other


def add(total: Total, order: Order) -> Total:
    return {"orders": total["orders"] + 1, "total": total["total"] + order.total}


def aggregations() -> ps.App:
    app = ps.App("aggregations")
    grouped = app.stream(ORDERS).group_by_key()
    assert_type(grouped, ps.Grouped[str, Order])

    largest = grouped.reduce(larger, name="largest")
    assert_type(largest, ps.Table[str, Order])
    largest.to(ps.Topic("largest", key=str, value=Order))

    totals = grouped.aggregate(
        lambda: Total(orders=0, total=0.0), add, name="totals", emit="every_update"
    )
    assert_type(totals, ps.Table[str, Total])
    totals.to(TOTALS, output_mode="update")

    summed = grouped.aggregate(float, lambda total, order: total + order.total, name="summed")
    assert_type(summed, ps.Table[str, float])
    changes = summed.to_stream()
    assert_type(changes, ps.Stream[str, float | None])
    changes.filter(lambda total: total is not None).to("changes")

    def nothing() -> dict[str, float]:
        return {}

    seen = grouped.aggregate(nothing, lambda all_, o: {**all_, o.id: o.total}, name="seen")
    assert_type(seen, ps.Table[str, dict[str, float]])
    return app


def records() -> ps.App:
    def trace(record: ps.Record[str, Order]) -> tuple[int, str]:
        assert_type(record.key, str)
        assert_type(record.value, Order)
        headers = dict(record.headers)
        trace_id = headers.get("trace-id") or b""
        return record.value.customer_id, f"{record.topic}/{record.partition}@{record.offset}"[
            : record.timestamp
        ] + trace_id.decode()

    app = ps.App("records")
    traced = app.stream(ORDERS).map_record(trace, key=int, value=str, name="by-customer")
    assert_type(traced, ps.Stream[int, str])
    traced.to("traced")
    return app


class Payment(msgspec.Struct):
    card: str
    amount: float


class Alert(msgspec.Struct):
    card: str
    reason: str


class Fraud(ps.Processor[str, Payment, Alert]):
    """Three small payments on a card, then a large one."""

    small = ps.ValueState(int)

    def process(self, ctx: ps.Context[str], value: Payment) -> Iterator[Alert]:
        seen = self.small.get() or 0
        if value.amount < 1:
            self.small.set(seen + 1)
            ctx.set_timer("forget", at=ctx.timestamp + 600_000)
        elif seen >= 3 and value.amount > 500:
            yield Alert(ctx.key, f"{value.amount} after {seen} probes")

    def on_timer(self, ctx: ps.Context[str], timer: ps.Timer) -> Iterator[Alert]:
        self.small.clear()
        return iter(())


class Limit(ps.Processor[str, Payment, float]):
    """Begins with the limit of its card."""

    left = ps.ValueState(float)

    def on_initial(self, ctx: ps.Context[str], value: float) -> None:
        self.left.set(value)

    def process(self, ctx: ps.Context[str], value: Payment) -> list[float]:
        return [(self.left.get() or 0.0) - value.amount]


class OnOrder(ps.Processor[object, Order, str]):
    """Takes any key, and all that is an Order."""

    last = ps.ListState(Order, ttl="1h", name="latest")
    totals = ps.MapState(int, float)

    def __init__(self, limit: int = 3) -> None:
        self.limit = limit

    def process(self, ctx: ps.Context[object], value: Order) -> list[str]:
        self.last.append(value)
        self.totals[value.customer_id] = self.totals.get(value.customer_id) or value.total
        assert_type(self.totals.items(), list[tuple[int, float]])
        assert_type(ctx.headers, Sequence[tuple[str, bytes | None]])
        ids = [order.id for order in self.last][: self.limit]
        return ids if ctx.random.random() < ctx.now + ctx.stream_time else []


class Activity(msgspec.Struct):
    User: str
    gt: str
    Creation_Time: int


class Event(msgspec.Struct):
    user: str
    event_time: int
    latency_ms: float


class Stats(msgspec.Struct):
    n: int
    p99: float


def dedup() -> ps.App:
    app = ps.App("dedup")
    once = (
        app.stream("events", value=Event, timestamp="event_time")
        .rekey("user", key=str, name="by-user")
        .drop_duplicates("event_time", within="5s", name="seen")
    )
    assert_type(once, ps.Stream[str, Event])
    once.group_by_key().count(name="per-user").to("per-user")
    return app


def sessions() -> ps.App:
    app = ps.App("sessions")
    grouped = (
        app.stream("events", value=Event, timestamp="event_time")
        .group_by("user", key=str, name="by-user")
        .window(ps.session("30m"), grace="1m")
    )
    assert_type(grouped, ps.WindowedGrouped[str, Event])
    table = grouped.agg(Stats, n=ps.count(), p99=ps.quantile("latency_ms", 0.99), name="latencies")
    assert_type(table, ps.WindowedTable[str, Stats])
    table.to("sessions", output_mode="append")
    columns = grouped.agg(n=ps.count(), name="counts")
    assert_type(columns, ps.WindowedTable[str, dict[str, Any]])
    return app


def observed() -> ps.App:
    app = ps.App("observed")
    orders = app.stream(ORDERS).observe(
        "orders", rows=ps.count(), total=ps.sum("total"), most=ps.max(lambda order: order.total)
    )
    assert_type(orders, ps.Stream[str, Order])
    named = orders.observe("names", name=ps.last("id"), average=Average()).rekey("id", name="by-id")
    assert_type(named, ps.Stream[Any, Order])
    orders.to("checked")
    return app


def processors() -> ps.App:
    app = ps.App("processors")
    alerts = app.stream("payments", key=str, value=Payment).process(Fraud, name="fraud")
    assert_type(alerts, ps.Stream[str, Alert])
    alerts.to(ps.Topic("alerts", key=str, value=Alert))
    rush = app.stream("rush", key=str, value=Rush).process(OnOrder, name="rush")
    assert_type(rush, ps.Stream[str, str])
    orders = app.stream(ORDERS)
    limited = orders.process(lambda: OnOrder(5), name="limited", value=str)
    assert_type(limited, ps.Stream[str, str])
    limits = app.table("limits", key=str, value=float, name="limits")
    payments = app.stream("payments", key=str, value=Payment)
    left = payments.process(Limit, name="limit", initial=limits)
    assert_type(left, ps.Stream[str, float])
    return app


def spent(order: Order, total: float | None) -> tuple[float | None, str]:
    return (total or 0.0) + order.total, order.id


def states() -> ps.App:
    app = ps.App("states")
    orders = app.stream(ORDERS)
    assert_type(orders.update_state(spent, name="spent"), ps.Stream[str, str])
    counted = orders.update_state(
        lambda order, n: ((n or 0) + 1, order.id), name="counted", state=int, value=str, ttl="1d"
    )
    assert_type(counted, ps.Stream[str, str])
    return app


def activity() -> ps.App:
    app = ps.App("iot")
    stream = app.stream("activity", value=Activity, timestamp="Creation_Time", unit="ns")
    patient = stream.with_watermark("30m", idle=datetime.timedelta(seconds=30), max_future=None)
    assert_type(patient, ps.Stream[bytes | None, Activity])
    table = (
        stream.with_watermark("30m")
        .group_by("User", key=str, name="by-user")
        .window(ps.hopping("10m", "5m"))
        .count(name="per-user")
    )
    assert_type(table, ps.WindowedTable[str, int])
    table.to("per-user", output_mode="append")
    return app


def late() -> ps.App:
    app = ps.App("late")
    grouped = app.stream("events", value=Event, timestamp="event_time").group_by(
        "user", key=str, name="by-user"
    )
    windows = grouped.window(ps.tumbling("1m"), grace="10s", late="events-late")
    assert_type(windows, ps.WindowedGrouped[str, Event])
    windows.count(name="per-minute").to("per-minute", output_mode="append")
    return app


def arrivals() -> ps.App:
    def delay(record: ps.Record[bytes | None, Event]) -> tuple[str, int]:
        return record.value.user, record.arrival - record.timestamp

    app = ps.App("arrivals")
    events = app.stream("events", value=Event, timestamp="event_time")
    delays = events.map_record(delay, key=str, value=int)
    assert_type(delays, ps.Stream[str, int])
    delays.to("delays")
    return app


def takes(stream: ps.Stream[str | None, Order | Refund]) -> None:
    """Take any stream of narrower types: streams are covariant."""
    stream.peek(print)


def takes_table(table: ps.Table[str | int, Order | Refund]) -> None:
    table.to_stream()


def takes_grouped(grouped: ps.Grouped[str | int, Order | Refund]) -> None:
    grouped.count(name="all")


def covariance() -> ps.App:
    app = ps.App("covariance")
    rush = app.stream("rush", key=str, value=Rush)
    takes(rush)
    takes_grouped(rush.group_by_key())
    takes_table(rush.group_by_key().reduce(lambda one, _: one, name="first"))
    rush.to("rushed")
    return app


def serdes() -> ps.App:
    app = ps.App("serdes")
    lines = ps.Topic("lines", key=ps.serde.json(Item), value=ps.serde.json(list[Line]))
    assert_type(lines, ps.Topic[Item, list[Line]])
    assert_type(lines.key, ps.Serde[Item])
    assert_type(lines.value, ps.Serde[list[Line]])
    stream = app.stream(lines)
    assert_type(stream, ps.Stream[Item, list[Line]])
    assert_type(ps.serde.avro(Item, limits=ps.serde.AvroLimits(max_depth=5)), ps.Serde[Item])
    assert_type(ps.serde.avro({"type": "string"}), ps.Serde[Any])
    stream.to("copy")
    keyed = app.stream("orders", key=ORDERS.key, value=ORDERS.value)
    assert_type(keyed, ps.Stream[str, Order])
    assert_type(ps.Topic("a"), ps.Topic[bytes | None, Any])
    assert_type(ps.Topic("b", value=Order), ps.Topic[bytes | None, Order])
    return app


def settings() -> ps.App:
    app = ps.App(
        "settings",
        brokers="localhost:9092",
        guarantee="at_least_once",
        on_error="fail",
        settings=ps.Settings(commit=ps.CommitSettings(interval_ms=50)),
    )
    app.stream(
        ps.Topic(
            "orders", key=str, value=Order, timestamp=lambda o: int(o.total), config={"a": "b"}
        )
    ).to("copy")
    return app


def deduplicated() -> ps.App:
    app = ps.App("deduplicated")
    orders = app.stream(ORDERS)
    once = orders.drop_duplicates("id", lambda order: order.total, within="1h", name="seen")
    assert_type(once, ps.Stream[str, Order])
    whole = orders.drop_duplicates(within=datetime.timedelta(hours=1), name="whole")
    assert_type(whole.map(lambda order: order.total), ps.Stream[str, float])
    return app


def output_modes() -> ps.App:
    app = ps.App("output-modes")
    orders = app.stream(ORDERS)
    orders.to_console()
    orders.to_console(output_mode="update", num_rows=5, truncate=False)
    assert_type(orders.to_memory(), ps.Memory[str, Order])
    counts = orders.group_by_key().count(name="counts")
    counts.to_console(output_mode="complete")
    assert_type(counts.to_memory(output_mode="complete").rows(), list[tuple[str, int]])
    windows = orders.group_by_key().window(ps.tumbling("1m")).count(name="windows")
    windows.to_console(output_mode="append")
    rows = windows.to_memory(output_mode="append", max_rows=10).rows()
    assert_type(rows, list[tuple[ps.Windowed[str], int]])
    return app


class FallingBehind(ps.Listener):
    def on_query_progress(self, query: ps.Query, progress: ps.Progress) -> None:
        if progress.falling_behind:
            print(f"{query.id} is {progress.lag} records behind")

    def on_query_terminated(self, query: ps.Query, error: Exception | None) -> None:
        print(query.name, error)


def run_several(orders: ps.App, refunds: ps.App) -> Iterator[ps.Progress]:
    """How several are run, looked at and waited for; checked, never called."""
    ps.run(orders, refunds, listeners=[FallingBehind()])
    orders.run(listeners=[FallingBehind()])
    queries = orders.start(listeners=[FallingBehind()]), refunds.start()
    queries[0].process_all_available("10s")
    for progress in queries[0].progress_stream():
        assert_type(progress, ps.Progress)
        assert_type(progress.falling_behind, bool)
        assert_type(progress.lag, int)
    yield from queries[1].progress_stream(summed=True)
    first = ps.wait_any(*queries, timeout="1m")
    assert_type(first, ps.Query | None)
    assert_type(queries[0].explain(extended=True), str)
    assert_type(orders.explain(), str)


def run(app: ps.App) -> Iterator[ps.Progress]:
    """How an application is run; checked, never called."""
    app.run()
    query = app.start()
    assert_type(query, ps.Query)
    print(app.describe(), app.describe(format="mermaid"), app.topology().stores)
    while not query.await_termination("1s") and query.is_active:
        yield from query.recent_progress
    assert_type(query.exception(), Exception | None)
    query.stop()


def windows() -> ps.App:
    app = ps.App("windows")
    views = app.stream("views", value=PageView, timestamp="at").group_by("user", key=str, name="by")
    days = views.window(ps.tumbling("1d", zone="Europe/Madrid"), grace="1h").count(name="per-day")
    assert_type(days, ps.WindowedTable[str, int])
    topic = ps.Topic("per-day", key=ps.Windowed[str], value=int)
    assert_type(topic, ps.Topic[ps.Windowed[str], int])
    days.to(topic, output_mode="append")
    sliding = views.window(ps.sliding("10m")).agg(ps.count(), name="sliding")
    assert_type(sliding, ps.WindowedTable[str, int])
    sliding.to(ps.Topic("sliding", key=ps.serde.time_windowed(str, "10m"), value=int))
    sessions = views.window(ps.session("5m")).count(name="sessions")
    sessions.to(ps.Topic("sessions", key=ps.serde.session_windowed(str), value=int))
    finals = days.to_stream(output_mode="append")
    assert_type(finals, ps.Stream[ps.Windowed[str], int])
    weeks = finals.group_by_key().window(ps.hopping("14d", "7d", offset="4d"))
    assert_type(weeks.count(name="weeks"), ps.WindowedTable[ps.Windowed[str], int])
    again = app.stream(topic).map_record(lambda of: (of.key.key, of.value), key=str, value=int)
    assert_type(again, ps.Stream[str, int])
    return app


def drive() -> None:
    app = ps.App("drive")
    table = app.stream(ORDERS).group_by_key().reduce(larger, name="largest")
    table.to("largest")
    with TestDriver(app, now=1_000, seed=7) as driver:
        orders, largest = driver.topic(ORDERS), driver.topic("largest")
        orders.send(Order("a", 1, 2.5), key="k", at=5)
        with driver.batch():
            orders.send(Order("b", 1, 7.5), key="k")
            orders.send_bytes(msgspec.json.encode(Order("c", 1, 3.5)), key=b"k")
        driver.crash()
        driver.advance(datetime.timedelta(minutes=1))
        driver.advance("1m")
        assert_type(orders.read(), list[tuple[str, Order]])
        assert_type(largest.read(), list[tuple[Any, Any]])
        found = driver.store(table).get("k")
        assert_type(found, Order | None)
        assert found == Order("b", 1, 7.5)
        store = driver.store(table)
        assert_type(store, ps.Store[str, Order])
        assert_type(list(store.range("a", "z", limit=10)), list[tuple[str, Order]])
        assert_type(dict(store), dict[str, Order])
        assert_type(list(store.prefix("k")), list[tuple[str, Order]])
        assert_type(driver.store("largest"), ps.Store[Any, Any])


def read(query: ps.Query, orders: ps.Table[str, Order], daily: ps.WindowedTable[str, int]) -> None:
    assert_type(query.store(orders), ps.Store[str, Order])
    assert_type(query.store(orders).get("k"), Order | None)
    assert_type(query.store("orders"), ps.Store[Any, Any])
    assert_type(query.store(daily), ps.Store[ps.Windowed[str], int])
    assert_type(query.store(daily).get(ps.Windowed("k", 0, 1)), int | None)
    assert_type(query.store(daily).fetch("k", 0, 5), list[tuple[ps.Windowed[str], int]])
    for window, count in query.store(daily):
        print(window.key.upper(), window.start, count + 1)


APPLICATIONS = (
    words, invoices, invoices_typed, selected, mapped, raw, many_topics, unions, branches,
    aggregations, records, activity, dedup, sessions, late, arrivals, covariance, serdes, settings,
    deduplicated, observed, output_modes, processors, states, windows,
)  # fmt: skip
