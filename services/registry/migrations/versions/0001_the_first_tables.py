"""The first tables."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

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
        sa.PrimaryKeyConstraint("consumer", "topic", "partition"),
        comment="Position applied per partition; moved in the transaction of its effect",
    )
    op.create_table(
        "area",
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("parent", sa.Text(), nullable=True),
        sa.Column("lat", sa.Double(), nullable=True),
        sa.Column("lon", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("code"),
    )
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("did", sa.Text(), nullable=False),
        sa.Column("found", postgresql.ARRAY(sa.UUID()), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        comment="Who looked people up or saw their contacts (R20); never what they looked for",
    )
    op.create_table(
        "exclusion",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("round", sa.UUID(), nullable=False),
        sa.Column("resident", sa.UUID(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("filed_by", sa.Text(), nullable=False),
        sa.Column("filed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_by", sa.Text(), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        comment="Stated reasons not to be tested (免检); revoked, never deleted",
    )
    op.create_index("exclusion_person", "exclusion", ["round", "resident"], unique=False)
    op.create_table(
        "hand",
        sa.Column("round", sa.UUID(), nullable=False),
        sa.Column("resident", sa.UUID(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("due", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("incarnation", sa.UUID(), nullable=False),
        sa.PrimaryKeyConstraint("round", "resident"),
        comment="The latest hand dispatch announced; kind NULL says that it ended",
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
        sa.PrimaryKeyConstraint("topic", "partition", "pos"),
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
        sa.PrimaryKeyConstraint("name", "topic", "partition"),
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
        sa.PrimaryKeyConstraint("topic", "partition"),
        comment="Last position minted per partition; the row lock that orders its writers",
    )
    op.create_table(
        "outbox_published",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.SmallInteger(), nullable=False),
        sa.Column("pos", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition"),
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
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("consumer", "topic", "partition", "incarnation", "pos"),
        comment="Records that could not be applied, whole, with what was decided about them",
    )
    op.create_table(
        "population",
        sa.Column("community", sa.Text(), nullable=False),
        sa.Column("roll", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("community"),
        comment="Living residents per community, kept by every write, so that opening need not count",
    )
    op.create_table(
        "report",
        sa.Column("round", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("sample", sa.UUID(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("resulted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("released_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("corrects", sa.UUID(), nullable=True),
        sa.Column("superseded_by", sa.UUID(), nullable=True),
        sa.PrimaryKeyConstraint("id", "round"),
        comment="What the laboratory said of a swab; appended, never overwritten (R10)",
        postgresql_partition_by="LIST (round)",
    )
    op.create_index("report_sample", "report", ["sample"], unique=False)
    op.create_table(
        "residence_past",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("resident", sa.UUID(), nullable=False),
        sa.Column("community", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        comment="Where somebody lived before, in the order of noting; the present one is in resident",
    )
    op.create_index("residence_past_person", "residence_past", ["resident", "id"], unique=False)
    op.create_table(
        "resident",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("community", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("needs", postgresql.ARRAY(sa.Text()), server_default="{}", nullable=False),
        sa.Column("alive", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sex", sa.Text(), nullable=True),
        sa.Column("birth_date", sa.Date(), nullable=True),
        sa.Column("document_type", sa.Text(), nullable=True),
        sa.Column("document_index", sa.LargeBinary(), nullable=True),
        sa.Column("document_number", sa.LargeBinary(), nullable=True),
        sa.Column("phone", sa.Text(), nullable=True),
        sa.Column("household", sa.UUID(), nullable=False),
        sa.Column("building", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("door", sa.Text(), nullable=False),
        sa.Column("lat", sa.Double(), nullable=True),
        sa.Column("lon", sa.Double(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        comment="One person on the roll; the row lock serialises everything about their account",
    )
    op.create_index("resident_community", "resident", ["community", "id"], unique=False)
    op.create_index(
        "resident_document", "resident", ["document_index", "document_type"], unique=True
    )
    op.create_index(
        "resident_phone",
        "resident",
        ["phone"],
        unique=False,
        postgresql_where=sa.text("phone IS NOT NULL"),
    )
    op.create_index(
        "resident_special",
        "resident",
        ["community"],
        unique=False,
        postgresql_where=sa.text("needs <> '{}'"),
    )
    op.create_table(
        "resident_need",
        sa.Column("resident", sa.UUID(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("resident", "code"),
        comment="Needs with their validity; resident.needs holds those in effect",
    )
    op.create_table(
        "roll_state",
        sa.Column("round", sa.UUID(), nullable=False),
        sa.Column("resident", sa.UUID(), nullable=False),
        sa.Column("rev", sa.Integer(), nullable=False),
        sa.Column("class", sa.Text(), nullable=False),
        sa.Column("counted_in", sa.Text(), nullable=False),
        sa.Column("lived_in", sa.Text(), nullable=False),
        sa.Column("needs", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("hand_kind", sa.Text(), nullable=True),
        sa.Column("hand_due", sa.DateTime(timezone=True), nullable=True),
        sa.Column("hand_revision", sa.BigInteger(), nullable=True),
        sa.Column("hand_incarnation", sa.UUID(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("sampled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.Column("alive", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("round", "resident"),
        comment="Where everyone who was ever touched in a round stands; the untouched have no row",
        postgresql_partition_by="LIST (round)",
    )
    op.create_table(
        "round",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("campaign", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("opens_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closes_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("offices", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("manual_clock", sa.Boolean(), nullable=False),
        sa.Column("clock_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sealed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("frozen_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("campaign", "number"),
    )
    op.create_table(
        "sample",
        sa.Column("round", sa.UUID(), nullable=False),
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("resident", sa.UUID(), nullable=False),
        sa.Column("sampled_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("site", sa.Text(), nullable=True),
        sa.Column("tube_code", sa.Text(), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("voided_by", sa.UUID(), nullable=True),
        sa.PrimaryKeyConstraint("id", "round"),
        comment="Swabs taken (采样)",
        postgresql_partition_by="LIST (round)",
    )
    op.create_index("sample_resident", "sample", ["resident"], unique=False)
    op.create_table(
        "submission",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("kind", sa.CHAR(length=1), nullable=False),
        sa.Column("digest", sa.BigInteger(), nullable=False),
        sa.Column("round", sa.UUID(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        comment="Every id that was ever accepted; not partitioned, so that ids are unique everywhere",
    )


def downgrade() -> None:
    op.drop_table("submission")
    op.drop_index("sample_resident", table_name="sample")
    op.drop_table("sample")
    op.drop_table("round")
    op.drop_table("roll_state")
    op.drop_table("resident_need")
    op.drop_index(
        "resident_special", table_name="resident", postgresql_where=sa.text("needs <> '{}'")
    )
    op.drop_index(
        "resident_phone", table_name="resident", postgresql_where=sa.text("phone IS NOT NULL")
    )
    op.drop_index("resident_document", table_name="resident")
    op.drop_index("resident_community", table_name="resident")
    op.drop_table("resident")
    op.drop_index("residence_past_person", table_name="residence_past")
    op.drop_table("residence_past")
    op.drop_index("report_sample", table_name="report")
    op.drop_table("report")
    op.drop_table("population")
    op.drop_table("parked")
    op.drop_table("outbox_published")
    op.drop_table("outbox_head")
    op.drop_table("outbox_consumer")
    op.drop_table("outbox")
    op.drop_table("hand")
    op.drop_index("exclusion_person", table_name="exclusion")
    op.drop_table("exclusion")
    op.drop_table("audit")
    op.drop_table("area")
    op.drop_table("applied")
