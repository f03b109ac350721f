"""Four workers, as in production: one start of them for each database, since it takes a while."""

import contextlib
import queue
import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

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


def at_once(service: Service, bodies: list[Any]) -> list[dict[str, Any]]:
    """What /analytics/metrics answers to each body; eight clients send them."""
    waiting = queue.SimpleQueue[tuple[int, Any]]()
    for numbered in enumerate(bodies):
        waiting.put(numbered)
    answers: dict[int, dict[str, Any]] = {}
    barrier = threading.Barrier(8)

    def send(_: int) -> None:
        with httpx.Client(base_url=service.url, timeout=60, verify=False) as client:
            client.get("/health")
            barrier.wait()
            while not waiting.empty():
                with contextlib.suppress(queue.Empty):
                    number, body = waiting.get_nowait()
                    response = client.post("/analytics/metrics", json=body)
                    assert response.status_code == 200, response.text
                    answers[number] = response.json()

    with ThreadPoolExecutor(8) as clients:
        list(clients.map(send, range(8)))
    return [answers[number] for number in range(len(bodies))]


def test_one_event_sent_at_once_counts_once(four_workers: Service) -> None:
    click = {"metric_name": "clicks", "metric_value": 1, "event_id": "only once"}
    answers = at_once(four_workers, [[click]] * 40)
    assert sum(each["accepted"] for each in answers) == 1
    assert sum(each["duplicates"] for each in answers) == 39
    others = [[{**click, "metric_value": value, "event_id": "one of them"}] for value in range(16)]
    answers = at_once(four_workers, others)
    assert sum(each["accepted"] for each in answers) == 1
    assert sum(len(each["errors"]) for each in answers) == 15


def test_a_campaign_in_overlapping_batches_adds_up_to_the_last_unit(
    four_workers: Service, stand_in: StandIn
) -> None:
    service = four_workers
    service.empty()
    ids = [each["id"] for each in service.text(n=5).json()["variants"]]
    randomly = random.Random(2026)
    events = [
        {
            "metric_name": randomly.choices(("impressions", "clicks", "conversion"), (80, 15, 5))[
                0
            ],
            "metric_value": randomly.choice((1, 1, 2, 0.1, -1)),
            "project_id": number % 2 + 1,
            "campaign_id": randomly.choice((7, 8, None)),
            "content_id": randomly.choice((*ids, None)),
            "timestamp": f"2026-11-0{number % 9 + 1}T03:00:00+09:00",
            "event_id": f"{number // 2}",
        }
        for number in range(6000)
    ]
    randomly.shuffle(events)
    batches = [events[start : start + 300] for start in range(0, 6000, 250)]
    batches += randomly.sample(batches, 4)
    randomly.shuffle(batches)
    answers = at_once(service, batches)
    assert sum(each["accepted"] for each in answers) == 6000
    assert sum(each["duplicates"] for each in answers) == sum(map(len, batches)) - 6000
    assert sum(len(each["errors"]) for each in answers) == 0

    def apart(name: str, **wanted: Any) -> Any:
        values = [
            Decimal(str(event["metric_value"]))
            for event in events
            if str(event["metric_name"]).rstrip("s") == name.rstrip("s")
            and all(event[key] == value for key, value in wanted.items())
        ]
        return float(sum(values))

    names = ("impressions", "clicks", "conversions")
    overview = service.get("/analytics/overview").json()
    assert [overview[f"total_{name}"] for name in names] == [apart(name) for name in names]
    assert overview["total_campaigns"] == 6
    rows = service.get("/analytics/content").json()["content"]
    assert {row["content_id"] for row in rows} == set(ids)
    for row in rows:
        content_id = row["content_id"]
        assert [row[name] for name in names] == [
            apart(name, content_id=content_id) for name in names
        ]
    groups = service.get("/analytics/content", group_by="campaign").json()["groups"]
    assert len(groups) == 6
    for group in groups:
        pair = {key: group[key] for key in ("project_id", "campaign_id")}
        assert [group[name] for name in names] == pytest.approx(
            [apart(name, **pair) - apart(name, **pair, content_id=None) for name in names]
        )
