"""Tokens: which are accepted, which are not, and what a caller may see."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519

from shared.auth import LEEWAY_SECONDS, MOST_AREAS, Caller, KeySet, Verifier
from shared.errors import Forbidden, LastmetreError, Unauthorised, Unavailable
from tests.shared.tokens import (
    EC_KEY,
    ED_KEY,
    ENTRIES,
    REFUSED,
    RSA_KEY,
    WEAK_KEY,
    good,
    public,
    signed,
    write,
)


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


@pytest.mark.parametrize(("make", "why"), REFUSED.values(), ids=REFUSED)
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


@pytest.mark.parametrize(
    "more",
    [
        {"exp": int(time.time()) + 3600, "nbf": int(time.time()) + LEEWAY_SECONDS // 2},
        {"iat": int(time.time()) + LEEWAY_SECONDS // 2},
        {"aud": ["others", "lastmetre"]},
        {"areas": [str(10_000 + n) for n in range(MOST_AREAS)]},
        {"sub": "王某"},
    ],
)
async def test_unusual_tokens_are_accepted(verifier: Verifier, more: dict[str, Any]) -> None:
    """Clocks differ a little, other systems have the same issuer, a province has many areas."""
    assert await verifier.verify(good(**more))


async def test_a_clock_that_is_behind_is_given_a_moment(jwks: Path) -> None:
    now = int(time.time())
    verifier = Verifier(KeySet(str(jwks)), audience="lastmetre")
    assert await verifier.verify(good(exp=now - 1))


async def test_a_token_without_roles_or_areas_may_do_nothing(verifier: Verifier) -> None:
    caller = await verifier.verify(good(roles=None))
    assert caller == Caller("s-1", frozenset())


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


async def test_a_clock_that_jumps_and_is_set_right_lets_no_token_live_longer(jwks: Path) -> None:
    right, jump = time.time(), 0.0
    verifier = Verifier(KeySet(str(jwks)), audience="lastmetre", clock=lambda: right + jump)
    token = signed(EC_KEY, "ES256", "ec")
    await verifier.verify(token)
    jump = 6 * 3600
    with pytest.raises(Unauthorised, match="has expired"):
        await verifier.verify(token)
    jump = -6 * 3600
    await verifier.verify(token)
    right, jump = right + 600 + LEEWAY_SECONDS + 1, 0
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


async def test_an_address_that_never_answered_is_not_asked_by_every_request() -> None:
    address, clock = Address(ENTRIES), Clock()
    address.status = 503
    keys = KeySet(
        "https://issuer.example/jwks", transport=httpx.MockTransport(address), clock=clock
    )
    verifier = Verifier(keys, audience="lastmetre")
    for _ in range(3):
        with pytest.raises(Unavailable):
            await verifier.verify(good())
    assert address.asked == 1
    address.status = 200
    clock.now += 1
    assert (await verifier.verify(good())).sub == "s-1"


async def test_a_known_key_does_not_wait_for_an_address_that_hangs() -> None:
    hanging, asked = asyncio.Event(), asyncio.Event()
    answers = [httpx.Response(200, json={"keys": ENTRIES})]

    async def answer(_request: httpx.Request) -> httpx.Response:
        if answers:
            return answers.pop()
        asked.set()
        await hanging.wait()
        raise httpx.ConnectTimeout("hung")

    clock = Clock()
    keys = KeySet("https://issuer.example/jwks", transport=httpx.MockTransport(answer), clock=clock)
    verifier = Verifier(keys, audience="lastmetre")
    token = good()
    await verifier.verify(token)
    clock.now += 300
    first = asyncio.create_task(verifier.verify(token))
    await asked.wait()
    assert (await verifier.verify(token)).sub == "s-1"
    hanging.set()
    assert (await first).sub == "s-1"


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
