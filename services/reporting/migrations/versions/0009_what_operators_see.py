"""What the page shows of the ledger and of operations."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "proof",
        sa.Column("round", sa.Text(), nullable=False),
        sa.Column("proven_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.Column("proof", pg.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("round"),
        comment="The last proof of each round's account, as the page shows it",
    )
    op.create_table(
        "throughput",
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("results", sa.BigInteger(), nullable=False),
        sa.Column("changes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("at"),
        comment="What was counted in the five seconds that begin here, by all workers; of an hour",
    )


def downgrade() -> None:
    op.drop_table("throughput")
    op.drop_table("proof")
