"""How far the snapshot of an adopted producer is taken in."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0003"
branch_labels = None
depends_on = None

RETOLD = "the life whose snapshot was applied to its end"


def upgrade() -> None:
    op.add_column("applied", sa.Column("retold", sa.UUID(), comment=RETOLD))


def downgrade() -> None:
    op.drop_column("applied", "retold")
