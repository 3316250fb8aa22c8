"""registry's tables. Facts of a round are partitioned by round; the roll of residents is not."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from shared import audit, outbox, positions

metadata = sa.MetaData(naming_convention={"ix": "%(table_name)s_%(column_0_N_name)s_idx"})


def _at(name: str, *, nullable: bool = True) -> "sa.Column[Any]":
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


area = sa.Table(
    "area",
    metadata,
    sa.Column("code", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("parent", sa.Text),
    sa.Column("lat", sa.Double),
    sa.Column("lon", sa.Double),
    sa.Column(
        "geometry",
        pg.JSONB,
        comment="GeoJSON (RFC 7946); null as JSON: there was one, and it was taken away",
    ),
)

denominator = sa.Table(
    "denominator",
    metadata,
    sa.Column("code", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("people", sa.BigInteger, nullable=False),
    sa.Column("as_of", sa.Date, nullable=False),
    comment="How many people somebody outside says live in an area; one number a source",
)

resident = sa.Table(
    "resident",
    metadata,
    sa.Column("id", pg.UUID, primary_key=True),
    sa.Column("community", sa.Text, nullable=False),
    _at("since"),
    _at("noted_at", nullable=False),
    sa.Column("needs", pg.ARRAY(sa.Text), nullable=False, server_default="{}"),
    _at("needs_turn_at"),
    sa.Column("alive", sa.Boolean, nullable=False, server_default="true"),
    sa.Column("merged_into", pg.UUID),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("sex", sa.Text),
    sa.Column("birth_date", sa.Date),
    sa.Column("document_type", sa.Text),
    sa.Column("document_index", sa.LargeBinary),
    sa.Column("document_number", sa.LargeBinary),
    sa.Column("phone", sa.Text),
    sa.Column("household", pg.UUID, nullable=False),
    sa.Column("building", sa.Text, nullable=False),
    sa.Column("unit", sa.Text, nullable=False),
    sa.Column("door", sa.Text, nullable=False),
    sa.Column("lat", sa.Double),
    sa.Column("lon", sa.Double),
    _at("created_at", nullable=False),
    sa.Index("resident_document", "document_index", "document_type", unique=True),
    sa.Index("resident_community", "community", "id"),
    sa.Index("resident_household", "household", "id"),
    sa.Index("resident_phone", "phone", postgresql_where=sa.text("phone IS NOT NULL")),
    sa.Index("resident_special", "community", postgresql_where=sa.text("needs <> '{}'")),
    sa.Index(
        "resident_needs_turn",
        "needs_turn_at",
        postgresql_where=sa.text("needs_turn_at IS NOT NULL"),
    ),
    sa.Index("resident_merged", "merged_into", postgresql_where=sa.text("merged_into IS NOT NULL")),
    comment="One person on the roll; the row lock serialises everything about their account",
)

resident_need = sa.Table(
    "resident_need",
    metadata,
    sa.Column("resident", pg.UUID, primary_key=True),
    sa.Column("code", sa.Text, primary_key=True),
    _at("since"),
    _at("until"),
    comment="Needs with their validity; resident.needs holds those in effect",
)

residence_past = sa.Table(
    "residence_past",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("resident", pg.UUID, nullable=False),
    sa.Column("community", sa.Text, nullable=False),
    _at("since"),
    _at("noted_at", nullable=False),
    sa.Index("residence_past_person", "resident", "id"),
    comment="Where somebody lived before, in the order of noting; the present one is in resident",
)

merge = sa.Table(
    "merge",
    metadata,
    sa.Column("id", pg.UUID, primary_key=True),
    sa.Column("absorbed", pg.UUID, nullable=False),
    sa.Column("kept", pg.UUID, nullable=False),
    sa.Column("merged_by", sa.Text, nullable=False),
    _at("merged_at", nullable=False),
    sa.Column("alive", sa.Boolean, nullable=False),
    sa.Column("closed_rounds", pg.ARRAY(pg.UUID), nullable=False),
    sa.Column("alive_rounds", pg.ARRAY(pg.UUID), nullable=False),
    sa.Column("undone_by", sa.Text),
    _at("undone_at"),
    sa.Index("merge_newest", "merged_at", "id"),
    sa.Index(
        "merge_standing",
        "absorbed",
        unique=True,
        postgresql_where=sa.text("undone_at IS NULL"),
    ),
    comment="Two records of one person became one, and what has to be known to part them again",
)

merge_need = sa.Table(
    "merge_need",
    metadata,
    sa.Column("merge", pg.UUID, primary_key=True),
    sa.Column("code", sa.Text, primary_key=True),
    _at("since"),
    _at("until"),
    sa.Column("had", sa.Boolean, nullable=False),
    _at("had_since"),
    _at("had_until"),
    comment="Needs the kept record has by a merge: as they became, and as it had them before",
)

population = sa.Table(
    "population",
    metadata,
    sa.Column("community", sa.Text, primary_key=True),
    sa.Column("roll", sa.BigInteger, nullable=False),
    comment="Living residents per community, kept by every write, so that opening need not count",
)

round_ = sa.Table(
    "round",
    metadata,
    sa.Column("id", pg.UUID, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("campaign", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    _at("opens_at", nullable=False),
    _at("closes_at", nullable=False),
    sa.Column("offices", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("manual_clock", sa.Boolean, nullable=False),
    _at("clock_at"),
    sa.Column("automatic", sa.Boolean, nullable=False),
    _at("opened_at"),
    _at("closed_at"),
    _at("sealed_at"),
    _at("frozen_at"),
    sa.UniqueConstraint("campaign", "number"),
)

submission = sa.Table(
    "submission",
    metadata,
    sa.Column("id", pg.UUID, primary_key=True),
    sa.Column("kind", sa.CHAR(1), nullable=False),
    sa.Column("digest", sa.BigInteger, nullable=False),
    sa.Column("round", pg.UUID, nullable=False),
    comment="Every id that was ever accepted; not partitioned, so that ids are unique everywhere",
)

sample = sa.Table(
    "sample",
    metadata,
    sa.Column("id", pg.UUID, primary_key=True),
    # After the id: every row of a partition has the same round, an index that begins with it is a
    # list of them all, and a planner without figures yet takes it for a good one.
    sa.Column("round", pg.UUID, primary_key=True),
    sa.Column("resident", pg.UUID, nullable=False),
    _at("sampled_at", nullable=False),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("site", sa.Text),
    sa.Column("tube_code", sa.Text),
    _at("recorded_at", nullable=False),
    sa.Column("voided_by", pg.UUID),
    sa.Column("filed_for", pg.UUID),
    sa.Index("sample_resident", "resident"),
    postgresql_partition_by="LIST (round)",
    comment="Swabs taken (采样), as they stand",
)

sample_past = sa.Table(
    "sample_past",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    sa.Column("sample", pg.UUID, nullable=False),
    sa.Column("round", pg.UUID, nullable=False),
    sa.Column("resident", pg.UUID, nullable=False),
    _at("sampled_at", nullable=False),
    sa.Column("channel", sa.Text, nullable=False),
    sa.Column("site", sa.Text),
    sa.Column("tube_code", sa.Text),
    _at("recorded_at", nullable=False),
    sa.Column("corrected_by", pg.UUID, nullable=False),
    sa.Index("sample_past_swab", "sample", "id"),
    sa.Index("sample_past_person", "resident"),
    comment="What was said of swabs until it was corrected, of the resident who was named then",
)

report = sa.Table(
    "report",
    metadata,
    sa.Column("id", pg.UUID, primary_key=True),
    # After the id: every row of a partition has the same round, an index that begins with it is a
    # list of them all, and a planner without figures yet takes it for a good one.
    sa.Column("round", pg.UUID, primary_key=True),
    sa.Column("sample", pg.UUID, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    _at("resulted_at"),
    _at("released_at"),
    _at("recorded_at", nullable=False),
    sa.Column("corrects", pg.UUID),
    sa.Column("superseded_by", pg.UUID),
    sa.Index("report_sample", "sample"),
    postgresql_partition_by="LIST (round)",
    comment="What the laboratory said of a swab; appended, never overwritten (R10)",
)

exclusion = sa.Table(
    "exclusion",
    metadata,
    sa.Column("id", pg.UUID, primary_key=True),
    sa.Column("round", pg.UUID, nullable=False),
    sa.Column("resident", pg.UUID, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("filed_by", sa.Text, nullable=False),
    _at("filed_at", nullable=False),
    sa.Column("revoked_by", sa.Text),
    _at("revoked_at"),
    sa.Column("filed_for", pg.UUID),
    sa.Index("exclusion_person", "round", "resident"),
    comment="Stated reasons not to be tested (免检); revoked, never deleted",
)

hand = sa.Table(
    "hand",
    metadata,
    sa.Column("round", pg.UUID, primary_key=True),
    sa.Column("resident", pg.UUID, primary_key=True),
    sa.Column("kind", sa.Text),
    _at("due"),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("incarnation", pg.UUID, nullable=False),
    comment="The latest hand dispatch announced; kind NULL says that it ended",
)

roll_state = sa.Table(
    "roll_state",
    metadata,
    sa.Column("round", pg.UUID, primary_key=True),
    sa.Column("resident", pg.UUID, primary_key=True),
    sa.Column("rev", sa.Integer, nullable=False),
    sa.Column("class", sa.Text, nullable=False),
    sa.Column("counted_in", sa.Text, nullable=False),
    sa.Column("lived_in", sa.Text, nullable=False),
    sa.Column("needs", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("hand_kind", sa.Text),
    _at("hand_due"),
    sa.Column("hand_revision", sa.BigInteger),
    sa.Column("hand_incarnation", pg.UUID),
    sa.Column("channel", sa.Text),
    _at("sampled_at"),
    sa.Column("result", sa.Text),
    sa.Column("alive", sa.Boolean, nullable=False),
    postgresql_partition_by="LIST (round)",
    comment="Where everyone who was ever touched in a round stands; the untouched have no row",
)

noted_before = sa.Table(
    "audit",
    metadata,
    sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
    _at("at", nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("did", sa.Text, nullable=False),
    sa.Column("found", pg.ARRAY(pg.UUID), nullable=False),
    comment="Who looked people up before there was `audit_log`; kept, and no more written",
)

PARTITIONED = (sample, report, roll_state)
"""Get a partition of their own with every round."""

outbox.tables(metadata)
positions.tables(metadata)
audit.tables(metadata)
