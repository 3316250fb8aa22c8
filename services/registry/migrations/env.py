"""Alembic's entry: all of it is shared."""

from services.registry import tables
from shared import migrating

migrating.run(tables.metadata)
