"""How the database is reached: the engine, its sessions, and bringing the tables up to date."""

import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import alembic.command
import alembic.util
from alembic.config import Config
from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, ProgrammingError
from sqlalchemy.orm import Session, sessionmaker

from settings import ROOT, settings, stop

CONNECT_TIMEOUT_SECONDS = 5
ANSWER_TIMEOUT_SECONDS = 10
LOCK_TIMEOUT_SECONDS = 5
SQLITE_BUSY_TIMEOUT_SECONDS = 30
# Any number will do, so long as every worker of every release uses the same one.
MIGRATION_LOCK = 7_236_415


class UnsupportedURL(ArgumentError):
    """The URL is well formed, but not one this service can use; `str()` holds no secret."""


def parse_url(database_url: str) -> URL:
    """The URL as SQLAlchemy takes it. ArgumentError where it cannot be used."""
    if database_url.count("@") > 1:
        raise UnsupportedURL("@ / : % in the user or password are written %40 %2F %3A %25")
    url = make_url(database_url)
    if url.drivername in ("postgres", "postgresql"):
        # SQLAlchemy 2.1 reads a bare postgresql:// as psycopg 3.
        url = url.set(drivername="postgresql+psycopg2")
    if url.drivername not in ("postgresql+psycopg2", "sqlite"):
        raise UnsupportedURL("only postgresql:// and sqlite:// are supported")
    return url


def connect(url: URL) -> Engine:
    """An engine for the URL; opens no connection yet."""
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS})
        event.listen(engine, "connect", _enforce_foreign_keys)
        return engine
    options = {
        "client_encoding": "utf8",
        "connect_timeout": CONNECT_TIMEOUT_SECONDS,
        # A network that swallows packets would otherwise hold a request for a quarter of an hour,
        # and a server that died with its machine, for two hours.
        "tcp_user_timeout": ANSWER_TIMEOUT_SECONDS * 1000,
        "keepalives_idle": ANSWER_TIMEOUT_SECONDS // 2,
        "keepalives_interval": 1,
        "keepalives_count": ANSWER_TIMEOUT_SECONDS // 2,
    }
    own = {name: value for name, value in options.items() if name not in url.query}
    engine = create_engine(
        url,
        connect_args=own,
        # A ping before each use replaces connections that a restart of PostgreSQL has cut.
        pool_pre_ping=True,
        pool_size=settings.database_pool_size,
        max_overflow=settings.database_max_overflow,
        # Many updates in one round trip.
        executemany_mode="values_plus_batch",
    )
    event.listen(engine, "connect", _limit_waiting)
    return engine


def _enforce_foreign_keys(connection: sqlite3.Connection, _record: Any) -> None:
    connection.execute("PRAGMA foreign_keys = ON")


def _limit_waiting(connection: Any, _record: Any) -> None:
    """Wait for no lock for ever, and let the server end the transactions of a machine that died."""
    settings_for_session = {
        "lock_timeout": LOCK_TIMEOUT_SECONDS * 1000,
        "tcp_keepalives_idle": ANSWER_TIMEOUT_SECONDS // 2,
        "tcp_keepalives_interval": 1,
        "tcp_keepalives_count": ANSWER_TIMEOUT_SECONDS // 2,
    }
    with connection.cursor() as cursor:
        cursor.execute("; ".join(f"SET {name} = {n}" for name, n in settings_for_session.items()))
    connection.commit()


def bring_up(engine: Engine) -> None:
    """Bring the tables up to date, one process at a time however many start at once."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations").replace("%", "%%"))
    if engine.dialect.name == "sqlite":
        _write_ahead(engine)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "head")


def lock_for_migration(connection: Connection) -> None:
    """Wait until no other process migrates; the transaction's end lets the next one in."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN EXCLUSIVE")
    else:
        connection.exec_driver_sql("SET LOCAL lock_timeout = 0")
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
    name = f"the database {described(engine.url)}"
    try:
        _check_encoding(engine)
        bring_up(engine)
    except DBAPIError as error:
        # psycopg2 adds hints of its own and a line for each address it tried.
        reason = str(error.orig).partition("\n")[0].rstrip(".")
        stop(f"Cannot use {name}: {reason}. {_advice(engine.url, error)}")
    except alembic.util.CommandError as error:
        stop(
            f"Another version of this service made {name}: {error}. "
            "Start that version or a newer one."
        )


def _check_encoding(engine: Engine) -> None:
    if engine.dialect.name != "postgresql":
        return
    with engine.connect() as connection:
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding not in ("UTF8", "SQL_ASCII"):
        stop(
            f"The database {described(engine.url)} stores text as {encoding}, which has no room "
            "for every character. Make one with: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE "
            "template0"
        )


def described(url: URL) -> str:
    """Name the database for people: what, where, and the URL without its secrets."""
    if url.get_backend_name() == "sqlite":
        return f"file {url.database}"
    shown = url.set(query={}).render_as_string(hide_password=True).replace("+psycopg2", "", 1)
    host = url.host or url.query.get("host") or "localhost"
    return f'"{url.database}" on {host} port {url.port or 5432} ({shown})'


def _advice(url: URL, error: DBAPIError) -> str:
    if url.get_backend_name() == "sqlite":
        return "Check that it is a SQLite file, in a folder that exists, where this user may write."
    if isinstance(error, ProgrammingError):
        return "This user must own the tables and may need: GRANT CREATE ON SCHEMA public TO user"
    return (
        "Check that PostgreSQL runs there and accepts connections, and that the host, port, user, "
        "password and database name in DATABASE_URL are right."
    )


def _service_engine() -> Engine:
    try:
        return connect(parse_url(settings.database_url))
    except (ArgumentError, ValueError) as error:
        # SQLAlchemy's own message may quote the URL, and with it the password.
        reason = f": {error}" if type(error) is UnsupportedURL else ""
        stop(
            f"DATABASE_URL cannot be used{reason}. It must look like "
            "postgresql://user:password@localhost:5432/artify_content_db or sqlite:////folder/file.db."
        )


engine = _service_engine()
SessionLocal = sessionmaker(engine, expire_on_commit=False)


def get_db() -> Iterator[Session]:
    """A session for one request; the handler commits."""
    with SessionLocal() as session:
        yield session
