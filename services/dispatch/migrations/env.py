"""Alembic's entry: all of it is shared."""

from services.dispatch import tables
from shared import migrating

migrating.run(tables.metadata)
