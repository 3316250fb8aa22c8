"""One process of registry: `python -m services.registry api|worker|relay|migrate`."""

from services.registry import migrations, worker
from services.registry.app import create_app
from services.registry.settings import Settings
from shared.address import Address
from shared.process import Program


def migrate(settings: Settings) -> None:
    """Bring registry's database to the newest schema."""
    migrations.upgrade(Address.of(settings.database_url, settings))


PROGRAM = Program(
    "registry",
    Settings.from_environment,
    api=create_app,
    worker=worker.work,
    relay=worker.relay,
    migrate=migrate,
    await_schema=lambda settings, stop: migrations.await_schema(
        Address.of(settings.database_url, settings), stop
    ),
)

if __name__ == "__main__":
    raise SystemExit(PROGRAM.main())
