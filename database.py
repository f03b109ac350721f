"""How the database is reached: the engine, its sessions, and bringing the tables up to date."""

import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import alembic.command
import alembic.util
from alembic.config import Config
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from settings import ROOT, settings, stop

CONNECT_TIMEOUT_SECONDS = 5
ANSWER_TIMEOUT_SECONDS = 10
SQLITE_BUSY_TIMEOUT_SECONDS = 30
# Any number will do, so long as every worker of every release uses the same one.
MIGRATION_LOCK = 7_236_415


def parse_url(database_url: str) -> URL:
    """The URL as SQLAlchemy takes it. ArgumentError for a database that is not supported."""
    url = make_url(database_url)
    if url.drivername in ("postgres", "postgresql"):
        # SQLAlchemy 2.1 reads a bare postgresql:// as psycopg 3.
        url = url.set(drivername="postgresql+psycopg2")
    if url.drivername not in ("postgresql+psycopg2", "sqlite"):
        raise ArgumentError(f"{url.drivername}:// is not supported")
    return url


def connect(url: URL) -> Engine:
    """An engine for the URL; opens no connection yet."""
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS})
        event.listen(engine, "connect", _enforce_foreign_keys)
        return engine
    options = {
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        # A network that swallows packets would otherwise hold a request for a quarter of an hour.
        "tcp_user_timeout": ANSWER_TIMEOUT_SECONDS * 1000,
    }
    own = {name: value for name, value in options.items() if name not in url.query}
    # A ping before each use replaces connections that a restart of PostgreSQL has cut.
    return create_engine(url, connect_args=own, pool_pre_ping=True)


def _enforce_foreign_keys(connection: sqlite3.Connection, _record: Any) -> None:
    connection.execute("PRAGMA foreign_keys = ON")


def bring_up(engine: Engine) -> None:
    """Bring the tables up to date, one process at a time however many start at once."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations").replace("%", "%%"))
    if engine.dialect.name == "sqlite":
        _write_ahead(engine)
    with engine.begin() as connection:
        _lock_for_migration(connection)
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "head")


def _lock_for_migration(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN EXCLUSIVE")
    else:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")


def _write_ahead(engine: Engine) -> None:
    """Switch the file to WAL for good. SQLite does not wait for its busy timeout here: we do."""
    deadline = time.monotonic() + SQLITE_BUSY_TIMEOUT_SECONDS
    while True:
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            return
        except DBAPIError as error:
            if "locked" not in str(error.orig) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def start() -> None:
    """Make the service's database ready, or end the process with one line that says what to do."""
    try:
        bring_up(engine)
    except DBAPIError as error:
        reason = " ".join(str(error.orig).split())
        stop(f"Cannot use the database {described(engine.url)}: {reason} {_advice(engine.url)}")
    except alembic.util.CommandError as error:
        stop(
            f"The database {described(engine.url)} was made by another version of this service: "
            f"{error}. Start that version or a newer one."
        )


def described(url: URL) -> str:
    """Name the database for people: what, where, and the URL without its secrets."""
    shown = url.set(query={}).render_as_string(hide_password=True).replace("+psycopg2", "", 1)
    if url.get_backend_name() == "sqlite":
        return f"file {url.database}"
    host = url.host or url.query.get("host") or "localhost"
    return f'"{url.database}" on {host} port {url.port or 5432} ({shown})'


def _advice(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return "Check that its folder exists and that this user may write there."
    return (
        "Check that PostgreSQL runs there and accepts connections, and that the host, port, user, "
        "password and database name in DATABASE_URL are right."
    )


def _service_engine() -> Engine:
    try:
        return connect(parse_url(settings.database_url))
    except ArgumentError as error:
        # SQLAlchemy's own message may quote the URL, and with it the password.
        known = "is not supported" in str(error)
        stop(
            f"DATABASE_URL cannot be used{f': {error}' if known else ''}. It must look like "
            "postgresql://user:password@localhost:5432/artify_content_db or sqlite:////folder/file.db."
        )


engine = _service_engine()
SessionLocal = sessionmaker(engine, expire_on_commit=False)


def get_db() -> Iterator[Session]:
    """A session for one request; the handler commits."""
    with SessionLocal() as session:
        yield session
