"""Broken builds: each breaks one rule of exactly once, and some seed has to notice.

A rule whose break nobody notices is not tested.
"""

from collections.abc import Callable
from typing import Any

import pytest

from penstock.engine import task
from penstock.engine.transaction import Event
from penstock.errors import StateError
from penstock.runtime import consumer, intake, orphans, producer, tasks, worker
from penstock.runtime.client_configs import ClientConfigs
from penstock.state import overlay
from penstock.state.store import Position
from penstock.testing.sim.coordinator_consumer import ConsumerCoordinator
from penstock.testing.sim.disk import SimStore
from penstock.testing.sim.transactions import Session

Patch = Callable[[Any], None]


def applied_before_the_commit(patch: Any) -> None:
    """State reaches the disk although its transaction may still be aborted."""
    flush = worker.Worker._flush

    def hasty(self: Any) -> Event:
        event = flush(self)
        for owned in self._touched.values():
            for name, opened in owned.stores.items():
                offset = self._producer.delivered.get((opened.restore.topic, owned.partition))
                if offset is not None and owned.task:
                    items = owned.task.overlays[name]._flushed.items()
                    opened.store.write(list(items), Position(offset, opened.topic_id, 0))
        return event

    _command(patch, worker.Command.FLUSH, hasty)


def unknown_is_taken_for_committed(patch: Any) -> None:
    """The outcome of a commit is guessed: it went well."""
    resolve = worker.Worker._resolve

    def guess(self: Any) -> Event:
        resolve(self)
        return Event.FOUND_COMMITTED

    _command(patch, worker.Command.RESOLVE, guess)


def unknown_is_taken_for_aborted(patch: Any) -> None:
    """The outcome of a commit is guessed: it failed."""
    resolve = worker.Worker._resolve

    def guess(self: Any) -> Event:
        resolve(self)
        return Event.FOUND_ABORTED

    _command(patch, worker.Command.RESOLVE, guess)


def not_rewound(patch: Any) -> None:
    """After an abort the inputs go on where they are."""

    def stay(self: Any) -> None:
        for owned in self._touched.values():
            if owned.task:
                owned.task.discard(owned.clocks)
        self._touched = {}

    _command(patch, worker.Command.REWIND, stay)


def nobody_is_fenced(patch: Any) -> None:
    """A new producer goes on as its predecessor: no epoch rises, and nothing of it is ended."""

    def init(self: Any, *_: Any) -> None:
        identity = self._config["transactional.id"]
        coordinator = self._producer._broker.transactions
        found = coordinator._identities[identity]
        if found.epoch < 0:
            coordinator.init(identity, 60)
        self._producer._session = Session(identity, found.producer_id, found.epoch)

    patch.setattr(producer.TransactionalProducer, "init", init)


def offsets_without_a_member(patch: Any) -> None:
    """Offsets are sent with generation -1, which brokers take from anybody."""
    send = producer.TransactionalProducer.send_offsets

    class Nobody:
        def __init__(self, client: Any) -> None:
            self._group = client._group.name

        def consumer_group_metadata(self) -> bytes:
            return f'["{self._group}", -1, "", null]'.encode()

    def careless(self: Any, offsets: Any, client: Any) -> None:
        send(self, offsets, Nobody(client))

    patch.setattr(producer.TransactionalProducer, "send_offsets", careless)


def offsets_outside_of_the_transaction(patch: Any) -> None:
    """Offsets are committed before the records are."""

    def hasty(self: Any, offsets: Any, client: Any) -> None:
        client._group.committed.update(offsets)

    patch.setattr(producer.TransactionalProducer, "send_offsets", hasty)


def offsets_before_the_flush(patch: Any) -> None:
    """Offsets are sent while records may still wait in the producer.

    At least once loses those with the process. In a transaction they would be part of it all
    the same: there it takes a second broken rule, `ends_before_the_offsets`.
    """
    flush, send = worker.Worker._flush, worker.Worker._send_offsets

    def hasty(self: Any) -> Event:
        with pytest.MonkeyPatch.context() as unflushed:
            unflushed.setattr(self._producer, "flush", lambda: None)
            return flush(self)

    def late(self: Any) -> Event:
        event = send(self)
        self._producer.flush()
        return event

    _command(patch, worker.Command.FLUSH, hasty)
    _command(patch, worker.Command.SEND_OFFSETS, late)


