"""What an asker accepts, and what they get."""

import pytest

from shared.accepting import preferred
from shared.errors import NotAcceptable

OFFERS = ["application/json", "text/csv"]


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/csv", "text/csv"),
        ("Text/CSV; header=present", "text/csv"),
        ("text/*", "text/csv"),
        ("application/json, text/csv", "application/json"),
        ("application/json;q=0.5, text/csv", "text/csv"),
        ("text/csv;q=0.2, */*;q=0.1", "text/csv"),
        ("text/csv;q=0, */*", "application/json"),
        ("application/json;q=0, */*;q=0.1", "text/csv"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "application/json"),
        ("text/csv;q=much", "text/csv"),
        ("text/csv ; q=0.9 , application/json ; q=0.8", "text/csv"),
    ],
)
def test_the_form_that_is_liked_best_is_given(accept: str | None, given: str) -> None:
    assert preferred(accept, OFFERS) == given


@pytest.mark.parametrize("accept", ["text/html", "image/*", "text/csv;q=0", "*/*;q=0.0", "csv"])
def test_what_is_not_offered_is_refused_with_what_is(accept: str) -> None:
    with pytest.raises(NotAcceptable) as refused:
        preferred(accept, OFFERS)
    assert refused.value.problem()["offered"] == OFFERS
