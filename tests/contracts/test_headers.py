"""The three APIs, route by route: refusals are guarded as well as answers.

The answers themselves are looked at where all examples are played (`test_examples`).
"""

import re

import httpx
import pytest

from shared.http import paths
from tests.contracts.openapi import applications
from tests.support.guards import assert_guarded


@pytest.mark.parametrize("service", ["registry", "dispatch", "reporting"])
async def test_who_may_not_come_in_is_told_so_under_the_same_headers(service: str) -> None:
    with applications() as apps:
        app = apps[service]
        routes = paths(app.routes)
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="https://api") as client:
            for method, template in routes:
                path = re.sub(r"\{[^}]*\}", "7", template)
                answer = await client.request(method, path)
                assert_guarded(answer)
                assert "strict-transport-security" in answer.headers
                assert not path.startswith("/v1/") or answer.status_code == 401, path
    assert len(routes) > 10
