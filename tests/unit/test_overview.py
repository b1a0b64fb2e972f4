"""What `penstock status` and `penstock watch` make of what workers have told."""

import pytest
from rich.text import Text

from penstock.cli.overview import GONE, SILENT, Heard, State, figures, overview, troubles
from penstock.cli.telling import line
from penstock.cli.watching import Watched, spark
from penstock.query.events import Idle, Rebalance, Restored, Started, Terminated
from penstock.query.progress import Latency, query_id
from tests.unit.progresses import NAME, a_progress, common

NOW = 1_700_000_000_000


def heard(*told):
    found = Heard()
    for each in told:
        found.add(each)
    return found


def look(*told, at_ms=NOW, **known):
    return overview(NAME, heard(*told), at_ms, **known)


def doing(found):
    return {worker.instance: worker.doing for worker in found.workers}


def test_workers_are_summed():
    found = look(
        a_progress("a", NOW - 1_000, {0: 10, 1: 20}, lag=5), a_progress("b", NOW, {2: 30}, lag=7)
    )
    assert (found.state, found.lag) == (State.RUNNING, 17)
    assert found.progress.num_input_rows == 60
    assert found.headline == "app runs: 2 workers, 3 partitions."
    assert [worker.partitions for worker in found.workers] == [2, 1]


@pytest.mark.parametrize(
    ("told", "word"),
    [
        (Started(**common("a", NOW)), "starting"),
        (a_progress("a", NOW, {0: 1}), "processing"),
        (a_progress("a", NOW, {0: 1}, falling_behind_ms=5_000), "falling behind"),
        (Idle(**common("a", NOW)), "idle"),
        (Idle(**common("a", NOW), lag=3), "waiting"),
        (a_progress("a", NOW - 16_000, {0: 1}), SILENT),
    ],
)
def test_what_a_worker_is_doing(told, word):
    assert doing(look(told)) == {"a": word}


def test_falling_behind_is_a_state_of_its_own():
    found = look(a_progress("a", NOW, {0: 1}, falling_behind_ms=65_000))
    assert found.state is State.BEHIND
    assert found.headline == "app runs and falls behind since 1 min 5 s: 1 worker, 1 partition."


def test_a_worker_that_is_silent_does_not_count_and_is_shown_for_a_minute():
    dead, alive = a_progress("a", NOW - 20_000, {0: 10}), a_progress("b", NOW, {1: 1})
    found = look(dead, alive)
    assert doing(found) == {"a": SILENT, "b": "processing"}
    assert found.progress.num_input_rows == 1
    assert found.headline == "app runs: 1 worker, 1 partition."
    assert doing(look(dead, alive, at_ms=NOW + 45_000)) == {"b": SILENT}


@pytest.mark.parametrize(
    ("members", "found"),
    [
        (None, {"a": "processing", "b": "processing"}),
        (["b-17-uuid"], {"a": GONE, "b": "processing"}),
        (["a-17", "b-17"], {"a": "processing", "b": "processing"}),
        (["rdkafka-1"], {"a": "processing", "b": "processing"}),  # names that tell nothing
        ([], {"a": GONE, "b": GONE}),
    ],
)
def test_who_is_not_in_the_group_is_gone(members, found):
    told = a_progress("a", NOW, {0: 1}), a_progress("b", NOW, {1: 1})
    looked = look(*told, members=members)
    assert doing(looked) == found
    assert [of.partitions for of in looked.workers] == [
        int(word != GONE) for word in found.values()
    ]


def test_who_is_gone_is_not_summed_and_counts_again_when_it_tells_again():
    of = heard(a_progress("a", NOW, {0: 10}), a_progress("b", NOW, {1: 1}))
    assert overview(NAME, of, NOW, members=["b-1"]).progress.num_input_rows == 1
    of.add(a_progress("a", NOW + 1, {0: 10}))
    assert overview(NAME, of, NOW, members=["a-1", "b-1"]).progress.num_input_rows == 11


def test_hosts_are_those_of_the_group():
    found = look(a_progress("a", NOW, {0: 1}), members=["a-17"], hosts={"a-17": "10.0.0.1"})
    assert found.workers[0].host == "10.0.0.1"


@pytest.mark.parametrize(
    ("told", "members", "state", "said"),
    [
        ((), [], State.STOPPED, "app does not run."),
        ((), None, State.STOPPED, "app does not run."),
        ((), ["x"], State.RUNNING, "app runs: 1 worker in its group, which have told nothing"),
        ((a_progress("a", NOW - 20_000, {0: 1}),), [], State.STOPPED, "app does not run."),
        ((a_progress("a", NOW - 20_000, {0: 1}),), ["a-1"], State.SILENT, "told nothing for 20 s"),
        (
            (a_progress("a", NOW - 1, {0: 1}), Terminated(**common("a", NOW))),
            [],
            State.STOPPED,
            "app does not run.",
        ),
    ],
)
def test_who_runs_at_all(told, members, state, said):
    found = look(*told, members=members)
    assert found.state is state
    assert said in found.headline


