"""A made-up population in the shape of the API's Resident: seeded, streaming, the same every time.

Nobody in it exists. What is real is its shape:

- **Ages and sexes** follow China's seventh national census (1 November 2020), five-year groups:
  National Bureau of Statistics, *China Population Census Yearbook 2020* (中国人口普查年鉴-2020),
  table 3-1, population by age and sex. Above 80, men are spread over the groups in proportion.
- **Households** average 2.8 people, as in Zhengzhou in January 2022, and each has an adult.
- **Needs** (特殊需求): about 3 in 100 people, far more among the old.

What is invented is recognisable as such:

- **Id numbers** (cn_ric) have the right length, birth date, sex and check digit (ISO 7064
  MOD 11-2), but begin with 97, 98 or 99, which no region ever had. They are unique for the first
  15 million people of a population.
- **Phones** use the country code +999, which was never assigned.
- **Names** are syllables from a short list; **coordinates** are scattered about the district.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import accumulate
from math import cos, radians, sin, tau
from random import Random
from typing import Any
from uuid import UUID
from zlib import crc32

from stdnum.iso7064 import mod_11_2

from deploy.local import areas
from shared.contracts.vocabulary import Need

Row = dict[str, Any]
"""A Resident as 3-interfaces has it, ready to be encoded."""

PYRAMID: tuple[tuple[int, int, int], ...] = (
    # (youngest age of the group, men, women)
    (0, 40_969_331, 36_914_557),
    (5, 48_017_458, 42_226_598),
    (10, 45_606_790, 39_649_204),
    (15, 39_053_343, 33_630_797),
    (20, 39_675_995, 35_265_680),
    (25, 48_162_270, 43_685_062),
    (30, 63_871_808, 60_273_382),
    (35, 50_932_037, 48_080_895),
    (40, 47_632_694, 45_322_636),
    (45, 58_191_686, 56_033_201),
    (50, 61_105_470, 60_058_826),
    (55, 50_816_026, 50_584_760),
    (60, 36_871_125, 36_511_813),
    (65, 36_337_923, 37_667_637),
    (70, 24_162_733, 25_427_303),
    (75, 14_752_433, 16_486_416),
    (80, 8_686_589, 11_696_289),
    (85, 4_613_951, 6_212_579),
    (90, 1_556_695, 2_096_054),
    (95, 349_380, 470_432),
    (100, 50_657, 68_209),
)
GROUP_YEARS = 5
ADULT = 18

CELLS = [(age, male) for age, _, _ in PYRAMID for male in (True, False)]
CUMULATED = list(accumulate(people for _, men, women in PYRAMID for people in (men, women)))
FIRST_ADULT_CELL = CELLS.index((20, True))

HOUSEHOLD_SIZES = (1, 2, 3, 4, 5, 6)
HOUSEHOLD_SHARES = (190, 285, 230, 165, 90, 40)  # per mille; 2.8 people on average

Person = tuple[int, bool]
"""Age in completed years, and whether male."""
DAYS_IN_YEAR = 365.2425

BUILDINGS = ((2, 6, 2), (3, 6, 2), (2, 11, 2), (1, 18, 4), (2, 24, 2))
"""Kinds of building: units, floors, doors on each floor."""

COMMUNITY_RADIUS_KM = 6.0
"""How far from the district's middle a community is put."""
BUILDING_RADIUS_KM = 0.6
KM_PER_DEGREE = 111.32

SURNAMES = "王李张刘陈杨黄赵吴周徐孙马朱胡郭何林高罗郑梁谢宋唐许邓冯韩曹"
GIVEN = "安宁和平春夏秋冬晨晓明亮清远山川江河云雨雪松竹梅兰菊荷青岩石"

SHARED_SURNAME = 0.6
"""Share of a household's adults who bear the name on the door; its children all do."""

