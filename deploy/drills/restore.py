"""registry's database is lost in the middle of a day and comes back from a backup, hours older.

    python -m deploy.drills.restore [--residents N]

1. A day begins; registry's database is backed up under it, and the day goes on to its evening.
2. The database is lost, with every process of registry. The backup is restored, they start again.
3. The others notice that registry's history is not the one they know, and stop.
4. registry is adopted: it announces all that it stands for, and the others go on from there.
5. Sites and laboratories send the day again, as after any outage. The ledger is the last line.
"""

import argparse
import asyncio
import io
import sys
import time
from contextlib import AsyncExitStack

from rich.console import Console
from rich.progress import Progress

from deploy.drills.stage import PROJECT, Stage, run, staged
from deploy.local import demo, servers


async def drill(stage: Stage, residents: int) -> int:
    """Lose registry's database and bring it back; 0 if the ledger balances in the end."""
    backup = stage.home / "registry.dump"
    await stage.migrate(PROJECT)
    running = await stage.start(PROJECT)
    stage.lead_to(running)
    async with AsyncExitStack() as clients:
        progress = Progress(console=Console(file=io.StringIO()))
        day = await demo.morning(clients, stage.connect, stage.people(residents), progress)
        before = await stage.announced()

        async def begun() -> bool:
            return await stage.announced() > before

        async with asyncio.TaskGroup() as tasks:
            playing = tasks.create_task(day.play(progress))
            # By registry's own word: on a busy machine others hear of the day when it is over.
            await stage.until(begun, "the day has begun")
            await stage.run_program("pg_dump", "--format=custom", f"--file={backup}", "registry")
            stage.say(f"backed up, {await stage.announced():,} events announced; the day goes on")
            await playing
        stage.say(f"evening, {await stage.announced():,} events announced; the database is lost")
        await _lose_and_restore(stage, str(backup))
        noticed = time.monotonic()

        async def stopped() -> bool:
            name = "lastmetre_consumer_stopped_partitions"
            return await stage.metric("reporting", "worker", name) > 0

        await stage.until(stopped, "reporting notices that registry is older than it was")
        stage.say(f"noticed {time.monotonic() - noticed:.1f} s after registry was there again")
        await _adopt(stage)
        stage.say("adopted; sites and laboratories send the day again")
        await day.send_again()
    return await stage.conclude()


async def _lose_and_restore(stage: Stage, backup: str) -> None:
    stage.kill([at for at in stage.running if at.service == "registry"])
    await asyncio.to_thread(
        stage.postgres.execute,
        "DROP DATABASE registry WITH (FORCE)",
        f"CREATE DATABASE registry OWNER {servers.OWNER}",
    )
    await stage.run_program("pg_restore", "--dbname=registry", "--exit-on-error", backup)
    stage.lead_to(await stage.start(PROJECT, "registry"))


async def _adopt(stage: Stage) -> None:
    async with stage.connect("registry", "system", "admin") as registry:
        heads = (await registry.get("/v1/outbox/heads"))["heads"]
        await registry.post("/v1/outbox:adopt", {"replaces": heads[0]["incarnation"]})


async def rehearse(residents: int, out: Console) -> int:
    """Set the stage, lose a database on it, and bring it back."""
    async with staged(out) as stage:
        return await drill(stage, residents)


def main() -> int:
    """Run it from the command line."""
    options = argparse.ArgumentParser(prog="python -m deploy.drills.restore")
    options.add_argument("--residents", type=int, default=4_000)
    residents = options.parse_args().residents
    return run(lambda out: rehearse(residents, out))


if __name__ == "__main__":
    sys.exit(main())
