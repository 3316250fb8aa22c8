"""Coverage is held against numbers from outside too; deltas tell the series as well."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_FORGET_DELTAS = """
    WITH dropped AS (DELETE FROM delta RETURNING generation, partition, pos)
    INSERT INTO delta_floor AS kept (generation, partition, pos)
    SELECT generation, partition, max(pos) FROM dropped GROUP BY 1, 2
    ON CONFLICT (generation, partition) DO UPDATE SET pos = greatest(kept.pos, excluded.pos)
"""
_OLD_COMMENT = "What each recent position of the roll did to `counter`: {community: {cell: n}}"


def upgrade() -> None:
    op.create_table(
        "denominator",
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("people", sa.BigInteger(), nullable=False),
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("generation", "code", "source"),
        comment="How many people somebody outside says live in an area; one number a source",
    )

    # What was kept until now knows nothing of the series: no cut before it can be told any more.
    op.execute(_FORGET_DELTAS)
    op.create_table_comment(
        "delta",
        "What each recent position of the roll did to the figures: {community: {cell: n}}",
        existing_comment=_OLD_COMMENT,
    )


def downgrade() -> None:
    op.create_table_comment("delta", _OLD_COMMENT)
    # Cells of the series among the others would be taken for differences.
    op.execute(_FORGET_DELTAS)
    op.drop_table("denominator")