def handed_over_too_early(patch: Any) -> None:
    """The broker gives a partition to its new owner while the old one has it."""
    patch.setattr(ConsumerCoordinator, "_taken", lambda self: set())


def epochs_are_not_checked(patch: Any) -> None:
    """The broker takes offsets from members of any epoch, and from those who were put out."""
    patch.setattr(ConsumerCoordinator, "check", lambda *_: None)


def restored_from_uncommitted_records(patch: Any) -> None:
    """The restore consumer reads aborted records too."""
    config = ClientConfigs.restore

    def loose(self: Any) -> dict[str, Any]:
        return {**config(self), "isolation.level": "read_uncommitted"}

    patch.setattr(ClientConfigs, "restore", loose)


def inputs_uncommitted(patch: Any) -> None:
    """Inputs are read with their aborted records."""
    config = ClientConfigs.inputs

    def loose(self: Any, *args: Any) -> dict[str, Any]:
        return {**config(self, *args), "isolation.level": "read_uncommitted"}

    patch.setattr(ClientConfigs, "inputs", loose)


def offsets_are_not_waited_for(patch: Any) -> None:
    """A new owner takes the offsets as they stand, though a transaction may yet move them.

    About one world in 500 notices: test_scenarios tells it.
    """
    find = tasks.TaskStarter._find_offsets

    def hasty(self: Any, waiting: Any) -> bool:
        client = self._consumer.client
        client._committed_only = False
        try:
            return find(self, waiting)
        finally:
            client._committed_only = True

    patch.setattr(tasks.TaskStarter, "_find_offsets", hasty)


def purged_before_the_commit(patch: Any) -> None:
    """Repartition topics are deleted up to what was read, committed or not."""
    step = worker.Worker.step

    def eager(self: Any) -> None:
        step(self)
        repartitions = self._prepared.topology.repartitions
        read = {at: n for at, n in self._batch.next_offsets.items() if at[0] in repartitions}
        if read:
            self._starter._admin.delete_before(read)

    patch.setattr(worker.Worker, "step", eager)


def what_a_fetch_still_brings_is_kept(patch: Any) -> None:
    """What the fetch brings in which an input was rewound or given up is processed."""

    class Nothing(set[Any]):
        def __contains__(self, item: object) -> bool:
            return False

        def __ior__(self, other: Any) -> "Nothing":
            return self

    make = intake.Intake.__init__

    def credulous(self: Any, consumer: Any) -> None:
        make(self, consumer)
        self._dropped = Nothing()

    patch.setattr(intake.Intake, "__init__", credulous)


def ends_before_the_offsets(patch: Any) -> None:
    """A new owner takes the changelogs' ends before the offsets, which it then waits for.

    Nobody notices that alone: whose offsets are accepted has flushed before.
    """
    find, open_stores = tasks.TaskStarter._find_offsets, tasks.TaskStarter._open_stores

    def hasty(self: Any, waiting: Any) -> bool:
        application = self._prepared.topology.application
        for owned in waiting:
            stores = owned.lead.part.stores
            ends = self._admin.ends([(s.changelog(application), owned.partition) for s in stores])
            vars(owned).setdefault("early", ends)
        return find(self, waiting)

    def late(self: Any, waiting: Any) -> None:
        ends = {at: n for owned in waiting for at, n in vars(owned).pop("early").items()}
        with pytest.MonkeyPatch.context() as old:
            old.setattr(self._admin, "ends", lambda _: ends)
            open_stores(self, waiting)

    patch.setattr(tasks.TaskStarter, "_find_offsets", hasty)
    patch.setattr(tasks.TaskStarter, "_open_stores", late)


def nobody_looks_again(patch: Any) -> None:
    """State without offsets is taken for forgotten offsets at once (as it once was)."""
    patch.setattr(tasks.TaskStarter, "_is_overtaken", lambda *_: False)


