"""Hands are counted by when they are due, and visits that wait by since when."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

FOLD = "how the events are folded into it; from 2 on along time too"
SLOTS = "By slots of time: `due.KIND` hands by when due, `waiting` visits by since when"


def upgrade() -> None:
    op.add_column(
        "generation",
        sa.Column("fold", sa.SmallInteger(), nullable=False, server_default="1", comment=FOLD),
    )
    op.create_table(
        "slot_counter",
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("round", sa.Text(), nullable=False),
        sa.Column("community", sa.Text(), nullable=False),
        sa.Column("cell", sa.Text(), nullable=False),
        sa.Column("slot", sa.BigInteger(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("generation", "round", "community", "cell", "slot"),
        comment=SLOTS,
        postgresql_with={"fillfactor": "60"},
    )


def downgrade() -> None:
    op.drop_table("slot_counter")
    op.drop_column("generation", "fold")
