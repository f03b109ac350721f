"""Four workers, as in production: one start of them for each database, since it takes a while."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from sqlalchemy import text

import models
from tests.conftest import COFFEE, NewDatabase, Service, StandIn, running


@pytest.fixture(scope="module")
def four_workers(new_database: NewDatabase, stand_in_server: StandIn) -> Iterator[Service]:
    with running(new_database(), workers=4, OPENAI_BASE_URL=stand_in_server.url) as service:
        yield service


def test_they_serve_an_empty_database(four_workers: Service, stand_in: StandIn) -> None:
    service = four_workers

    def work(_: int) -> set[int]:
        with httpx.Client(base_url=service.url, timeout=60, verify=False) as client:
            asked = [client.post("/generate/text", json=COFFEE), client.get("/costs/history")]
            return {each.status_code for each in asked}

    with ThreadPoolExecutor(100) as clients:
        assert set().union(*clients.map(work, range(100))) == {200}
    assert {job["status"] for job in service.rows(models.GenJob)} == {"completed"}
    assert service.get("/costs/summary").json()["total_jobs"] == 100
    assert service.get("/content/history").json()["total"] == 100
    assert "Error" not in service.log.read_text()
    if service.engine.dialect.name == "postgresql":  # by default it has room for 97
        with service.engine.connect() as connection:
            mine = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            assert connection.execute(text(mine)).scalar_one() <= 80 + 1


def test_of_fifty_at_once_with_one_key_one_is_made(
    four_workers: Service, stand_in: StandIn
) -> None:
    fifty_at_once(four_workers, stand_in, "new")
    stand_in.forget()
    stand_in.will("blocked")
    assert four_workers.text(key="failed-unbilled").status_code == 500
    stand_in.forget()
    fifty_at_once(four_workers, stand_in, "failed-unbilled")


def fifty_at_once(service: Service, stand_in: StandIn, key: str) -> None:
    stand_in.will("slow", seconds=0.5)
    barrier = threading.Barrier(50)

    def ask(_: int) -> httpx.Response:
        with httpx.Client(base_url=service.url, timeout=60, verify=False) as client:
            client.get("/health")  # connected before the start
            barrier.wait()
            return client.post("/generate/text", json=COFFEE, headers={"Idempotency-Key": key})

    with ThreadPoolExecutor(50) as clients:
        responses = list(clients.map(ask, range(50)))
    assert len(stand_in.asked) == 1
    statuses = Counter(each.status_code for each in responses)
    assert set(statuses) <= {200, 409}
    made = [each for each in responses if each.status_code == 200]
    assert len([each for each in made if "Idempotent-Replayed" not in each.headers]) == 1
    assert len({each.text for each in made}) == 1
    with_key = [job for job in service.rows(models.GenJob) if job["idempotency_key"] == key]
    assert [job["status"] for job in with_key].count("completed") == 1
