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
    kafka = KafkaSettings(bootstrap, idempotent=False)
    await Relay("producer", Database(url), [topic], kafka).run(asyncio.Event())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