def test_figures_are_in_words():
    of = a_progress(
        "a",
        NOW,
        {0: 100, 3: 50},
        lag=12_345,
        batches=3,
        max_batch_duration=1_500,
        latency_ms=Latency(p50=5, p95=900, p99=1_200, max=70_000),
        event_time={"watermark": "2026-01-01T00:00:00.000Z"},
    )
    found = dict(figures(of))
    assert found["Input"] == "150 records/s"
    assert found["Output"] == "150 records/s"
    assert found["Lag"] == "24,690 records, at most 12,345 in in/3"
    assert found["Batches"] == "3, 50 ms each, 1.5 s the longest"
    assert found["Latency"] == "p50 5 ms, p95 900 ms, p99 1.2 s, max 1 min 10 s"
    assert found["Watermark"] == "2026-01-01T00:00:00.000Z"
    assert found["State"] == "1 store, 1,500 rows, 0 B in memory"


def test_what_was_let_go_is_added_up():
    of = a_progress("a", NOW, {0: 1}, num_failed_rows=2, num_late_rows=1)
    assert troubles([of, of]) == "4 failed, 2 late"
    assert troubles([a_progress("a", NOW, {0: 1})]) == ""


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (a_progress("a", NOW, {0: 5}, lag=2), "5 records in 1 batch, 5/s, 5 written, 5 ms, lag 2"),
        (Started(**common("a", NOW)), "started"),
        (Idle(**common("a", NOW), lag=1_000), "idle, lag 1,000"),
        (
            Rebalance(**common("a", NOW), taken={"in": (0, 2)}, given_back={}, assigned={}),
            "rebalance: takes in/0,2",
        ),
        (
            Restored(**common("a", NOW), stores=2, rows=1_000, duration_ms=50),
            "restored 2 stores: 1,000 records in 50 ms",
        ),
        (Terminated(**common("a", NOW)), "terminated in order"),
        (
            Terminated(**common("a", NOW), exception="b\x1b[31m\nad", error_class="DataError"),
            r"terminated: DataError: b\x1b[31m\nad",
        ),
    ],
)
def test_what_was_told_is_a_line(told, said):
    assert line(told) == f"2023-11-14T22:13:20.000Z  a  {said}"


def rows(watched, width, height, at_ms=NOW):
    watched.reach(at_ms)
    found = watched.lines(width, height, at_ms)
    assert len(found) == height
    assert all(isinstance(row, Text) and row.cell_len <= width for row in found)
    return [row.plain.rstrip() for row in found]


def test_all_columns_of_a_worker_fit_on_a_small_screen():
    of = a_progress("a" * 36, NOW - 9_900, {0: 9_999_999}, lag=99_999_999)
    (row,) = [row for row in rows(watched(of), 80, 24) if row.startswith("aaa")]
    assert row.endswith("99,999,999        -  9.9 s ago")


def watched(*told):
    found = Watched(NAME)
    found.take(told)
    return found


MANY = [a_progress(f"worker-{n:02}-with-a-long-name", NOW, {n: 10 * n}, lag=n) for n in range(30)]


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (40, 10), (20, 3), (10, 1)])
def test_a_screen_is_filled_and_nothing_scrolls(size):
    events = [Terminated(**common(f"x{n}", NOW - 99_000), exception="no") for n in range(60)]
    rows(watched(*events, *MANY), *size)
    rows(watched(), *size)


def test_a_small_screen_counts_who_has_no_room():
    found = rows(watched(Started(**common("x", NOW)), *MANY), 80, 24)
    shown = [row for row in found if row.startswith("worker-")]
    assert f"and {31 - len(shown)} more workers" in found
    assert "Last events" in found
    assert found[-1] == "q ends it"
    assert found[0].startswith("app runs: 31 workers, 30 partitions.")
    assert found[0].endswith("22:13:20")


def test_a_screen_shows_curves_events_and_time_by_phase():
    view = watched(
        a_progress(
            "a", NOW, {0: 10}, duration_ms={"addBatch": 30, "walCommit": 10, "triggerExecution": 60}
        )
    )
    for second in range(5):
        view.reach(NOW + 1_000 * second)
    view.take([Terminated(**common("b", NOW), exception="x\x1b[2J", error_class="StateError")])
    found = rows(view, 80, 24, NOW + 5_000)
    assert "Time spent  addBatch 75 %, walCommit 25 %" in found
    assert next(row for row in found if row.startswith("Input")).endswith("██████")
    assert r"22:13:20  b  terminated: StateError: x\x1b[2J" in found


