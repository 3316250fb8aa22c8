"""The parts of README.md that are made from the code.

`python -m tests.support.readme` renews them.
"""

from pathlib import Path

from services.dispatch.settings import Settings as Dispatch
from services.registry.settings import Settings as Registry
from services.reporting.settings import Settings as Reporting
from shared.settings import settings_table

README = Path(__file__).parents[2] / "README.md"


def block(text: str, name: str) -> str:
    """Cut out what stands between the marks of a part."""
    begun = text.split(f"<!-- {name} -->\n", 1)[1]
    return begun.split(f"<!-- /{name} -->", 1)[0]


def settings() -> str:
    """Render the table of settings."""
    return settings_table(Registry, Dispatch, Reporting)


def main() -> None:
    """Renew the parts that are made from the code."""
    text = README.read_text(encoding="utf-8")
    README.write_text(
        text.replace(
            f"<!-- settings -->\n{block(text, 'settings')}", f"<!-- settings -->\n{settings()}"
        ),
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
