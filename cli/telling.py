"""What the workers of an application have told: the records of its progress topic."""

from collections.abc import Generator, Mapping, Sequence

from penstock.cli.application import Application
from penstock.cli.cluster import did_you_mean
from penstock.cli.consuming import Filter, consume
from penstock.cli.overview import counted, millis, troubles
from penstock.cli.positions import Position
from penstock.cli.terminal import printable
from penstock.errors import BrokerError
from penstock.query.events import (
    Event,
    Idle,
    Rebalance,
    Restored,
    Started,
    Terminated,
    Told,
    decode,
)
from penstock.query.progress import Progress, query_id
from penstock.topics.admin import Admin


def told(
    application: Application, position: Position, *, follow: bool = False
) -> Generator[list[Told]]:
    """Read what was told, in the order of the topic; what is not ours is passed over.

    Args:
        application: whose workers.
        position: where to begin.
        follow: whether to go on behind the present end, for ever.

    Raises:
        BrokerError: if the cluster does not answer, or the topic cannot be read.
    """
    topic, mine = application.progress_topic, query_id(application.id)
    found = consume(
        topic,
        brokers=application.brokers,
        position=position,
        wanted=Filter(),
        follow=follow,
    )
    for messages in found:
        decoded = [decode(message.value() or b"") for message in messages]
        yield [each for each in decoded if each is not None and each.id == mine]


def check_known(application: Application, admin: Admin) -> bool:
    """Return whether an application has a progress topic.

    Raises:
        BrokerError: if it has neither that nor a consumer group, and was named by its id: it may
            be mistyped.
    """
    if application.progress_topic in admin.topics():
        return True
    groups = sorted(admin.groups())
    if application.topology is not None or application.id in groups:
        return False
    known = f" Known there: {', '.join(groups[:8])}." if groups else ""
    raise BrokerError(
        f"Nothing is known of {application.id} on {application.brokers}: there is neither its"
        f" progress topic {application.progress_topic} nor its consumer group."
        f"{did_you_mean(application.id, groups)} Check the id and --brokers, or name the"
        f" application by its file if it has not run yet.{known}"
    )


def untold(application: Application) -> BrokerError:
    """Return the error that an application has no progress topic."""
    return BrokerError(
        f"{application.id} has no progress topic {application.progress_topic} on"
        f" {application.brokers}: none of its workers has told anything there. Start one that has"
        " ProgressSettings(publish=True), or name the application by its file if its topic has"
        " another name.",
        topic=application.progress_topic,
    )


def line(each: Told) -> str:
    """Return what a worker has told, on a line."""
    head = f"{each.timestamp}  {each.instance_id}  "
    if not isinstance(each, Progress):
        return printable(head + event(each))
    parts = [
        f"{counted(each.num_input_rows, 'record')} in {counted(each.batches, 'batch', 'batches')}",
        f"{each.input_rows_per_second:,.0f}/s",
        f"{each.sink.num_output_rows:,} written",
        f"{millis(each.batch_duration)}",
        f"lag {each.lag:,}",
    ]
    if each.latency_ms:
        parts.append(f"p99 {millis(each.latency_ms.p99)}")
    if each.falling_behind:
        parts.append(f"falling behind since {millis(each.falling_behind_ms)}")
    if wrong := troubles([each]):
        parts.append(f"let go: {wrong}")
    return printable(head + ", ".join(parts))


def event(of: Event) -> str:
    """Return an event in words."""
    match of:
        case Started():
            return "started"
        case Idle():
            return f"idle, lag {of.lag:,}"
        case Rebalance():
            parts = (("takes", of.taken), ("gives back", of.given_back))
            moved = [f"{verb} {_partitions(topics)}" for verb, topics in parts if topics]
            return f"rebalance: {'; '.join(moved) or 'nothing moves'}"
        case Restored():
            rows, took = counted(of.rows, "record"), millis(of.duration_ms)
            return f"restored {counted(of.stores, 'store')}: {rows} in {took}"
        case Terminated():
            why = f": {of.error_class}: {of.exception}" if of.exception else " in order"
            return f"terminated{why}"


def _partitions(topics: Mapping[str, Sequence[int]]) -> str:
    return " ".join(f"{topic}/{','.join(map(str, ns))}" for topic, ns in sorted(topics.items()))