NEEDS_BY_AGE: tuple[tuple[int, float, float, float, float], ...] = (
    # (from age, mobility, disabled, dialysis, elderly_alone for those who live alone)
    (0, 0.001, 0.002, 0.0, 0.0),
    (18, 0.002, 0.005, 0.0005, 0.0),
    (45, 0.005, 0.008, 0.001, 0.0),
    (60, 0.02, 0.015, 0.002, 0.0),
    (70, 0.06, 0.02, 0.003, 0.35),
    (80, 0.18, 0.03, 0.003, 0.6),
)
NEED_AGES = [age for age, *_ in NEEDS_BY_AGE]
MATERNITY_AGES = range(18, 46)
MATERNITY = 0.012
MINOR_ALONE_AGES = range(6, ADULT)
MINOR_ALONE = 0.01
"""Of the children with one adult at home, those who have nobody to bring them."""
QUARANTINED_HOUSEHOLDS = 0.006
QUARANTINE_DAYS = 14

ID_PREFIX = 97
IDS_PER_PREFIX = 5_000_000
ID_CAPACITY = 3 * IDS_PER_PREFIX


@dataclass(frozen=True, slots=True)
class Population:
    """Which population: the same four values give the same people, to the letter.

    `day` is the day ages and quarantines are reckoned from; `prefix` a code whose communities
    the people live in. Raises LookupError when it has none.
    """

    people: int
    prefix: str
    seed: int = 1
    day: date = date(2022, 1, 9)

    def residents(self) -> Iterator[Row]:
        """Stream the residents, community by community, household by household."""
        communities = areas.communities(self.prefix)
        if not communities:
            raise LookupError(f"no community begins with {self.prefix}")
        # One number names the population: a change of any value gives other people, with other
        # ids, instead of the same ids with other names.
        key = f"{self.people}:{self.prefix}:{self.seed}:{self.day}"
        rng = Random(key)  # noqa: S311 - invented people, nothing to guess
        numbers = _IdNumbers(offset=crc32(key.encode()))
        shares = [rng.lognormvariate(0, 0.5) for _ in communities]
        for community, people in zip(communities, _apportion(self.people, shares), strict=True):
            yield from _community(rng, numbers, community.code, people, self.day)


def _community(
    rng: Random, numbers: "_IdNumbers", code: str, people: int, day: date
) -> Iterator[Row]:
    """Fill building after building of one community until its people are housed."""
    centre = _scatter(rng, areas.place_of(code), COMMUNITY_RADIUS_KM)
    building = 0
    while people:
        building += 1
        units, floors, doors = rng.choice(BUILDINGS)
        sizes = _household_sizes(rng, units * floors * doors, people)
        people -= sum(sizes)
        lat, lon = _scatter(rng, centre, BUILDING_RADIUS_KM)
        for number, members in enumerate(_deal(rng, sizes)):
            place, unit = divmod(number, units)
            floor, door = divmod(place, doors)
            address = {
                "community_code": code,
                "building": f"{building}号楼",
                "unit": f"{unit + 1}单元",
                "door": f"{floor + 1}{door + 1:02d}",
                "lat": lat,
                "lon": lon,
            }
            yield from _household(rng, numbers, members, address, day)


def _household(
    rng: Random, numbers: "_IdNumbers", members: Sequence[Person], address: Row, day: date
) -> Iterator[Row]:
    """Name the people behind one door; a quarantine holds for all of them."""
    surname = rng.choice(SURNAMES)
    adults = sum(1 for age, _ in members if age >= ADULT)
    quarantine = _quarantine(rng, day)
    for age, male in members:
        born = day - timedelta(days=int(age * DAYS_IN_YEAR) + rng.randrange(1, 365))
        own = age >= ADULT and rng.random() >= SHARED_SURNAME
        needs = [{"code": need} for need in _needs(rng, age, male, len(members), adults)]
        yield {
            "id": str(UUID(int=rng.getrandbits(128), version=4)),
            "name": (rng.choice(SURNAMES) if own else surname) + _given_name(rng),
            "sex": "male" if male else "female",
            "birth_date": born.isoformat(),
            "id_document": {"type": "cn_ric", "number": numbers.next(born, male=male)},
            "phone": f"+9991{rng.randrange(10**8):08d}",
            "address": address,
            "needs": needs + quarantine,
        }


