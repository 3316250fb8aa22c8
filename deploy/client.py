"""A Python client of the three services, generated from their OpenAPI documents: `make client`.

It is a package of its own (`lastmetre-client`), for machines that have nothing else of ours:
`lastmetre_client.registry`, `.dispatch` and `.reporting`, each with typed functions, sync and
async, over httpx. It is made anew whenever it is wanted, and never kept in the repository.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCUMENTS = Path(__file__).parents[1] / "docs" / "openapi"
SERVICES = ("registry", "dispatch", "reporting")
PACKAGE = "lastmetre_client"

_JSON = "application/json"
_NDJSON = "application/x-ndjson"
_STREAMS = {_NDJSON, "text/event-stream"}
_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "lastmetre-client"
version = "1"
description = "Client of Lastmetre, generated from its OpenAPI documents"
requires-python = ">=3.11"
license = "Apache-2.0"
dependencies = ["attrs>=23", "httpx>=0.27"]

[tool.hatch.build.targets.wheel]
packages = ["lastmetre_client"]
"""
_INIT = '"""Client of Lastmetre: `registry`, `dispatch`, `reporting`; generated, not written."""\n'


def generate(folder: Path) -> Path:
    """Make the client anew in a folder; return the package's own folder.

    Raises:
        subprocess.CalledProcessError: a document says something that the generator does not know

    """
    package = folder / PACKAGE
    shutil.rmtree(package, ignore_errors=True)
    package.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(_PROJECT, encoding="utf-8")
    (package / "__init__.py").write_text(_INIT, encoding="utf-8")
    (package / "py.typed").touch()
    for service in SERVICES:
        document = json.loads((DOCUMENTS / f"{service}.json").read_text(encoding="utf-8"))
        _generate(_plain(document), package / service)
    return package


def _generate(document: dict[str, Any], package: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        described, config = Path(place) / "openapi.json", Path(place) / "config.json"
        described.write_text(json.dumps(document), encoding="utf-8")
        config.write_text(json.dumps({"post_hooks": []}), encoding="utf-8")
        command = [
            str(Path(sys.executable).with_name("openapi-python-client")),
            "generate", "--meta", "none", "--fail-on-warning",
            "--path", str(described), "--config", str(config), "--output-path", str(package),
        ]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own words


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    """Say it as the generator understands it.

    It makes models of its own for the problems of each operation: they are all one `Problem`. It
    knows no NDJSON: lists are sent as JSON, and a stream of lines or events is read as text. Files
    for spreadsheets are left out: its functions give objects. Longitude and latitude are a list of
    numbers: of lists that end after so many it has not heard.
    """
    for schema in _schemas(document):
        if schema.get("items") is False:
            schema["items"] = {"type": schema.pop("prefixItems")[0]["type"]}
    for operation in _operations(document):
        taken = operation.get("parameters", [])
        operation["parameters"] = [each for each in taken if each["name"] != "format"]
        sent = operation.get("requestBody", {}).get("content", {})
        if _JSON in sent:
            sent.pop(_NDJSON, None)
        for status, answer in operation["responses"].items():
            content = answer.get("content", {})
            if not status.startswith("2") and content:
                # A single row is rejected by an answer about rows, under the status of its reason.
                own = [content[_JSON]["schema"]] if _JSON in content else []
                answer["content"] = {_JSON: {"schema": {"anyOf": [*own, _PROBLEM]}}}
            elif content.keys() & _STREAMS:
                answer["content"] = {"text/plain": {"schema": {"type": "string"}}}
    return document


def _schemas(part: object) -> Iterator[dict[str, Any]]:
    """Walk everything that may be a schema."""
    if isinstance(part, dict):
        yield part
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from _schemas(each)


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in document["paths"].values():
        yield from methods.values()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Generate the Python client.")
    parser.add_argument("--into", type=Path, default=Path("dist/client"))
    made = generate(parser.parse_args().into)
    sys.stdout.write(f"{made}: pip install {made.parent}\n")
