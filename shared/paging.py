"""Pages of a list: an opaque cursor says where the next one begins."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Generic, TypeVar

import msgspec
from fastapi import Query
from pydantic import BaseModel

from shared.errors import BadCursor

T = TypeVar("T")

Limit = Annotated[int, Query(ge=1, le=1000, description="most items of the page")]
"""Declare as `limit: Limit = 100`."""

Cursor = Annotated[
    str | None, Query(max_length=512, description="`next_cursor` of the page before")
]
"""Declare as `cursor: Cursor = None`."""


class Page(BaseModel, Generic[T]):
    """One page. `next_cursor` None: it was the last."""

    items: list[T]
    next_cursor: str | None = None


def pack_cursor(*key: object) -> str:
    """Make a cursor of the sort key of the page's last item."""
    return urlsafe_b64encode(msgspec.json.encode(key)).rstrip(b"=").decode()


def unpack_cursor(cursor: str, key: type[T]) -> T:
    """Read a cursor back, e.g. `unpack_cursor(cursor, tuple[str, UUID])`.

    Raises:
        BadCursor: it was not made by `pack_cursor` of such a key

    """
    try:
        data = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        return msgspec.json.decode(data, type=key)
    except (ValueError, msgspec.MsgspecError):
        raise BadCursor from None
