"""Milestones, and who is told of them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def _time(name: str, *, nullable: bool = False) -> sa.Column:  # type: ignore[type-arg]
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "milestone",
        sa.Column("round", sa.Text(), nullable=False),
        sa.Column("office", sa.Text(), nullable=False),
        sa.Column("milestone", sa.Text(), nullable=False),
        sa.Column("reached", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("round", "office", "milestone"),
        comment="Which milestones were told to be reached, or undone since",
    )
    op.create_table(
        "milestone_turn",
        sa.Column("id", pg.UUID(), nullable=False),
        sa.Column("round", sa.Text(), nullable=False),
        sa.Column("office", sa.Text(), nullable=False),
        sa.Column("milestone", sa.Text(), nullable=False),
        sa.Column("turn", sa.Text(), nullable=False),
        _time("at"),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        comment="Every turn of a milestone, as it is told",
    )
    op.create_table(
        "webhook",
        sa.Column("id", pg.UUID(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("areas", pg.ARRAY(sa.Text()), nullable=False),
        sa.Column("milestones", pg.ARRAY(sa.Text()), nullable=False),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        _time("created_at"),
        _time("ended_at", nullable=True),
        sa.PrimaryKeyConstraint("id"),
        comment="Receivers of milestones; one that ended keeps its id",
    )
    op.create_table(
        "delivery",
        sa.Column("webhook", pg.UUID(), nullable=False),
        sa.Column("turn", pg.UUID(), nullable=False),
        sa.Column("seq", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        _time("next_at"),
        sa.Column("last", sa.Text(), nullable=True),
        _time("delivered_at", nullable=True),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'dead')", name="delivery_state"),
        sa.ForeignKeyConstraint(["webhook"], ["webhook.id"]),
        sa.ForeignKeyConstraint(["turn"], ["milestone_turn.id"]),
        sa.PrimaryKeyConstraint("webhook", "turn"),
        comment="What is owed to whom; made in the transaction that noted the turn",
    )
    op.create_index(
        "delivery_due", "delivery", ["next_at"], postgresql_where=sa.text("state = 'pending'")
    )


def downgrade() -> None:
    op.drop_table("delivery")
    op.drop_table("webhook")
    op.drop_table("milestone_turn")
    op.drop_table("milestone")
