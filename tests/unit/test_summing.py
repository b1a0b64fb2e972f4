"""One progress of all workers: the sum of its parts, of those who run, once each."""

import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.query.events import Idle, Rebalance, Started, Terminated, decode
from penstock.query.merging import ADDED, total
from penstock.query.progress import (
    Latency,
    Progress,
    SinkProgress,
    SourceProgress,
    StateOperatorProgress,
    iso,
)
from penstock.query.summing import SILENT_MS, Application
from tests.unit.progresses import a_progress, a_source, common

NOT_ADDED = {
    "id", "run_id", "name", "timestamp", "batch_id", "duration_ms", "event_time",
    "state_operators", "sources", "sink", "observed_metrics", "instance_id",
    "max_batch_duration", "sinks", "falling_behind_ms", "latency_ms",
}  # fmt: skip

counts = st.integers(0, 10**6)
times = st.integers(0, 10**12)


@st.composite
def parts(draw: st.DrawFn) -> list[Progress]:
    """Records of workers that share the partitions of one topic."""
    shares = draw(st.lists(st.dictionaries(st.integers(0, 12), counts, max_size=4), min_size=1))
    return [
        a_progress(
            f"w{number}",
            draw(times),
            rows,
            lag=draw(counts),
            **{name: draw(counts) for name in ADDED if name.startswith("num_")},
            event_time={"watermark": iso(draw(times)), "max": iso(draw(times))},
            latency_ms=Latency(p50=draw(counts), p95=1, p99=2, max=draw(counts)),
            falling_behind_ms=draw(counts),
            max_batch_duration=draw(counts),
        )
        for number, rows in enumerate(shares)
    ]


@given(parts())
def test_the_sum_is_that_of_its_parts(found: list[Progress]) -> None:
    """Counts and rates add; the watermark is the lowest; latency and longest batch the worst."""
    whole = total(found)
    assert whole is not None
    for name in ADDED:
        assert getattr(whole, name) == sum(getattr(part, name) for part in found), name
    assert whole.sink.num_output_rows == sum(part.sink.num_output_rows for part in found)
    assert whole.event_time["watermark"] == min(part.event_time["watermark"] for part in found)
    assert whole.event_time["max"] == max(part.event_time["max"] for part in found)
    assert whole.falling_behind_ms == max(part.falling_behind_ms for part in found)
    assert whole.falling_behind == any(part.falling_behind for part in found)
    assert whole.max_batch_duration == max(part.max_batch_duration for part in found)
    assert whole.latency_ms is not None
    assert whole.latency_ms.p50 == max(part.latency_ms.p50 for part in found if part.latency_ms)
    [store] = whole.state_operators
    assert store.num_rows_total == sum(part.state_operators[0].num_rows_total for part in found)
    assert store.num_shuffle_partitions == 4
    [source] = whole.sources
    rows = [part.sources[0].num_input_rows for part in found]
    assert source.num_input_rows == sum(rows)
    by_partition = source.partitions["in"].values()
    assert sum(of.num_input_rows for of in by_partition) == sum(rows)
    told = [part.sources[0].metrics for part in found if part.sources[0].metrics]
    if told:
        most = max(int(of["maxOffsetsBehindLatest"]) for of in told)
        assert source.metrics["maxOffsetsBehindLatest"] == str(most)


@given(parts(), st.integers(0, 12))
def test_sums_of_sums_are_the_sum(found: list[Progress], cut: int) -> None:
    """Workers of one host may be summed before those of all."""
    halves = [total(found[:cut]), total(found[cut:])]
    assert counted(total(halves)) == counted(total(found))


@given(parts(), st.randoms())
def test_the_order_of_workers_does_not_matter(found: list[Progress], random: Any) -> None:
    """Whoever tells first, the sum is the same."""
    shuffled = list(found)
    random.shuffle(shuffled)
    assert counted(total(shuffled)) == counted(total(found))


