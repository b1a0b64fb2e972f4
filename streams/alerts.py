"""Alerts: what a person should hear of a running application, and where.

    from penstock import alerts

    watch = alerts.alerts(
        alerts.terminated(),
        alerts.falling_behind(),
        alerts.retention_headroom(less_than="1h"),
        to=[alerts.to_log(), alerts.to_webhook(os.environ["ALERTS_URL"])],
    )
    app.run(listeners=[watch])

Each rule looks at the progress of the worker that it runs in, once a second. An alert is told
when it begins, again each hour while it lasts, and when it is over.
"""

from collections.abc import Mapping, Sequence

from penstock.durations import Duration, milliseconds
from penstock.errors import TopologyError
from penstock.query.alerting import Alerts as Alerts
from penstock.query.notify import Alert as Alert
from penstock.query.notify import Destination as Destination
from penstock.query.notify import ToLog, ToTopic, webhook
from penstock.query.rules import (
    DeadLetterRule,
    FallingBehindRule,
    HeadroomRule,
    LagRule,
    RestoreRule,
    ShareRule,
    StateRule,
    TerminatedRule,
)
from penstock.query.rules import Rule as Rule
from penstock.secret import Secret
from penstock.state.definition import check_name

__all__ = [
    "Alert",
    "Alerts",
    "Destination",
    "Rule",
    "alerts",
    "failed_records",
    "falling_behind",
    "lag",
    "late",
    "restore",
    "retention_headroom",
    "state",
    "terminated",
    "to_log",
    "to_topic",
    "to_webhook",
]


def alerts(*rules: Rule, to: Sequence[Destination] = (), again: Duration = "1h") -> Alerts:
    """Return a listener that watches a query.

    Args:
        rules: what to watch for.
        to: where alerts go; left out, to the log.
        again: how often an alert that lasts is told again.

    Raises:
        TopologyError: if there is no rule.
    """
    if not rules:
        raise TopologyError(
            "alerts() has no rule. Pass what to watch for: alerts.terminated(),"
            " alerts.falling_behind(), ..."
        )
    return Alerts(rules, to or [to_log()], milliseconds(again) / 1000)


def terminated(*, on_stop: bool = False) -> Rule:
    """The query has failed in this process.

    Args:
        on_stop: whether a stop in order counts, too.
    """
    return TerminatedRule(on_stop)


def falling_behind(*, records: int = 30) -> Rule:
    """More comes in than is processed: the lag grows.

    Args:
        records: for how many records of progress in a row, one a second.

    Raises:
        TopologyError: if that is none.
    """
    return FallingBehindRule(_positive(records, "falling_behind(records=...)"))


def lag(*, over: int, lasting: Duration = "1m") -> Rule:
    """Too many records wait.

    Args:
        over: more than so many.
        lasting: for so long.

    Raises:
        TopologyError: if the number is negative.
    """
    return LagRule(_not_negative(over, "lag(over=...)"), milliseconds(lasting) / 1000)


def late(*, over: float, of_records: int = 10_000) -> Rule:
    """Too large a share of the records comes too late for its window.

    Args:
        over: the share, from 0 to 1.
        of_records: of so many records at least.

    Raises:
        TopologyError: if the share is none.
    """
    if not 0 <= over < 1:
        raise TopologyError(f"late(over={over!r}) is no share. Pass 0.01 for one in a hundred.")
    return ShareRule(over, _positive(of_records, "late(of_records=...)"))


def state(*, over_rows: int) -> Rule:
    """The stores of a worker hold too many keys.

    Args:
        over_rows: more than so many, all together.

    Raises:
        TopologyError: if the number is not positive.
    """
    return StateRule(_positive(over_rows, "state(over_rows=...)"))


def restore(*, longer_than: Duration = "5m") -> Rule:
    """Restoring takes too long.

    Args:
        longer_than: so long.
    """
    return RestoreRule(milliseconds(longer_than) / 1000)


def failed_records(*, over: int = 0, within: Duration = "10m") -> Rule:
    """Records fail, and are skipped or become dead letters.

    Args:
        over: more than so many.
        within: in so long.

    Raises:
        TopologyError: if the number is negative.
    """
    return DeadLetterRule(
        _not_negative(over, "failed_records(over=...)"), milliseconds(within) / 1000
    )


def retention_headroom(*, less_than: Duration = "1h", offsets: int = 0) -> Rule:
    """The broker is about to delete records that were not processed yet.

    Args:
        less_than: the time that should be left, by the topic's `retention.ms` and by the pace at
            which its first offset moves on.
        offsets: the offsets that should be left.

    Raises:
        TopologyError: if the number is negative.
    """
    return HeadroomRule(
        milliseconds(less_than) / 1000, _not_negative(offsets, "retention_headroom(offsets=...)")
    )


def to_log() -> Destination:
    """The log of the worker."""
    return ToLog()


def to_topic(topic: str) -> Destination:
    """A topic of the application's cluster, one JSON object for each alert.

    Args:
        topic: its name; it has to be there, or the broker has to make it.

    Raises:
        TopologyError: if it cannot be a topic's name.
    """
    return ToTopic(check_name(topic, "a topic"))


def to_webhook(
    url: str | Secret, *, headers: Mapping[str, str | Secret] | None = None
) -> Destination:
    """An HTTP server, which gets a POST with a JSON object for each alert.

    Args:
        url: its address, http or https; it is hidden from logs, only the host is shown.
        headers: what the server wants to see, such as Authorization; hidden, too.

    Raises:
        TopologyError: if the address is none.
    """
    return webhook(url, headers or {})


def _positive(number: int, where: str) -> int:
    if number < 1:
        raise TopologyError(f"{where} is {number!r}. Pass 1 or more.")
    return number


def _not_negative(number: int, where: str) -> int:
    if number < 0:
        raise TopologyError(f"{where} is {number!r}. Pass 0 or more.")
    return number
