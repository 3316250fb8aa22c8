"""One tree of errors; the class chooses the reaction.

::

    LastmetreError              anything we raise ourselves; every one can be told as a problem
    ├── TransientError          tried again: deadlock, connection lost, timeout      503
    │   ├── Unavailable         a server we rely on does not answer                  503
    │   └── Overloaded          more is asked of this process than it takes on       503
    │       └── TooManyRequests a caller asks for more than their share              429
    └── PermanentError          trying again cannot help; a consumer parks the event 500
        └── ProblemError        the asker did something we refuse; told to them
            ├── BadInput        422   a value breaks a rule
            │   └── BadCursor   422
            ├── BadBody         400   not JSON, not the encoding it claims to be
            ├── UnsupportedMedia 415
            ├── TooLarge        413   body or number of rows
            ├── HeadTooLarge    431   request line and headers
            ├── Unauthorised    401
            ├── Forbidden       403
            ├── NotFound        404
            │   └── RoundUnknown 404
            ├── WrongMethod     405
            ├── NotAcceptable   406
            └── Conflict        409   a rule of the field forbids it in this state
                └── IdReused    409   a client-made id came before with other content

A service adds leaves of its own, each with a slug, title, cause and cure. Messages of these errors
go to askers and logs: they name fields and rules, never a value (R20).
"""

import random
import re
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

PROBLEM_PATH = "/problems/"
"""Problem types are URI references (RFC 9457, 3.1.1): `/problems/<slug>`."""

_SLUG = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_problems: dict[str, type["LastmetreError"]] = {}


