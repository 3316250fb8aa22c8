"""The first tables: counters, the series, recent deltas, positions, dead letters."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "applied",
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.SmallInteger(), nullable=False),
        sa.Column("pos", sa.BigInteger(), nullable=False),
        sa.Column("id", pg.UUID(), nullable=False),
        sa.Column("incarnation", pg.UUID(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("consumer", "topic", "partition"),
        comment="Position applied per partition; moved in the transaction of its effect",
    )
    op.create_table(
        "area",
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("parent", sa.Text(), nullable=True),
        sa.Column("lat", sa.Double(), nullable=True),
        sa.Column("lon", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("generation", "code"),
        comment="Names and places of districts, offices and communities",
    )
    op.create_table(
        "counter",
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("round", sa.Text(), nullable=False),
        sa.Column("community", sa.Text(), nullable=False),
        sa.Column("cell", sa.Text(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("generation", "round", "community", "cell"),
        comment="The account as folded: how many people each cell of a community counts",
        postgresql_with={"fillfactor": "60"},
    )
    op.create_table(
        "delta",
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("partition", sa.SmallInteger(), nullable=False),
        sa.Column("pos", sa.BigInteger(), nullable=False),
        sa.Column("round", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("moved", pg.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("generation", "partition", "pos"),
        comment="What each recent position of the roll did to `counter`: {community: {cell: n}}",
    )
    op.create_index("delta_recorded_at", "delta", ["recorded_at"], unique=False)
    op.create_table(
        "delta_floor",
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("partition", sa.SmallInteger(), nullable=False),
        sa.Column("pos", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("generation", "partition"),
        comment="Up to which position deltas are forgotten: no older cut can be told exactly",
    )
    op.create_table(
        "generation",
        sa.Column("id", sa.Integer(), sa.Identity(always=False), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("swapped_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("state IN ('building', 'current', 'retired')", name="generation_state"),
        sa.PrimaryKeyConstraint("id"),
        comment="Lives of the counters: one is current, one may be building",
    )
    op.create_index(
        "generation_one_of_each",
        "generation",
        ["state"],
        unique=True,
        postgresql_where=sa.text("state IN ('building', 'current')"),
    )
    op.create_table(
        "parked",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.SmallInteger(), nullable=False),
        sa.Column("pos", sa.BigInteger(), nullable=False),
        sa.Column("event_id", pg.UUID(), nullable=False),
        sa.Column("incarnation", pg.UUID(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("parked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), server_default="parked", nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("consumer", "topic", "partition", "incarnation", "pos"),
        comment="Records that could not be applied, whole, with what was decided about them",
    )
    op.create_table(
        "producer",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("heads", pg.JSONB(), nullable=False),
        sa.Column("hands_as_of", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("name"),
        comment="Heads a producer had when asked last: figures at or beyond them are as of then",
    )
    op.create_table(
        "round",
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("campaign", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("opens_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closes_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("offices", pg.ARRAY(sa.Text()), nullable=False),
        sa.Column("manual_clock", sa.Boolean(), nullable=False),
        sa.Column("clock_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("generation", "id"),
        comment="Rounds as announced; the newest version of each",
    )
    op.create_table(
        "series",
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("round", sa.Text(), nullable=False),
        sa.Column("community", sa.Text(), nullable=False),
        sa.Column("slot", sa.BigInteger(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("generation", "round", "community", "slot"),
        comment="The sampled by sampling time; slot = seconds since 1970 ÷ 300, rounded down",
        postgresql_with={"fillfactor": "60"},
    )
    op.create_table(
        "visit_counter",
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("round", sa.Text(), nullable=False),
        sa.Column("community", sa.Text(), nullable=False),
        sa.Column("cell", sa.Text(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("generation", "round", "community", "cell"),
        comment="Visits as folded, by `status.X` and `outcome.X`, where they were made",
        postgresql_with={"fillfactor": "60"},
    )


def downgrade() -> None:
    op.drop_table("visit_counter")
    op.drop_table("series")
    op.drop_table("round")
    op.drop_table("producer")
    op.drop_table("parked")
    op.drop_table("generation")
    op.drop_table("delta_floor")
    op.drop_table("delta")
    op.drop_table("counter")
    op.drop_table("area")
    op.drop_table("applied")
