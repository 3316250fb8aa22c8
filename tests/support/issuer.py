"""A token issuer of the test process."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

AUDIENCE = "lastmetre"


@dataclass(frozen=True)
class Issuer:
    """Signs tokens that whoever reads the `jwks` file trusts."""

    key: ec.EllipticCurvePrivateKey
    jwks: Path
    key_id: str = "tests"

    def token(
        self,
        *roles: str,
        areas: Iterable[str] = ("41",),
        team: str | None = None,
        site: str | None = None,
        sub: str = "tester",
        ttl: float = 3600,
        jti: str | None = None,
    ) -> str:
        """Sign a token; `ttl` in seconds, negative for one that has expired; `jti` is its id."""
        now = int(time.time())
        claims = {
            "sub": sub,
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + int(ttl),
            "roles": list(roles),
            "areas": list(areas),
            **({"team": team} if team else {}),
            **({"site": site} if site else {}),
            **({"jti": jti} if jti else {}),
        }
        return jwt.encode(claims, self.key, "ES256", headers={"kid": self.key_id})

    def headers(self, *roles: str, areas: Iterable[str] = ("41",)) -> dict[str, str]:
        """Sign a token and put it into the header that carries it."""
        return {"Authorization": f"Bearer {self.token(*roles, areas=areas)}"}


@pytest.fixture(scope="session")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    """An issuer with a key of its own and its JWKS file."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = jwt.get_algorithm_by_name("ES256").to_jwk(key.public_key(), as_dict=True)
    jwks = tmp_path_factory.mktemp("issuer") / "jwks.json"
    entry = {**public, "kid": "tests", "alg": "ES256", "use": "sig"}
    jwks.write_text(json.dumps({"keys": [entry]}))
    return Issuer(key, jwks)
