"""An API by TLS, and another service that calls it."""

from pathlib import Path

import httpx
import pytest

from shared.clients import service_client
from shared.errors import TransientError
from tests.shared import toy
from tests.shared.test_process import started
from tests.support.certificates import Authority
from tests.support.guards import assert_guarded
from tests.support.issuer import Issuer


async def test_an_api_shows_its_certificate_to_services_that_trust_its_authority(
    tmp_path: Path, issuer: Issuer
) -> None:
    authority = Authority(tmp_path)
    own = authority.vouch("api")
    shows = {
        "LASTMETRE_TLS_CERT_FILE": str(own.certificate),
        "LASTMETRE_TLS_KEY_FILE": str(own.key),
    }
    another = Authority(tmp_path, "another")
    async with started(tmp_path, issuer, "api", **shows) as api:
        place = f"127.0.0.1:{(await api.says('serving'))['port']}"

        def client(trusted: Authority | None) -> httpx.AsyncClient:
            ca_file = trusted.certificate if trusted else None
            settings = toy.Settings(jwks=str(issuer.jwks), marks=tmp_path, ca_file=ca_file)
            return service_client(f"https://{place}", settings)

        async with client(authority) as trusting:
            answer = await trusting.get("/healthz")
        assert answer.json() == {"status": "alive"}
        assert "strict-transport-security" in answer.headers
        assert_guarded(answer)
        for stranger in (another, None):
            async with client(stranger) as doubting:
                with pytest.raises(TransientError, match="does not answer"):
                    await doubting.get("/healthz")
        async with httpx.AsyncClient(base_url=f"http://{place}") as plain:
            with pytest.raises(httpx.TransportError):
                await plain.get("/healthz")


async def test_an_api_whose_key_is_not_that_of_its_certificate_does_not_start(
    tmp_path: Path, issuer: Issuer
) -> None:
    authority = Authority(tmp_path)
    shows = {
        "LASTMETRE_TLS_CERT_FILE": str(authority.vouch("api").certificate),
        "LASTMETRE_TLS_KEY_FILE": str(authority.vouch("other").key),
    }
    async with started(tmp_path, issuer, "api", **shows) as api:
        code, last = await api.left()
    assert code == 1
    assert last["because"] == "our certificate or its key cannot be read"
