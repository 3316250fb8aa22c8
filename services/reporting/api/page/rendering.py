"""Templates, and the parts of a view that are sent when they change."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import PurePath
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

Parts = Mapping[str, str]
"""HTML by the id of its element, in the order of the page."""

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_FILES = files("services.reporting.api.page") / "static"

STATIC = {each.name: _TYPES[PurePath(each.name).suffix] for each in _FILES.iterdir()}
"""Our own files, by what they are."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Our own files and nothing else: no inline script, no inline style, nobody else's server."""


@dataclass(frozen=True, slots=True)
class Rendition:
    """A view as it is now."""

    tag: str
    as_of: str
    """ISO 8601; empty while it is not known."""
    round: str
    """Id of the round it is of: without one that was asked for, the next one takes its place."""
    parts: Parts

    @property
    def shape(self) -> str:
        """Tell apart what is put together differently: its parts are not those of the other."""
        parts = "\n".join((self.round, *sorted(self.parts)))
        return sha256(parts.encode()).hexdigest()[:12]

    def news(self, parts: Parts) -> dict[str, Any]:
        """Tell of it by some of its parts."""
        return {"tag": self.tag, "as_of": self.as_of, "parts": parts}

    def since(self, before: "Rendition") -> dict[str, Any] | None:
        """Tell what differs from another one; None when it is another page: look anew."""
        if self.round != before.round or self.parts.keys() != before.parts.keys():
            return None
        return self.news(
            {name: html for name, html in self.parts.items() if html != before.parts[name]}
        )


def content_tag(parts: Parts) -> str:
    """Weak entity tag over what is shown, and with which of our files."""
    content = (*parts.items(), *map(asset, sorted(STATIC)))
    return f'W/"{sha256(repr(content).encode()).hexdigest()[:24]}"'


@cache
def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader("services.reporting.api.page"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # They come with the code: nobody need look whether they were changed.
        auto_reload=False,
    )
    made.globals["asset"] = asset
    return made


def render(template: str, **given: object) -> str:
    """Render a whole template."""
    return _templates().get_template(template).render(**given)


def part(name: str, *given: object) -> str:
    """Render one part: `account.row` is the macro `row` of `parts/account.html`."""
    place, _, macro_name = name.partition(".")
    macro = getattr(_templates().get_template(f"parts/{place}.html").module, macro_name)
    return str(macro(*given)).strip()


@cache
def static(name: str) -> bytes:
    """Read one of our files."""
    return (_FILES / name).read_bytes()


@cache
def asset(name: str) -> str:
    """Address of one of our files; another content has another address, so it is kept for good."""
    return f"/page/{sha256(static(name)).hexdigest()[:12]}/{name}"
