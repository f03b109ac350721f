"""How the database is reached: the engine, its sessions, and bringing the tables up to date."""

import logging
import re
import sqlite3
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl

import alembic.command
import alembic.util
from alembic.config import Config
from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, make_url
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import ArgumentError, DBAPIError, ProgrammingError
from sqlalchemy.pool import ConnectionPoolEntry

from settings import ROOT, Settings, SettingsError

CONNECT_TIMEOUT_SECONDS = 5
ANSWER_TIMEOUT_SECONDS = 10
LOCK_TIMEOUT_SECONDS = 5
SQLITE_BUSY_TIMEOUT_SECONDS = 30
# PostgreSQL's and SQLite's codes: a database that is read-only; a right, a table or a column
# taken away, and a rule that its owner made.
READ_ONLY = "25006"
REFUSALS = ("42501", "42P01", "42703", "SQLITE_CONSTRAINT_TRIGGER")
# It is there, but takes nothing: read-only, or its disk is full.
TAKES_NOTHING = (READ_ONLY, "53100", "SQLITE_READONLY", "SQLITE_FULL")
# Any number will do, so long as every worker of every release uses the same one.
MIGRATION_LOCK = 7_236_415
# Where a URL's options begin; any other ? is part of a password or of a path.
OPTIONS = re.compile(r"\?(?=[\w.-]+=)")
# What URLs bring along that were written for another tool: Prisma and its hosts; SQLAlchemy and
# Python's drivers; JDBC; Rails, Django, Doctrine and Ecto; Go and Node.
OTHER_TOOLS_OPTIONS = set(
    """
    connection_limit pgbouncer pool_timeout schema socket_timeout sslaccept sslidentity
    statement_cache_size max_connection_lifetime max_idle_connection_lifetime supa workaround
    async_fallback cache charset check_same_thread command_timeout direct_tls echo max_overflow
    max_cacheable_statement_size max_cached_statement_lifetime pool_pre_ping pool_recycle pool_size
    prepare_threshold prepared_statement_cache_size prepared_statement_name_func ssl timeout uri
    ApplicationName autosave binaryTransfer characterEncoding connectTimeout currentSchema
    defaultRowFetchSize loadBalanceHosts loginTimeout preferQueryMode prepareThreshold
    preparedStatementCacheQueries preparedStatementCacheSizeMiB reWriteBatchedInserts socketTimeout
    sslfactory stringtype targetServerType tcpKeepAlive useSSL useUnicode
    adapter advisory_locks checkout_timeout conn_health_checks conn_max_age encoding idle_timeout
    min_messages pool prepared_statements reaping_frequency serverVersion ssl_mode ssl_require
    statement_limit
    binary_parameters default_query_exec_mode description_cache_capacity pool_health_check_period
    pool_max_conn_idle_time pool_max_conn_lifetime pool_max_conns pool_min_conns search_path
    statement_cache_capacity statement_cache_mode statement-cache-capacity statement_timeout
    connectionLimit connectionTimeoutMillis idleTimeoutMillis max max_lifetime prepare
    query_timeout timezone uselibpqcompat
""".split()  # noqa: SIM905  (a list would be a page)
)
# What takes their place here, where leaving them out makes a difference.
IN_THEIR_PLACE = {
    **dict.fromkeys(("schema", "currentSchema", "search_path"), "options=-csearch_path%3Dname"),
    **dict.fromkeys(("ssl", "sslaccept", "ssl_mode", "ssl_require", "useSSL"), "sslmode=require"),
    **dict.fromkeys(("connection_limit", "pool", "pool_size", "max"), "DATABASE_POOL_SIZE"),
    "statement_timeout": "options=-cstatement_timeout%3Dmilliseconds",
}


log = logging.getLogger(__name__)


class UnsupportedURL(ArgumentError):
    """The URL is well formed, but not one this service can use; `str()` holds no secret."""


def parse_url(database_url: str) -> URL:
    """Return the URL as SQLAlchemy takes it. Raises ArgumentError where it cannot be used."""
    return _parse(database_url)[0]


def _parse(database_url: str) -> tuple[URL, list[str]]:
    """Return the URL, and which of its options are another tool's and left out."""
    # The driver is left out too: whatever another tool reaches a database with, this service has
    # its own.
    scheme, separator, rest = database_url.partition("://")
    if separator and scheme.partition("+")[0] == "sqlite":
        return _parse_sqlite(rest)
    after_password = database_url.partition("@")[2]
    if "@" in OPTIONS.split(after_password)[0]:
        raise UnsupportedURL("@ / : % in the user or password are written %40 %2F %3A %25")
    url = make_url(database_url)
    if url.drivername.partition("+")[0] not in ("postgres", "postgresql"):
        raise UnsupportedURL("only postgresql:// and sqlite:// are supported")
    # SQLAlchemy 2.1 reads a bare postgresql:// as psycopg 3.
    url = url.set(drivername="postgresql+psycopg2")
    others = _other_tools(name for name in url.query if not _is_libpqs(url, name))
    return url.difference_update_query(others), others


def _is_libpqs(url: URL, option: str) -> bool:
    psycopg2: Any = url.get_dialect().import_dbapi()
    try:
        psycopg2.extensions.parse_dsn(f"{option}=''")
    except psycopg2.ProgrammingError:
        return False
    return True


def _parse_sqlite(rest: str) -> tuple[URL, list[str]]:
    """Take the path as it is written: % escapes nothing; a relative one is beside this file."""
    folder, slash, name = rest.rpartition("/")
    name, *options = OPTIONS.split(name, maxsplit=1)
    path = folder + slash + name
    if path in ("", "/", "/:memory:") or path.startswith("/file:"):
        raise UnsupportedURL(
            "SQLite needs the path of a file, without file:; in memory, every worker would have a "
            "database of its own"
        )
    if not path.startswith("/"):
        raise UnsupportedURL("the path of a SQLite file follows three slashes")
    others = _other_tools(option for option, _ in parse_qsl("".join(options)))
    return URL.create("sqlite", database=str(ROOT / path[1:])), others