class LastmetreError(Exception):
    """Base of all our errors, and of all problems.

    A subclass that sets `slug` is a problem type of its own, and enters the table of problems with
    `title`, `cause` and `cure`; one that does not is told as its parent.

    Args:
        detail: what happened this time; free of personal data
        extensions: further members of the problem, free of personal data likewise

    """

    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Something went wrong on our side"
    status: ClassVar[int] = 500
    cause: ClassVar[str] = "A fault in the software or its configuration."
    cure: ClassVar[str] = "Report it with the request id; the log of that request has the place."

    def __init__(self, detail: str = "", **extensions: Any) -> None:  # noqa: ANN401 - JSON
        super().__init__(detail)
        self.detail = detail
        self.extensions = extensions

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        if "slug" in cls.__dict__:
            _register(cls)

    def __str__(self) -> str:
        return self.detail or self.title

    @classmethod
    def type_uri(cls) -> str:
        """Return the `type` of this problem, `/problems/<slug>`."""
        return PROBLEM_PATH + cls.slug

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers that belong to the answer."""
        return {}

    def problem(self) -> dict[str, Any]:
        """Tell it as a problem document (RFC 9457)."""
        document: dict[str, Any] = {
            "type": self.type_uri(),
            "title": self.title,
            "status": self.status,
        }
        if self.detail:
            document["detail"] = self.detail
        return document | {
            name: value for name, value in self.extensions.items() if name not in document
        }

    def reason(self) -> dict[str, str]:
        """Tell it as the reason of one rejected row (R21)."""
        return {"type": self.type_uri(), "detail": str(self)}


def _register(error: type[LastmetreError]) -> None:
    known = _problems.get(error.slug)
    # A reloaded module defines its classes again; that is the same problem, not a second one.
    if known is not None and _name(known) != _name(error):
        raise TypeError(f"problem {error.slug} is {_name(known)} and {_name(error)}")
    if not _SLUG.fullmatch(error.slug):
        raise TypeError(f"problem slug {error.slug!r} is not kebab-case")
    _problems[error.slug] = error


def _name(error: type[LastmetreError]) -> str:
    return f"{error.__module__}.{error.__qualname__}"


_register(LastmetreError)


class TransientError(LastmetreError):
    """Trying again may help: requests are answered 503, events are retried, never parked."""

    slug = "try-again"
    title = "Try again in a moment"
    status = 503
    cause = "A deadlock, a lost connection or a timeout, which outlasted our own retries."
    cure = "Send the same request with the same ids again after `Retry-After` seconds."

    retry_after: ClassVar[int] = 1
    """Seconds."""

    @property
    def headers(self) -> Mapping[str, str]:
        """`Retry-After`, in seconds."""
        return {"Retry-After": str(self.retry_after)}


class Unavailable(TransientError):
    """A server that this service relies on does not answer."""

    slug = "unavailable"
    title = "A part of the system does not answer"
    cause = "A database or another service is down, starting or unreachable."
    cure = "Wait for `/readyz` to answer 200, then send the same request again."

    retry_after = 5


class Overloaded(TransientError):
    """More is asked of this process than it takes on. Nothing of the request was done."""

    slug = "overloaded"
    title = "Too much is asked for at this moment"
    cause = "All places for work are taken. Nothing of the request was done, its body is not kept."
    cure = "Send the same request with the same ids again after `Retry-After` seconds."

    @property
    def headers(self) -> Mapping[str, str]:
        """`Retry-After`, not the same for all: else they come again together."""
        return {"Retry-After": str(random.randint(1, 3))}  # noqa: S311 - spreads, guards nothing


class TooManyRequests(Overloaded):
    """While others wait, one caller holds half of the places for work."""

    slug = "too-many-requests"
    title = "Too many requests of this caller at a time"
    status = 429
    cause = "Others are waiting, and half of all places are taken by requests with this `sub`."
    cure = "Send fewer at a time; this one again after `Retry-After` seconds."


class PermanentError(LastmetreError):
    """Trying again cannot help: a consumer parks the event."""


class ProblemError(PermanentError):
    """Something asked of us is refused, and why is told to the asker."""

    slug = "bad-request"
    title = "The request cannot be understood"
    status = 400
    cause = "The request as a whole is malformed."
    cure = "Compare it with `/docs`."


class RuleError(ValueError):
    """A rule broken inside a decoder (`__post_init__` of a row).

    The only exception of such a place whose message is shown: it must not hold the value.
    """


class BadInput(ProblemError):
    """A value breaks a rule. `errors` names places and rules."""

    slug = "bad-input"
    title = "A value is not what it must be"
    status = 422
    cause = "A field or parameter is missing, of another type, or outside its bounds."
    cure = "`errors` names each place and the rule it breaks; values are never repeated."

    @classmethod
    def at(cls, location: str, rule: str) -> "BadInput":
        """Refuse one place for one rule."""
        return cls(f"{location}: {rule}", errors=[{"location": location, "rule": rule}])


class BadCursor(BadInput):
    """A cursor that was not made by this list."""

    slug = "bad-cursor"
    title = "The cursor does not belong to this list"
    cause = "`cursor` was changed, cut, or comes from another list."
    cure = "Send `next_cursor` of the page before as it is, or leave it out to start again."


class BadBody(ProblemError):
    """The body cannot be read at all."""

    slug = "bad-body"
    title = "The body cannot be read"
    status = 400
    cause = "The body is not JSON, or not in the encoding that `Content-Encoding` names."
    cure = "Send well-formed JSON in UTF-8; compress whole bodies with gzip or zstd."


class UnsupportedMedia(ProblemError):
    """A content type or encoding that is not taken here."""

    slug = "unsupported-media-type"
    title = "The body has a type that is not taken here"
    status = 415
    cause = "`Content-Type` or `Content-Encoding` is none of those the route takes."
    cure = "Send `application/json` or, in bulk, `application/x-ndjson`; plain, gzip or zstd."


class TooLarge(ProblemError):
    """A body, or a number of rows, beyond the route's cap."""

    slug = "too-large"
    title = "The request is too large"
    status = 413
    cause = "The body, also once decompressed, or its number of rows is over the route's limit."
    cure = "Split it. Rows are independent of each other and may come in any order."


