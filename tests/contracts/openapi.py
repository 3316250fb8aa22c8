"""The OpenAPI documents, as committed in docs/openapi.

`python -m tests.contracts.openapi` renews them.

They are what clients are generated from, so a change of them is a change to look at.
"""

import base64
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from services.dispatch import app as dispatch
from services.dispatch.settings import Settings as DispatchSettings
from services.registry import app as registry
from services.registry.settings import Settings as RegistrySettings
from services.reporting import app as reporting
from services.reporting.settings import Settings as ReportingSettings

FOLDER = Path(__file__).parents[2] / "docs" / "openapi"
DATABASE = "postgresql+asyncpg://nobody@127.0.0.1:1/none"
"""Nothing is connected to describe a service."""


@contextmanager
def applications() -> Iterator[Mapping[str, FastAPI]]:
    """Make the three APIs, without what stands behind them."""
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys.json"
        key = base64.b64encode(bytes(32)).decode()
        keys.write_text(json.dumps({"current": "k", "keys": {"k": key}, "index": key}))
        common: dict[str, Any] = {
            "jwks": str(Path(folder) / "jwks.json"),
            "service_token_file": Path(folder) / "token",
            "database_url": DATABASE,
        }
        yield {
            "registry": registry.create_app(RegistrySettings(**common, keys_file=keys)),
            "dispatch": dispatch.create_app(DispatchSettings(**common)),
            "reporting": reporting.create_app(ReportingSettings(**common)),
        }


def documents() -> Mapping[str, str]:
    """Describe the three services, as JSON text."""
    with applications() as apps:
        return {
            name: json.dumps(app.openapi(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
            for name, app in apps.items()
        }


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for service, document in documents().items():
        (FOLDER / f"{service}.json").write_text(document, encoding="utf-8")
