"""Bodies: capped, unpacked, decoded row by row, and never repeated in what is said of them."""

import gzip
import json
import tracemalloc
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
import pytest
import zstandard
from fastapi import Request
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.bodies import JSON, NDJSON, decode_one, decode_rows, json_reply, read_body
from shared.errors import BadBody, BadInput, RuleError, TooLarge, UnsupportedMedia

LIMIT = 100_000


class Need(msgspec.Struct):
    """A member of a row."""

    code: Literal["mobility", "quarantine"]


class Row(msgspec.Struct, forbid_unknown_fields=True):
    """A row with one of each kind of rule."""

    id: str
    name: str = ""
    floor: Annotated[int, msgspec.Meta(ge=-9, le=200)] = 0
    at: datetime | None = None
    needs: list[Need] = []
    notes: dict[str, int] = {}

    def __post_init__(self) -> None:
        if self.name == "rule":
            raise RuleError("name must not be a rule")
        if self.name == "leak":
            int("Zhang San 110101")


def request(*chunks: bytes, encoding: str | None = None) -> Request:
    """Make a request whose body arrives in these chunks."""
    waiting = list(chunks)

    async def receive() -> dict[str, Any]:
        return {
            "type": "http.request",
            "body": waiting.pop(0) if waiting else b"",
            "more_body": bool(waiting),
        }

    headers = [(b"content-encoding", encoding.encode())] if encoding else []
    return Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive)


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstd)])
async def test_packed_bodies_are_unpacked(encoding: str, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(b"[1,2,3]")
    assert await read_body(request(packed[:4], packed[4:], encoding=encoding), LIMIT) == b"[1,2,3]"
    twice = pack(b"[1,2,") + pack(b"3]")
    assert await read_body(request(twice, encoding=encoding.upper()), LIMIT) == b"[1,2,3]"


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstd)])
async def test_a_bomb_is_not_unpacked_beyond_the_limit(
    encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    bomb = pack(bytes(50 * 1024 * 1024))
    assert len(bomb) < LIMIT
    with pytest.raises(TooLarge, match="100000 bytes"):
        await read_body(request(bomb, encoding=encoding), LIMIT)


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstd)])
async def test_what_follows_a_packed_body_belongs_to_it(
    encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(BadBody, match=encoding):
        await read_body(request(pack(b"[]") + b"and more", encoding=encoding), LIMIT)


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstd)])
async def test_a_packed_body_within_a_packed_body_is_no_json(
    encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    body = await read_body(request(pack(pack(b"[]")), encoding=encoding), LIMIT)
    with pytest.raises(BadBody):
        decode_rows(body, JSON, Row)
    with pytest.raises(UnsupportedMedia):
        await read_body(request(body, encoding=f"{encoding}, {encoding}"), LIMIT)


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("zstd", zstd)])
async def test_members_that_hold_nothing_are_counted(
    encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    """Each costs time, and a body of the largest size has room for a million."""
    full = pack(b"[") + pack(b"") * 998 + pack(b"]")
    assert await read_body(request(full, encoding=encoding), LIMIT) == b"[]"
    with pytest.raises(BadBody, match="more than 1000 members"):
        await read_body(request(full + pack(b""), encoding=encoding), LIMIT)


async def test_a_frame_that_asks_for_a_huge_window_is_refused() -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=27)
    packed = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    frame = packed.compress(b"[]") + packed.flush()
    with pytest.raises(BadBody, match="zstd"):
        await read_body(request(frame, encoding="zstd"), LIMIT)


async def test_the_limit_holds_for_bodies_that_come_in_pieces() -> None:
    exact = [b"x" * (LIMIT // 2)] * 2
    assert len(await read_body(request(*exact), LIMIT)) == LIMIT
    with pytest.raises(TooLarge):
        await read_body(request(*exact, b"x"), LIMIT)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", b"[1,2,3]"),
        ("gzip", gzip.compress(b"[1,2,3]")[:-4]),
        ("zstd", b"[1,2,3]"),
        ("zstd", zstd(b"[1,2,3]" * 1000)[:-4]),
    ],
    ids=["plain as gzip", "gzip cut short", "plain as zstd", "zstd cut short"],
)
async def test_a_body_that_is_not_what_it_claims_is_refused(encoding: str, body: bytes) -> None:
    with pytest.raises(BadBody):
        await read_body(request(body, encoding=encoding), LIMIT)


