"""The operators' drills, on a small scale: what `docs/operations.md` tells them to do works."""

import io

from rich.console import Console

from deploy.drills import upgrade


async def test_the_next_version_comes_up_beside_the_last_and_nothing_is_refused() -> None:
    told = io.StringIO()
    out = Console(file=told, width=110)
    assert await upgrade.rehearse(upgrade.last_version(), 400, out) == 0, told.getvalue()
    assert "calls refused: 0" in told.getvalue()
    assert told.getvalue().splitlines()[-1] == "ledger: balanced: true"
