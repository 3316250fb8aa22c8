"""Decisions of offices, and who told what of a visit."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "decision",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("round", sa.Text(), nullable=False),
        sa.Column("resident", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("decided_by", sa.Text(), nullable=False, comment="subject of the token"),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decision")),
        comment="What offices decided about cases, by client-made id (R19), and who",
    )
    op.add_column(
        "report",
        sa.Column("outcome", sa.Text(), comment="what was told; the visit says what holds"),
    )
    op.add_column("report", sa.Column("told_by", sa.Text(), comment="subject of the token"))


def downgrade() -> None:
    op.drop_column("report", "told_by")
    op.drop_column("report", "outcome")
    op.drop_table("decision")
