"""Records are merged, needs turn with the clock, swabs are corrected."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # --- merging ---
    op.add_column("resident", sa.Column("merged_into", sa.UUID()))
    op.create_index(
        "resident_merged",
        "resident",
        ["merged_into"],
        postgresql_where=sa.text("merged_into IS NOT NULL"),
    )
    op.add_column("sample", sa.Column("filed_for", sa.UUID()))
    op.add_column("exclusion", sa.Column("filed_for", sa.UUID()))

    # --- the clock ---
    op.add_column("resident", sa.Column("needs_turn_at", sa.DateTime(timezone=True)))
    op.create_index(
        "resident_needs_turn",
        "resident",
        ["needs_turn_at"],
        postgresql_where=sa.text("needs_turn_at IS NOT NULL"),
    )


def downgrade() -> None:
    # --- the clock ---
    op.drop_index("resident_needs_turn", "resident")
    op.drop_column("resident", "needs_turn_at")

    # --- merging ---
    op.drop_column("exclusion", "filed_for")
    op.drop_column("sample", "filed_for")
    op.drop_index("resident_merged", "resident")
    op.drop_column("resident", "merged_into")
