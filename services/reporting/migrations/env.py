"""What alembic runs."""

from services.reporting.tables import metadata
from shared import migrating

migrating.run(metadata)
