"""Where people are counted, and what the rows that stand for it are called (R5)."""

from collections.abc import Mapping
from typing import Literal

ByArea = Literal["district", "office", "community"]
"""Levels of areas that rows may stand for."""

AREA_WIDTH: Mapping[ByArea, int] = {"district": 6, "office": 9, "community": 12}
"""Digits of an area's statistics code; each level's code begins with the one above it."""

UNASSIGNED = "unassigned"
"""Name of the rows for people whose community, or even office, is not known (R5)."""

TOTAL = ""
"""Code of the place that all districts are parts of."""


def name_of(code: str, names: Mapping[str, str]) -> str:
    """Name an area; people of no known place below have a row of their own (R5)."""
    if len(code) > AREA_WIDTH["district"] and code.endswith("000"):
        return UNASSIGNED
    return names.get(code, code)


def above(code: str) -> str:
    """Code of the area that this one is a part of."""
    widths = [0, *AREA_WIDTH.values()]
    return code[: max(width for width in widths if width < len(code))]
