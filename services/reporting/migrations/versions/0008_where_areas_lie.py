"""Areas may have borders, to be drawn on a map."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

GEOMETRY = "GeoJSON (RFC 7946), as registry told it"


def upgrade() -> None:
    op.add_column("area", sa.Column("geometry", pg.JSONB(), comment=GEOMETRY))


def downgrade() -> None:
    op.drop_column("area", "geometry")
