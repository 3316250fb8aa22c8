"""What is announced keeps the trace it was announced in."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TRACEPARENT = "of what announced it, if that was traced"


def upgrade() -> None:
    op.add_column("outbox", sa.Column("traceparent", sa.Text(), comment=TRACEPARENT))


def downgrade() -> None:
    op.drop_column("outbox", "traceparent")
