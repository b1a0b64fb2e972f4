"""Peers: the workers of an application, and which partitions of stores each of them has.

Workers announce themselves on a topic of the application. What is said last of a partition counts,
by the order of the topic: no clock is compared with another. It is a hint where to ask, no more.
Whoever is asked answers only for what it has.

Rule 1: a caller's token goes to no one who has not shown that it knows it: announcements are signed
        with it. Where there is no token, workers are asked on this very host only.
"""

import hashlib
import hmac
import ipaddress
from collections.abc import Callable, Mapping, Sequence

import msgspec

from penstock.query.reading import At

REFRESH_S = 30.0
FORGET_S = 3 * REFRESH_S + 5
REST_S = 1.0


class Announcement(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """What a worker says of itself.

    Attributes:
        instance_id: of the worker.
        run_id: of its run.
        host: name of the machine that it runs on.
        address: under which it can be reached.
        port: likewise.
        stores: its partitions, by store.
        mac: signs all of it with the token, empty where there is none.
    """

    instance_id: str
    run_id: str
    host: str
    address: str
    port: int
    stores: Mapping[str, Sequence[int]]
    mac: str = ""

    def signed(self, token: str | None) -> "Announcement":
        """Return it with the signature of a token."""
        return msgspec.structs.replace(self, mac=self._mac(token) if token else "")

    def is_signed(self, token: str) -> bool:
        """Whether it was signed by somebody who knows the token."""
        return hmac.compare_digest(self.mac, self._mac(token))

    def _mac(self, token: str) -> str:
        plain = msgspec.json.encode(msgspec.structs.replace(self, mac=""), order="sorted")
        return hmac.new(token.encode(), plain, hashlib.sha256).hexdigest()


class Peer(msgspec.Struct, frozen=True):
    """Another worker that can be asked.

    Attributes:
        instance_id: of the worker.
        host: name of the machine that it runs on.
        address: where to ask it.
        port: likewise.
    """

    instance_id: str
    host: str
    address: str
    port: int

    def __str__(self) -> str:
        return f"worker {self.instance_id} ({self.host}, {self.address}:{self.port})"


class Peers:
    """What the other workers have announced.

    Args:
        instance_id: of this worker.
        host: name of the machine that it runs on.
        token: of the HTTP servers of the application, None where there is none.
        now: monotonic seconds.
    """

    def __init__(
        self, instance_id: str, host: str, token: str | None, now: Callable[[], float]
    ) -> None:
        self.instance_id = instance_id
        self.token = token
        self._host = host
        self._now = now
        self._heard = 0
        self._peers: dict[str, tuple[Peer, float]] = {}
        self._claims: dict[At, dict[str, int]] = {}
        self._resting: dict[str, float] = {}

    def take(self, instance_id: str, data: bytes | None) -> None:
        """Take what stands on the topic: an announcement, or None behind a worker that has ended.

        What cannot be read, or is not signed as it should be, counts for nothing.
        """
        if instance_id == self.instance_id:
            return
        self._forget(instance_id)
        try:
            found = None if data is None else msgspec.json.decode(data, type=Announcement)
        except msgspec.MsgspecError:
            return
        if found is None or found.instance_id != instance_id or not self._is_trusted(found):
            return
        self._heard += 1
        peer = Peer(instance_id, found.host, found.address, found.port)
        self._peers[instance_id] = (peer, self._now())
        for name, partitions in found.stores.items():
            for number in partitions:
                claims = dict(self._claims.get((name, number), {}))
                self._claims[name, number] = {**claims, instance_id: self._heard}

    def owner(self, at: At) -> Peer | None:
        """Return who has a partition, as far as that is known."""
        claims = sorted(self._claims.get(at, {}).items(), key=lambda claim: -claim[1])
        for instance_id, _ in claims:
            found = self._peers.get(instance_id)
            if found and self._now() - found[1] <= FORGET_S:
                return found[0]
        return None

    def dispute(self, at: At, instance_id: str) -> None:
        """Note that a worker says that it does not have a partition."""
        self._claims[at] = {
            of: heard for of, heard in self._claims.get(at, {}).items() if of != instance_id
        }

    def rest(self, instance_id: str) -> None:
        """Note that a worker does not answer: for a moment nobody else waits for it."""
        self._resting[instance_id] = self._now() + REST_S

    def rests(self, instance_id: str) -> bool:
        """Whether a worker is not asked for a moment."""
        return self._now() < self._resting.get(instance_id, 0.0)

    def describe(self, at: At) -> str | None:
        """Say who has a partition, in words."""
        peer = self.owner(at)
        return None if peer is None else str(peer)

    def _forget(self, instance_id: str) -> None:
        self._peers.pop(instance_id, None)
        self._resting.pop(instance_id, None)
        for at, claims in list(self._claims.items()):
            if instance_id in claims:
                self._claims[at] = {of: n for of, n in claims.items() if of != instance_id}

    def _is_trusted(self, found: Announcement) -> bool:
        here = _is_loopback(found.address)
        if here and found.host != self._host:
            return False  # it can be reached on its own machine only
        return found.is_signed(self.token) if self.token else here


def _is_loopback(address: str) -> bool:
    try:
        return address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
