"""What containers are told: valid by the schemas of Compose and Kubernetes, true to the code."""

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from deploy.local import credentials, tokens
from deploy.local.stack import SERVICES
from deploy.local.supervisor import PROCESSES
from services.dispatch.settings import Settings as DispatchSettings
from services.registry.settings import Settings as RegistrySettings
from services.reporting.settings import Settings as ReportingSettings
from shared.settings import ServiceSettings

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SETTINGS: dict[str, type[ServiceSettings]] = {
    "registry": RegistrySettings,
    "dispatch": DispatchSettings,
    "reporting": ReportingSettings,
}
VARIABLES = {
    service: {name for field in settings.model_fields for name in settings.variables(field)}
    for service, settings in SETTINGS.items()
}
PATCHES = {"pod.yaml", "probes.yaml"}
"""Parts of resources, which are laid over others."""
RESOURCES = sorted(
    path
    for path in (DEPLOY / "kubernetes").glob("*/*.yaml")
    if path.name != "kustomization.yaml" and path.name not in PATCHES
)
KUBERNETES = "1.34.0"


def processes() -> Iterator[tuple[str, str]]:
    for service, roles in PROCESSES.items():
        yield from ((service, role) for role in ("migrate", *roles))


def started(container: dict[str, Any]) -> tuple[str, str]:
    """The service and role that a container runs."""
    service, role = container["command"][:2]
    return service.removeprefix("services."), role


def test_compose_is_valid_by_its_own_schema() -> None:
    schema = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(COMPOSE, json.loads(schema.read_text()))


def test_compose_runs_every_process_of_every_service() -> None:
    ours = [each for each in COMPOSE["services"].values() if each.get("image") == "lastmetre"]
    assert sorted(map(started, ours)) == sorted(processes())


def test_compose_sets_what_there_is_to_set_and_mounts_what_it_names() -> None:
    for name, container in COMPOSE["services"].items():
        if container.get("image") != "lastmetre":
            continue
        service, _ = started(container)
        assert container["environment"].keys() <= VARIABLES[service], name
        mounted = {f"/run/secrets/{secret}" for secret in container["secrets"]}
        named = {
            value
            for value in container["environment"].values()
            if value.startswith("/run/secrets/")
        }
        assert named == mounted, name


def test_every_secret_that_compose_mounts_is_handed_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    issuer = tokens.development_issuer()
    written = credentials.hand_out(tmp_path / "secrets", issuer)
    assert {path.name for path in written} == COMPOSE["secrets"].keys()
    assert all(path.read_text() for path in written)
    keys = (tmp_path / "secrets" / "registry-keys").read_text()
    again = credentials.hand_out(tmp_path / "secrets", issuer)
    assert {path.name for path in again} == {"jwks", *(f"{name}-token" for name in SERVICES)}
    assert (tmp_path / "secrets" / "registry-keys").read_text() == keys


@pytest.mark.parametrize("path", RESOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_resources_are_valid_by_the_schemas_of_kubernetes(path: Path) -> None:
    documents = list(yaml.safe_load_all(path.read_text()))
    for document in documents:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    assert documents


@pytest.mark.parametrize("service", SERVICES)
def test_kubernetes_sets_what_there_is_to_set(service: str) -> None:
    kustomization = yaml.safe_load(
        (DEPLOY / "kubernetes" / service / "kustomization.yaml").read_text()
    )
    (settings,) = kustomization["configMapGenerator"]
    said = dict(literal.split("=", 1) for literal in settings["literals"])
    assert said.pop("SERVICE") == service
    assert said.keys() <= VARIABLES[service]
    folder = "/run/secrets/lastmetre/"
    named = {value.removeprefix(folder) for value in said.values() if value.startswith(folder)}
    example = yaml.safe_load((DEPLOY / "kubernetes" / "example" / "kustomization.yaml").read_text())
    (secret,) = (
        each for each in example["secretGenerator"] if each["name"] == f"lastmetre-{service}"
    )
    assert named == {file.split("=")[0] for file in secret["files"]}
    handed = {Path(file.split("=")[1]).name for file in secret["files"]}
    assert handed <= COMPOSE["secrets"].keys()


def test_kubernetes_runs_every_process() -> None:
    service = DEPLOY / "kubernetes" / "service"
    roles = {
        document["spec"]["template"]["spec"]["containers"][0]["args"][1]
        for path in service.glob("*.yaml")
        if path.name not in {*PATCHES, "kustomization.yaml"}
        for document in yaml.safe_load_all(path.read_text())
        if document["kind"] in {"Deployment", "Job"}
    }
    assert roles == {role for _, role in processes()}


def test_the_image_takes_its_libraries_from_the_one_lock() -> None:
    pinned = re.compile(r"^(\S+==\S+)", re.MULTILINE)
    image = set(pinned.findall((DEPLOY / "requirements.lock").read_text()))
    everything = set(pinned.findall((DEPLOY.parent / "requirements.lock").read_text()))
    assert image
    assert image <= everything
