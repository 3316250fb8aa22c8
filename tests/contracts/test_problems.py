"""The page of problem types, kept in step with the code."""

from tests.contracts.problems import PAGE, page


def test_the_page_lists_the_problems_of_all_services() -> None:
    assert PAGE.read_text("utf-8") == page(), "run `python -m tests.contracts.problems`"
