"""The first tables: rounds, persons and visits by round, teams, reports, outbox, positions."""

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
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("incarnation", sa.UUID(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("consumer", "topic", "partition", name=op.f("pk_applied")),
        comment="Position applied per partition; moved in the transaction of its effect",
    )
    op.create_table(
        "area",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("parent", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_area")),
        comment="Names of offices and communities",
    )
    op.create_table(
        "outbox",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.SmallInteger(), nullable=False),
        sa.Column("pos", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("prev_id", sa.UUID(), nullable=False),
        sa.Column("incarnation", sa.UUID(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", "pos", name=op.f("pk_outbox")),
        comment="The log of record: every message ever announced, in order, chained",
        postgresql_partition_by="LIST (topic)",
    )
    op.create_table(
        "outbox_consumer",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.SmallInteger(), nullable=False),
        sa.Column("pos", sa.BigInteger(), nullable=False),
        sa.Column("reported_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", "topic", "partition", name=op.f("pk_outbox_consumer")),
        comment="How far each consumer says it is; retention waits for the last of them",
    )
    op.create_table(
        "outbox_head",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.SmallInteger(), nullable=False),
        sa.Column("pos", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("incarnation", sa.UUID(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("topic", "partition", name=op.f("pk_outbox_head")),
        comment="Last position minted per partition; the row lock that orders its writers",
    )
    op.create_table(
        "outbox_published",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.SmallInteger(), nullable=False),
        sa.Column("pos", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition", name=op.f("pk_outbox_published")),
        comment="Where the relay is; apart from the heads, so that it never waits for a writer",
    )
    op.create_table(
        "parked",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.SmallInteger(), nullable=False),
        sa.Column("pos", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.UUID(), nullable=False),
        sa.Column("incarnation", sa.UUID(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("parked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), server_default="parked", nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_parked")),
        sa.UniqueConstraint(
            "consumer",
            "topic",
            "partition",
            "incarnation",
            "pos",
            name=op.f("uq_parked_consumer_topic_partition_incarnation_pos"),
        ),
        comment="Records that could not be applied, whole, with what was decided about them",
    )
    op.create_table(
        "person",
        sa.Column("round", sa.Text(), nullable=False),
        sa.Column("resident", sa.Text(), nullable=False),
        sa.Column("incarnation", sa.UUID(), nullable=False),
        sa.Column("rev", sa.BigInteger(), nullable=False),
        sa.Column("klass", sa.Text(), nullable=False),
        sa.Column("community", sa.Text(), nullable=False, comment="where they live now"),
        sa.Column("needs", pg.ARRAY(sa.Text()), nullable=False),
        sa.Column("alive", sa.Boolean(), nullable=False),
        sa.Column("case_state", sa.Text(), nullable=True, comment="null: there never was one"),
        sa.Column("case_reason", sa.Text(), nullable=True, comment="why it was closed"),
        sa.Column("case_opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("case_closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "home",
            sa.Text(),
            nullable=True,
            comment="community the first case was opened in; keys the hands",
        ),
        sa.Column(
            "visit",
            sa.UUID(),
            nullable=True,
            comment="the open visit, or the one that awaits its answer",
        ),
        sa.Column("attempts", sa.SmallInteger(), nullable=False, comment="visits finished so far"),
        sa.Column("hand_kind", sa.Text(), nullable=True),
        sa.Column("hand_due", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "hand_ends_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="null: awaits an answer",
        ),
        sa.Column("hand_owner", sa.Text(), nullable=True),
        sa.Column("hand_reason", sa.Text(), nullable=True),
        sa.Column("hand_revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("round", "resident", name=op.f("pk_person")),
        comment="Everyone of a round who had a visit-worthy need or was in our hands",
        postgresql_partition_by="LIST (round)",
    )
    op.create_index(
        "ix_person_case",
        "person",
        ["round", "case_state", "resident"],
        unique=False,
        postgresql_where=sa.text("case_state IS NOT NULL"),
    )
    op.create_index(
        "ix_person_hand_ends_at",
        "person",
        ["round", "hand_ends_at"],
        unique=False,
        postgresql_where=sa.text("hand_ends_at IS NOT NULL"),
    )
    op.create_index(
        "ix_person_held_without_case",
        "person",
        ["round", "resident"],
        unique=False,
        postgresql_where=sa.text("hand_kind IS NOT NULL AND case_state IS DISTINCT FROM 'open'"),
    )
    op.create_table(
        "report",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("round", sa.Text(), nullable=False),
        sa.Column("visit", sa.UUID(), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report")),
        comment="Client-made ids of visit reports, unique across rounds (R19)",
    )
    op.create_table(
        "round",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column(
            "serial",
            sa.BigInteger(),
            sa.Identity(always=False),
            nullable=False,
            comment="names partitions",
        ),
        sa.Column("incarnation", sa.UUID(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("campaign", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("opens_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closes_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("offices", pg.ARRAY(sa.Text()), nullable=False),
        sa.Column("manual_clock", sa.Boolean(), nullable=False),
        sa.Column("clock_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_round")),
        comment="Rounds as registry last told them; version 0 is a stub of one not told of yet",
    )
    op.create_table(
        "team",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("areas", pg.ARRAY(sa.Text()), nullable=False),
        sa.Column("shift_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("shift_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("capacity", sa.Integer(), nullable=False, comment="visits in one shift"),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("serves_quarantine", sa.Boolean(), nullable=False, comment="R17"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_team")),
        comment="People in the field who make visits together",
    )
    op.create_table(
        "team_member",
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("team", "id", name=op.f("pk_team_member")),
        comment="Who is in a team, by id and role",
    )
    op.create_table(
        "visit",
        sa.Column("round", sa.Text(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("resident", sa.Text(), nullable=False),
        sa.Column(
            "community", sa.Text(), nullable=False, comment="where it was made; never changes"
        ),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("quarantined", sa.Boolean(), nullable=False, comment="R17"),
        sa.Column("team", sa.Text(), nullable=True),
        sa.Column(
            "teams", pg.ARRAY(sa.Text()), nullable=False, comment="every team that ever had it"
        ),
        sa.Column("planned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("assigned_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True, comment="why it was cancelled"),
        sa.Column("report", sa.UUID(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("sample", sa.Text(), nullable=True),
        sa.Column("sampled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("tube_code", sa.Text(), nullable=True),
        sa.Column(
            "answer", sa.Text(), nullable=True, comment="registry's: awaited, recorded or refused"
        ),
        sa.Column("refusal", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("round", "id", name=op.f("pk_visit")),
        comment="Home-visit tasks and what happened at the door",
        postgresql_partition_by="LIST (round)",
    )
    op.create_index("ix_visit_id", "visit", ["id"], unique=False)
    op.create_index(
        "ix_visit_open_community",
        "visit",
        ["round", "community"],
        unique=False,
        postgresql_where=sa.text("status IN ('planned', 'assigned', 'started')"),
    )
    op.create_index(
        "ix_visit_team",
        "visit",
        ["team", "round"],
        unique=False,
        postgresql_where=sa.text("team IS NOT NULL"),
    )
    op.create_index(
        "ix_visit_waiting",
        "visit",
        ["round", "quarantined", sa.text("priority DESC"), "community", "id"],
        unique=False,
        postgresql_where=sa.text("status = 'planned'"),
    )
    op.create_index(
        "uq_visit_open",
        "visit",
        ["round", "resident"],
        unique=True,
        postgresql_where=sa.text("status IN ('planned', 'assigned', 'started')"),
    )


def downgrade() -> None:
    op.drop_index(
        "uq_visit_open",
        table_name="visit",
        postgresql_where=sa.text("status IN ('planned', 'assigned', 'started')"),
    )
    op.drop_index(
        "ix_visit_waiting", table_name="visit", postgresql_where=sa.text("status = 'planned'")
    )
    op.drop_index("ix_visit_team", table_name="visit", postgresql_where=sa.text("team IS NOT NULL"))
    op.drop_index(
        "ix_visit_open_community",
        table_name="visit",
        postgresql_where=sa.text("status IN ('planned', 'assigned', 'started')"),
    )
    op.drop_index("ix_visit_id", table_name="visit")
    op.drop_table("visit")
    op.drop_table("team_member")
    op.drop_table("team")
    op.drop_table("round")
    op.drop_table("report")
    op.drop_index(
        "ix_person_held_without_case",
        table_name="person",
        postgresql_where=sa.text("hand_kind IS NOT NULL AND case_state IS DISTINCT FROM 'open'"),
    )
    op.drop_index(
        "ix_person_hand_ends_at",
        table_name="person",
        postgresql_where=sa.text("hand_ends_at IS NOT NULL"),
    )
    op.drop_index(
        "ix_person_case", table_name="person", postgresql_where=sa.text("case_state IS NOT NULL")
    )
    op.drop_table("person")
    op.drop_table("parked")
    op.drop_table("outbox_published")
    op.drop_table("outbox_head")
    op.drop_table("outbox_consumer")
    op.drop_table("outbox")
    op.drop_table("area")
    op.drop_table("applied")