def _other_tools(names: Iterable[str]) -> list[str]:
    """Return the names, once each. Raises UnsupportedURL where one is of no tool that is known."""
    others = list(dict.fromkeys(names))
    for name in others:
        if name not in OTHER_TOOLS_OPTIONS:
            raise UnsupportedURL(f"its option {name!r} is unknown")
    return others


def make_engine(settings: Settings) -> Engine:
    """Return the service's engine, which connects when it is first used. Raises SettingsError."""
    try:
        url, others = _parse(settings.database_url)
        engine = connect(
            url,
            pool_size=settings.database_pool_size,
            max_overflow=settings.database_max_overflow,
        )
    except (ArgumentError, ValueError) as error:
        # SQLAlchemy's own message may quote the URL, and with it the password.
        reason = f": {error}" if type(error) is UnsupportedURL else ""
        raise SettingsError(
            f"DATABASE_URL cannot be used{reason}. It must look like "
            "postgresql://user:password@localhost:5432/artify_content_db or sqlite:////folder/file.db."
        ) from None
    if others:
        log.warning(
            "DATABASE_URL has options of other tools, which are ignored: %s",
            ", ".join(map(_with_what_to_use, others)),
        )
    return engine


def connect(url: URL, **pool: int) -> Engine:
    """Make an engine for the URL, and for PostgreSQL a pool of this size; it opens no connection
    yet."""
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
    # What the URL says itself comes first.
    own = {name: value for name, value in options.items() if name not in url.query}
    engine = create_engine(
        url,
        connect_args=own,
        # A ping before each use replaces connections that a restart of PostgreSQL has cut.
        pool_pre_ping=True,
        **pool,
        # Many updates in one round trip.
        executemany_mode="values_plus_batch",
    )
    event.listen(engine, "connect", _limit_waiting)
    event.listen(engine, "handle_error", _give_up_read_only)
    event.listen(engine, "checkin", _keep_no_read_only)
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


# A session that began while the database was read-only, as in a failover, stays so after it.


def _give_up_read_only(context: ExceptionContext) -> None:
    if getattr(context.original_exception, "pgcode", None) == READ_ONLY:
        context.is_disconnect = True


def _keep_no_read_only(connection: Any, record: ConnectionPoolEntry) -> None:
    if connection and connection.get_parameter_status("default_transaction_read_only") == "on":
        record.invalidate()


class DatabaseAway(Exception):
    """The database, or a free connection to it, is out of reach; `str()` is what was said last."""


class DatabaseRefuses(Exception):
    """The database is there but takes nothing; `str()` is what it said."""


def unavailable(error: exc.SQLAlchemyError) -> DatabaseAway | DatabaseRefuses | None:
    """Tell a database that is away, or refuses by itself what is asked of it (read-only in a
    failover, a right or a table taken away, a rule of its owner's), from a statement or values that
    are wrong: None."""
    if not _is_refusal(error):
        return None
    lost = isinstance(error, exc.OperationalError | exc.InterfaceError | exc.TimeoutError)
    if lost and not _code(error).startswith(TAKES_NOTHING):
        return DatabaseAway(message_of(error))
    return DatabaseRefuses(message_of(error))


def _is_refusal(error: exc.SQLAlchemyError) -> bool:
    if not isinstance(error, exc.DBAPIError):
        return isinstance(error, exc.TimeoutError)
    mistakes = (exc.DataError, exc.IntegrityError, exc.NotSupportedError, exc.ProgrammingError)
    by_itself = error.connection_invalidated or _code(error) in REFUSALS
    return by_itself or not isinstance(error, mistakes)


def message_of(error: BaseException) -> str:
    """Return the database's own message, without the statement and its values, psycopg2's hints,
    and a line for each address it tried."""
    words = str(getattr(error, "orig", None) or error).partition("\n")[0]
    return words.strip().rstrip(".") or type(error).__name__


def _code(error: exc.SQLAlchemyError) -> str:
    """Return PostgreSQL's or SQLite's own code; empty where there is none."""
    origin = getattr(error, "orig", None)
    return getattr(origin, "pgcode", None) or getattr(origin, "sqlite_errorname", None) or ""


def bring_up(engine: Engine) -> None:
    """Bring the tables up to date, one process at a time however many start at once."""
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations").replace("%", "%%"))
    if engine.dialect.name == "sqlite":
        _write_ahead(engine)
    # One connection and one transaction, which holds the lock.
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
    """Switch the file to WAL for good."""
    # SQLite does not wait for its busy timeout here: we do.
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


def start(engine: Engine) -> None:
    """Make the service's database ready. Raises SettingsError, which says what to do."""
    name = f"the database {described(engine.url)}"
    try:
        _check_encoding(engine)
        bring_up(engine)
    except DBAPIError as error:
        advice = _advice(engine.url, error)
        raise SettingsError(f"Cannot use {name}: {message_of(error)}. {advice}") from error
    except alembic.util.CommandError as error:
        raise SettingsError(
            f"Another version of this service made {name}: {error}. "
            "Start that version or a newer one."
        ) from error


def _check_encoding(engine: Engine) -> None:
    if engine.dialect.name != "postgresql":
        return
    with engine.connect() as connection:
        encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
    if encoding not in ("UTF8", "SQL_ASCII"):
        raise SettingsError(
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


def _with_what_to_use(option: str) -> str:
    instead = IN_THEIR_PLACE.get(option)
    return f"{option} (here: {instead})" if instead else option
