"""What every answer of every process has to carry."""

import httpx

REQUIRED = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
}


def assert_guarded(answer: httpx.Response) -> None:
    """Assert that an answer tells browsers what must not be done with it, and names no software."""
    where = f"{answer.request.method} {answer.request.url.path}"
    for name, value in REQUIRED.items():
        assert answer.headers.get_list(name) == [value], (where, name)
    (policy,) = answer.headers.get_list("content-security-policy")
    directives = dict(part.strip().partition(" ")[::2] for part in policy.split(";"))
    assert directives["frame-ancestors"] == "'none'", where
    assert directives["default-src"] in ("'none'", "'self'"), where
    assert "unsafe" not in directives.get("script-src", ""), where
    (kept,) = answer.headers.get_list("cache-control")
    assert "public" not in kept, where
    assert answer.headers.get("server") is None, where