def test_events_that_change_nothing_are_no_events():
    moved = Rebalance(**common("a", NOW), taken={}, given_back={"in": (3,)}, assigned={})
    nothing = Rebalance(**common("a", NOW), taken={}, given_back={}, assigned={"in": (1,)})
    found = rows(watched(nothing, moved, nothing, Idle(**common("a", NOW))), 80, 24)
    events = found[found.index("Last events") + 1 :]
    assert [row for row in events if row] == [
        "22:13:20  a  rebalance: gives back in/3",
        "q ends it",
    ]


def test_what_was_let_go_is_told_for_a_minute():
    view = watched()
    view.reach(NOW)
    view.take([a_progress("a", NOW, {0: 1}, num_failed_rows=2) for _ in range(20)])
    found = rows(view, 80, 24)
    assert "Let go      40 failed, in the last minute" in found
    assert not any("Last events" in row for row in found)
    assert not any("failed" in row for row in rows(view, 80, 24, NOW + 61_000))


def test_while_kafka_is_away_time_stands_still():
    view = watched(a_progress("a", NOW, {0: 10}))
    view.reach(NOW)
    later = NOW + 60_000
    found = [row.plain for row in view.lines(80, 24, later)]
    assert found[-1] == "Kafka has not answered since 22:13:20; trying on."
    assert any("processing" in row for row in found)
    assert "trying on" in view.line(later)
    view.reach(later)
    assert view.lines(80, 24, later)[-1].plain == "q ends it"


def test_where_there_is_no_screen_it_is_a_line():
    view = watched(
        a_progress("a", NOW, {0: 10}, lag=3, latency_ms=Latency(p50=1, p95=2, p99=3, max=4))
    )
    view.reach(NOW)
    assert view.line(NOW) == (
        "app runs: 1 worker, 1 partition. Input 10 records/s, output 10 records/s, lag 3, p99 3 ms."
    )


def test_curves():
    assert spark([]) == ""
    assert spark([0, 0]) == "▁▁"
    assert spark([1, 8, 4]) == "▂█▅"


def test_an_overview_is_an_object():
    found = look(a_progress("a", NOW - 500, {0: 10}, lag=3), members=["a-1"]).as_object()
    assert found["application"] == NAME
    assert (found["state"], found["members"], found["lag"]) == ("running", 1, 3)
    assert found["progress"]["id"] == str(query_id(NAME))
    assert found["workers"] == [
        {
            "instance": "a",
            "host": None,
            "state": "processing",
            "partitions": 1,
            "input_rate": 10.0,
            "lag": 3,
            "latency_p99_ms": None,
            "silent_seconds": 0.5,
        }
    ]


def failed(instance, at_ms, why="x cannot be decoded"):
    return Terminated(**common(instance, at_ms), exception=why, error_class="DataError")


def test_who_has_ended_does_not_run_though_the_group_still_knows_it():
    """A static member stays until its session ends: nobody is to read that it runs."""
    told = (a_progress("a", NOW - 2_000, {0: 1}), failed("a", NOW - 1_000))
    found = look(*told, members=["a-17"])
    assert (found.state, found.members) == (State.STOPPED, 0)
    assert found.ended == told[-1]
    again = look(*told, Started(**common("a", NOW, run=2)), members=["a-17"])
    assert (again.state, again.members, again.ended) == (State.RUNNING, 1, None)
    late = look(Started(**common("a", NOW - 5, run=2)), failed("a", NOW - 1), members=["a-17"])
    assert late.state is State.RUNNING, "last words of a run that another one has followed"


@pytest.mark.parametrize(
    ("told", "by"),
    [
        ((failed("a", NOW - 90_000), Terminated(**common("b", NOW))), None),
        ((failed("a", NOW - 900), Terminated(**common("b", NOW))), "a"),
        ((failed("a", NOW - 900), failed("b", NOW)), "b"),
        ((Terminated(**common("a", NOW)),), None),
    ],
)
def test_an_error_is_what_has_ended_it_not_the_stops_that_it_caused(told, by):
    found = look(*told, members=[])
    assert found.ended is not None
    assert (found.ended.instance_id if found.ended.exception else None) == by
    assert found.as_object()["ended"]["timestamp"] == found.ended.timestamp


def test_a_worker_that_was_killed_has_no_last_words():
    assert look(failed("a", NOW - 900), Idle(**common("b", NOW)), members=[]).ended is None
