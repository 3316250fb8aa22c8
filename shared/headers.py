"""Headers by which an answer tells browsers what must not be done with it.

Every answer carries them, errors and probes too. What a route says itself outranks two of them: how
long it may be kept, and which content it may load (a page says that; all else loads nothing).
"""

import re
from base64 import b64encode
from hashlib import sha256

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Header = tuple[bytes, bytes]

# Answers may hold personal data: no cache keeps them unless the route says so.
_UNKEPT: Header = (b"cache-control", b"no-store")
_LOADS_NOTHING: Header = (
    b"content-security-policy",
    b"default-src 'none'; frame-ancestors 'none'",
)
_ALWAYS: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    # For browsers that do not know `frame-ancestors`.
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
# A year. Subdomains are not ours to speak for.
_ONLY_TLS: Header = (b"strict-transport-security", b"max-age=31536000")
_ALWAYS_BY_TLS = (*_ALWAYS, _ONLY_TLS)

_INLINE = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def guarded(headers: list[Header], scope: Scope) -> list[Header]:
    """Add to an answer's headers those that it lacks; `scope` is that of its request."""
    added = _ALWAYS_BY_TLS if scope["scheme"] == "https" else _ALWAYS
    names = [name for name, _ in headers]
    if b"cache-control" not in names:
        added = (*added, _UNKEPT)
    if b"content-security-policy" not in names:
        added = (*added, _LOADS_NOTHING)
    return [*headers, *added]


class Guarded:
    """An application all of whose answers carry the headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, under the headers."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = guarded(list(message["headers"]), scope)
            await send(message)

        await self._app(scope, receive, answer)


def page_policy(page: bytes) -> str:
    """Let a page load our own files, ask our own API, and run the scripts that stand in it.

    Scripts are named by their hashes, so that nothing put into the page by others runs.
    """
    scripts = " ".join(f"'sha256-{_digest(script)}'" for script in _INLINE.findall(page))
    return (
        f"default-src 'none'; script-src 'self' {scripts}; connect-src 'self'; "
        # Swagger UI writes styles into its elements, and draws its icons from data.
        "style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _digest(script: bytes) -> str:
    return b64encode(sha256(script).digest()).decode()
