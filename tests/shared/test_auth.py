"""Tokens: which are accepted, which are not, and what a caller may see."""

import base64
import hashlib
import hmac
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from shared.auth import LEEWAY_SECONDS, Caller, KeySet, Verifier
from shared.errors import Forbidden, LastmetreError, Unauthorised, Unavailable

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
WEAK_KEY = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - refused
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def public(key: Any, algorithm: str, kid: str, **more: str) -> dict[str, Any]:
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


def claims(**more: object) -> dict[str, object]:
    now = int(time.time())
    return {"sub": "s-1", "aud": "lastmetre", "exp": now + 600, "roles": ["site"], **more}


def signed(key: Any, algorithm: str, kid: str, **more: object) -> str:
    return jwt.encode(claims(**more), key, algorithm, headers={"kid": kid})


def write(path: Path, entries: list[dict[str, Any]]) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps({"keys": entries}))
    fresh.replace(path)


@pytest.fixture
def jwks(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    write(path, ENTRIES)
    return path


@pytest.fixture
def verifier(jwks: Path) -> Verifier:
    return Verifier(KeySet(str(jwks)), audience="lastmetre")


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [(RSA_KEY, "RS256", "rsa"), (EC_KEY, "ES256", "ec"), (ED_KEY, "EdDSA", "ed")],
)
async def test_the_three_algorithms_are_accepted(
    verifier: Verifier, key: object, algorithm: str, kid: str
) -> None:
    token = signed(key, algorithm, kid, areas=["410171", "4101"], team="t-7", site="s-3")
    caller = await verifier.verify(token)
    assert caller == Caller("s-1", frozenset({"site"}), ("410171", "4101"), "t-7", "s-3")
    assert await verifier.verify(token) is caller


def unsigned() -> str:
    return jwt.encode(claims(), "", "none", headers={"kid": "rsa"})


def confused() -> str:
    """A token signed with the public key as if it were a shared secret."""
    parts = [{"alg": "HS256", "kid": "rsa", "typ": "JWT"}, claims()]
    body = b".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts
    )
    secret = json.dumps(ENTRIES[0]).encode()
    signature = hmac.new(secret, body, hashlib.sha256).digest()
    return (body + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


def without(claim: str) -> str:
    left = {name: value for name, value in claims().items() if name != claim}
    return jwt.encode(left, EC_KEY, "ES256", headers={"kid": "ec"})


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: signed(EC_KEY, "ES256", "ec", exp=int(time.time()) - 60), "has expired"),
        (lambda: signed(EC_KEY, "ES256", "ec", aud="others"), "another audience"),
        (lambda: signed(EC_KEY, "ES256", "ec", nbf=int(time.time()) + 600), "not valid"),
        (lambda: signed(EC_KEY, "ES256", "nobody"), "key is unknown"),
        (lambda: signed(EC_KEY, "ES256", "rsa"), "not valid"),
        (lambda: signed(RSA_KEY, "RS512", "rsa"), "not signed with one of"),
        (lambda: signed(RSA_KEY, "PS256", "rsa"), "not signed with one of"),
        (lambda: signed("s" * 32, "HS256", "shared-secret"), "not signed with one of"),
        (lambda: signed(RSA_KEY, "RS256", "sealing"), "key is unknown"),
        (lambda: signed(ed25519.Ed25519PrivateKey.generate(), "EdDSA", "ed"), "not valid"),
        (unsigned, "not signed with one of"),
        (confused, "not signed with one of"),
        (lambda: without("exp"), "has no exp"),
        (lambda: without("aud"), "has no aud"),
        (lambda: without("sub"), "has no sub"),
        (lambda: jwt.encode(claims(), EC_KEY, "ES256"), "names no key"),
        (lambda: "Zhang.San.110101", "not a JWT"),
        (lambda: signed(EC_KEY, "ES256", "ec", roles="admin"), "claims are not understood"),
        (lambda: signed(EC_KEY, "ES256", "ec", areas=["4101%"]), "areas are not"),
        (lambda: signed(EC_KEY, "ES256", "ec", areas=[""]), "areas are not"),
    ],
)
async def test_other_tokens_are_refused_with_a_reason(
    verifier: Verifier, make: Callable[[], str], why: str
) -> None:
    with pytest.raises(Unauthorised, match=why) as caught:
        await verifier.verify(make())
    challenge = caught.value.headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="lastmetre", error="invalid_token"')


@pytest.mark.filterwarnings("ignore:The RSA key is 1024 bits")  # PyJWT warns of making it
async def test_a_key_that_is_too_short_is_refused(verifier: Verifier) -> None:
    with pytest.raises(Unauthorised, match="not valid"):
        await verifier.verify(signed(WEAK_KEY, "RS256", "weak"))


async def test_roles_we_do_not_know_are_passed_over(verifier: Verifier) -> None:
    caller = await verifier.verify(signed(EC_KEY, "ES256", "ec", roles=["office", "librarian"]))
    assert caller.roles == {"office"}


