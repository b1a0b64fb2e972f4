"""How connections to the cluster are secured. The Kafka client does it; here is what is said of it.

Settings pass to the client unchanged. Those that switch a protection off are warned of, at each
start, because they are mostly left from a first try.
"""

import logging
from collections.abc import Mapping
from typing import Final

log = logging.getLogger("penstock")

_OFF = ("false", "f", "0", "no")

# Setting, the values that are warned of, and what is said.
WEAK: Final[tuple[tuple[str, tuple[str, ...], str], ...]] = (
    (
        "security.protocol",
        ("sasl_plaintext",),
        "records travel unencrypted, and with sasl.mechanism=PLAIN the password too. Use sasl_ssl.",
    ),
    (
        "enable.ssl.certificate.verification",
        _OFF,
        "any certificate is taken, so that anybody in between can be the broker. Leave it out, and"
        " name the authority that has signed the brokers' certificates: ssl.ca.location.",
    ),
    (
        "ssl.endpoint.identification.algorithm",
        ("none",),
        "a certificate of any other host is taken for the broker's. Leave it out, and use brokers'"
        " addresses that stand in their certificates.",
    ),
)


def warn_of_weak_transport(*settings: Mapping[str, object]) -> None:
    """Say which settings give protection up.

    Args:
        settings: librdkafka settings, of all clients and of single ones.
    """
    for name, values, why in WEAK:
        for group in settings:
            if str(group.get(name, "")).lower() in values:
                log.warning("KafkaSettings has %s=%s: %s", name, group[name], why)
                break
