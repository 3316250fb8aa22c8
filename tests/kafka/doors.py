"""The secured doors of the tests' brokers: who is behind them, and who may come in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from secrets import token_urlsafe

from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._scram import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from deploy.local.kafka import Listener
from shared.kafka import Security
from tests.kafka import outsider
from tests.support.certificates import Authority

USERS, MUTUAL, EXPIRED, OPEN = "USERS", "MUTUAL", "EXPIRED", "OPEN"
"""By TLS and password; by TLS on both sides; by TLS, too late; by password in the open."""

_SCRAM = {
    "SCRAM-SHA-256": ScramMechanism.SCRAM_SHA_256,
    "SCRAM-SHA-512": ScramMechanism.SCRAM_SHA_512,
}
_MODULES = "org.apache.kafka.common.security"


@dataclass(frozen=True)
class Doors:
    """What lies beside the doors: the authority that vouches for brokers and clients, and files.

    `plain` is the password of the user of this name at `USERS` and `OPEN`, by PLAIN.
    """

    folder: Path
    authority: Authority
    plain: str

    @classmethod
    def made(cls, folder: Path) -> "Doors":
        """Make everything that doors need."""
        return cls(folder, Authority(folder), token_urlsafe())

    def listeners(self) -> Sequence[Listener]:
        """As the brokers are told of them."""
        broker = self.authority.vouch("broker")
        late = self.authority.vouch("late", age=timedelta(days=3), life=timedelta(days=2))
        return [
            Listener(USERS, "SASL_SSL", {**_kept(broker.both), **self._users()}),
            Listener(OPEN, "SASL_PLAINTEXT", self._users()),
            Listener(
                MUTUAL,
                "SSL",
                {
                    **_kept(broker.both),
                    "ssl.client.auth": "required",
                    "ssl.truststore.type": "PEM",
                    "ssl.truststore.location": self.authority.certificate,
                },
            ),
            Listener(EXPIRED, "SSL", _kept(late.both)),
        ]

    def _users(self) -> Mapping[str, object]:
        return {
            "sasl.enabled.mechanisms": ",".join(["PLAIN", *_SCRAM]),
            "plain.sasl.jaas.config": f"{_MODULES}.plain.PlainLoginModule required"
            f' user_plain="{self.plain}";',
            **{
                f"{name.lower()}.sasl.jaas.config": f"{_MODULES}.scram.ScramLoginModule required;"
                for name in _SCRAM
            },
        }

    def user(self, name: str, password_file: Path, mechanism: str = "SCRAM-SHA-512") -> Security:
        """Come to `USERS` as somebody with a password."""
        ca = self.authority.certificate
        return Security("sasl_ssl", mechanism, name, password_file, ca)

    def bearer(self, name: str) -> Security:
        """Come to `MUTUAL` as somebody with a certificate."""
        own = self.authority.vouch(name)
        ca = self.authority.certificate
        return Security("ssl", ca_file=ca, cert_file=own.certificate, key_file=own.key)

    def secret(self, name: str, content: str) -> Path:
        """Write a secret into a file, or replace the one that is there."""
        path = self.folder / name
        draft = path.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(f"{content}\n", encoding="utf-8")
        return draft.replace(path)


def environment(security: Security) -> dict[str, str]:
    """Say it as a service is told of it."""
    settings = {
        "SECURITY": security.protocol,
        "SASL_MECHANISM": security.mechanism,
        "SASL_USERNAME": security.username,
        "SASL_PASSWORD_FILE": security.password_file,
        "CA_FILE": security.ca_file,
        "CERT_FILE": security.cert_file,
        "KEY_FILE": security.key_file,
    }
    return {f"LASTMETRE_KAFKA_{name}": str(value) for name, value in settings.items() if value}


def enrol(bootstrap: str, user: str, password: str, mechanism: str = "SCRAM-SHA-512") -> None:
    """Give a user a password, or another one, as an administrator does."""
    credential = UserScramCredentialUpsertion(
        user, ScramCredentialInfo(_SCRAM[mechanism], 4096), password.encode()
    )
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for altered in admin.alter_user_scram_credentials([credential]).values():
        altered.result(outsider.SECONDS)


def _kept(both: Path) -> Mapping[str, object]:
    return {"ssl.keystore.type": "PEM", "ssl.keystore.location": both}
