"""Tables. Everything folded carries a `generation`: a rebuild fills a new one beside the old.

Counters are keyed by round and community and hold one number: reads cost in proportion to
communities, never to residents.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from shared import audit, positions

metadata = sa.MetaData()
positions.tables(metadata)
audit.tables(metadata)

# A counter is updated in place thousands of times: room in the page keeps updates off the index.
_ROOM = {"fillfactor": "60"}


def _generation() -> sa.Column[int]:
    return sa.Column("generation", sa.Integer, primary_key=True)


generation = sa.Table(
    "generation",
    metadata,
    sa.Column("id", sa.Integer, sa.Identity(), primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("swapped_at", sa.DateTime(timezone=True)),
    sa.Column(
        "fold", sa.SmallInteger, nullable=False, server_default="1",
        comment="how the events are folded into it; from 2 on along time too",
    ),
    sa.CheckConstraint("state IN ('building', 'current', 'retired')", name="generation_state"),
    comment="Lives of the counters: one is current, one may be building",
)  # fmt: skip
sa.Index(
    "generation_one_of_each",
    generation.c.state,
    unique=True,
    postgresql_where=generation.c.state.in_(["building", "current"]),
)

area = sa.Table(
    "area",
    metadata,
    _generation(),
    sa.Column("code", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("parent", sa.Text),
    sa.Column("lat", sa.Double),
    sa.Column("lon", sa.Double),
    sa.Column("geometry", pg.JSONB, comment="GeoJSON (RFC 7946), as registry told it"),
    comment="Names and places of districts, offices and communities",
)

denominator = sa.Table(
    "denominator",
    metadata,
    _generation(),
    sa.Column("code", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("people", sa.BigInteger, nullable=False),
    sa.Column("as_of", sa.Date, nullable=False),
    comment="How many people somebody outside says live in an area; one number a source",
)

round_ = sa.Table(
    "round",
    metadata,
    _generation(),
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("campaign", sa.Text, nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("opens_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("closes_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("offices", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("manual_clock", sa.Boolean, nullable=False),
    sa.Column("clock_at", sa.DateTime(timezone=True)),
    sa.Column("opened_at", sa.DateTime(timezone=True)),
    sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
    comment="Rounds as announced; the newest version of each",
)

counter = sa.Table(
    "counter",
    metadata,
    _generation(),
    sa.Column("round", sa.Text, primary_key=True),
    sa.Column("community", sa.Text, primary_key=True),
    sa.Column("cell", sa.Text, primary_key=True),
    sa.Column("n", sa.BigInteger, nullable=False),
    comment="The account as folded: how many people each cell of a community counts",
    postgresql_with=_ROOM,
)

visit_counter = sa.Table(
    "visit_counter",
    metadata,
    _generation(),
    sa.Column("round", sa.Text, primary_key=True),
    sa.Column("community", sa.Text, primary_key=True),
    sa.Column("cell", sa.Text, primary_key=True),
    sa.Column("n", sa.BigInteger, nullable=False),
    comment="Visits as folded, by `status.X` and `outcome.X`, where they were made",
    postgresql_with=_ROOM,
)

series = sa.Table(
    "series",
    metadata,
    _generation(),
    sa.Column("round", sa.Text, primary_key=True),
    sa.Column("community", sa.Text, primary_key=True),
    sa.Column("slot", sa.BigInteger, primary_key=True),
    sa.Column("n", sa.BigInteger, nullable=False),
    comment="The sampled by sampling time; slot = seconds since 1970 ÷ 300, rounded down",
    postgresql_with=_ROOM,
)

slot_counter = sa.Table(
    "slot_counter",
    metadata,
    _generation(),
    sa.Column("round", sa.Text, primary_key=True),
    sa.Column("community", sa.Text, primary_key=True),
    sa.Column("cell", sa.Text, primary_key=True),
    sa.Column("slot", sa.BigInteger, primary_key=True),
    sa.Column("n", sa.BigInteger, nullable=False),
    comment="By slots of time: `due.KIND` hands by when due, `waiting` visits by since when",
    postgresql_with=_ROOM,
)

delta = sa.Table(
    "delta",
    metadata,
    _generation(),
    sa.Column("partition", sa.SmallInteger, primary_key=True),
    sa.Column("pos", sa.BigInteger, primary_key=True),
    sa.Column("round", sa.Text, nullable=False),
    sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("moved", pg.JSONB, nullable=False),
    sa.Index("delta_recorded_at", "recorded_at"),
    comment="What each recent position of the roll did to the figures: {community: {cell: n}}",
)

delta_floor = sa.Table(
    "delta_floor",
    metadata,
    _generation(),
    sa.Column("partition", sa.SmallInteger, primary_key=True),
    sa.Column("pos", sa.BigInteger, nullable=False),
    comment="Up to which position deltas are forgotten: no older cut can be told exactly",
)

producer = sa.Table(
    "producer",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("heads", pg.JSONB, nullable=False),
    sa.Column("hands_as_of", sa.DateTime(timezone=True)),
    comment="Heads a producer had when asked last: figures at or beyond them are as of then",
)

proof = sa.Table(
    "proof",
    metadata,
    sa.Column("round", sa.Text, primary_key=True),
    sa.Column("proven_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("final", sa.Boolean, nullable=False),
    sa.Column("proof", pg.JSONB, nullable=False),
    comment="The last proof of each round's account, as the page shows it",
)

throughput = sa.Table(
    "throughput",
    metadata,
    sa.Column("at", sa.DateTime(timezone=True), primary_key=True),
    sa.Column("results", sa.BigInteger, nullable=False),
    sa.Column("changes", sa.BigInteger, nullable=False),
    comment="What was counted in the five seconds that begin here, by all workers; of an hour",
)

release = sa.Table(
    "release",
    metadata,
    sa.Column("round", sa.Text, primary_key=True),
    sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("release", pg.JSONB, nullable=False),
    comment="What everybody was told last of each round, without what is not shown",
)

sign_in = sa.Table(
    "sign_in",
    metadata,
    sa.Column("token_id", sa.Text, primary_key=True),
    sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    comment="Sign-in links that were used, until they would expire anyway",
)

milestone = sa.Table(
    "milestone",
    metadata,
    sa.Column("round", sa.Text, primary_key=True),
    sa.Column("office", sa.Text, primary_key=True),
    sa.Column("milestone", sa.Text, primary_key=True),
    sa.Column("reached", sa.Boolean, nullable=False),
    comment="Which milestones were told to be reached, or undone since",
)

milestone_turn = sa.Table(
    "milestone_turn",
    metadata,
    sa.Column("id", pg.UUID, primary_key=True),
    sa.Column("round", sa.Text, nullable=False),
    sa.Column("office", sa.Text, nullable=False),
    sa.Column("milestone", sa.Text, nullable=False),
    sa.Column("turn", sa.Text, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    comment="Every turn of a milestone, as it is told",
)

webhook = sa.Table(
    "webhook",
    metadata,
    sa.Column("id", pg.UUID, primary_key=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("areas", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("milestones", pg.ARRAY(sa.Text), nullable=False),
    sa.Column("secret", sa.LargeBinary, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("ended_at", sa.DateTime(timezone=True)),
    comment="Receivers of milestones; one that ended keeps its id",
)

delivery = sa.Table(
    "delivery",
    metadata,
    sa.Column("webhook", pg.UUID, sa.ForeignKey("webhook.id"), primary_key=True),
    sa.Column("turn", pg.UUID, sa.ForeignKey("milestone_turn.id"), primary_key=True),
    sa.Column("seq", sa.BigInteger, sa.Identity(), nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("last", sa.Text),
    sa.Column("delivered_at", sa.DateTime(timezone=True)),
    sa.CheckConstraint("state IN ('pending', 'delivered', 'dead')", name="delivery_state"),
    sa.Index("delivery_due", "next_at", postgresql_where=sa.text("state = 'pending'")),
    comment="What is owed to whom; made in the transaction that noted the turn",
)
