"""`python -m services.reporting api|worker|migrate`."""

import sys

from services.reporting import migrations
from services.reporting.app import create_app
from services.reporting.settings import Settings
from services.reporting.worker import work
from shared.process import Program

PROGRAM = Program(
    name=Settings.service,
    settings=Settings.from_environment,
    api=create_app,
    worker=work,
    migrate=lambda settings: migrations.upgrade(settings.database_url),
    await_schema=lambda settings, stop: migrations.await_schema(settings.database_url, stop),
)

if __name__ == "__main__":
    sys.exit(PROGRAM.main())