def counted(progress: Progress | None) -> Any:
    """What of a sum does not hang on who was last."""
    assert progress is not None
    [source] = progress.sources
    partitions = {number: of.num_input_rows for number, of in source.partitions["in"].items()}
    metrics = {n: v for n, v in source.metrics.items() if not n.startswith("avg")}
    added = [getattr(progress, name) for name in ADDED]
    offsets = source.start_offset, source.end_offset, source.latest_offset
    return added, progress.event_time, progress.latency_ms, partitions, metrics, offsets


def test_every_field_is_summed_in_some_way() -> None:
    """A field that is added to Progress has to be told here how workers' values become one."""
    assert set(ADDED).isdisjoint(NOT_ADDED)
    assert set(Progress.__struct_fields__) == NOT_ADDED.union(ADDED)


def test_the_sum_of_one_is_what_it_has_told() -> None:
    """But that it is of no instance."""
    one = a_progress("w", 5_000, {0: 3, 10: 4, 9: 5}, lag=7, observed_metrics={"o": {"rows": 3}})
    whole = total([one])
    assert whole == msgspec.structs.replace(one, instance_id="")
    assert list(one.to_json()) != []
    assert list(whole.sources[0].partitions["in"]) == ["0", "9", "10"]
    assert total([]) is None


def test_averages_go_by_rows() -> None:
    """The mean event time of a thousand records counts more than that of one."""
    found = total(
        [
            a_progress("a", 0, {0: 3}, event_time={"avg": iso(1_000)}),
            a_progress("b", 0, {1: 1}, event_time={"avg": iso(5_000)}),
            a_progress("c", 0, {2: 9}),
        ]
    )
    assert found is not None
    assert found.event_time == {"avg": iso(2_000)}


def test_offsets_behind_are_averaged_over_partitions() -> None:
    """Maximum of maxima, minimum of minima, and the mean of all partitions."""
    found = total(
        [a_progress("a", 0, {0: 1, 1: 1, 2: 1}, lag=2), a_progress("b", 0, {3: 1}, lag=10)]
    )
    assert found is not None
    assert found.lag == 16
    assert found.sources[0].metrics == {
        "avgOffsetsBehindLatest": "4.0",
        "maxOffsetsBehindLatest": "10",
        "minOffsetsBehindLatest": "2",
    }


def test_sources_of_one_sub_topology_are_one() -> None:
    """A worker may have no partition of an input that another one has."""
    wide = msgspec.structs.replace(
        a_source({0: 1}),
        description="Kafka[in, more]",
        partitions={**a_source({0: 1}).partitions, "more": {}},
    )
    other = msgspec.structs.replace(
        a_source({}), description="Kafka[else]", partitions={"else": {}}, end_offset={}
    )
    found = total(
        [
            a_progress("a", 0, {1: 2}),
            a_progress("b", 1, {}, sources=(wide, other)),
        ]
    )
    assert found is not None
    assert [(of.description, of.num_input_rows) for of in found.sources] == [
        ("Kafka[in, more]", 3),
        ("Kafka[else]", 0),
    ]


def test_an_estimate_is_one_however_many_say_so() -> None:
    """Bytes add, a yes does not."""

    def store(**metrics: int) -> dict[str, Any]:
        one = StateOperatorProgress(operator_name="counts", custom_metrics=metrics)
        return {"state_operators": (one,)}

    estimated = {"numRowsTotalIsEstimate": 1, "stateOnDiskBytes": 5}
    found = total(
        [
            a_progress("a", 0, {}, **store(**estimated)),
            a_progress("b", 0, {}, **store(**estimated)),
            a_progress("c", 0, {}, **store(stateOnDiskBytes=1)),
        ]
    )
    assert found is not None
    assert found.state_operators[0].custom_metrics == {**estimated, "stateOnDiskBytes": 11}


def test_sinks_are_summed_by_their_topics() -> None:
    """Each output by itself, where there are several."""

    def sinks(first: int, second: int) -> tuple[SinkProgress, ...]:
        return (
            SinkProgress(description="x", num_output_rows=first),
            SinkProgress(description="y", num_output_rows=second),
        )

    found = total(
        [
            a_progress("a", 0, {}, sinks=sinks(1, 2)),
            a_progress("b", 0, {}, sinks=sinks(10, 20)),
        ]
    )
    assert found is not None
    assert found.sinks == sinks(11, 22)


