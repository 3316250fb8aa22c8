"""Fixtures for every suite; they live in `tests.support`."""

pytest_plugins = ["tests.support.servers", "tests.support.issuer", "tests.support.town"]
