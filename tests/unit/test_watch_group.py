"""How `penstock watch` asks the cluster: nothing waits, and no question about a group is given up.

With librdkafka 2.16.0 a question about a group that has timed out while the cluster was away ends
the process on an assertion, and so may a client that is ended with one on its way.
"""

import time
from pathlib import Path
from typing import Any

import pytest

from penstock.cli import cluster, watch
from penstock.cli.application import Application
from penstock.topics.admin import NEVER_S, Admin, Owners


class Answer:
    """One that comes when the test says so."""

    def __init__(self) -> None:
        self.here = False
        self.found: Any = None

    def come(self, found: Any) -> None:
        self.here, self.found = True, found

    def done(self) -> bool:
        return self.here

    def result(self) -> Any:
        return self.found


class Asked:
    """A client that notes what it was asked."""

    def __init__(self) -> None:
        self.topics: list[Answer] = []
        self.groups: list[Answer] = []

    def describe(self, _: list[str]) -> Answer:
        self.topics.append(Answer())
        return self.topics[-1]

    def owners(self, _: str) -> Answer:
        self.groups.append(Answer())
        return self.groups[-1]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Any:
    class World:
        def __init__(self) -> None:
            self.now = 100.0
            self.clients = [Asked()]
            monkeypatch.setattr(time, "monotonic", lambda: self.now)
            monkeypatch.setattr(cluster, "make_admin", self.make)
            known = Application("app", "kafka:9092", Path())
            self.group = watch._Group(known, self.clients[0])  # type: ignore[arg-type]

        def make(self, _: str) -> Asked:
            self.clients.append(Asked())
            return self.clients[-1]

        def step(self, seconds: float = 0.0) -> None:
            """Let the cluster answer about topics, and time go on."""
            self.now += seconds
            for client in self.clients:
                for answer in client.topics:
                    answer.come({})
            self.group.ask()

    return World()


def test_the_group_is_asked_again_and_again(world: Any) -> None:
    for number in range(1, 4):
        world.step(watch.GROUP_S + 0.1)
        [client] = world.clients
        assert len(client.groups) == number
        client.groups[-1].come(Owners(True, {f"a-{number}": frozenset()}))
        world.step()
        assert world.group.members == [f"a-{number}"]


def test_a_question_that_gets_lost_is_kept_and_another_client_asks(world: Any) -> None:
    world.step()
    world.step(watch.LOST_S - 1)
    assert len(world.clients) == 1
    world.step(2)
    world.step()
    first, second = world.clients
    assert len(first.groups) == len(second.groups) == 1
    assert world.group._admins[0] is first, "to end it would end the process"
    second.groups[0].come(Owners(True, {"a-1": frozenset()}))
    world.step()
    assert world.group.members == ["a-1"]


def test_an_outage_is_seen_though_a_question_about_the_group_is_on_its_way(world: Any) -> None:
    world.step()
    world.step(watch.GROUP_S + 0.1)
    assert world.group.answered
    world.now += watch.PATIENCE_S + 0.1
    world.group.ask()
    assert not world.group.answered
    world.step()
    assert world.group.answered


def test_a_question_about_a_group_does_not_time_out() -> None:
    asked: dict[str, Any] = {}

    class Client:
        def __init__(self, _: Any) -> None: ...

        def describe_consumer_groups(self, groups: list[str], **options: Any) -> dict[str, Any]:
            asked.update(options)
            return dict.fromkeys(groups, Answer())

    admin = Admin({"bootstrap.servers": "kafka:9092"}, timeout_ms=10_000, client=Client)
    assert not admin.owners("app").done()
    assert asked == {"request_timeout": NEVER_S}
