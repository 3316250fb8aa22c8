"""Cursors say where the next page begins, and nothing to anybody else."""

from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import BadCursor
from shared.paging import pack_cursor, unpack_cursor


@settings(max_examples=50, deadline=None)
@given(name=st.text(), key=st.uuids())
def test_a_cursor_comes_back_as_its_key(name: str, key: UUID) -> None:
    cursor = pack_cursor(name, key)
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert unpack_cursor(cursor, tuple[str, UUID]) == (name, key)


@pytest.mark.parametrize("cursor", ["", "x", "????", "张三", pack_cursor(1), pack_cursor("a")[:-3]])
def test_other_cursors_are_refused(cursor: str) -> None:
    with pytest.raises(BadCursor):
        unpack_cursor(cursor, tuple[str])
