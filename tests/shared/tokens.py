"""Tokens good and bad: keys of every kind that is taken, and every way a token can be wrong."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared.auth import LONGEST_TOKEN, MOST_AREAS

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
WEAK_KEY = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - refused
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
STRANGER = ec.generate_private_key(ec.SECP256R1())
"""A key of nobody we know."""


def public(key: Any, algorithm: str, kid: str, **more: str) -> dict[str, Any]:
    """Describe a public key as a JWKS does."""
    entry = jwt.get_algorithm_by_name(algorithm).to_jwk(key.public_key(), as_dict=True)
    return {**entry, "kid": kid, **more}


ENTRIES = [
    public(RSA_KEY, "RS256", "rsa"),
    public(WEAK_KEY, "RS256", "weak"),
    public(EC_KEY, "ES256", "ec", use="sig"),
    public(ED_KEY, "EdDSA", "ed"),
    public(RSA_KEY, "RS256", "sealing", use="enc"),
    {"kty": "oct", "kid": "shared-secret", "k": base64.urlsafe_b64encode(b"s" * 32).decode()},
    {"kty": "made-up", "kid": "odd"},
]


def write(path: Path, entries: list[dict[str, Any]]) -> None:
    """Replace a JWKS file as an issuer does, at once."""
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"keys": entries}))
    fresh.replace(path)


def claims(**more: object) -> dict[str, object]:
    """State what a token states; `None` leaves a claim out."""
    now = int(time.time())
    told = {"sub": "s-1", "aud": "lastmetre", "exp": now + 600, "roles": ["site"], **more}
    return {name: value for name, value in told.items() if value is not None}


def signed(key: Any, algorithm: str, kid: str, **more: object) -> str:
    """Sign a token."""
    return jwt.encode(claims(**more), key, algorithm, headers={"kid": kid})


def good(**more: object) -> str:
    """Sign a token that only its claims can make a bad one."""
    return signed(EC_KEY, "ES256", "ec", **more)


def raw(header: bytes, payload: bytes, sign: Callable[[bytes], bytes] = lambda _: b"") -> str:
    """Put a token together by hand, as no library would."""
    body = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (header, payload))
    return (body + b"." + base64.urlsafe_b64encode(sign(body)).rstrip(b"=")).decode()


def _shared(secret: bytes, **header: str) -> str:
    """Sign with a secret that everybody can know."""
    told = {"alg": "HS256", "kid": "rsa", "typ": "JWT", **header}
    return raw(
        json.dumps(told).encode(),
        json.dumps(claims()).encode(),
        lambda body: hmac.new(secret, body, hashlib.sha256).digest(),
    )


def _pem() -> bytes:
    return RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _with_payload_of(other: str) -> str:
    """Keep header and signature of a good token, and say something else."""
    head, _, signature = good().split(".")
    return ".".join((head, other.split(".")[1], signature))


def _bringing_its_key() -> str:
    header = {"kid": "nobody", "jwk": public(STRANGER, "ES256", "nobody"), "jku": "https://x/jwks"}
    return jwt.encode(claims(), STRANGER, "ES256", headers=header)


def _soon(seconds: int) -> int:
    return int(time.time()) + seconds


def _nested(head: bytes = b"[" * 2000) -> str:
    return raw(head, b"{}")


def _with_payload(payload: bytes) -> str:
    return jwt.PyJWS().encode(payload, EC_KEY, "ES256", headers={"kid": "ec"})


REFUSED: dict[str, tuple[Callable[[], str], str]] = {
    # --- its time, its audience ---
    "expired": (lambda: good(exp=_soon(-60)), "has expired"),
    "expired in 1970": (lambda: good(exp=0), "has expired"),
    "expires never": (lambda: good(exp="never"), "not valid"),
    "expires at infinity": (
        lambda: _with_payload(b'{"sub":"s","aud":"lastmetre","exp":1e999}'), "not valid"),
    "not valid yet": (lambda: good(nbf=_soon(600)), "not valid"),
    "issued tomorrow": (lambda: good(iat=_soon(86400)), "not valid"),
    "another audience": (lambda: good(aud="others"), "another audience"),
    "an audience that begins like ours": (lambda: good(aud="lastmetre2"), "another audience"),
    "other audiences": (lambda: good(aud=["others", "more"]), "another audience"),
    # --- its key, its algorithm ---
    "unknown key": (lambda: signed(EC_KEY, "ES256", "nobody"), "key is unknown"),
    "names no key": (lambda: jwt.encode(claims(), EC_KEY, "ES256"), "names no key"),
    "a key id that is a number": (
        lambda: raw(b'{"alg":"ES256","kid":7}', b"{}"), "not a JWT"),
    "an EC signature under an RSA key's id": (lambda: signed(EC_KEY, "ES256", "rsa"), "not valid"),
    "an RSA signature under an EC key's id": (lambda: signed(RSA_KEY, "RS256", "ec"), "not valid"),
    "another's signature": (lambda: signed(STRANGER, "ES256", "ec"), "not valid"),
    "another's Ed25519 signature": (
        lambda: signed(ed25519.Ed25519PrivateKey.generate(), "EdDSA", "ed"), "not valid"),
    "a key for encryption": (lambda: signed(RSA_KEY, "RS256", "sealing"), "key is unknown"),
    "a symmetric key of the JWKS": (
        lambda: signed("s" * 32, "HS256", "shared-secret"), "not signed with one of"),
    "brings its own key": (_bringing_its_key, "key is unknown"),
    "RS512": (lambda: signed(RSA_KEY, "RS512", "rsa"), "not signed with one of"),
    "PS256": (lambda: signed(RSA_KEY, "PS256", "rsa"), "not signed with one of"),
    "none": (
        lambda: jwt.encode(claims(), "", "none", headers={"kid": "rsa"}), "not signed with one of"),
    "NoNe": (lambda: _shared(b"", alg="NoNe"), "not signed with one of"),
    "HS256 with the public key, as JWK": (
        lambda: _shared(json.dumps(ENTRIES[0]).encode()), "not signed with one of"),
    "HS256 with the public key, as PEM": (lambda: _shared(_pem()), "not signed with one of"),
    "HS256 that calls itself RS256": (lambda: _shared(_pem(), alg="RS256"), "not valid"),
    # --- tampered with ---
    "another payload": (lambda: _with_payload_of(good(roles=["admin"])), "not valid"),
    "no signature": (lambda: good().rpartition(".")[0] + ".", "not valid"),
    "half a signature": (lambda: good()[:-22], "not valid"),
    "a critical extension": (
        lambda: jwt.encode(
            claims(), EC_KEY, "ES256", headers={"kid": "ec", "crit": ["x"], "x": 1}), "not"),
    # --- no token at all ---
    "garbage": (lambda: "Zhang.San.110101", "not a JWT"),
    "one word": (lambda: "x", "not a JWT"),
    "dots": (lambda: "..", "not a JWT"),
    "a header that is a list": (lambda: raw(b"[]", b"{}"), "not a JWT"),
    "a header of nothing but depth": (_nested, "not a JWT"),
    "a header that is no text": (lambda: raw(b"\xff\xfe", b"{}"), "not a JWT"),
    "five parts, encrypted": (lambda: "a.b.c.d.e", "not a JWT"),
    "a payload that is a list": (lambda: _with_payload(b"[]"), "not valid"),
    "a payload of nothing but depth": (lambda: _with_payload(b"[" * 2000), "not valid"),
    "longer than any token": (lambda: good(note="x" * LONGEST_TOKEN), "too long"),
    # --- its claims ---
    "no exp": (lambda: good(exp=None), "has no exp"),
    "no aud": (lambda: good(aud=None), "has no aud"),
    "no sub": (lambda: good(sub=None), "has no sub"),
    "an empty sub": (lambda: good(sub=""), "claims are not understood"),
    "a sub that is a number": (lambda: good(sub=7), "not valid"),
    "a sub that breaks lines": (lambda: good(sub="a\nb"), "claims are not understood"),
    "a sub that ends a line": (lambda: good(sub="a\n"), "claims are not understood"),
    "a sub with U+0000": (lambda: good(sub="a\0b"), "claims are not understood"),
    "a sub with half a character": (lambda: good(sub="a\ud800"), "claims are not understood"),
    "an endless sub": (lambda: good(sub="a" * 300), "claims are not understood"),
    "roles that are a word": (lambda: good(roles="admin"), "claims are not understood"),
    "roles that are an object": (lambda: good(roles={"admin": True}), "claims are not understood"),
    "a team that is a list": (lambda: good(team=["a"]), "claims are not understood"),
    "a team with U+0000": (lambda: good(team="a\0"), "claims are not understood"),
    "an area that is a pattern": (lambda: good(areas=["4101%"]), "areas are not"),
    "an area that is everywhere": (lambda: good(areas=[""]), "areas are not"),
    "an area of one digit": (lambda: good(areas=["4"]), "areas are not"),
    "an area of thirteen digits": (lambda: good(areas=["4101710010011"]), "areas are not"),
    "an area with a line break": (lambda: good(areas=["410171\n"]), "areas are not"),
    "an area in other digits": (lambda: good(areas=["\uff14\uff11"]), "areas are not"),
    "an area that is a number": (lambda: good(areas=[410171]), "claims are not understood"),
    "areas that are a word": (lambda: good(areas="410171"), "claims are not understood"),
    "too many areas": (
        lambda: good(areas=[str(10_000 + n) for n in range(MOST_AREAS + 1)]), "areas are not"),
}  # fmt: skip
"""What makes it bad: how it is made, and what is said of it."""
