"""What is sent in a run, made from a seed alone.

A client that was killed takes up the same rows again, under the same ids, and sends those of which
it has no answer on file. What the figures have to be in the end is worked out here as well, from
what was planned and what the field team has written down, not from any database.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Any, Literal
from uuid import NAMESPACE_DNS, UUID, uuid5

import msgspec

from deploy.local import areas
from deploy.local.population import Population

DISTRICT = "410171"
FIRST_DAY = datetime(2022, 1, 9, tzinfo=UTC)
"""8 o'clock in Zhengzhou."""
WINDOW = timedelta(hours=12)
SWABS_UNTIL = timedelta(hours=10)
"""When the round's clock stands still: swabs are taken before, the laboratory is done by then."""
LABORATORY = timedelta(hours=1)

TEAMS = ("chaos-1", "chaos-2", "chaos-3")

AT_A_SITE = 0.2
"""Of those with a need, how many come to a site as well as having a visit coming."""
APART = 0.3
"""Of the swabs, how many are sent when taken and again with their result."""
AGAIN = 0.15
"""Of the sampled, how many give a second swab, which counts nothing (R1)."""
LATE = 0.02
"""Of a round's rows, how many are entered when the next round is under way already (R19)."""
SINGLE = 0.005
"""Of the rows, how many are sent one by one."""
EXCLUDED = 0.015
FILED_TOGETHER = 200
OUTCOMES = ("negative",) * 96 + ("positive", "inconclusive", "invalid", "invalid")
REASONS = ("vaccinated_48h", "under_3", "recovered", "tested_elsewhere")
BATCH = (1_000, 5_000)
LEAST_BATCHES = 40
"""In a small round batches are smaller, so that there are enough to be interrupted."""

Row = dict[str, Any]
Figures = dict[str, Counter[str]]
"""Figures by community, as reporting names them."""


class Resident(msgspec.Struct, frozen=True, array_like=True):
    """What has to be known of somebody on the roll."""

    id: str
    community: str
    needy: bool


@dataclass(frozen=True, slots=True)
class Swab:
    """A swab that counts for somebody if no earlier one does (R1)."""

    sampled_at: datetime
    sample: str
    resident: str
    outcome: str | None


class Unit(msgspec.Struct, frozen=True):
    """What a client sends and has answered as a whole; the key is the same in every life."""

    key: str
    kind: Literal["results", "exclusions"]
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class Round:
    """One round of the plan."""

    id: str
    number: int
    opens: datetime

    @property
    def closes(self) -> datetime:
        """When it could close at the latest."""
        return self.opens + WINDOW

    @property
    def clock(self) -> datetime:
        """What its manual clock shows from its opening on."""
        return self.opens + SWABS_UNTIL


@dataclass(frozen=True)
class _Sent:
    """What the sites send of one round."""

    rows: list[Row]
    swabs: list[Swab]


