"""Visits that wait for a team are told with since when, and what their resident needs."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

NEEDS = "of its resident, as told; null: planned before that"


def upgrade() -> None:
    op.add_column("visit", sa.Column("needs", pg.ARRAY(sa.Text()), comment=NEEDS))


def downgrade() -> None:
    op.drop_column("visit", "needs")
