"""Where the HTTP server listens: what the code says, and the environment, which wins.

PENSTOCK_HTTP          off, or host:port
PENSTOCK_HTTP_TOKEN    what callers have to show
"""

import os
from collections.abc import Mapping

from penstock.errors import TopologyError
from penstock.query.web.binding import Address
from penstock.runtime.settings import HttpSettings, check_token
from penstock.secret import Secret

PLACE = "PENSTOCK_HTTP"
TOKEN = "PENSTOCK_HTTP_TOKEN"  # noqa: S105 - the name of a variable


def http_address(
    settings: HttpSettings, environment: Mapping[str, str] = os.environ
) -> Address | None:
    """Return where to listen, None where not at all.

    Raises:
        TopologyError: if the environment says nothing that can be understood, or others can
            reach the address and there is no token.
    """
    place = environment.get(PLACE, "")
    if place == "off" or not (settings.enabled or place):
        return None
    host, port = host_and_port(place) if place else (settings.host, settings.port)
    token = environment.get(TOKEN) or settings.token
    if token is not None:
        token = check_token(token.reveal() if isinstance(token, Secret) else token)
    advertised = settings.advertised or host
    return Address(
        host=host, port=port, next_port=settings.next_port, token=token, advertised=advertised
    ).check()


def host_and_port(place: str) -> tuple[str, int]:
    """Return the parts of `host:port`.

    >>> host_and_port("127.0.0.1:8321")
    ('127.0.0.1', 8321)
    >>> host_and_port("[::1]:0")
    ('::1', 0)

    Raises:
        TopologyError: if it is none.
    """
    host, colon, port = place.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    number = int(port) if port.isascii() and port.isdigit() and len(port) <= 5 else -1
    if not colon or not host or not 0 <= number <= 65_535:
        raise TopologyError(
            f"{PLACE} or --http is {place!r}, which is no place. Set it to 'off' or HOST:PORT,"
            " such as 127.0.0.1:8321."
        )
    return host, number