def test_what_observe_has_counted_is_not_added() -> None:
    """A mean of one worker and one of another make no mean: what only one tells is shown."""
    found = total(
        [
            a_progress("a", 0, {}, observed_metrics={"both": {"n": 1}, "one": {"n": 5}}),
            a_progress("b", 0, {}, observed_metrics={"both": {"n": 2}}),
        ]
    )
    assert found is not None
    assert found.observed_metrics == {"one": {"n": 5}}


# Who counts


def test_the_last_record_of_each_worker_counts() -> None:
    """Not all that it has ever told."""
    of = Application()
    assert of.progress is None
    for told in (
        a_progress("a", 1_000, {0: 5}),
        a_progress("b", 1_500, {1: 7}),
        a_progress("a", 2_000, {0: 11}),
    ):
        of.add(told)
    assert of.progress is not None
    assert of.progress.num_input_rows == 18
    assert [(w.instance_id, w.last_seen_ms) for w in of.workers] == [("a", 2_000), ("b", 1_500)]


def test_a_worker_that_has_restarted_counts_once() -> None:
    """It is the same instance in another run: nothing of the run before is left."""
    of = Application()
    of.add(a_progress("a", 1_000, {0: 5}, run=1))
    of.add(Started(**common("a", 3_000, run=2)))
    assert of.progress is None
    of.add(Terminated(**common("a", 2_900, run=1)))  # written after the next one has begun
    of.add(a_progress("a", 2_800, {0: 9}, run=1))
    [worker] = of.workers
    assert worker.run_id == uuid.UUID(int=2)
    of.add(a_progress("a", 4_000, {0: 6}, run=2))
    assert of.progress is not None
    assert of.progress.num_input_rows == 6
    assert of.progress.run_id == uuid.UUID(int=2)


def test_a_late_end_of_the_run_before_ends_nothing() -> None:
    """Though its clock may say that it is the later one."""
    of = Application()
    of.add(a_progress("a", 1_000, {0: 5}, run=2))
    of.add(Terminated(**common("a", 9_000, run=1)))
    assert len(of.workers) == 1


def test_a_worker_that_has_ended_is_left_out() -> None:
    """Its counts are history."""
    of = Application()
    of.add(a_progress("a", 1_000, {0: 5}))
    of.add(a_progress("b", 1_000, {1: 7}))
    of.add(Terminated(**common("a", 1_100)))
    assert [worker.instance_id for worker in of.workers] == ["b"]
    assert of.progress is not None
    assert of.progress.num_input_rows == 7


def test_a_worker_that_is_silent_is_left_out() -> None:
    """Told by the timestamps of the others, and by the time of who looks."""
    of = Application()
    of.add(a_progress("a", 1_000, {0: 5}))
    of.add(a_progress("b", 1_000 + SILENT_MS, {1: 7}))
    assert len(of.workers) == 2
    of.add(Idle(**common("b", 1_001 + SILENT_MS)))
    assert [worker.instance_id for worker in of.workers] == ["b"]
    of.reach(1_002 + 2 * SILENT_MS)
    assert of.workers == ()
    assert of.progress is None


def test_a_worker_that_idles_counts_without_rows() -> None:
    """Its state is still there, its rates are not."""
    of = Application()
    store = StateOperatorProgress(
        operator_name="counts",
        num_rows_total=8,
        num_rows_updated=3,
        num_state_store_instances=2,
        custom_metrics={"stateOnDiskBytes": 9, "numDroppedDuplicateRows": 4},
    )
    of.add(
        a_progress(
            "a",
            1_000,
            {0: 5},
            lag=3,
            state_operators=(store,),
            event_time={"watermark": iso(7), "max": iso(8)},
            latency_ms=Latency(p50=1, p95=1, p99=1, max=1),
            num_late_rows=2,
        )
    )
    of.add(Idle(**common("a", 11_000), lag=1))
    found = of.progress
    assert found is not None
    assert (found.num_input_rows, found.processed_rows_per_second, found.batches) == (0, 0, 0)
    assert (found.lag, found.num_late_rows, found.latency_ms) == (1, 0, None)
    assert found.event_time == {"watermark": iso(7)}
    assert found.sink.num_output_rows == 0
    [kept] = found.state_operators
    assert (kept.num_rows_total, kept.num_rows_updated) == (8, 0)
    assert kept.custom_metrics == {"stateOnDiskBytes": 9}
    [source] = found.sources
    assert source.start_offset == source.end_offset == {"in": {"0": 105}}
    assert source.partitions["in"]["0"].num_input_rows == 0
    assert of.workers[0].progress is not None
    assert of.workers[0].progress.num_input_rows == 5  # as it was told
    of.add(a_progress("a", 12_000, {0: 2}))
    assert of.progress is not None
    assert of.progress.num_input_rows == 2


