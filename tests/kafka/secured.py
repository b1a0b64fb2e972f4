"""A broker that asks who one is: TLS with a certificate of an own authority, passwords, tokens.

SECURE takes a user's password (PLAIN, SCRAM) or token over TLS, MUTUAL a certificate of a client.
The certificates are for 127.0.0.1 alone; no other name of this host is in them.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka.admin import (
    AdminClient,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from penstock.testing.kafka_server import KafkaServer, _free_ports
from tests.certificates import certify
from tests.kafka.conftest import BROKER

USER, PASSWORD = "canary-user-5b1e", "canary-password-93d7"
KEY_PASSWORD = "canary-passphrase-40aa"
MODULE = "org.apache.kafka.common.security"


@dataclass(frozen=True)
class Secured:
    """A cluster, and how to reach it.

    Attributes:
        plain: for tests alone.
        secure: who one is has to be said, over TLS.
        mutual: by a certificate.
        folder: the certificates.
    """

    plain: str
    secure: str
    mutual: str
    folder: Path

    def password(self, mechanism: str, password: str = PASSWORD) -> dict[str, Any]:
        """The settings of who says a password."""
        return {
            "security.protocol": "sasl_ssl",
            "ssl.ca.location": str(self.folder / "ca.crt"),
            "sasl.mechanism": mechanism,
            "sasl.username": USER,
            "sasl.password": password,
        }

    def certificate(self) -> dict[str, Any]:
        """The settings of who has a certificate: in the settings themselves, as in containers."""
        return {
            "security.protocol": "ssl",
            "ssl.ca.pem": (self.folder / "ca.crt").read_text(),
            "ssl.certificate.pem": (self.folder / "client.crt").read_text(),
            "ssl.key.pem": (self.folder / "client.key").read_text(),
            "ssl.key.password": KEY_PASSWORD,
        }


@contextmanager
def secured(folder: Path) -> Iterator[Secured]:
    """Run such a cluster while the context lasts."""
    make_certificates(folder)
    ports = _free_ports(4, first=None)
    plain, controller, secure, mutual = (f"127.0.0.1:{port}" for port in ports)
    listeners = {"BROKER": plain, "SECURE": secure, "MUTUAL": mutual}
    told = ",".join(f"{name}://{address}" for name, address in listeners.items())
    settings = {
        **BROKER,
        "listeners": f"{told},CONTROLLER://{controller}",
        "advertised.listeners": told,
        "controller.quorum.voters": f"1@{controller}",
        "listener.security.protocol.map": (
            "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL,MUTUAL:SSL"
        ),
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "broker.pem"),
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.mutual.ssl.truststore.type": "PEM",
        "listener.name.mutual.ssl.truststore.location": str(folder / "ca.crt"),
        "listener.name.secure.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,OAUTHBEARER",
        "listener.name.secure.plain.sasl.jaas.config": (
            f'{MODULE}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";'
        ),
        "listener.name.secure.scram-sha-256.sasl.jaas.config": (
            f"{MODULE}.scram.ScramLoginModule required;"
        ),
        "listener.name.secure.oauthbearer.sasl.jaas.config": (
            f"{MODULE}.oauthbearer.OAuthBearerLoginModule required"
            ' unsecuredLoginStringClaim_sub="broker";'
        ),
    }
    with KafkaServer(port=ports[0], settings=settings):
        add_user(plain)
        yield Secured(plain, secure, mutual, folder)


def add_user(servers: str) -> None:
    """Let the user log in by SCRAM."""
    credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096)
    admin = AdminClient({"bootstrap.servers": servers})
    asked = admin.alter_user_scram_credentials(
        [UserScramCredentialUpsertion(USER, credential, PASSWORD.encode())]
    )
    asked[USER].result(timeout=30)


def make_certificates(folder: Path) -> None:
    """Make an authority, and what it signs: the broker's, and a client's with a passphrase."""
    authority = certify("authority")
    broker, client = certify("broker", authority), certify("client", authority)
    (folder / "ca.crt").write_text(authority.certificate_pem)
    (folder / "broker.pem").write_text(broker.key_pem() + broker.certificate_pem)
    (folder / "client.key").write_text(client.key_pem(KEY_PASSWORD))
    (folder / "client.crt").write_text(client.certificate_pem)
