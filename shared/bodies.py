"""Bodies of requests and answers: read with a cap, decoded row by row, written by msgspec.

The bulk routes take thousands of rows at a time. The good case is one decoder call over the whole
body; only when that fails is it looked at row by row, so that one bad row never fails its
neighbours (R21). What is said of a bad row names a field and a rule, never the value (R20).
"""

import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from json import JSONDecoder
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import zstandard
from fastapi import Request, Response

from shared.errors import BadBody, BadInput, RuleError, TooLarge, UnsupportedMedia

JSON = "application/json"
NDJSON = "application/x-ndjson"

BODY_LIMIT = 32 * 1024 * 1024
"""Bytes of a body, compressed or not, unless the route says otherwise."""

ROW_LIMIT = 10_000
"""Rows of a batch, unless the route says otherwise."""

_ZSTD_WINDOW = 8 * 1024 * 1024
"""Bytes a zstd frame may ask us to keep; the least every decoder must support (RFC 8878)."""

_PIECES = {"gzip": 16_384, "zstd": 1024}
"""Bytes unpacked at a time: at most 32 MiB come out before the limit is looked at again."""

_MEMBERS = 1_000
"""Members of a gzip body, frames of a zstd one: each costs time, also those that hold nothing."""

_VALUES = 64
"""Values a row may have on the average. Counted in commas, before anything is made of them: a batch
of `1,1,1,…` within the limit of bytes would become a thousand megabytes of rows to be refused."""

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoders raise on bad input; the last one on brackets nested too deeply."""

_NUL = b"\\u0000"
_REF = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", re.ASCII | re.IGNORECASE)
"""Only what is an id for certain is repeated: a shifted column may hold a phone number (R20)."""
_MEMBER = re.compile(r"`([a-z][a-z_]{0,39})`$")
"""Only what reads like the name of a member is repeated."""
_PLACE = re.compile(r" - at `(?:key in )?\$(?P<path>[^`]*)`$")
_LEAD, _COMMA, _CLOSE = (re.compile(rf"[ \t\r\n]*{mark}[ \t\r\n]*") for mark in (r"\[", ",", r"\]"))
_lax = JSONDecoder()
_WHITESPACE = b" \t\r\n"

T = TypeVar("T")


class Given(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client sends. A member that nobody knows is refused: nothing is dropped in silence."""


async def read_body(request: Request, limit: int = BODY_LIMIT) -> bytes:
    """Read a whole body, decompressed (gzip, zstd).

    Args:
        request: the request
        limit: bytes, of the body as sent and again once decompressed

    Raises:
        TooLarge: over the limit; a bomb is not unpacked beyond it
        BadBody: not in the encoding it claims
        UnsupportedMedia: an encoding we do not know

    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    unpack = _UNPACKERS.get(encoding)
    if unpack is None:
        raise UnsupportedMedia("content encoding is none of " + ", ".join(_UNPACKERS))
    return unpack(await _read(request, limit), limit)


async def _read(request: Request, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


def _identity(body: bytes, _limit: int) -> bytes:
    return body


def _gunzip(body: bytes, limit: int) -> bytes:
    return _unpack("gzip", lambda: zlib.decompressobj(wbits=zlib.MAX_WBITS | 16), body, limit)


def _unzstd(body: bytes, limit: int) -> bytes:
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    return _unpack("zstd", decompressor.decompressobj, body, limit)


class _Member(Protocol):
    """A member of a gzip body or a frame of a zstd one, on its way out."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, /) -> bytes: ...


def _unpack(encoding: str, begin: Callable[[], _Member], body: bytes, limit: int) -> bytes:
    """Unpack member after member, each of which must be whole.

    Piece by piece: what comes out has no cap of its own, but a piece can only make so much of it
    (1 KiB of 1 byte in gzip, 128 KiB of 4 bytes in zstd).
    """
    out = bytearray()
    position = members = 0
    member = None
    while position < len(body):
        if member is None:
            member = begin()
            members += 1
        if members > _MEMBERS:
            raise BadBody(f"the {encoding} body has more than {_MEMBERS} members")
        piece = body[position : position + _PIECES[encoding]]
        try:
            out += member.decompress(piece)
        except (zlib.error, zstandard.ZstdError):
            raise BadBody(f"the body is not {encoding}") from None
        if len(out) > limit:
            raise _too_large(limit)
        position += len(piece) - len(member.unused_data)
        member = None if member.eof else member
    if member is not None:
        raise BadBody(f"the {encoding} body is cut short")
    return bytes(out)


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit} bytes", limit=limit)