async def test_other_encodings_are_refused() -> None:
    with pytest.raises(UnsupportedMedia, match="gzip"):
        await read_body(request(b"", encoding="br"), LIMIT)


BOTH = pytest.mark.parametrize("media", [JSON, NDJSON])


def batch(media: str, *rows: str) -> bytes:
    return ("[" + ",".join(rows) + "]" if media == JSON else "\n".join(rows)).encode(
        errors="surrogateescape"
    )


@BOTH
def test_good_rows_come_in_the_order_of_the_request(media: str) -> None:
    rows = decode_rows(batch(media, '{"id":"a"}', '{"id":"b","floor":3}'), media, Row)
    assert rows.count == 2
    assert list(rows.numbered()) == [(0, Row("a")), (1, Row("b", floor=3))]
    assert not rows.errors


BAD_ROWS = [
    ('{"id":7}', "id", "Expected str, got int"),
    ('{"name":"Zhang"}', "", "Object missing required field id"),
    ('{"id":"b","floor":900}', "floor", "Expected int <= 200"),
    ('{"id":"b","at":"Zhang"}', "at", "Invalid RFC3339 encoded datetime"),
    (
        '{"id":"b","needs":[{"code":"mobility"},{"code":"Zhang"}]}',
        "needs[1].code",
        "is none of the allowed values",
    ),
    ('{"id":"b","notes":{"Zhang":"x"}}', "notes[...]", "Expected int, got str"),
    ('{"id":"b","Zhang":1}', "", "has a member that is not known"),
    ('{"id":"b","name":"rule"}', "", "name must not be a rule"),
    ('{"id":"b","name":"leak"}', "", "is not valid"),
    ('{"id":"b","name":"Zhang\\u0000"}', "", "text must not hold the character U+0000"),
    ('{"id":"b","name":"Zhang\\ud800"}', "", "is not JSON"),
    ('{"id":"b","name":"Zhang\udcff"}', "", "is not JSON"),
    ('"Zhang"', "", "Expected object, got str"),
]


@BOTH
@pytest.mark.parametrize(
    ("bad", "location", "rule"), BAD_ROWS, ids=[f"bad {n}" for n in range(len(BAD_ROWS))]
)
def test_a_bad_row_is_explained_without_its_values_and_fails_no_other(
    media: str, bad: str, location: str, rule: str
) -> None:
    """A row is answered by itself, never dropped, and never quoted (R20, R21)."""
    rows = decode_rows(batch(media, '{"id":"a"}', bad, '{"id":"c"}'), media, Row)
    assert list(rows.numbered()) == [(0, Row("a")), (2, Row("c"))]
    (error,) = rows.errors
    assert rows.count == 3
    assert error.index == 1
    assert error.location == location
    assert error.rule == rule
    assert error.reason()["type"] == "/problems/bad-input"
    assert "Zhang" not in str(error)


def test_brackets_without_end_do_no_harm() -> None:
    deep = '{"id":"b","other":' + "[" * 100_000 + "]" * 100_000 + "}"
    with pytest.raises(BadBody):
        decode_rows(batch(JSON, '{"id":"a"}', deep), JSON, Row)
    rows = decode_rows(batch(NDJSON, '{"id":"a"}', deep, '{"id":"c"}'), NDJSON, Row, ref="id")
    assert rows.good == [Row("a"), Row("c")]
    assert [error.index for error in rows.errors] == [1]


def test_a_line_that_is_no_json_at_all_fails_alone() -> None:
    body = b'{"id":"a"}\r\n\n{"id":"b"\n  \n\xff\xfe\n{"id":"d"}\n'
    rows = decode_rows(body, NDJSON + "; charset=utf-8", Row)
    assert rows.good == [Row("a"), Row("d")]
    assert [(error.index, error.rule) for error in rows.errors] == [
        (1, "is not JSON"),
        (2, "is not JSON"),
    ]


def test_an_escaped_escape_is_not_a_nul() -> None:
    rows = decode_rows(rb'[{"id":"\\u0000"}]', JSON, Row)
    assert rows.good == [Row("\\u0000")]


