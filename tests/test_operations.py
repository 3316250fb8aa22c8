"""What the operators' page says is so: links lead somewhere, metrics and variables exist."""

import re
from pathlib import Path

import pytest

from tests.support import metrics, readme

DOCS = Path(__file__).parents[1] / "docs"
TEXT = (DOCS / "operations.md").read_text(encoding="utf-8")


def anchors(text: str) -> set[str]:
    """The headings of a page, as its links name them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)]+)\)", TEXT))))
def test_every_link_leads_somewhere(link: str) -> None:
    path, _, anchor = link.partition("#")
    if path:
        assert (DOCS / path).exists()
    if anchor:
        page = (DOCS / path).read_text(encoding="utf-8") if path else TEXT
        assert anchor in anchors(page)


def test_every_alarm_is_on_a_metric_that_there_is() -> None:
    named = set(re.findall(r"lastmetre_[a-z_]+", TEXT))
    assert named
    assert named <= metrics.known()


def test_every_variable_it_names_can_be_set() -> None:
    assert set(re.findall(r"LASTMETRE_[A-Z_]+", TEXT)) <= set(
        re.findall(r"LASTMETRE_[A-Z_]+", readme.settings())
    )


def test_every_command_and_target_it_names_exists() -> None:
    makefile = (DOCS.parent / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", TEXT)) <= targets
    commands = (DOCS.parent / "deploy" / "local" / "cli.py").read_text()
    for command in set(re.findall(r"`lastmetre ([a-z]+)", TEXT)):
        assert re.search(rf"def {command}\w*\(", commands), command