def test_the_lag_of_a_partition_counts_for_its_owner() -> None:
    """What was given to another worker since is told by that one."""
    of = Application()
    of.add(a_progress("a", 1_000, {0: 5, 1: 5}, lag=10))
    assert of.workers[0].assigned == {"in": (0, 1)}
    given = {"taken": {}, "given_back": {"in": (1,)}, "assigned": {"in": (0,)}}
    of.add(Rebalance(**common("a", 2_000), **given))
    of.add(a_progress("b", 2_000, {1: 1}, lag=9))
    assert of.workers[0].assigned == {"in": (0,)}
    assert of.progress is not None
    assert of.progress.lag == 10 + 9
    assert of.progress.sources[0].partitions["in"]["1"].lag == 9


# Reading them


@pytest.mark.parametrize(
    "told",
    [
        a_progress("a", 1, {0: 5, 11: 2}, lag=2, latency_ms=Latency(p50=1, p95=2, p99=3, max=4)),
        Started(**common("a", 1)),
        Idle(**common("a", 1), lag=4),
        Rebalance(**common("a", 1), taken={"in": (0,)}, given_back={}, assigned={"in": (0, 1)}),
        Terminated(**common("a", 1), exception="no", error_class="DataError"),
    ],
    ids=lambda told: type(told).__name__,
)
def test_what_is_written_is_read(told: Any) -> None:
    """JSON, there and back."""
    assert decode(told.to_json()) == told


def broken(**changed: Any) -> str:
    return msgspec.json.encode(
        {**msgspec.json.decode(a_progress("a", 1, {0: 1}).to_json()), **changed}
    ).decode()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"event":"other"}',
        '{"event":"idle"}',
        broken(timestamp="noon"),
        broken(timestamp="2024-05-11T08:20:49"),
        broken(id="x"),
        broken(numInputRows="many"),
        broken(eventTime={"watermark": "x"}),
        broken(sources=[msgspec.to_builtins(a_source({0: 1})) | {"metrics": {"avg": "x"}}]),
        broken(sources=[msgspec.to_builtins(a_source({0: 1})) | {"metrics": {"avg": "inf"}}]),
        broken(sources=[msgspec.to_builtins(a_source({0: 1})) | {"partitions": {"in": {"x": {}}}}]),
        "\x00\xff",
    ],
)
def test_what_is_no_progress_is_passed_over(text: str) -> None:
    """Anybody may write to a topic."""
    assert decode(text) is None


def test_later_versions_can_be_read() -> None:
    """A field that is not known yet is passed over."""
    assert isinstance(decode(broken(news=1)), Progress)
    assert isinstance(decode(broken(sources=[])), Progress)
    assert SourceProgress.__struct_fields__  # the fields above are its own


def test_what_an_idle_worker_has_is_known_to_who_hears_of_it_only_now() -> None:
    """The rebalance is long gone; an earlier version that does not say it changes nothing."""
    of = Application()
    of.add(Idle(**common("a", 1_000), assigned={"in": (0, 1)}))
    assert of.workers[0].assigned == {"in": (0, 1)}
    of.add(Idle(**common("a", 2_000)))
    assert of.workers[0].assigned == {"in": (0, 1)}
    of.add(Idle(**common("a", 3_000), assigned={}))
    assert of.workers[0].assigned == {}
