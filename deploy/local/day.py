"""The script of one testing day: who comes when, what the laboratory finds, what happens at doors.

Pure and seeded: people in, a plan out. `demo.py` plays it against a running stack.

How people behave: most come to a site between eight and six, most of them in the morning. Some
small children and a few others are excluded for a stated reason. Of those with a need some are
brought to a site, the others wait for a team. The rest neither come nor have a need: nobody's plan
covers them, and at the end of the day they are *unaccounted*, as they should be shown.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from random import Random
from typing import Any, TypeVar
from uuid import UUID

from shared.contracts.vocabulary import Outcome, VisitOutcome

T = TypeVar("T")

ZONE = timezone(timedelta(hours=8))

OPENS = time(8)
TEAMS_FROM = time(9)
TEAMS_UNTIL = time(20)
HOURS = 16
"""Length of the round: from eight to midnight, so that most results are in before it closes."""

ARRIVALS = (14, 18, 16, 11, 6, 6, 8, 9, 7, 5)
"""How many come in each hour from eight, in relation to each other."""

COME = 0.965
"""Of those without a need, how many come to a site."""
BROUGHT = 0.2
"""Of those with a need other than quarantine, how many somebody brings to a site."""

EXCLUDED_AGE = 3
EXCUSED = 0.4
"""Of those below that age, how many are excused; the others are brought like everybody."""
EXCLUSIONS: tuple[tuple[str, float], ...] = (
    ("vaccinated_48h", 0.004),
    ("tested_elsewhere", 0.003),
    ("recovered", 0.0005),
)

LABORATORY = (timedelta(hours=4), timedelta(hours=7))
"""From the swab to the released result."""
STUCK = 0.01
"""Share of samples whose result is not out before the round closes."""
FOUND: tuple[tuple[Outcome, float], ...] = (
    ("positive", 0.0005),
    ("inconclusive", 0.001),
    ("invalid", 0.0005),
    ("negative", 1.0),
)

AT_THE_DOOR: tuple[tuple[VisitOutcome, float], ...] = (
    ("absent", 0.06),
    ("refused", 0.02),
    ("locked", 0.01),
    ("referred", 0.01),
    ("not_executable", 0.005),
    ("moved", 0.004),
    ("ineligible", 0.002),
    ("sampled", 1.0),
)
"""What a team meets (R16): absent for each try anew, so most are met in the end."""

VISIT = timedelta(minutes=6)
"""From door to door; "one ask, two look, three test" included."""


@dataclass(frozen=True, slots=True)
class Person:
    """What the script has to know of a resident."""

    id: str
    office: str
    born: date
    needs: frozenset[str]

    @classmethod
    def of(cls, resident: Mapping[str, Any]) -> "Person":
        """Read a Resident as it was sent."""
        return cls(
            id=resident["id"],
            office=resident["address"]["community_code"][:9],
            born=date.fromisoformat(resident["birth_date"]),
            needs=frozenset(need["code"] for need in resident["needs"]),
        )


@dataclass(frozen=True, slots=True)
class Swab:
    """One sample and what will be known of it: `outcome` at `released_at`, if ever."""

    sample: str
    resident: str
    office: str
    sampled_at: datetime
    outcome: Outcome
    released_at: datetime
    channel: str = "site"

    def taken(self, round_id: str) -> dict[str, Any]:
        """The row a site sends when the swab is taken."""
        return {
            "sample_id": self.sample,
            "resident": {"id": self.resident},
            "round_id": round_id,
            "sampled_at": self.sampled_at.isoformat(),
            "channel": self.channel,
            **({"site": f"{self.office}-1"} if self.channel == "site" else {}),
        }

    def found(self, round_id: str) -> dict[str, Any]:
        """The row the laboratory sends when the result is released."""
        return {
            **self.taken(round_id),
            # The report has an id of its own, made of the swab's: the same whenever it is made.
            "result_id": str(UUID(int=UUID(self.sample).int ^ 1)),
            "outcome": self.outcome,
            "resulted_at": self.released_at.isoformat(),
            "released_at": self.released_at.isoformat(),
        }


@dataclass(slots=True)
class Script:
    """The plan of a day that opens at `opens`; the clock moves by the hour."""

    opens: datetime
    rng: Random
    swabs: list[Swab] = field(default_factory=list)
    exclusions: list[tuple[Person, str]] = field(default_factory=list)

    @classmethod
    def write(cls, people: Iterable[Person], day: date, seed: int) -> "Script":
        """Decide for everybody."""
        rng = Random(f"day:{seed}:{day}")  # noqa: S311 - a made-up day, nothing to guess
        script = cls(datetime.combine(day, OPENS, ZONE), rng)
        for person in people:
            script._decide(person)
        return script

    @property
    def closes(self) -> datetime:
        """When sampling ends and the round closes."""
        return self.opens + timedelta(hours=HOURS)

    def hours(self) -> Iterator[tuple[datetime, datetime]]:
        """Give the hours of the day, beginning and end."""
        for hour in range(HOURS):
            begin = self.opens + timedelta(hours=hour)
            yield begin, begin + timedelta(hours=1)

    def taken(self, begin: datetime, end: datetime) -> list[Swab]:
        """List the swabs sites take within an hour."""
        return [swab for swab in self.swabs if begin <= swab.sampled_at < end]

    def released(self, begin: datetime, end: datetime) -> list[Swab]:
        """List the swabs whose results the laboratory releases within an hour."""
        return [swab for swab in self.swabs if begin <= swab.released_at < end]

    def swab(self, resident: str, office: str, at: datetime, channel: str) -> Swab:
        """Take a swab, decide what it will show, and remember it for the laboratory."""
        swab = Swab(
            sample=str(UUID(int=self.rng.getrandbits(128), version=4)),
            resident=resident,
            office=office,
            sampled_at=at,
            outcome=draw(self.rng, FOUND),
            released_at=at + self._laboratory(),
            channel=channel,
        )
        self.swabs.append(swab)
        return swab

    def at_the_door(self) -> VisitOutcome:
        """Decide what a team meets."""
        return draw(self.rng, AT_THE_DOOR)

    def _decide(self, person: Person) -> None:
        reason = self._exclusion(person)
        if reason is not None:
            self.exclusions.append((person, reason))
        elif self.rng.random() < _comes(person):
            hour = self.rng.choices(range(len(ARRIVALS)), ARRIVALS)[0]
            seconds = self.rng.randrange(3600)
            at = self.opens + timedelta(hours=hour, seconds=seconds)
            self.swab(person.id, person.office, at, "site")

    def _exclusion(self, person: Person) -> str | None:
        small = self.opens.date() < _birthday(person.born, EXCLUDED_AGE)
        if small and self.rng.random() < EXCUSED:
            return "under_3"
        chance = self.rng.random()
        for reason, share in EXCLUSIONS:
            if chance < share:
                return reason
            chance -= share
        return None

    def _laboratory(self) -> timedelta:
        if self.rng.random() < STUCK:
            return timedelta(days=1)
        shortest, longest = LABORATORY
        seconds = self.rng.uniform(shortest.total_seconds(), longest.total_seconds())
        return timedelta(seconds=int(seconds))


def _comes(person: Person) -> float:
    if not person.needs:
        return COME
    return 0.0 if "quarantine" in person.needs else BROUGHT


def _birthday(born: date, age: int) -> date:
    """Day somebody reaches an age; who was born on 29 February waits for 1 March."""
    try:
        return born.replace(year=born.year + age)
    except ValueError:
        return date(born.year + age, 3, 1)


def draw(rng: Random, table: tuple[tuple[T, float], ...]) -> T:
    """Draw by share; the last entry takes what the others leave."""
    chance = rng.random()
    for value, share in table:
        if chance < share:
            return value
        chance -= share
    return table[-1][0]