def test_a_bad_row_is_named_by_its_own_id_where_that_is_one() -> None:
    known = "5e8b0f3c-6a1d-4c0e-9d8e-9b1c7f0a2d34"
    ids: list[object] = [known, "13900000001", "张三", []]
    rows = [{"id": each, "floor": "x"} for each in ids]
    errors = decode_rows(json.dumps([*rows, {}]).encode(), None, Row, ref="id").errors
    assert [error.ref for error in errors] == [known, None, None, None, None]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"id":"a"}',
        b'[{"id":"a"}',
        b"[] []",
        b"[" * 100_000,
        b'[{"id":"\\ud800"} {}]',
        b'[{"id":"\\ud800"},',
    ],
)
def test_what_is_no_array_is_refused_whole(body: bytes) -> None:
    with pytest.raises(BadBody):
        decode_rows(body, JSON, Row)


@BOTH
@pytest.mark.parametrize("last", ['{"id":"c"}', '{"id":7}'])
def test_more_rows_than_the_limit_are_refused(media: str, last: str) -> None:
    with pytest.raises(TooLarge, match="more than 2 rows"):
        decode_rows(batch(media, '{"id":"a"}', '{"id":"b"}', last), media, Row, 2)


@pytest.mark.parametrize(
    ("media", "body"),
    [(JSON, b"[" + b"1," * 2_000_000 + b"1]"), (JSON, b"[[" + b"1," * 2_000_000 + b"1]]"),
     (NDJSON, b"\n" * 2_000_000), (NDJSON, b"1\n" * 2_000_000)],
    ids=["rows", "one row", "empty lines", "lines"],
)  # fmt: skip
def test_what_would_grow_when_it_is_decoded_is_refused_before(media: str, body: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge, match="more than 640000 values or lines"):
            decode_rows(body, media, Row)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < len(body)


@pytest.mark.parametrize(
    "value",
    ["9" * 5_000, "1e999999", "[" * 100_000 + "]" * 100_000, '{"a":' * 5_000 + "1" + "}" * 5_000],
    ids=["digits", "exponent", "brackets", "braces"],
)
def test_values_out_of_all_proportion_are_refused_and_fail_no_other_row(value: str) -> None:
    rows = decode_rows(batch(NDJSON, '{"id":"a"}', f'{{"id":{value}}}'), NDJSON, Row)
    assert (list(rows.indexes), [error.index for error in rows.errors]) == ([0], [1])
    with pytest.raises((BadBody, BadInput)):
        decode_one(f'{{"id":"a","floor":{value}}}'.encode(), Row)


def test_of_a_member_that_comes_twice_the_last_counts() -> None:
    assert decode_one(b'{"id":"a","id":"b"}', Row) == Row("b")


def test_other_content_types_are_refused() -> None:
    with pytest.raises(UnsupportedMedia):
        decode_rows(b"[]", "text/csv", Row)


def test_no_rows_are_no_error() -> None:
    assert decode_rows(b"[]", JSON, Row).count == 0
    assert decode_rows(b"\n", NDJSON, Row).count == 0


@settings(max_examples=50, deadline=None)
@given(good=st.lists(st.booleans(), max_size=12), media=st.sampled_from([JSON, NDJSON]))
def test_every_row_is_either_good_or_explained(good: list[bool], media: str) -> None:
    """Nothing is dropped in silence (R21)."""
    sent = [f'{{"id":"{n}"}}' if fine else f'{{"id":{n}}}' for n, fine in enumerate(good)]
    rows = decode_rows(batch(media, *sent), media, Row)
    assert rows.count == len(good)
    assert [int(row.id) for row in rows.good] == list(rows.indexes)
    assert {error.index for error in rows.errors} == set(range(len(good))) - set(rows.indexes)
    assert all(good[index] for index in rows.indexes)


def test_one_object_is_decoded_or_refused() -> None:
    assert decode_one(b'{"id":"a"}', Row) == Row("a")
    with pytest.raises(BadInput) as caught:
        decode_one(b'{"id":"a","floor":"Zhang"}', Row)
    assert caught.value.problem()["errors"] == [
        {"location": "floor", "rule": "Expected int, got str"}
    ]
    with pytest.raises(BadInput, match="U\\+0000"):
        decode_one(rb'{"id":"\u0000"}', Row)
    with pytest.raises(BadBody):
        decode_one(b"{", Row)


def test_answers_are_written_by_msgspec() -> None:
    reply = json_reply(Row("a"), 201, etag='W/"1"', cache_control="private")
    assert msgspec.json.decode(reply.body)["id"] == "a"
    assert reply.status_code == 201
    assert reply.headers["cache-control"] == "private"
    assert reply.headers["etag"] == 'W/"1"'