def what_was_given_up_is_rewound(patch: Any) -> None:
    """An input that comes back goes on where it once was rewound to (as it once did).

    About one world in a thousand notices: test_scenarios tells it.
    """
    give_up = intake.Intake.give_up

    def stubborn(self: Any, owned: Any) -> None:
        rewound = dict(self._rewound)
        give_up(self, owned)
        self._rewound = rewound

    patch.setattr(intake.Intake, "give_up", stubborn)


def nobody_looks_for_orphans(patch: Any) -> None:
    """What a rebalance has left to nobody stays nobody's: test_scenarios tells it."""
    patch.setattr(orphans.OrphanWatch, "check", lambda _watch, _now_ms: None)


def bad_records_leave_state(patch: Any) -> None:
    """What a record has changed before it failed stays."""
    patch.setattr(overlay.Overlay, "rollback", lambda _: None)


def dead_letters_go_apart(patch: Any) -> None:
    """They are taken for written before their transaction is committed: nothing is, if it fails."""
    write = task.Task._write_letters

    def write_once(self: Any) -> None:
        seen = self.__dict__.setdefault("_seen", set())
        self._unwritten = [f for f in self._unwritten if (f.topic, f.offset) not in seen]
        seen.update((failure.topic, failure.offset) for failure in self._unwritten)
        write(self)

    patch.setattr(task.Task, "_write_letters", write_once)


def newcomers_wait(patch: Any) -> None:
    """A newcomer waits for the next heartbeat to hear what it is to have."""
    patch.setattr(consumer.InputConsumer, "ask_for_more", lambda _: None)


def outputs_are_turned_around(patch: Any) -> None:
    """What one chunk hands on is written from its end."""
    produce = producer.TransactionalProducer.produce

    def turned(self: Any, out: Any) -> None:
        plain = out.store is None and out.headers is None
        columns = ("keys", "values", "partitions", "timestamps") if plain else ()
        produce(self, out._replace(**{name: getattr(out, name)[::-1] for name in columns}))

    patch.setattr(producer.TransactionalProducer, "produce", turned)


def refused_writes_are_forgotten(patch: Any) -> None:
    """A store goes on as if a disk that has refused had taken what it was given."""
    write = SimStore.write

    def blind(self: Any, items: Any, position: Position) -> None:
        try:
            write(self, items, position)
        except StateError:
            write(self, [], position)

    patch.setattr(SimStore, "write", blind)


def offsets_have_a_transaction_of_their_own(patch: Any) -> None:
    """What a batch writes is committed, and then its offsets are."""
    send = worker.Worker._send_offsets

    def apart(self: Any) -> Event:
        self._producer.commit()
        self._producer.begin()
        return send(self)

    _command(patch, worker.Command.SEND_OFFSETS, apart)


def only_the_first_task_is_begun(patch: Any) -> None:
    """Records come for the first task that a worker has, and for no other."""
    begin = consumer.InputConsumer.begin

    def once(self: Any, positions: Any) -> None:
        if not self._begun:
            begin(self, positions)

    patch.setattr(consumer.InputConsumer, "begin", once)


def found_offsets_are_taken_for_fresh(patch: Any) -> None:
    """What others have committed is taken for committed just now: it is not renewed in time."""
    begin = tasks.TaskStarter._run

    def fresh(self: Any, owned: Any) -> None:
        begin(self, owned)
        owned.committed_ms = self._now_ms()

    patch.setattr(tasks.TaskStarter, "_run", fresh)


SABOTAGES: list[Patch] = [
    applied_before_the_commit,
    unknown_is_taken_for_committed,
    unknown_is_taken_for_aborted,
    not_rewound,
    nobody_is_fenced,
    offsets_without_a_member,
    offsets_outside_of_the_transaction,
    offsets_before_the_flush,
    handed_over_too_early,
    epochs_are_not_checked,
    restored_from_uncommitted_records,
    inputs_uncommitted,
    purged_before_the_commit,
    what_a_fetch_still_brings_is_kept,
    bad_records_leave_state,
    dead_letters_go_apart,
    outputs_are_turned_around,
    refused_writes_are_forgotten,
]


def _command(patch: Any, command: Any, action: Any) -> None:
    patch.setitem(worker.Worker._COMMANDS, command, action)
