"""Many rows in one statement: a batch is one parameter, which PostgreSQL reads into rows."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec


def as_json(rows: Sequence[dict[str, Any]]) -> str:
    """Write rows for `json_populate_recordset`, which reads them at a few µs each."""
    return msgspec.json.encode(rows).decode()


def assigned(columns: Iterable[str], source: str) -> str:
    """Write the assignments of an update from another row."""
    return ", ".join(f"{column} = {source}.{column}" for column in columns)
