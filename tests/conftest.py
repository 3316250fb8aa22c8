"""Fixtures for every suite; they live in `tests.support`."""

from hypothesis import settings

pytest_plugins = [
    "tests.support.servers",
    "tests.support.issuer",
    "tests.support.town",
    "tests.support.counting",
    "tests.support.networks",
]

# Searches that want more than their usual number of examples: `pytest --hypothesis-profile=long`.
settings.register_profile("long", max_examples=10_000, deadline=None)
