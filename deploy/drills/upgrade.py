"""The next version comes up beside the last, while a day is played.

    python -m deploy.drills.upgrade [--from REVISION] [--residents N]

1. The last version runs; a day begins.
2. The databases are migrated under it, as the migration job does.
3. Every process of the next version starts beside those of the last: both serve, both apply.
4. The last version is asked to leave; it finishes what it began.
5. The day goes on to its evening. No call was refused, and the ledger is the last line.
"""

import argparse
import asyncio
import io
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from deploy.drills.stage import PROJECT, DrillError, Stage, run, staged

_MOVES = 100  # events counted, by which a mixture of versions is seen to work


async def drill(stage: Stage, last: Path, residents: int) -> int:
    """Upgrade from the code in a folder to ours, under load; 0 if the ledger balances."""
    began = time.monotonic()
    await stage.migrate(last)
    old = await stage.start(last)
    stage.lead_to(old)
    stage.say(f"the last version runs: {len(old)} processes")
    enough = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        days = tasks.create_task(stage.play(residents, enough))
        counted = await stage.moves(_MOVES)
        stage.say(f"a day is being played, {counted:,} events counted; migrating under it")
        await stage.migrate(PROJECT)
        counted = await stage.moves(_MOVES)
        stage.say(f"the last version works on the next one's schema, {counted:,} events counted")
        new = await stage.start(PROJECT)
        stage.lead_to([*old, *new])
        counted = await stage.moves(_MOVES)
        stage.say(f"both run, {len(old) + len(new)} processes, {counted:,} events counted")
        # First nobody comes any more, then they leave.
        stage.lead_to(new)
        await stage.stop(old)
        counted = await stage.moves(_MOVES)
        stage.say(f"the last version has left, each process with 0; {counted:,} events counted")
        enough.set()
    stage.say(
        f"days played: {days.result()}; calls refused: 0, asked again: {len(stage.repeated)};"
        f" {time.monotonic() - began:.0f} s in all"
    )
    return await stage.conclude()


def code_of(revision: str, folder: Path) -> None:
    """Lay the code of a revision into a folder."""
    archive = _git("archive", revision, "services", "shared")
    with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
        packed.extractall(folder, filter="data")


def last_version() -> str:
    """The revision before the newest change of a schema: the hardest one to come from."""
    newest = _git("log", "-1", "--format=%H", "--", "services/*/migrations/versions/*")
    return f"{newest.decode().strip()}^"


def _git(*words: str) -> bytes:
    git = shutil.which("git")
    if git is None:
        raise DrillError("the last version comes out of git, and there is no `git` on the PATH")
    asked = subprocess.run([git, *words], cwd=PROJECT, check=False, capture_output=True)  # noqa: S603 - no shell
    if asked.returncode:
        raise DrillError(f"git {words[0]} failed: {asked.stderr.decode().strip()}")
    return asked.stdout


async def rehearse(revision: str, residents: int, out: Console) -> int:
    """Set the stage, and upgrade on it."""
    with TemporaryDirectory(prefix="lastmetre-last-") as folder:
        code_of(revision, Path(folder))
        async with staged(out) as stage:
            stage.say(f"from {revision} to the code here")
            return await drill(stage, Path(folder), residents)


def main() -> int:
    """Run it from the command line."""
    options = argparse.ArgumentParser(prog="python -m deploy.drills.upgrade")
    options.add_argument(
        "--from",
        dest="revision",
        help="the last version; default: the one before the newest change of a schema",
    )
    options.add_argument("--residents", type=int, default=4_000)
    given = options.parse_args()
    return run(lambda out: rehearse(given.revision or last_version(), given.residents, out))


if __name__ == "__main__":
    sys.exit(main())
