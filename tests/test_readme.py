"""What the README says is so."""

import re
from pathlib import Path

import pytest

from tests.support import readme

ROOT = readme.README.parent
TEXT = readme.README.read_text(encoding="utf-8")


def test_the_settings_are_those_of_the_code() -> None:
    assert readme.block(TEXT, "settings") == readme.settings(), (
        "renew it: python -m tests.support.readme"
    )


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", TEXT))
def test_every_link_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def test_the_targets_it_names_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`?make ([a-z-]+)", TEXT)) - {"and"} <= targets


def test_the_demo_shown_balanced() -> None:
    shown = readme.block(TEXT, "demo")
    assert "balanced: true" in shown
    assert "unaccounted" in shown


def test_the_words_of_the_field_are_explained() -> None:
    words = (ROOT / "docs" / "words.md").read_text(encoding="utf-8")
    for word in ("unaccounted", "in hand", "excluded", "round", "visit", "revisit", "coverage"):
        assert f"| {word}" in words


def test_decisions_are_listed() -> None:
    folder = Path(ROOT / "docs" / "decisions")
    index = (folder / "README.md").read_text(encoding="utf-8")
    for page in folder.glob("0*.md"):
        assert page.name in index