def _deal(rng: Random, sizes: Sequence[int]) -> Iterator[list[Person]]:
    """Draw a building's people from the pyramid and deal them out, an adult to every door first."""
    drawn = [_person(rng, cell) for cell in rng.choices(CELLS, cum_weights=CUMULATED, k=sum(sizes))]
    adults = [person for person in drawn if person[0] >= ADULT]
    while len(adults) < len(sizes):  # a small building may draw too many children
        adults.append(_person(rng, rng.choices(CELLS[FIRST_ADULT_CELL:])[0]))
    minors = [person for person in drawn if person[0] < ADULT]
    others = adults[len(sizes) :] + minors
    rng.shuffle(others)
    start = 0
    for head, size in zip(adults, sizes, strict=False):
        yield [head, *others[start : start + size - 1]]
        start += size - 1


def _person(rng: Random, cell: tuple[int, bool]) -> Person:
    youngest, male = cell
    return youngest + int(rng.random() * GROUP_YEARS), male


def _household_sizes(rng: Random, doors: int, people: int) -> list[int]:
    """Sizes of at most `doors` households that hold at most `people`; the last one is cut."""
    sizes: list[int] = []
    for size in rng.choices(HOUSEHOLD_SIZES, HOUSEHOLD_SHARES, k=doors):
        if people <= 0:
            break
        sizes.append(min(size, people))
        people -= size
    return sizes


def _needs(rng: Random, age: int, male: bool, household: int, adults: int) -> list[Need]:
    """Why this person cannot come to a site, if there is a reason; agrees with age and sex."""
    _, mobility, disabled, dialysis, alone = NEEDS_BY_AGE[bisect_right(NEED_AGES, age) - 1]
    needs: list[Need] = []
    if rng.random() < mobility:
        needs.append("mobility")
    if rng.random() < disabled:
        needs.append("disabled")
    if rng.random() < dialysis:
        needs.append("dialysis")
    if household == 1 and rng.random() < alone:
        needs.append("elderly_alone")
    if not male and age in MATERNITY_AGES and rng.random() < MATERNITY:
        needs.append("maternity")
    if adults == 1 and age in MINOR_ALONE_AGES and rng.random() < MINOR_ALONE:
        needs.append("minor_alone")
    return needs


def _quarantine(rng: Random, day: date) -> list[Row]:
    """Quarantine of a household, begun within the two weeks before `day`, its end not yet set."""
    if rng.random() >= QUARANTINED_HOUSEHOLDS:
        return []
    begun = day - timedelta(days=rng.randrange(1, QUARANTINE_DAYS))
    return [{"code": "quarantine", "from": f"{begun}T00:00:00+08:00"}]


def _given_name(rng: Random) -> str:
    return rng.choice(GIVEN) + rng.choice(GIVEN)


def _apportion(people: int, shares: Sequence[float]) -> Iterator[int]:
    """Split `people` by `shares`; the parts sum to it exactly."""
    total = sum(shares)
    given = 0
    for reached in accumulate(shares):
        part = round(people * reached / total) - given
        given += part
        yield part


def _scatter(rng: Random, centre: tuple[float, float], radius_km: float) -> tuple[float, float]:
    """Put a point within `radius_km` of `centre` (degrees), evenly over the disc."""
    distance = radius_km / KM_PER_DEGREE * rng.random() ** 0.5
    angle = tau * rng.random()
    lat, lon = centre
    return (
        round(lat + distance * sin(angle), 5),
        round(lon + distance * cos(angle) / cos(radians(lat)), 5),
    )


@dataclass(slots=True)
class _IdNumbers:
    """Mints id numbers: a serial number in region and sequence keeps them apart.

    `offset` starts different populations at different serials, so that two of them in one
    registry hardly ever meet.
    """

    offset: int
    minted: int = field(default=0, init=False)

    def next(self, born: date, *, male: bool) -> str:
        serial = (self.offset + self.minted) % ID_CAPACITY
        self.minted += 1
        prefix, serial = divmod(serial, IDS_PER_PREFIX)
        region, sequence = divmod(serial, 500)
        # The last digit of the sequence says the sex: odd is male.
        number = f"{ID_PREFIX + prefix}{region:04d}{born:%Y%m%d}{sequence * 2 + male:03d}"
        return number + mod_11_2.calc_check_digit(number)
