"""What has to hold when everything has been answered and struck."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx

from deploy.local.stack import SERVICES
from services.dispatch.tables import OPEN
from shared.errors import TransientError
from tests.chaos.faults import AGAIN_AFTER, CALL, PRODUCERS, fetch
from tests.chaos.ground import Ground
from tests.chaos.plan import Figures, Plan, Swab, report_of

COMPARED = (
    "roll",
    "excluded",
    "sampled",
    "resulted",
    "negative",
    "positive",
    "inconclusive",
    "invalid",
)
"""Figures of every community that follow from what was sent; the rest depends on who came first."""
LAST_ARE_IN = 30.0
"""Seconds for what the services tell each other after the last result."""
INEXCUSABLE = {"request_failed", "handler_failed", "event_parked", "producer_history_changed"}
"""What no fault excuses: a bug answered with 500, a good event that was taken for a bad one."""
EXCUSED = f"{TransientError.__module__}.{TransientError.__qualname__}"
"""Answered with 503."""
SHOWN = 5
"""Differences named at most."""


@dataclass
class Books:
    """What was sent and answered, by round: the plan, and what clients and probes wrote down."""

    plan: Plan
    visited: dict[int, list[Swab]]
    reports: dict[int, set[str]]
    """Visits whose report was answered."""
    probed: Mapping[int, Sequence[Swab]]
    figures: dict[int, Figures] = field(default_factory=dict)

    def reckon(self) -> None:
        """Work out what the figures have to be; takes its time, so before somebody waits."""
        for number in self.numbers:
            self.figures[number] = self.plan.figures(number, self._others(number))

    def count(self, number: int, probe: Swab) -> None:
        """Count a probe that came later: nobody else says anything of its resident."""
        (person,) = [each for each in self.plan.people if each.id == probe.resident]
        figure = self.figures[number][person.community]
        figure.update(["sampled", "resulted", probe.outcome or ""])

    @property
    def numbers(self) -> range:
        """The rounds."""
        return range(1, self.plan.rounds + 1)

    def _others(self, number: int) -> list[Swab]:
        return [*self.visited.get(number, ()), *self.probed.get(number, ())]

    def samples(self, number: int) -> set[str]:
        """Ids of every swab that was answered."""
        return {swab.sample for swab in (*self.plan.swabs(number), *self._others(number))}


class Auditor:
    """Asks the services as their users do, and looks into their databases."""

    def __init__(self, ground: Ground, books: Books) -> None:
        self._ground = ground
        self._books = books

    async def ledger_is_true(self, since: datetime) -> None:
        """Wait until every round's ledger is true, newly reckoned, at the figures of the plan."""
        addresses = self._ground.addresses
        headers = {"Authorization": f"Bearer {self._ground.token('system', 'district')}"}
        left = list(self._books.numbers)
        async with httpx.AsyncClient(timeout=CALL, headers=headers) as client:
            while left:
                with suppress(httpx.HTTPError):
                    round_ = self._books.plan.round(left[0]).id
                    answer = await client.get(
                        f"{addresses.reporting}/v1/ledger", params={"round": round_}
                    )
                    answer.raise_for_status()
                    self.last = answer.json()
                    fresh = self.last["as_of"] and datetime.fromisoformat(self.last["as_of"])
                    if self.last["balanced"] is True and fresh > since:
                        self.different = await self._differences(client, left[0])
                        if not self.different:
                            left.pop(0)
                            continue
                await asyncio.sleep(AGAIN_AFTER)

    last: Mapping[str, Any] = {}
    """The ledger that was seen last, for who waits in vain."""
    different: Sequence[str] = ()
    """What differed from the plan when the ledger was true."""

    async def _differences(self, client: httpx.AsyncClient, number: int) -> list[str]:
        """Hold reporting's figures against the plan's, community by community."""
        answer = await client.get(
            f"{self._ground.addresses.reporting}/v1/coverage",
            params={"round": self._books.plan.round(number).id, "by": "community"},
        )
        answer.raise_for_status()
        rows = {row["code"]: row for row in answer.json()["rows"]}
        return [
            f"round {number}, {code}, {name}: {rows.get(code, {}).get(name)}, not {figures[name]}"
            for code, figures in self._books.figures[number].items()
            for name in COMPARED
            if rows.get(code, {}).get(name) != figures[name]
        ]

    async def findings(self) -> list[str]:
        """List what does not hold in the databases; nothing is good."""
        found: list[str] = []
        for number in self._books.numbers:
            found += await self._samples(number)
            found += await self._reports(number)
            found += await self._visits(number)
        found += await self._open_visits()
        for producer in PRODUCERS:
            found += await self._chain(producer)
        return [*found, *await self._all_applied(), *self._confessions()]

    def _confessions(self) -> list[str]:
        """List what the services themselves wrote down as errors that no fault excuses."""
        found: Counter[str] = Counter()
        for log in sorted((self._ground.folder / "stack" / "logs").glob("*.log*")):
            for line in log.read_text(errors="replace").splitlines():
                with suppress(ValueError):
                    entry = json.loads(line)
                    failure = entry.get("failure", entry)
                    if entry.get("event") in INEXCUSABLE and failure.get("type") != EXCUSED:
                        said = f"{log.name} says {entry['event']}: {json.dumps(failure)}"
                        found[said] += 1
        return [f"{count} times: {told}" for told, count in found.items()]

    async def _all_applied(self) -> list[str]:
        """Give the last hands and answers, which may be on their way still, a while to arrive."""
        give_up = time.monotonic() + LAST_ARE_IN
        while True:
            found = []
            for consumer in SERVICES:
                found += await self._applied(consumer)
            if not found or time.monotonic() > give_up:
                return found
            await asyncio.sleep(AGAIN_AFTER)

    async def _samples(self, number: int) -> list[str]:
        rows = await fetch(
            self._ground, "registry", "SELECT id::text FROM sample WHERE round = $1",
            self._books.plan.round(number).id,
        )  # fmt: skip
        there = Counter(row["id"] for row in rows)
        due = Counter(self._books.samples(number))
        return _unequal(f"round {number}, swabs", there, due)

    async def _reports(self, number: int) -> list[str]:
        rows = await fetch(
            self._ground, "registry", "SELECT id::text FROM report WHERE round = $1",
            self._books.plan.round(number).id,
        )  # fmt: skip
        there = Counter(row["id"] for row in rows)
        due = self._books.plan.result_ids(number)
        due.update(report_of(swab.sample) for swab in self._books.probed.get(number, ()))
        return _unequal(f"round {number}, results", there, due)

    async def _visits(self, number: int) -> list[str]:
        rows = await fetch(
            self._ground, "dispatch", "SELECT visit::text AS id FROM report WHERE round = $1",
            self._books.plan.round(number).id,
        )  # fmt: skip
        there = Counter(row["id"] for row in rows)
        return _unequal(
            f"round {number}, visits", there, Counter(self._books.reports.get(number, set()))
        )

    async def _open_visits(self) -> list[str]:
        rows = await fetch(
            self._ground, "dispatch",
            f"SELECT round, resident FROM visit WHERE {OPEN}"  # noqa: S608 - our own constant
            " GROUP BY round, resident HAVING count(*) > 1",
        )  # fmt: skip
        return [f"{len(rows)} people have two open visits"] if rows else []

    async def _chain(self, producer: str) -> list[str]:
        """Positions are dense, each names its predecessor, and the head is the last of them."""
        rows = await fetch(
            self._ground, producer,
            """
            SELECT topic, partition, count(*) AS broken
            FROM (
                SELECT topic, partition, pos, prev_id,
                    lag(id) OVER w AS before, row_number() OVER w AS due
                FROM outbox WINDOW w AS (PARTITION BY topic, partition ORDER BY pos)
            ) AS chain
            WHERE pos <> due OR prev_id <> coalesce(before, '00000000-0000-0000-0000-000000000000')
            GROUP BY topic, partition
            UNION ALL
            SELECT h.topic, h.partition, 1
            FROM outbox_head AS h
            LEFT JOIN outbox AS o USING (topic, partition, pos, id)
            WHERE h.pos > 0 AND o.pos IS NULL
            """,
        )  # fmt: skip
        return [f"{row['topic']} {row['partition']}: {row['broken']} broken links" for row in rows]

    async def _applied(self, consumer: str) -> list[str]:
        """Everybody has applied everything, and set nothing aside."""
        heads = {
            (row["topic"], row["partition"]): (row["pos"], row["id"])
            for producer in PRODUCERS
            for row in await fetch(
                self._ground, producer, "SELECT topic, partition, pos, id FROM outbox_head"
            )
        }
        rows = await fetch(
            self._ground, consumer,
            "SELECT topic, partition, pos, id FROM applied WHERE consumer = $1", consumer,
        )  # fmt: skip
        parked = await fetch(self._ground, consumer, "SELECT count(*) AS n FROM parked")
        found = [
            f"{consumer} has applied {row['pos']} of {row['topic']} {row['partition']},"
            f" which is at {heads[row['topic'], row['partition']][0]}"
            for row in rows
            if heads[row["topic"], row["partition"]] != (row["pos"], row["id"])
        ]
        aside = parked[0]["n"]
        return [*found, *([f"{consumer} has set {aside} events aside"] if aside else [])]


def _unequal(what: str, there: Counter[str], due: Counter[str]) -> list[str]:
    missing, more = due - there, there - due
    found = []
    if missing:
        found.append(f"{what}: {missing.total()} are missing: {', '.join(list(missing)[:SHOWN])}")
    if more:
        found.append(f"{what}: {more.total()} too many: {', '.join(list(more)[:SHOWN])}")
    return found
