"""`python -m services.dispatch api|worker|relay|migrate`."""

from services.dispatch import migrations, worker
from services.dispatch.app import create_app
from services.dispatch.settings import Settings
from shared.address import Address
from shared.process import Program


def migrate(settings: Settings) -> None:
    """Bring dispatch's database to the newest schema."""
    migrations.upgrade(Address.of(settings.database_url, settings))


PROGRAM = Program(
    "dispatch",
    Settings.from_environment,
    api=create_app,
    worker=worker.run,
    relay=worker.relay,
    migrate=migrate,
    await_schema=lambda settings, stop: migrations.await_schema(
        Address.of(settings.database_url, settings), stop
    ),
)

if __name__ == "__main__":
    raise SystemExit(PROGRAM.main())
