"""Run the migrations on the connection of `database.bring_up`, or, for the `alembic` command line,
on one of its own; one process at a time."""

from alembic import context
from sqlalchemy import Connection

import database
import models
import settings


def migrate(connection: Connection) -> None:
    database.lock_for_migration(connection)
    context.configure(
        connection=connection,
        target_metadata=models.Base.metadata,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    engine = database.make_engine(settings.load())
    with engine.begin() as connection:
        migrate(connection)