_UNPACKERS = {"identity": _identity, "gzip": _gunzip, "zstd": _unzstd}


@dataclass(frozen=True, slots=True)
class RowError:
    """One row that cannot be understood.

    `index` counts from 0 in the order of the request; `ref` is the row's own id where it could be
    made out; `location` is the path of the field, "" for the row as a whole.
    """

    index: int
    location: str
    rule: str
    ref: str | None = None

    def reason(self) -> dict[str, str]:
        """Tell it as the reason of a rejected row (R21)."""
        detail = f"{self.location}: {self.rule}" if self.location else self.rule
        return {"type": BadInput.type_uri(), "detail": detail}


@dataclass(frozen=True, slots=True)
class Rows(Generic[T]):
    """A decoded batch: what is good, and what is not, each with its place in the request."""

    count: int
    good: Sequence[T]
    indexes: Sequence[int]
    """Place of each good row in the request, from 0."""
    errors: Sequence[RowError] = field(default=())

    def numbered(self) -> Iterator[tuple[int, T]]:
        """Walk the good rows with their places."""
        return zip(self.indexes, self.good, strict=True)


def decode_rows(
    body: bytes,
    content_type: str | None,
    row: type[T],
    limit: int = ROW_LIMIT,
    *,
    ref: str | None = None,
) -> Rows[T]:
    """Decode a JSON array or NDJSON lines.

    Args:
        body: the raw body
        content_type: `application/json` (also when None) or `application/x-ndjson`
        row: msgspec struct of one row; whole numbers need bounds, JSON has none
        limit: most rows taken
        ref: member whose value names a row that cannot be decoded, if it looks like an id

    Raises:
        BadBody: not JSON, or not an array, as a whole
        TooLarge: more rows than the limit, or far more values than so many rows have
        UnsupportedMedia: another content type

    """
    media = (content_type or JSON).partition(";")[0].strip().lower()
    if media not in {JSON, NDJSON}:
        raise UnsupportedMedia(f"content type is neither {JSON} nor {NDJSON}")
    values = limit * _VALUES
    if max(body.count(b","), body.count(b"\n")) > values:
        raise TooLarge(f"more than {values} values or lines", limit=values)
    rows = _decode_at_once(body, media, row)
    if rows is None:
        return _decode_each(_raw_rows(body, media, limit), row, ref)
    _check_count(len(rows), limit)
    return Rows(len(rows), rows, range(len(rows)))


def decode_one(body: bytes, row: type[T]) -> T:
    """Decode a body that holds one object.

    Raises:
        BadBody: not JSON
        BadInput: a value breaks a rule

    """
    decoder, _ = _decoders(row)
    try:
        value = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise BadInput.at(*explain_invalid(error)) from None
    except _UNREADABLE:
        raise BadBody("the body is not JSON") from None
    if _holds_nul(body):
        raise BadInput.at("", NUL_RULE)
    return value


def _decoders(row: type[T]) -> tuple[msgspec.json.Decoder[T], msgspec.json.Decoder[list[T]]]:
    """Return the decoders of one row and of many; making one costs more than using it."""
    made = _made.get(row)
    if made is None:
        many: Any = list[row]  # type: ignore[valid-type]
        made = _made[row] = (msgspec.json.Decoder(row), msgspec.json.Decoder(many))
    return made


_made: dict[type, tuple[msgspec.json.Decoder[Any], msgspec.json.Decoder[Any]]] = {}


def _decode_at_once(body: bytes, media: str, row: type[T]) -> list[T] | None:
    """Decode everything in one go; None if any row needs a closer look."""
    # PostgreSQL has no U+0000 in text: one such row would fail the whole statement.
    if _NUL in body:
        return None
    one, many = _decoders(row)
    try:
        return many.decode(body) if media == JSON else one.decode_lines(body)
    except _UNREADABLE:
        return None


def _raw_rows(body: bytes, media: str, limit: int) -> Sequence[bytes | msgspec.Raw]:
    raw: Sequence[bytes | msgspec.Raw]
    if media == NDJSON:
        raw = [line for line in body.split(b"\n") if line.strip(_WHITESPACE)]
    else:
        try:
            raw = msgspec.json.decode(body, type=list[msgspec.Raw])
        except _UNREADABLE:
            raw = list(_split_array(body))
    _check_count(len(raw), limit)
    return raw


