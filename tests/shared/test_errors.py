"""One tree of errors, and the problems they are told as."""

import pytest

from shared.errors import (
    BadInput,
    Conflict,
    LastmetreError,
    NotFound,
    PermanentError,
    ProblemError,
    TransientError,
    Unavailable,
    problems,
    problems_table,
)


class TubeClosed(Conflict):
    """A leaf with a type of its own."""

    slug = "tube-closed"
    title = "The tube is closed"
    cause = "A closed tube accepts nobody."
    cure = "Take a new tube."


class TubeFull(TubeClosed):
    """A leaf that is told as its parent."""


def test_the_class_chooses_the_reaction() -> None:
    assert issubclass(Unavailable, TransientError)
    assert issubclass(ProblemError, PermanentError)
    assert not issubclass(Unavailable, PermanentError)
    assert TransientError().headers == {"Retry-After": "1"}


def test_a_leaf_is_told_by_its_own_type_and_its_parents_status() -> None:
    assert TubeClosed("tube of another round", tube_state="closed").problem() == {
        "type": "/problems/tube-closed",
        "title": "The tube is closed",
        "status": 409,
        "detail": "tube of another round",
        "tube_state": "closed",
    }
    assert TubeFull().problem()["type"] == "/problems/tube-closed"


def test_extensions_never_overwrite_what_the_standard_defines() -> None:
    assert NotFound(status=200, title="fine").problem()["status"] == 404


def test_a_reason_always_says_something() -> None:
    assert NotFound().reason() == {
        "type": "/problems/not-found",
        "detail": "There is no such thing here",
    }
    assert BadInput.at("needs[0].code", "is unknown").reason()["detail"] == (
        "needs[0].code: is unknown"
    )


def test_a_slug_belongs_to_one_problem() -> None:
    with pytest.raises(TypeError, match="not-found"):
        type("Lost", (LastmetreError,), {"slug": "not-found"})
    with pytest.raises(TypeError, match="kebab"):
        type("Odd", (LastmetreError,), {"slug": "Not_Kebab"})


def test_every_problem_says_cause_and_cure_in_the_table() -> None:
    table = problems_table()
    for problem in problems():
        assert f"| `{problem.type_uri()}` | {problem.status} | {problem.title} |" in table
        assert problem.cause.endswith(".")
        assert problem.cure.endswith(".")
