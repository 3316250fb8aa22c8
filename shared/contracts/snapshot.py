"""JSON Schemas of everything announced, committed beside the contracts.

`python -m shared.contracts.snapshot` writes them anew; a test keeps them in step. Reviewers see a
change of a contract as a change of its schema, and readers outside Python need nothing else.
"""

from collections.abc import Mapping
from inspect import cleandoc
from pathlib import Path
from typing import Any

import msgspec

from shared.contracts import dispatch, registry
from shared.contracts.envelope import Message, registered

FOLDER = Path(__file__).parent / "schemas"

MESSAGES: Mapping[str, type[Message]] = registered([*registry.MESSAGES, *dispatch.MESSAGES])
"""Every message by its type name."""


def schemas() -> dict[str, str]:
    """Render the schema of every message, by file name."""
    return {f"{name}.json": _render(message) for name, message in MESSAGES.items()}


def write(folder: Path = FOLDER) -> None:
    """Write all schemas, and remove those of messages that are no more."""
    folder.mkdir(exist_ok=True)
    wanted = schemas()
    for stale in {path.name for path in folder.glob("*.json")} - wanted.keys():
        (folder / stale).unlink()
    for name, text in wanted.items():
        (folder / name).write_text(text, encoding="utf-8")


def _render(message: type[Message]) -> str:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": message.type,
        "x-topic": message.topic,
        **dedented(msgspec.json.schema(message)),
    }
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


def dedented(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """Dedent descriptions: from 3.13 on Python does it itself, and snapshots must not differ."""
    if isinstance(schema, dict):
        return {
            name: cleandoc(value)
            if name == "description" and isinstance(value, str)
            else dedented(value)
            for name, value in schema.items()
        }
    return [dedented(each) for each in schema] if isinstance(schema, list) else schema


if __name__ == "__main__":
    write()
