"""The audit log, each record sealing the last; parked events are mended."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

from shared import audit

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def _mended() -> list[sa.Column[Any]]:
    return [
        sa.Column("decided_why", sa.Text()),
        sa.Column("kind", sa.Text(), nullable=False, server_default="refused"),
        sa.Column("mended_data", sa.LargeBinary()),
        sa.Column("mended_at", sa.DateTime(timezone=True)),
        sa.Column("mended_by", sa.Text()),
        sa.Column("mended_why", sa.Text()),
    ]


def upgrade() -> None:
    for column in _mended():
        op.add_column("parked", column)
    op.execute("UPDATE parked SET kind = 'unreadable' WHERE reason LIKE 'unreadable %'")
    op.execute("UPDATE parked SET kind = 'duplicate' WHERE reason LIKE '%UniqueViolationError'")
    op.create_table(
        "audit_log",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("roles", pg.ARRAY(sa.Text()), nullable=False),
        sa.Column("areas", pg.ARRAY(sa.Text()), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("targets", pg.ARRAY(sa.Text()), nullable=False),
        sa.Column("details", pg.JSONB(), nullable=False),
        sa.Column("request_id", sa.Text()),
        sa.Column("prev", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        comment="Who looked at whom and who decided what (R20); it only grows",
    )
    op.create_index("audit_log_who", "audit_log", ["who", "seq"])
    op.create_index("audit_log_targets", "audit_log", ["targets"], postgresql_using="gin")
    op.create_table(
        "audit_log_head",
        sa.Column("one", sa.Boolean(), autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("one"),
        sa.CheckConstraint("one", name="audit_log_head_is_one"),
        comment="The last record of the audit log; locked by whoever appends",
    )
    for statement in audit.GUARD:
        op.execute(statement)


def downgrade() -> None:
    for statement in audit.UNGUARD:
        op.execute(statement)
    op.drop_table("audit_log_head")
    op.drop_table("audit_log")
    for column in _mended():
        op.drop_column("parked", column.name)
