"""A relay in a process of its own, to be stopped and woken by signals.

python -m tests.shared.relaying DATABASE_URL TOPIC BOOTSTRAP
"""

import asyncio
import sys

from shared.database import Database
from shared.kafka import KafkaSettings
from shared.relay import Relay


async def main(url: str, topic: str, bootstrap: str) -> None:
    """Relay until killed."""
    # Stopped in the middle of a transaction it keeps a row locked; not for a minute, in a test.
    database = Database(url, statement_seconds=5.0)
    kafka = KafkaSettings(bootstrap, idempotent=False)
    await Relay("producer", database, [topic], kafka).run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
