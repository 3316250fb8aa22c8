"""The account under random days: fold = recount = the rules, whatever happens in which order.

More of them: `pytest tests/registry/test_account.py --hypothesis-profile=long`.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deploy.local.servers import OWNER, Postgres
from services.registry.vault import Vault
from tests.registry.books import (
    COMMUNITIES,
    UNKNOWN,
    Again,
    Books,
    Close,
    Correct,
    Exclude,
    Hand,
    Keep,
    Life,
    Lives,
    Needs,
    Open,
    Report,
    Revoke,
    Seal,
    Step,
    Swab,
    Swabs,
    Tick,
    Void,
)
from tests.registry.chance import (
    ENTRIES_COME,
    FIRST,
    OPENED,
    PEOPLE_CHANGE,
    ROUND,
    ROUNDS_TURN,
    WHO,
    Steps,
    weighed,
)
from tests.support.town import LANQIAO, LUYUAN

EXAMPLES = 150
"""Random days in CI; the profile `long` asks for more."""
MOST_STEPS = 14

HERE, NEXT, OTHER, OUT, NOWHERE = range(len(COMMUNITIES))

_hand = st.builds(
    Hand, WHO, ROUND, st.none() | st.sampled_from(("visit", "escalation")), st.integers(-2, 1)
)
_step = weighed((4, PEOPLE_CHANGE), (5, ENTRIES_COME), (2, _hand), (2, ROUNDS_TURN))


@pytest.fixture(scope="module")
def books(postgres: Postgres, template: Callable[[str], str], keys_file: Path) -> Iterator[Books]:
    """One database for all days of this module; each begins with empty tables."""
    postgres.execute(
        f"CREATE DATABASE books TEMPLATE {template('registry')} STRATEGY file_copy OWNER {OWNER}"
    )
    books = Books(postgres.url("books"), Vault(keys_file))
    yield books
    books.close()
    postgres.execute("DROP DATABASE books WITH (FORCE)")


@settings(
    max_examples=max(EXAMPLES, settings().max_examples),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(FIRST, OPENED, st.lists(_step, max_size=MOST_STEPS))
def test_every_day_balances(books: Books, first: Steps, opened: Steps, day: list[Step]) -> None:
    books.play(*first, *opened, *day)


# --- what random days found, by name ---


def test_an_unknown_community_of_a_district_has_twelve_digits(books: Books) -> None:
    books.play(Lives(0, NOWHERE), Open(0))
    assert books.figures() == {UNKNOWN: {"roll": 1, "unaccounted": 1}}


def test_a_visitor_of_a_closed_round_is_told_of_to_the_end(books: Books) -> None:
    # Their hand changed while they were in nobody's figures, and that rev was told to nobody.
    swab = Swabs((Swab(0, 0),))
    books.play(Lives(0, OUT), Open(0), Close(0), swab, Void(0), Hand(0, 0), swab)
    assert books.figures() == {UNKNOWN: {"visitors": 1}}


# --- odd days that were thought of beforehand ---


def test_a_void_reveals_the_exclusion_and_its_revocation_the_hand(books: Books) -> None:
    books.play(Lives(0, HERE), Open(0), Exclude(0, 0), Hand(0, 0), Swabs((Swab(0, 0),)), Void(0))
    assert books.figures()[LUYUAN] == {"roll": 1, "excluded": 1, "excluded.recovered": 1}
    books.play(Lives(0, HERE), Open(0), Exclude(0, 0), Hand(0, 0), Revoke(0))
    assert books.figures()[LUYUAN] == {"roll": 1, "in_hand": 1, "in_hand.visit": 1}


def test_a_late_sample_of_somebody_who_had_left_before_the_closing(books: Books) -> None:
    books.play(
        Lives(0, NEXT), Needs(0, frozenset({"mobility"})), Open(1), Lives(0, OTHER, since=17),
        Close(1), Needs(0, frozenset()), Swabs((Swab(0, 1, at=2, outcome="negative"),)),
    )  # fmt: skip
    cells = ("roll", "sampled", "resulted", "negative")
    expected = ["channel.site", *cells, *(f"need.mobility.{cell}" for cell in cells)]
    assert books.figures(1)[LANQIAO] == dict.fromkeys(expected, 1)


def test_the_dead_who_were_sampled_before_a_closing_keep_their_needs(books: Books) -> None:
    books.play(
        Lives(0, HERE), Needs(0, frozenset({"quarantine"})), Life(0, alive=False), Open(0),
        Close(0), Needs(0, frozenset()), Swabs((Swab(0, 0),)), Report(0, "positive"), Again(),
    )  # fmt: skip
    assert books.figures()[LUYUAN]["need.quarantine.positive"] == 1


def test_a_need_is_judged_by_the_clock_of_where_somebody_lives(books: Books) -> None:
    ill = Needs(0, frozenset({"quarantine"}), since=8, until=14)
    cell = "need.quarantine.roll"
    books.play(Lives(0, HERE), ill, Open(0))
    assert cell not in books.figures()[LUYUAN]
    books.play(Lives(0, HERE), ill, Open(0), Tick(0, 8))
    assert books.figures()[LUYUAN][cell] == 1
    books.play(Lives(0, HERE), ill, Open(0), Tick(0, 8), Open(1), Close(0))
    # The second round opens at 12 and shows 18 soon: by then it is over, in the first one too.
    assert cell not in books.figures()[LUYUAN]
    books.play(Lives(0, HERE), ill, Open(0), Tick(0, 8), Close(0), Keep(), Swabs((Swab(0, 0),)))
    assert books.figures()[LUYUAN][cell] == 1
    books.play(Lives(0, HERE), ill, Open(0), Open(1), Close(1), Close(0))
    # The first one's clock stands at six: what was over in the second has not begun.
    assert cell not in books.figures()[LUYUAN]


def test_a_swab_that_was_a_visitors_of_another_round_and_its_report_in_the_old_words(
    books: Books,
) -> None:
    books.play(
        Lives(0, HERE), Lives(1, OTHER), Open(0), Open(1), Swabs((Swab(0, 0),)), Close(0),
        Correct(0, who=1, number=1, at=2), Report(0, "positive", version=0), Seal(0),
    )  # fmt: skip
    assert books.figures(0)[LUYUAN] == {"roll": 1, "unaccounted": 1}
    assert books.figures(1) == {
        UNKNOWN: {"visitors": 1}, LUYUAN: {"roll": 1, "unaccounted": 1}
    }  # fmt: skip


def test_a_stay_that_never_was_counts_nobody(books: Books) -> None:
    # They were to join at ten; then it was noted that they had gone elsewhere from five on.
    books.play(
        Lives(0, OUT), Open(0), Swabs((Swab(0, 0, at=2),)), Lives(0, HERE, since=10),
        Lives(0, OUT, since=5),
    )  # fmt: skip
    assert books.figures() == {UNKNOWN: {"visitors": 1}}
