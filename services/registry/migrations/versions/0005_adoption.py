"""A producer restored from a backup is adopted: its new life, and how far others follow."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SNAPSHOT = "where this life's snapshot begins"
BEFORE = "the life before this one"
RETOLD = "the life whose snapshot was applied to its end"


def upgrade() -> None:
    op.add_column("outbox_head", sa.Column("snapshot_pos", sa.BigInteger(), comment=SNAPSHOT))
    op.add_column("outbox_head", sa.Column("adopted_from", sa.UUID(), comment=BEFORE))
    op.add_column("applied", sa.Column("retold", sa.UUID(), comment=RETOLD))


def downgrade() -> None:
    op.drop_column("applied", "retold")
    op.drop_column("outbox_head", "adopted_from")
    op.drop_column("outbox_head", "snapshot_pos")
