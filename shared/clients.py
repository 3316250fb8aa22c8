"""Calls to the other services: who we are, how long we wait, what a failure means."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import structlog

from shared import tracing
from shared.errors import TransientError, Unavailable
from shared.files import trust
from shared.http import REQUEST_ID
from shared.settings import ServiceSettings

TIMEOUT = httpx.Timeout(10.0, connect=2.0)
"""Seconds. A service that does not answer in this time counts as down for this call."""

LIMITS = httpx.Limits(max_connections=32, max_keepalive_connections=16, keepalive_expiry=30.0)

_TOO_MANY = 429
_SERVER_ERROR = 500


class ServiceToken(httpx.Auth):
    """Our own bearer token, from a file that is read again when it was replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._header = ""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Put the token into a request."""
        request.headers["Authorization"] = self._current()
        yield request

    def _current(self) -> str:
        try:
            stat = self._path.stat()
            stamp = (stat.st_mtime_ns, stat.st_ino)
            if stamp != self._stamp:
                self._header = f"Bearer {self._path.read_text(encoding='ascii').strip()}"
                self._stamp = stamp
        except OSError as error:
            raise Unavailable("this service's own token cannot be read") from error
        return self._header


class ServiceClient(httpx.AsyncClient):
    """An httpx client whose failures are ours.

    Raises:
        TransientError: no connection, no answer in time, 429 or 5xx; all other answers are returned

    """

    async def send(self, request: httpx.Request, **kwargs: Any) -> httpx.Response:  # noqa: ANN401
        """Send a request under the id of the one that is being served."""
        _hand_on_request_id(request)
        traceparent = tracing.current()
        if traceparent is not None:
            request.headers["traceparent"] = traceparent
        try:
            response = await super().send(request, **kwargs)
        except httpx.TransportError as error:
            raise TransientError(f"{request.url.host} does not answer") from error
        if response.status_code >= _SERVER_ERROR or response.status_code == _TOO_MANY:
            await response.aclose()
            raise TransientError(f"{request.url.host} answered {response.status_code}")
        return response


def _hand_on_request_id(request: httpx.Request) -> None:
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    if request_id is not None:
        request.headers.setdefault(REQUEST_ID, request_id)


def service_client(
    base_url: str,
    settings: ServiceSettings,
    transport: httpx.AsyncBaseTransport | None = None,
    *,
    timeout: httpx.Timeout = TIMEOUT,
) -> ServiceClient:
    """Make a client of another service; close it with the process.

    Args:
        base_url: where that service answers
        settings: for our token; without a token file calls go out without one
        transport: for tests, and for calls within one process
        timeout: seconds of connecting, reading, writing

    """
    token = settings.service_token_file
    return ServiceClient(
        base_url=base_url,
        auth=ServiceToken(token) if token else None,
        transport=transport,
        verify=trust(settings.ca_file) if settings.ca_file else True,
        timeout=timeout,
        limits=LIMITS,
        # Proxies of the environment are not for calls between our own services.
        trust_env=False,
    )
