"""Tables of dispatch. Residents are ids, needs and places here; nothing tells who they are (R20).

`person` and `visit` are partitioned by round: a round is loaded, asked for and dropped as a whole.
Whoever writes a person's row or any visit of theirs holds the lock on that row: it is the mutex of
everything about one resident in one round.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from shared import audit, outbox, positions

OPEN_STATUSES = ("planned", "assigned", "started")
OPEN = "status IN ('planned', 'assigned', 'started')"
"""A visit that somebody has yet to make or is making."""

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)

outbox.tables(metadata)
positions.tables(metadata)
audit.tables(metadata)

round_table = sa.Table(
    "round",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("serial", sa.BigInteger, sa.Identity(), nullable=False, comment="names partitions"),
    sa.Column("incarnation", pg.UUID, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("campaign", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("opens_at", sa.DateTime(timezone=True)),
    sa.Column("closes_at", sa.DateTime(timezone=True)),
    sa.Column("offices", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("manual_clock", sa.Boolean, nullable=False),
    sa.Column("clock_at", sa.DateTime(timezone=True)),
    comment="Rounds as registry last told them; version 0 is a stub of one not told of yet",
)

area = sa.Table(
    "area",
    metadata,
    sa.Column("code", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("parent", sa.Text),
    comment="Names of offices and communities",
)

person = sa.Table(
    "person",
    metadata,
    sa.Column("round", sa.Text, primary_key=True),
    sa.Column("resident", sa.Text, primary_key=True),
    # What registry last said, ordered by (incarnation, rev).
    sa.Column("incarnation", pg.UUID, nullable=False),
    sa.Column("rev", sa.BigInteger, nullable=False),
    sa.Column("klass", sa.Text, nullable=False),
    sa.Column("community", sa.Text, nullable=False, comment="where they live now"),
    sa.Column("needs", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("alive", sa.Boolean, nullable=False),
    # The case: a resident with a visit-worthy need who is untested in an open round.
    sa.Column("case_state", sa.Text, comment="null: there never was one"),
    sa.Column("case_reason", sa.Text, comment="why it was closed"),
    sa.Column("case_opened_at", sa.DateTime(timezone=True)),
    sa.Column("case_closed_at", sa.DateTime(timezone=True)),
    sa.Column("home", sa.Text, comment="community the first case was opened in; keys the hands"),
    sa.Column("visit", pg.UUID, comment="the open visit, or the one that awaits its answer"),
    sa.Column("attempts", sa.SmallInteger, nullable=False, comment="visits finished so far"),
    # Whose hands they are in: ours to say, ordered by hand_revision.
    sa.Column("hand_kind", sa.Text),
    sa.Column("hand_due", sa.DateTime(timezone=True)),
    sa.Column("hand_ends_at", sa.DateTime(timezone=True), comment="null: awaits an answer"),
    sa.Column("hand_owner", sa.Text),
    sa.Column("hand_reason", sa.Text),
    sa.Column("hand_revision", sa.BigInteger, nullable=False),
    sa.Index(
        "ix_person_case",
        "round", "case_state", "resident",
        postgresql_where=sa.text("case_state IS NOT NULL"),
    ),
    sa.Index(
        "ix_person_hand_ends_at",
        "round", "hand_ends_at",
        postgresql_where=sa.text("hand_ends_at IS NOT NULL"),
    ),
    sa.Index(
        "ix_person_held_without_case",
        "round", "resident",
        postgresql_where=sa.text("hand_kind IS NOT NULL AND case_state IS DISTINCT FROM 'open'"),
    ),
    postgresql_partition_by="LIST (round)",
    comment="Everyone of a round who had a visit-worthy need or was in our hands",
)  # fmt: skip

visit = sa.Table(
    "visit",
    metadata,
    sa.Column("round", sa.Text, primary_key=True),
    sa.Column("id", pg.UUID, primary_key=True),
    sa.Column("resident", sa.Text, nullable=False),
    sa.Column("community", sa.Text, nullable=False, comment="where it was made; never changes"),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sa.Column("attempt", sa.SmallInteger, nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False),
    sa.Column("quarantined", sa.Boolean, nullable=False, comment="R17"),
    sa.Column("team", sa.Text),
    sa.Column("teams", pg.ARRAY(sa.Text), nullable=False, comment="every team that ever had it"),
    sa.Column("planned_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("assigned_at", sa.DateTime(timezone=True)),
    sa.Column("started_at", sa.DateTime(timezone=True)),
    sa.Column("ended_at", sa.DateTime(timezone=True)),
    sa.Column("reason", sa.Text, comment="why it was cancelled"),
    sa.Column("report", pg.UUID),
    sa.Column("outcome", sa.Text),
    sa.Column("sample", sa.Text),
    sa.Column("sampled_at", sa.DateTime(timezone=True)),
    sa.Column("tube_code", sa.Text),
    sa.Column("answer", sa.Text, comment="registry's: awaited, recorded or refused"),
    sa.Column("refusal", sa.Text),
    sa.Column(
        "needs", pg.ARRAY(sa.Text), comment="of its resident, as told; null: planned before that"
    ),
    # R15: at most one open visit per resident per round.
    sa.Index(
        "uq_visit_open", "round", "resident", unique=True, postgresql_where=sa.text(OPEN)
    ),
    sa.Index("ix_visit_id", "id"),
    sa.Index(
        "ix_visit_waiting",
        "round", "quarantined", sa.text("priority DESC"), "community", "id",
        postgresql_where=sa.text("status = 'planned'"),
    ),
    sa.Index("ix_visit_team", "team", "round", postgresql_where=sa.text("team IS NOT NULL")),
    sa.Index("ix_visit_open_community", "round", "community", postgresql_where=sa.text(OPEN)),
    postgresql_partition_by="LIST (round)",
    comment="Home-visit tasks and what happened at the door",
)  # fmt: skip

report = sa.Table(
    "report",
    metadata,
    sa.Column("id", pg.UUID, primary_key=True),
    sa.Column("round", sa.Text, nullable=False),
    sa.Column("visit", pg.UUID, nullable=False),
    sa.Column("fingerprint", sa.LargeBinary, nullable=False),
    sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("outcome", sa.Text, comment="what was told; the visit says what holds"),
    sa.Column("told_by", sa.Text, comment="subject of the token"),
    comment="Client-made ids of visit reports, unique across rounds (R19)",
)

decision = sa.Table(
    "decision",
    metadata,
    sa.Column("id", pg.UUID, primary_key=True),
    sa.Column("round", sa.Text, nullable=False),
    sa.Column("resident", sa.Text, nullable=False),
    sa.Column("verb", sa.Text, nullable=False),
    sa.Column("decided_by", sa.Text, nullable=False, comment="subject of the token"),
    sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("fingerprint", sa.LargeBinary, nullable=False),
    comment="What offices decided about cases, by client-made id (R19), and who",
)

team = sa.Table(
    "team",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("areas", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("shift_from", sa.DateTime(timezone=True), nullable=False),
    sa.Column("shift_until", sa.DateTime(timezone=True), nullable=False),
    sa.Column("capacity", sa.Integer, nullable=False, comment="visits in one shift"),
    sa.Column("active", sa.Boolean, nullable=False),
    sa.Column("serves_quarantine", sa.Boolean, nullable=False, comment="R17"),
    comment="People in the field who make visits together",
)

team_member = sa.Table(
    "team_member",
    metadata,
    sa.Column("team", sa.Text, primary_key=True),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("role", sa.Text, nullable=False),
    comment="Who is in a team, by id and role",
)
