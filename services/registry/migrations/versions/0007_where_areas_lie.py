"""Areas may have borders."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

GEOMETRY = "GeoJSON (RFC 7946); null as JSON: there was one, and it was taken away"


def upgrade() -> None:
    op.add_column("area", sa.Column("geometry", pg.JSONB(), comment=GEOMETRY))


def downgrade() -> None:
    op.drop_column("area", "geometry")
