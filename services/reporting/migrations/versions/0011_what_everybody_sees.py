"""What everybody is told of a round, where that is switched on."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "release",
        sa.Column("round", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("release", pg.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("round"),
        comment="What everybody was told last of each round, without what is not shown",
    )


def downgrade() -> None:
    op.drop_table("release")
