"""Records are merged, needs turn with the clock, swabs are corrected."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

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
    op.create_table(
        "merge",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("absorbed", sa.UUID(), nullable=False),
        sa.Column("kept", sa.UUID(), nullable=False),
        sa.Column("merged_by", sa.Text(), nullable=False),
        sa.Column("merged_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("alive", sa.Boolean(), nullable=False),
        sa.Column("closed_rounds", pg.ARRAY(sa.UUID()), nullable=False),
        sa.Column("alive_rounds", pg.ARRAY(sa.UUID()), nullable=False),
        sa.Column("undone_by", sa.Text()),
        sa.Column("undone_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id"),
        comment="Two records of one person became one, and what has to be known to part them again",
    )
    op.create_index("merge_newest", "merge", ["merged_at", "id"])
    op.create_index(
        "merge_standing",
        "merge",
        ["absorbed"],
        unique=True,
        postgresql_where=sa.text("undone_at IS NULL"),
    )
    op.create_table(
        "merge_need",
        sa.Column("merge", sa.UUID(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True)),
        sa.Column("until", sa.DateTime(timezone=True)),
        sa.Column("had", sa.Boolean(), nullable=False),
        sa.Column("had_since", sa.DateTime(timezone=True)),
        sa.Column("had_until", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("merge", "code"),
        comment="Needs the kept record has by a merge: as they became, and as it had them before",
    )
    op.create_index("resident_household", "resident", ["household", "id"])
    # Doors that nobody knows are no household: those behind them are one each.
    op.execute("UPDATE resident SET household = id WHERE door = '' OR community LIKE '%000'")

    # --- the clock ---
    op.add_column("resident", sa.Column("needs_turn_at", sa.DateTime(timezone=True)))
    op.create_index(
        "resident_needs_turn",
        "resident",
        ["needs_turn_at"],
        postgresql_where=sa.text("needs_turn_at IS NOT NULL"),
    )

    # --- rounds by the clock: those that are there were drafted to be moved by hand ---
    op.add_column(
        "round", sa.Column("automatic", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.alter_column("round", "automatic", server_default=None)

    # --- numbers from outside ---
    op.create_table(
        "denominator",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("people", sa.BigInteger(), nullable=False),
        sa.Column("as_of", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint("code", "source"),
        comment="How many people somebody outside says live in an area; one number a source",
    )

    # --- corrections of swabs ---
    op.create_table(
        "sample_past",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("sample", sa.UUID(), nullable=False),
        sa.Column("round", sa.UUID(), nullable=False),
        sa.Column("resident", sa.UUID(), nullable=False),
        sa.Column("sampled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("site", sa.Text()),
        sa.Column("tube_code", sa.Text()),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("corrected_by", sa.UUID(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        comment="What was said of swabs until it was corrected, of the resident who was named then",
    )
    op.create_index("sample_past_swab", "sample_past", ["sample", "id"])
    op.create_index("sample_past_person", "sample_past", ["resident"])
    op.create_table_comment(
        "sample", "Swabs taken (采样), as they stand", existing_comment="Swabs taken (采样)"
    )


def downgrade() -> None:
    # --- corrections of swabs ---
    op.create_table_comment(
        "sample", "Swabs taken (采样)", existing_comment="Swabs taken (采样), as they stand"
    )
    op.drop_table("sample_past")

    # --- numbers from outside ---
    op.drop_table("denominator")

    # --- rounds by the clock ---
    op.drop_column("round", "automatic")

    # --- the clock ---
    op.drop_index("resident_needs_turn", "resident")
    op.drop_column("resident", "needs_turn_at")

    # --- merging ---
    op.drop_index("resident_household", "resident")
    op.drop_table("merge_need")
    op.drop_table("merge")
    op.drop_column("exclusion", "filed_for")
    op.drop_column("sample", "filed_for")
    op.drop_index("resident_merged", "resident")
    op.drop_column("resident", "merged_into")