def _split_array(body: bytes) -> Iterator[bytes]:
    """Split an array by a laxer parser: one broken escape or byte must not fail the other rows.

    Raises:
        BadBody: it is no array even so

    """
    text = body.decode("utf-8", "surrogateescape")
    position = _past(_LEAD, text, 0)
    closed = _CLOSE.match(text, position)
    while closed is None:
        try:
            _, end = _lax.raw_decode(text, position)
        except (ValueError, RecursionError):
            raise _no_array() from None
        yield text[position:end].encode("utf-8", "surrogateescape")
        closed = _CLOSE.match(text, end)
        position = end if closed else _past(_COMMA, text, end)
    if closed.end() != len(text):
        raise _no_array()


def _past(mark: re.Pattern[str], text: str, position: int) -> int:
    found = mark.match(text, position)
    if found is None:
        raise _no_array()
    return found.end()


def _no_array() -> BadBody:
    return BadBody("the body is not a JSON array")


def _check_count(count: int, limit: int) -> None:
    if count > limit:
        raise TooLarge(f"more than {limit} rows", limit=limit)


def _decode_each(raw: Sequence[bytes | msgspec.Raw], row: type[T], ref: str | None) -> Rows[T]:
    decoder, _ = _decoders(row)
    good: list[T] = []
    indexes: list[int] = []
    errors: list[RowError] = []
    for index, each in enumerate(raw):
        data = bytes(each)
        try:
            value = decoder.decode(data)
        except msgspec.ValidationError as error:
            errors.append(RowError(index, *explain_invalid(error), _ref(data, ref)))
        except _UNREADABLE:
            errors.append(RowError(index, "", "is not JSON"))
        else:
            if _holds_nul(data):
                errors.append(RowError(index, "", NUL_RULE, _ref(data, ref)))
            else:
                good.append(value)
                indexes.append(index)
    return Rows(len(raw), good, indexes, errors)


NUL_RULE = "text must not hold the character U+0000"


def _holds_nul(data: bytes) -> bool:
    # The escape may itself be escaped (`\\u0000`), so only the decoded text tells.
    return _NUL in data and any("\0" in text for text in _texts(msgspec.json.decode(data)))


def _texts(value: object) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for name, member in value.items():
                yield name
                yield from _texts(member)
        case list():
            for member in value:
                yield from _texts(member)


def _ref(data: bytes, name: str | None) -> str | None:
    if name is None:
        return None
    try:
        value = msgspec.json.decode(data, type=dict[str, msgspec.Raw]).get(name)
        text = None if value is None else msgspec.json.decode(value, type=str)
    except _UNREADABLE:
        return None
    return text if text is not None and _REF.fullmatch(text) else None


def explain_invalid(error: msgspec.ValidationError) -> tuple[str, str]:
    """Split msgspec's message into place and rule, and drop what may quote the input (R20)."""
    message = str(error)
    place = _PLACE.search(message)
    location = place["path"].lstrip(".") if place else ""
    rule = message[: place.start()] if place else message
    if error.__cause__ is not None:
        # Raised by a struct's own check: only a RuleError promises to hold no value.
        rule = str(error.__cause__) if isinstance(error.__cause__, RuleError) else "is not valid"
    elif rule.startswith("Invalid enum value"):
        rule = "is none of the allowed values"
    elif rule.startswith("Object contains unknown field"):
        member = _MEMBER.search(rule)
        rule = "has a member that is not known" + (f": {member[1]}" if member else "")
    elif rule.startswith("Invalid value"):
        rule = "is of no known kind"
    return location, rule.replace("`", "")


_encoder = msgspec.json.Encoder()


def json_reply(content: object, status: int = 200, **headers: str) -> Response:
    """Answer with JSON made by msgspec: structs, dataclasses, dicts, UTC datetimes.

    Args:
        content: what to tell
        status: HTTP status
        headers: further headers, `_` for `-`

    """
    return Response(
        _encoder.encode(content),
        status,
        {name.replace("_", "-"): value for name, value in headers.items()},
        JSON,
    )


def encode(content: Any) -> bytes:  # noqa: ANN401 - anything msgspec can encode
    """Encode as JSON, as `json_reply` does; for streams and ETags."""
    return _encoder.encode(content)
