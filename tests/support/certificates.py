"""Certificates of the tests' own making: authorities, and those whom they vouch for."""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as new_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Identity:
    """Somebody's certificate and key as files; `both` holds the two, the key first."""

    certificate: Path
    key: Path
    both: Path


class Authority:
    """Signs certificates, and keeps them and its own (`certificate`) in a folder."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        self._folder = folder
        self._key = new_key(SECP256R1())
        self._name = _name(name)
        now = datetime.now(UTC)
        signed = (
            _builder(self._name, self._name, self._key, now - DAY, now + DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .add_extension(self._identifier(), critical=False)
            .sign(self._key, SHA256())
        )
        self.certificate = folder / f"{name}.pem"
        self.certificate.write_bytes(signed.public_bytes(Encoding.PEM))

    def vouch(self, name: str, *, age: timedelta = DAY, life: timedelta = 2 * DAY) -> Identity:
        """Sign a certificate for somebody who answers at 127.0.0.1, begun `age` ago."""
        key = new_key(SECP256R1())
        begun = datetime.now(UTC) - age
        loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        signed = (
            _builder(_name(name), self._name, key, begun, begun + life)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.SubjectAlternativeName([loopback]), critical=False)
            .add_extension(self._identifier(), critical=False)
            .sign(self._key, SHA256())
        )
        identity = Identity(*(self._folder / f"{name}.{kind}" for kind in ("crt", "key", "pem")))
        pair = {
            identity.key: key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            identity.certificate: signed.public_bytes(Encoding.PEM),
        }
        for path, content in {**pair, identity.both: b"".join(pair.values())}.items():
            path.touch(mode=0o600)
            path.write_bytes(content)
        return identity

    def _identifier(self) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: EllipticCurvePrivateKey,
    begun: datetime,
    ended: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begun)
        .not_valid_after(ended)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