class Plan(msgspec.Struct, frozen=True, dict=True):
    """A whole run. `probes` are residents, by index, whom only the probes of recovery are about."""

    seed: int
    results: int
    rounds: int
    people: list[Resident]
    probes: list[int]

    @classmethod
    def make(cls, *, seed: int, results: int, rounds: int, residents: int, probes: int) -> "Plan":
        """Invent the people; who of them is whose probe."""
        people = [
            Resident(row["id"], row["address"]["community_code"], bool(row["needs"]))
            for row in cls.roll(seed, residents)
        ]
        able = [index for index, person in enumerate(people) if not person.needy]
        return cls(seed, results, rounds, people, Random(seed).sample(able, probes))  # noqa: S311

    @staticmethod
    def roll(seed: int, residents: int) -> Iterator[Row]:
        """Give the residents as the API takes them."""
        return Population(residents, DISTRICT, seed).residents()

    @classmethod
    def read(cls, path: Path) -> "Plan":
        """Read what `write` wrote."""
        return msgspec.json.decode(path.read_bytes(), type=cls)

    def write(self, path: Path) -> None:
        """Write it down for the clients."""
        path.write_bytes(msgspec.json.encode(self))

    # --- rounds ---

    def round(self, number: int) -> Round:
        """Name a round, by number from 1."""
        opens = FIRST_DAY + timedelta(days=number - 1)
        return Round(str(uuid5(NAMESPACE_DNS, f"chaos:{self.seed}:{number}")), number, opens)

    @property
    def offices(self) -> list[str]:
        """Every office of the district."""
        return [area.code for area in areas.offices(DISTRICT)]

    # --- what the sites send ---

    def units(self, number: int) -> list[Unit]:
        """List what is sent while a round is under way, its exclusions and rows of the last one."""
        rng = self._chance(f"units:{number}")
        rows = [*self._rows(number), *(self._late(number - 1) if number > 1 else ())]
        rng.shuffle(rows)
        most = max(2, min(BATCH[1], len(rows) // LEAST_BATCHES))
        least = max(1, min(BATCH[0], most // 5))
        parts = [[row] for row in rows[: int(len(rows) * SINGLE)]]
        start = len(parts)
        while start < len(rows):
            size = rng.randint(least, most)
            parts.append(rows[start : start + size])
            start += size
        units = [Unit(f"{number}/{n}", "results", part) for n, part in enumerate(parts)]
        filed = self._exclusions(number)
        for start in range(0, len(filed), FILED_TOGETHER):
            part = filed[start : start + FILED_TOGETHER]
            units.append(Unit(f"{number}/exclusions/{start}", "exclusions", part))
        rng.shuffle(units)
        return units

    def _rows(self, number: int) -> list[Row]:
        """List what is sent of a round while it is under way."""
        rows = self._sent(number).rows
        return rows[: len(rows) - self._late_rows(number)]

    def _late(self, number: int) -> list[Row]:
        rows = self._sent(number).rows
        return rows[len(rows) - self._late_rows(number) :]

    def _late_rows(self, number: int) -> int:
        return int(self._quota(number) * LATE) if number < self.rounds else 0

    def _quota(self, number: int) -> int:
        """Rows of a round; all of them together are the results of the run."""
        return self.results * number // self.rounds - self.results * (number - 1) // self.rounds

    def _sent(self, number: int) -> _Sent:
        known: dict[int, _Sent] = self._known
        if number not in known:
            known[number] = self._send(number)
        return known[number]

    @cached_property
    def _known(self) -> dict[int, _Sent]:
        return {}

    def _send(self, number: int) -> _Sent:
        """Let people come to the sites, again and again, until there are enough rows."""
        round_, rng, quota = self.round(number), self._chance(f"rows:{number}"), self._quota(number)
        sent = _Sent([], [])
        reserved = set(self.probes)
        while len(sent.rows) < quota:
            for index in rng.sample(range(len(self.people)), len(self.people)):
                person = self.people[index]
                if index in reserved or (person.needy and rng.random() > AT_A_SITE):
                    continue
                for _ in range(1 + (rng.random() < AGAIN)):
                    left = quota - len(sent.rows)
                    swab = _swab(rng, round_, person)
                    sent.rows.extend(_rows_of(swab, round_, apart=rng.random() < APART)[-left:])
                    sent.swabs.append(swab)
                    if len(sent.rows) == quota:
                        return sent
        return sent

    def probe(self, number: int, count: int) -> tuple[Swab, Row]:
        """Make a result of somebody of whom nobody else sends any."""
        person = self.people[self.probes[count]]
        round_ = self.round(number)
        swab = _swab(self._chance(f"probe:{count}"), round_, person)
        (row,) = _rows_of(swab, round_, apart=False)
        return swab, row

    def _exclusions(self, number: int) -> list[Row]:
        rng, round_ = self._chance(f"exclusions:{number}"), self.round(number)
        reserved = set(self.probes)
        chosen = [
            person
            for index, person in enumerate(self.people)
            if rng.random() < EXCLUDED and index not in reserved
        ]
        return [
            {
                "id": _uuid(rng),
                "round_id": round_.id,
                "resident": {"id": person.id},
                "reason": rng.choice(REASONS),
            }
            for person in chosen
        ]

    # --- what has to come of it ---

    def result_ids(self, number: int) -> Counter[str]:
        """Count the ids of a round's reports; each has to be once."""
        return Counter(row["result_id"] for row in self._sent(number).rows if "outcome" in row)

    def swabs(self, number: int) -> list[Swab]:
        """List the swabs that sites take in a round."""
        return self._sent(number).swabs

    def figures(self, number: int, others: Iterable[Swab]) -> Figures:
        """Work out a round's figures: the sites' swabs, and `others` from visits and probes."""
        counting: dict[str, Swab] = {}
        for swab in (*self.swabs(number), *others):
            best = counting.get(swab.resident)
            if best is None or _first(swab) < _first(best):
                counting[swab.resident] = swab
        excluded = {
            row["resident"]["id"] for row in self._exclusions(number) if not revoked(row["id"])
        }
        figures: Figures = {}
        for person in self.people:
            figure = figures.setdefault(person.community, Counter())
            figure["roll"] += 1
            swab_ = counting.get(person.id)
            if swab_ is not None:
                figure["sampled"] += 1
                if swab_.outcome:
                    figure["resulted"] += 1
                    figure[swab_.outcome] += 1
            elif person.id in excluded:
                figure["excluded"] += 1
        return figures

    def _chance(self, what: str) -> Random:
        return Random(f"{self.seed}:{what}")  # noqa: S311 - the same again, nothing to guess


def revoked(exclusion: str) -> bool:
    """Tell which exclusions are revoked as soon as they are filed: every fifth, by its id."""
    return UUID(exclusion).int % 5 == 0


def _first(swab: Swab) -> tuple[datetime, UUID]:
    return swab.sampled_at, UUID(swab.sample)


def _swab(rng: Random, round_: Round, person: Resident) -> Swab:
    seconds = rng.randrange(int((SWABS_UNTIL - LABORATORY).total_seconds()))
    at = round_.opens + timedelta(seconds=seconds)
    return Swab(at, _uuid(rng), person.id, rng.choice(OUTCOMES))


def _rows_of(swab: Swab, round_: Round, *, apart: bool) -> list[Row]:
    """Write a swab as it is taken, if that is sent `apart`, and its result."""
    taken: Row = {
        "sample_id": swab.sample,
        "resident": {"id": swab.resident},
        "round_id": round_.id,
        "sampled_at": swab.sampled_at.isoformat(),
        "channel": "site",
    }
    out = (swab.sampled_at + LABORATORY).isoformat()
    found = taken | {
        "result_id": report_of(swab.sample),
        "outcome": swab.outcome,
        "resulted_at": out,
        "released_at": out,
    }
    return [taken, found] if apart else [found]


def report_of(sample: str) -> str:
    """Name the report about a swab: an id of its own, made of the swab's."""
    return str(UUID(int=UUID(sample).int ^ 1))


def _uuid(rng: Random) -> str:
    return str(UUID(int=rng.getrandbits(128), version=4))


def at_the_door(round_: Round, visit: str) -> tuple[Row, Swab | None]:
    """Decide by a visit's id what the team meets and when; give its report, the same each time."""
    number = uuid5(NAMESPACE_DNS, visit).int
    outcome = ("sampled",) * 16 + ("absent", "absent", "locked", "refused")
    at = round_.opens + timedelta(seconds=number % int(SWABS_UNTIL.total_seconds()))
    report: Row = {
        "report_id": str(uuid5(NAMESPACE_DNS, f"report:{visit}")),
        "outcome": outcome[number % len(outcome)],
        "at": at.isoformat(),
    }
    if report["outcome"] != "sampled":
        return report, None
    sample = str(uuid5(NAMESPACE_DNS, f"sample:{visit}"))
    report["sample"] = {"sample_id": sample, "sampled_at": at.isoformat()}
    return report, Swab(at, sample, "", None)


def muster(round_: Round) -> Mapping[str, Row]:
    """The field teams of a round, on shift as long as it is open."""
    return {
        name: {
            "name": name,
            "areas": [DISTRICT],
            "members": [{"id": f"{name}-medic", "role": "medic"}],
            "shift": {"starts": round_.opens.isoformat(), "until": round_.closes.isoformat()},
            "capacity": 10_000,
            "serves_quarantine": True,
        }
        for name in TEAMS
    }