async def test_a_remembered_token_expires_all_the_same(jwks: Path) -> None:
    now = [time.time()]
    verifier = Verifier(KeySet(str(jwks)), audience="lastmetre", clock=lambda: now[0])
    token = signed(EC_KEY, "ES256", "ec")
    await verifier.verify(token)
    now[0] += 600 + LEEWAY_SECONDS + 1
    with pytest.raises(Unauthorised, match="has expired"):
        await verifier.verify(token)


async def test_only_so_many_tokens_are_remembered(jwks: Path) -> None:
    verifier = Verifier(KeySet(str(jwks)), audience="lastmetre", remember=1)
    first, second = (signed(EC_KEY, "ES256", "ec", sub=sub) for sub in ("a", "b"))
    caller = await verifier.verify(first)
    await verifier.verify(second)
    assert await verifier.verify(first) is not caller


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_key_taken_out_of_the_file_is_trusted_no_more(jwks: Path) -> None:
    clock = Clock()
    verifier = Verifier(KeySet(str(jwks), clock=clock), audience="lastmetre")
    token = signed(EC_KEY, "ES256", "ec")
    await verifier.verify(token)
    write(jwks, [entry for entry in ENTRIES if entry["kid"] != "ec"])
    clock.now += 1
    with pytest.raises(Unauthorised, match="key is unknown"):
        await verifier.verify(token)


async def test_a_key_put_into_the_file_is_known_at_once(jwks: Path, verifier: Verifier) -> None:
    await verifier.verify(signed(EC_KEY, "ES256", "ec"))
    fresh = ed25519.Ed25519PrivateKey.generate()
    write(jwks, [*ENTRIES, public(fresh, "EdDSA", "fresh")])
    assert (await verifier.verify(signed(fresh, "EdDSA", "fresh"))).sub == "s-1"


async def test_known_keys_outlive_a_file_that_is_damaged_or_gone(jwks: Path) -> None:
    clock = Clock()
    verifier = Verifier(KeySet(str(jwks), clock=clock), audience="lastmetre")
    token = signed(EC_KEY, "ES256", "ec")
    await verifier.verify(token)
    jwks.write_text("{half")
    clock.now += 1
    assert (await verifier.verify(token)).sub == "s-1"
    os.unlink(jwks)  # noqa: PTH108 - as an operator would
    clock.now += 1
    assert (await verifier.verify(token)).sub == "s-1"


async def test_without_any_keys_we_are_unavailable_and_do_not_blame_the_token(
    tmp_path: Path,
) -> None:
    verifier = Verifier(KeySet(str(tmp_path / "none.json")), audience="lastmetre")
    with pytest.raises(Unavailable):
        await verifier.verify(signed(EC_KEY, "ES256", "ec"))
    (tmp_path / "none.json").write_text("[]")
    with pytest.raises(Unavailable):
        await verifier.verify(signed(EC_KEY, "ES256", "ec"))


class Address:
    """A JWKS behind an address, which counts how often it is asked."""

    def __init__(self, entries: list[dict[str, Any]]) -> None:
        self.entries = entries
        self.asked = 0
        self.status = 200

    def __call__(self, _request: httpx.Request) -> httpx.Response:
        self.asked += 1
        return httpx.Response(self.status, json={"keys": self.entries})


async def test_an_address_is_asked_again_for_unknown_keys_but_not_all_the_time() -> None:
    address, clock = Address(ENTRIES), Clock()
    keys = KeySet(
        "https://issuer.example/jwks", transport=httpx.MockTransport(address), clock=clock
    )
    verifier = Verifier(keys, audience="lastmetre")
    for _ in range(3):
        await verifier.verify(signed(EC_KEY, "ES256", "ec"))
    assert address.asked == 1

    fresh = ed25519.Ed25519PrivateKey.generate()
    address.entries = [public(fresh, "EdDSA", "fresh")]
    for _ in range(3):
        with pytest.raises(Unauthorised):
            await verifier.verify(signed(fresh, "EdDSA", "fresh"))
    assert address.asked == 1

    clock.now += 10
    await verifier.verify(signed(fresh, "EdDSA", "fresh"))
    assert address.asked == 2

    address.status = 503
    clock.now += 300
    await verifier.verify(signed(fresh, "EdDSA", "fresh"))
    assert address.asked == 3


def test_keys_come_over_https_or_from_this_machine() -> None:
    KeySet("http://127.0.0.1:9/jwks")
    with pytest.raises(LastmetreError, match="https"):
        KeySet("http://issuer.example/jwks")


def test_a_caller_sees_what_lies_under_its_areas() -> None:
    caller = Caller("o", frozenset({"office"}), ("410171001", "4102"))
    assert caller.covers("410171001007")
    assert not caller.covers("410171002001")
    assert caller.area_patterns == ["410171001%", "4102%"]
    assert caller.has("office", "admin")
    assert not caller.has("admin")
    caller.require("410200")
    with pytest.raises(Forbidden):
        caller.require("41")


def test_a_caller_without_areas_sees_none() -> None:
    caller = Caller("o", frozenset({"admin"}))
    assert not caller.covers("410171001007")
    assert caller.area_patterns == []