class HeadTooLarge(ProblemError):
    """A request line with headers beyond what is read of them."""

    slug = "head-too-large"
    title = "Request line and headers are too large"
    status = 431
    cause = "The path, the query and the headers together are over the limit."
    cure = "Leave out what is not needed; ids that fill a query are asked for in parts."


class Unauthorised(ProblemError):
    """No token, or one that is not accepted."""

    slug = "unauthorised"
    title = "A valid bearer token is needed"
    status = 401
    cause = "The token is missing, expired, for another audience, or signed by an unknown key."
    cure = "Send `Authorization: Bearer` with a fresh token of the issuer this service trusts."

    @property
    def headers(self) -> Mapping[str, str]:
        """The challenge of RFC 6750, section 3."""
        challenge = 'Bearer realm="lastmetre"'
        if self.detail:
            challenge += f', error="invalid_token", error_description="{self.detail}"'
        return {"WWW-Authenticate": challenge}


class Forbidden(ProblemError):
    """The token is good, the caller's roles or areas do not reach this."""

    slug = "forbidden"
    title = "Not allowed with this token"
    status = 403
    cause = "None of the token's roles may use this route, or its areas do not cover the place."
    cure = "`roles` names the roles that may; ask the issuer for one, or for the area."


class NotFound(ProblemError):
    """There is no such thing, or not for this caller."""

    slug = "not-found"
    title = "There is no such thing here"
    status = 404
    cause = "The path or id is unknown, or lies outside the token's areas."
    cure = "Check the id and the path against `/docs`."


class RoundUnknown(NotFound):
    """There is no such round, or not for this caller."""

    slug = "round-unknown"
    title = "No such round"
    cause = "The id names no round, or none whose offices lie within the token's areas."
    cure = "List the rounds with registry's `GET /v1/rounds`; others hear of a new one in seconds."


class WrongMethod(ProblemError):
    """The path exists, the method does not."""

    slug = "wrong-method"
    title = "The path does not take this method"
    status = 405
    cause = "The path is known with other methods."
    cure = "`Allow` lists them."

    def __init__(self, allowed: str) -> None:
        super().__init__(f"allowed: {allowed}")
        self.allowed = allowed

    @property
    def headers(self) -> Mapping[str, str]:
        """`Allow`, which a 405 must carry."""
        return {"Allow": self.allowed}


class NotAcceptable(ProblemError):
    """The answer is not to be had in any of the forms that are wanted."""

    slug = "not-acceptable"
    title = "There is no answer of the wanted type"
    status = 406
    cause = "`Accept` names none of the media types that the route answers with."
    cure = "`offered` lists them; without `Accept` the answer is JSON."


class Conflict(ProblemError):
    """The state of things does not allow it."""

    slug = "conflict"
    title = "Not possible in the present state"
    status = 409
    cause = "The thing exists, and its state forbids what was asked."
    cure = "Read it again and decide anew."


class IdReused(Conflict):
    """A client-made id was used before, for something else (R19)."""

    slug = "id-reused"
    title = "The id was used for something else"
    cause = "The same id came before with other content."
    cure = "Make a new id. To change what was sent, send a correction that names it."


def problems(*packages: str) -> Iterator[type[LastmetreError]]:
    """List the known problem types by status and slug; only those of these packages, if named.

    Only imported modules are known: import a service to see its own.
    """
    for error in sorted(_problems.values(), key=lambda error: (error.status, error.slug)):
        if not packages or error.__module__.partition(".")[0] in packages:
            yield error


def problems_table(*packages: str) -> str:
    """Render the known problem types as Markdown, for `docs/problems.md`."""
    lines = ["| type | status | means | cause | cure |", "|---|---|---|---|---|"]
    lines += [
        f"| `{error.type_uri()}` | {error.status} | {error.title} | {error.cause} | {error.cure} |"
        for error in problems(*packages)
    ]
    return "\n".join(lines) + "\n"
