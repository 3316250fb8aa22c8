"""`python -m services.reporting api|worker|migrate`."""

import sys

from services.reporting import migrations
from services.reporting.app import create_app
from services.reporting.settings import Settings
from services.reporting.worker import work
from shared.address import Address
from shared.process import Program

PROGRAM = Program(
    name=Settings.service,
    settings=Settings.from_environment,
    api=create_app,
    worker=work,
    migrate=lambda settings: migrations.upgrade(Address.of(settings.database_url, settings)),
    await_schema=lambda settings, stop: migrations.await_schema(
        Address.of(settings.database_url, settings), stop
    ),
)

if __name__ == "__main__":
    sys.exit(PROGRAM.main())
