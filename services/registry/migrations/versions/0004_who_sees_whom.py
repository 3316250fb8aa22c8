"""Personal data has a second wall: PostgreSQL shows what a transaction said it may see."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Sub-queries without a reference to the row: the setting is read once a statement, not once a row.
_SEEN = """
    (SELECT current_setting('lastmetre.sees', true) = '*')
    OR community ^@ ANY (
        (SELECT string_to_array(current_setting('lastmetre.sees', true), ','))::text[])
"""


def upgrade() -> None:
    op.execute(f"CREATE POLICY sight ON resident USING ({_SEEN})")
    op.execute("ALTER TABLE resident ENABLE ROW LEVEL SECURITY")
    # The services are the owner of their tables, whom policies pass by if they are not forced.
    op.execute("ALTER TABLE resident FORCE ROW LEVEL SECURITY")


def downgrade() -> None:
    op.execute("ALTER TABLE resident NO FORCE ROW LEVEL SECURITY")
    op.execute("ALTER TABLE resident DISABLE ROW LEVEL SECURITY")
    op.execute("DROP POLICY sight ON resident")
