"""The page of all problem types; `python -m tests.contracts.problems` writes it anew."""

import importlib
from pathlib import Path

from shared.errors import problems_table

PAGE = Path(__file__).parents[2] / "docs" / "problems.md"

INTRODUCTION = """\
# Problems

Every error is answered as a problem document (RFC 9457, `application/problem+json`), and every
rejected row of a batch carries one as its `reason`. `type` is stable and is what programs should
look at; `title` and `detail` are for people. `errors` names places and rules, never a value that
was sent. `request_id` finds the lines of the log. This page is made from the code.

"""


def page() -> str:
    """Render the page from what the services define."""
    for service in ("registry", "dispatch", "reporting"):
        importlib.import_module(f"services.{service}.app")
    return INTRODUCTION + problems_table("services", "shared")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
