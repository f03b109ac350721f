"""What may be spent: never more than a cap, and all of it that fits."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import httpx
import pytest
from sqlalchemy import select, update

import models
from access.caps import Cap, Period
from tests.conftest import (
    ADMIN_KEY,
    CAFE,
    COFFEE,
    Caller,
    NewDatabase,
    Service,
    StandIn,
    make_key,
    running,
    wait_until,
)

IMAGE_USD = 0.04
WINDOWS = [
    # Period, time zone, a moment, and its period's begin and end, in UTC.
    ("day", "UTC", "2026-11-25T12:00", "2026-11-25T00:00", "2026-11-26T00:00"),
    ("day", "Asia/Seoul", "2026-11-25T14:59:59", "2026-11-24T15:00", "2026-11-25T15:00"),
    ("day", "Asia/Seoul", "2026-11-25T15:00", "2026-11-25T15:00", "2026-11-26T15:00"),
    ("day", "Asia/Kathmandu", "2026-11-25T18:14", "2026-11-24T18:15", "2026-11-25T18:15"),
    # Clocks go forward, then back: days of 23 and 25 hours.
    ("day", "America/New_York", "2026-03-08T12:00", "2026-03-08T05:00", "2026-03-09T04:00"),
    ("day", "America/New_York", "2026-11-01T12:00", "2026-11-01T04:00", "2026-11-02T05:00"),
    # No midnight on that day: its first moment is one o'clock.
    ("day", "America/Santiago", "2026-09-06T12:00", "2026-09-06T04:00", "2026-09-07T03:00"),
    ("week", "UTC", "2026-11-29T23:59", "2026-11-23T00:00", "2026-11-30T00:00"),
    ("week", "Asia/Seoul", "2026-11-29T15:00", "2026-11-29T15:00", "2026-12-06T15:00"),
    ("month", "Asia/Seoul", "2026-11-30T14:59:59", "2026-10-31T15:00", "2026-11-30T15:00"),
    ("month", "Asia/Seoul", "2026-11-30T15:00", "2026-11-30T15:00", "2026-12-31T15:00"),
    ("month", "UTC", "2028-02-29T12:00", "2028-02-01T00:00", "2028-03-01T00:00"),
    ("total", "Asia/Seoul", "2026-11-30T15:00", "0001-01-01T00:00", "9999-12-31T00:00"),
]


@pytest.mark.parametrize(("period", "zone", "moment", "begin", "end"), WINDOWS)
def test_a_period_begins_and_ends_at_midnight(
    period: Period, zone: str, moment: str, begin: str, end: str
) -> None:
    cap = Cap(1, "봄", Decimal(1), period, zone)
    window = cap.window(datetime.fromisoformat(moment))
    assert window == (datetime.fromisoformat(begin), datetime.fromisoformat(end))
    assert datetime.fromisoformat(moment) in window
    if period != "total":
        # The next one begins where this one ends.
        assert cap.window(window.ends_at).starts_at == window.ends_at


def put_cap(service: Service, amount_usd: float, **fields: Any) -> Any:
    made = service.post("/budgets", {"amount_usd": amount_usd, "period": "total", **fields})
    assert made.status_code == 200, made.text
    return made.json()


def standing(service: Service, budget_id: int = 1) -> Any:
    """What is spent, held and left."""
    budget = service.get(f"/budgets/{budget_id}").json()
    return budget["spent"], budget["held"], budget["left"]


def test_beyond_a_cap_nothing_is_spent_and_the_answer_says_why(
    guarded: Service, stand_in: StandIn
) -> None:
    put_cap(guarded, 0.1, name="봄 행사", period="month", time_zone="Asia/Seoul")
    left = [guarded.image().json()["budget_remaining"] for _ in range(2)]
    assert left == [0.06, 0.02]
    refused = guarded.image()
    assert refused.status_code == 402
    detail = refused.json()["detail"]
    for said in (
        "$0.04",
        "봄 행사",
        "$0.10 per month (Asia/Seoul)",
        "$0.08 is spent",
        "$0.02 is left",
    ):
        assert said in detail
    assert "+09:00" in detail
    # What still fits is served.
    assert guarded.text().status_code == 200
    assert len(stand_in.asked) == 3
    assert len(guarded.rows(models.GenJob)) == 3


def test_without_a_cap_an_answer_speaks_of_none(guarded: Service, stand_in: StandIn) -> None:
    assert "budget_remaining" not in guarded.image().json()
    assert "budget_remaining" not in guarded.text().json()


def test_all_caps_must_hold_and_the_least_is_what_remains(
    guarded: Service, stand_in: StandIn
) -> None:
    key = make_key(guarded, user_id=7, cap={"amount_usd": 0.2, "period": "total"})
    client = Caller(guarded, key["key"])
    put_cap(guarded, 0.09, user_id=7)
    put_cap(guarded, 1)
    assert client.post("/generate/image", json=CAFE).json()["budget_remaining"] == 0.05
    assert guarded.image(user_id=7).json()["budget_remaining"] == 0.01
    for refused in (client.post("/generate/image", json=CAFE), guarded.image(user_id=7)):
        assert refused.status_code == 402
        assert "user 7" in refused.json()["detail"]
    # Others are free of it.
    assert guarded.image().json()["budget_remaining"] == 0.88
    spent = {budget["id"]: budget["spent"] for budget in guarded.get("/budgets").json()["budgets"]}
    assert spent == {1: 0.04, 2: 0.08, 3: 0.12}


@pytest.mark.parametrize("workers", [1, 3])
def test_many_at_once_never_spend_more_and_use_what_fits(
    new_database: NewDatabase, stand_in: StandIn, workers: int
) -> None:
    settings: Any = {"OPENAI_BASE_URL": stand_in.url, "SERVICE_BUDGET_USD": "0.5"}
    settings["ADMIN_KEY"] = ADMIN_KEY
    with running(new_database(), workers=workers, **settings) as service:
        service.client.headers["X-API-Key"] = ADMIN_KEY
        barrier = threading.Barrier(30)

        def ask(number: int) -> int:
            with httpx.Client(base_url=service.url, timeout=60) as client:
                client.headers["X-API-Key"] = ADMIN_KEY
                barrier.wait()
                body = {**CAFE, "size": ("1024x1024", "1024x1792")[number % 2]}
                return client.post("/generate/image", json=body).status_code

        with ThreadPoolExecutor(30) as pool:
            statuses = list(pool.map(ask, range(30)))
        assert set(statuses) == {200, 402}
        while service.image().is_success:
            pass
        spent = sum(job["estimated_cost"] for job in service.rows(models.GenJob))
        assert 0.5 - IMAGE_USD < spent <= 0.5
        assert standing(service, 0)[:2] == (pytest.approx(spent, abs=1e-12), 0)
        costs = sum(image_usd(asked) for asked in stand_in.asked)
        assert costs == pytest.approx(spent)


def image_usd(asked: dict[str, Any]) -> float:
    size: str = asked["body"]["size"]
    return {"1024x1024": IMAGE_USD, "1024x1792": 0.08}[size]


def test_what_runs_is_held_until_it_has_ended(guarded: Service, stand_in: StandIn) -> None:
    put_cap(guarded, 0.1)
    stand_in.will("slow", seconds=2, times=2)
    with ThreadPoolExecutor(2) as pool:
        running_now = [pool.submit(guarded.image) for _ in range(2)]
        wait_until(lambda: standing(guarded) == (0, 0.08, 0.02), "both to be held")
        refused = guarded.image()
        assert refused.status_code == 402
        assert "$0.08 is held" in refused.json()["detail"]
        assert all(each.result().is_success for each in running_now)
    assert standing(guarded) == (0.08, 0, 0.02)


@pytest.mark.parametrize(
    ("behavior", "status", "spent"),
    [
        ("blocked", "failed", 0),
        ("broken_json", "unknown", IMAGE_USD),
        ("ok", "completed", IMAGE_USD),
    ],
)
def test_a_hold_becomes_what_the_job_came_to(
    guarded: Service, stand_in: StandIn, behavior: str, status: str, spent: float
) -> None:
    put_cap(guarded, 0.05)
    stand_in.will(behavior)
    guarded.image()
    assert guarded.job()["status"] == status
    assert standing(guarded) == (spent, 0, pytest.approx(0.05 - spent))
    assert guarded.image().status_code == (402 if spent else 200)


def test_a_text_whose_cost_nobody_knows_keeps_its_hold(guarded: Service, stand_in: StandIn) -> None:
    put_cap(guarded, 1)
    stand_in.will("no_usage")
    most = guarded.post("/generate/text/preview", COFFEE).json()["max_cost"]
    assert guarded.text().json()["cost"] is None
    assert standing(guarded)[0] == most > 0
    (listed,) = guarded.get("/costs/history").json()["history"]
    assert listed["max_cost"] == most
    settled = guarded.client.patch("/costs/jobs/1", json={"cost": 0.0001, "settled_by": "김민지"})
    assert settled.json()["status"] == "completed"
    assert standing(guarded)[:2] == (0.0001, 0)
    assert guarded.get("/content/1").json()["cost"] == 0.0001


def test_a_person_settles_what_is_unknown(guarded: Service, stand_in: StandIn) -> None:
    put_cap(guarded, 0.05)
    stand_in.will("broken_json")
    assert guarded.image(key="a").status_code == 500
    assert guarded.image(key="a").status_code == 409
    path = "/costs/jobs/1"
    settled = guarded.client.patch(path, json={"cost": 0.01, "settled_by": "김민지"})
    assert settled.status_code == 200
    shown = settled.json()
    assert (shown["status"], shown["estimated_cost"]) == ("failed", 0.01)
    assert (shown["settled_by"], "settled_at" in shown) == ("김민지", True)
    assert standing(guarded) == (0.01, 0, 0.04)
    assert guarded.get("/costs/summary").json()["total_cost"] == 0.01
    # Who said it may think again, and what was never billed may run again.
    assert guarded.client.patch(path, json={"cost": 0, "settled_by": "김민지"}).is_success
    assert standing(guarded) == (0, 0, 0.05)
    assert guarded.image(key="a").status_code == 200


def test_what_is_known_or_runs_or_is_not_there_is_not_settled(
    guarded: Service, stand_in: StandIn
) -> None:
    assert guarded.image().is_success
    guarded.insert(models.GenJob, {"job_type": "text", "model": "m", "prompt": "p", **PENDING})
    body = {"cost": 1, "settled_by": "a"}
    for job_id, status in ((1, 409), (2, 409), (3, 404)):
        assert guarded.client.patch(f"/costs/jobs/{job_id}", json=body).status_code == status
    for wrong in ({}, {"cost": -1, "settled_by": "a"}, {"cost": 1}, {"cost": 1, "settled_by": ""}):
        assert guarded.client.patch("/costs/jobs/1", json=wrong).status_code == 422


PENDING = {"status": "pending", "estimated_cost": None}


def test_a_cap_made_later_counts_what_the_period_has_spent(
    guarded: Service, stand_in: StandIn
) -> None:
    assert guarded.image().is_success
    long_ago = models.utc_now() - timedelta(days=400)
    row = {"job_type": "text", "model": "m", "prompt": "p", "estimated_cost": 5.0}
    guarded.insert(models.GenJob, {**row, "created_at": long_ago, "status": "completed"})
    monthly = put_cap(guarded, 0.1, period="month")
    assert (monthly["spent"], monthly["left"]) == (0.04, 0.06)
    assert guarded.image().is_success
    assert guarded.image().status_code == 402
    # Another period, another sum; the amount may change at any time.
    total = guarded.client.patch("/budgets/1", json={"period": "total", "amount_usd": 5.13}).json()
    assert (total["spent"], total["left"], total["ends_at"]) == (5.08, 0.05, None)
    assert guarded.image().is_success
    assert guarded.image().status_code == 402
    assert guarded.client.patch("/budgets/1", json={"amount_usd": 6}).json()["left"] == 0.88
    assert guarded.client.delete("/budgets/1").is_success
    assert guarded.get("/budgets").json() == {"budgets": []}
    assert guarded.rows(models.BudgetPeriod) == []
    assert guarded.image().is_success


def test_a_cap_in_all_may_become_one_per_month(guarded: Service, stand_in: StandIn) -> None:
    put_cap(guarded, 0.1, time_zone="Asia/Seoul")
    assert guarded.image().is_success
    changed = guarded.client.patch("/budgets/1", json={"period": "month"}).json()
    assert (changed["spent"], changed["left"]) == (0.04, 0.06)
    assert guarded.image().is_success
    assert guarded.image().status_code == 402
    assert standing(guarded) == (0.08, 0, 0.02)


def test_a_period_that_is_over_gives_way_to_the_next(guarded: Service, stand_in: StandIn) -> None:
    put_cap(guarded, 0.05, period="day", time_zone="Asia/Seoul")
    assert guarded.image().is_success
    assert guarded.image().status_code == 402
    a_day = timedelta(days=1)
    with guarded.engine.begin() as connection:
        for row, names in ((models.GenJob, ("created_at",)), (models.BudgetPeriod, BOUNDS)):
            for found in connection.execute(select(row.__table__)).mappings().all():
                moved = {name: found[name] - a_day for name in names}
                connection.execute(update(row).values(moved))
    assert guarded.image().is_success
    today, yesterday = guarded.rows(models.BudgetPeriod)[::-1]
    assert today["starts_at"] == yesterday["ends_at"]
    assert today["spent"] == yesterday["spent"] == 40_000_000_000


BOUNDS = ("starts_at", "ends_at")


def test_the_hold_of_a_process_that_died_ends_with_its_row(
    guarded: Service, stand_in: StandIn
) -> None:
    put_cap(guarded, 1)
    gone = {"job_type": "image", "model": "dall-e-3", "prompt": "p", "max_cost": 0.04, **PENDING}
    now = models.utc_now()
    dead = {**gone, "created_at": now, "expires_at": now + timedelta(seconds=2)}
    guarded.insert(models.GenJob, dead)
    assert guarded.text().is_success, "makes the counter, with what was there"
    assert standing(guarded)[1] == 0.04
    wait_until(lambda: standing(guarded)[1] == 0, "the hold to end")
    assert guarded.rows(models.GenJob)[0]["status"] == "unknown"
    assert standing(guarded)[0] == pytest.approx(
        0.04 + guarded.rows(models.GenJob)[1]["estimated_cost"]
    )


def test_the_same_request_is_replayed_though_nothing_is_left(
    guarded: Service, stand_in: StandIn
) -> None:
    put_cap(guarded, 0.04)
    stand_in.will("slow", seconds=1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(guarded.image, key="a")
        wait_until(lambda: standing(guarded)[1] == 0.04, "the first to be open")
        assert guarded.image(key="a").status_code == 409, "and not 402"
    assert guarded.image(key="b").status_code == 402
    again = guarded.image(key="a")
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.text == first.result().text


def test_variants_are_held_with_every_way_they_can_be_billed(
    guarded: Service, stand_in: StandIn
) -> None:
    body = {**COFFEE, "n": 5, "model": "gpt-6.1-sol"}
    most = guarded.post("/generate/text/preview", body).json()["max_cost"]
    put_cap(guarded, most - 0.000001)
    assert guarded.post("/generate/text", body).status_code == 402
    assert stand_in.asked == []
    assert guarded.client.patch("/budgets/1", json={"amount_usd": most}).is_success
    done = guarded.post("/generate/text", body)
    assert done.status_code == 200
    assert len(done.json()["variants"]) == 5
    assert done.json()["cost"] <= most


@pytest.mark.parametrize(("path", "body"), [("/generate/text", COFFEE), ("/generate/image", CAFE)])
def test_a_request_may_say_what_it_may_cost(
    service: Service, stand_in: StandIn, path: str, body: dict[str, Any]
) -> None:
    preview = service.post(f"{path}/preview", body)
    assert preview.status_code == 200
    most = preview.json()["max_cost"]
    refused = service.post(path, {**body, "max_cost": most * 0.99})
    assert refused.status_code == 422
    (detail,) = refused.json()["detail"]
    assert detail["loc"] == ["body", "max_cost"]
    assert stand_in.asked == service.rows(models.GenJob) == []
    assert service.post(path, {**body, "max_cost": most}).status_code == 200


def test_a_preview_of_an_image_tells_what_it_can_cost(service: Service, stand_in: StandIn) -> None:
    body = {"prompt": "아침", "model": "gpt-image-2.5-flare", "size": "1024x1024", "quality": "hd"}
    shown = service.post("/generate/image/preview", body).json()
    assert shown["max_output_tokens"] == 1756
    assert shown["max_cost"] == pytest.approx(1756 * 30e-6 + shown["max_prompt_tokens"] * 5e-6)
    assert (shown["model"], shown["prompt"]) == ("gpt-image-2.5-flare", "아침")
    wrong = service.post("/generate/image/preview", {"prompt": "아침", "size": "1x1"})
    assert wrong.status_code == 422
    assert stand_in.asked == []


def test_a_budget_shows_its_period_by_day(guarded: Service, stand_in: StandIn) -> None:
    job = {"job_type": "text", "model": "m", "prompt": "p", "status": "completed"}
    for moment, usd in (
        ("2026-11-24T14:59:59.900000", 1.0),
        ("2026-11-24T15:00:00", 2.0),
        ("2026-11-25T14:59:59.900000", 0.5),
    ):
        created = datetime.fromisoformat(moment)
        guarded.insert(models.GenJob, {**job, "created_at": created, "estimated_cost": usd})
    put_cap(guarded, 10, time_zone="Asia/Seoul")
    assert guarded.get("/budgets/1").json()["days"] == [
        {"date": "2026-11-24", "spent": 1.0, "held": 0.0, "jobs": 1},
        {"date": "2026-11-25", "spent": 2.5, "held": 0.0, "jobs": 2},
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"amount_usd": "1"},
        {"amount_usd": -1},
        {"amount_usd": 1, "period": "year"},
        {"amount_usd": 1, "time_zone": "Seoul"},
        {"amount_usd": 1, "key_id": 1, "user_id": 1},
        {"amount_usd": 1, "user": 7},
    ],
)
def test_a_cap_other_than_was_meant_is_refused(guarded: Service, wrong: dict[str, Any]) -> None:
    assert guarded.post("/budgets", wrong).status_code == 422
    assert guarded.rows(models.Budget) == []


def test_a_budget_that_is_not_there_is_404(guarded: Service) -> None:
    for method, path in (("GET", "/budgets/9"), ("PATCH", "/budgets/9"), ("DELETE", "/budgets/9")):
        missing = guarded.client.request(method, path, json={})
        assert (missing.status_code, missing.json()) == (404, {"detail": "Budget not found"})
    assert guarded.post("/budgets", {"amount_usd": 1, "key_id": 9}).status_code == 404
    assert guarded.get("/budgets/0").status_code == 404
    for method in ("PATCH", "DELETE"):
        response = guarded.client.request(method, "/budgets/0", json={"amount_usd": 1})
        assert response.status_code == 409
        assert "SERVICE_BUDGET_USD" in response.json()["detail"]


class Webhook(BaseHTTPRequestHandler):
    """Slack's, as far as an alert goes; refuses the first one."""

    texts: ClassVar[list[str]] = []
    refusals: ClassVar[list[int]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.refusals:
            self.refusals.append(503)
            self.send_error(503)
            return
        self.texts.append(body["text"])
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def webhook() -> Iterator[str]:
    Webhook.texts.clear()
    Webhook.refusals.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Webhook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/services/secret-path"
        server.shutdown()
        thread.join()


def test_people_are_told_once_at_80_percent_and_once_at_the_end(
    new_database: NewDatabase, stand_in: StandIn
) -> None:
    settings: Any = {"OPENAI_BASE_URL": stand_in.url, "SERVICE_BUDGET_USD": "0.09"}
    with webhook() as url, running(new_database(), **settings, ALERT_WEBHOOK_URL=url) as service:
        assert service.image().is_success
        assert Webhook.texts == []
        assert service.image().is_success
        wait_until(lambda: len(Webhook.texts) == 1, "the first alert")
        for _ in range(3):
            assert service.image().status_code == 402
        wait_until(lambda: len(Webhook.texts) == 2, "the second alert")
        assert service.text().is_success, "small things still fit"
        first, second = Webhook.texts
        assert "SERVICE_BUDGET_USD" in first
        assert "80 % is spent" in first
        assert "100 %, what is left was too little" in second
        log = service.log.read_text()
        assert log.count("80 % is spent") == log.count("100 %") == 1
        assert "secret-path" not in log
    assert len(Webhook.texts) == 2


def test_people_are_told_anew_of_a_larger_cap(guarded: Service, stand_in: StandIn) -> None:
    put_cap(guarded, 0.04, name="한 번")
    assert guarded.image().is_success
    assert guarded.client.patch("/budgets/1", json={"amount_usd": 0.1}).is_success
    assert guarded.image().is_success
    log = guarded.log.read_text()
    assert log.count("한 번, $0.04 in all: 100 % is spent") == 1
    assert log.count("한 번, $0.10 in all: 80 % is spent") == 1


def test_a_webhook_that_is_away_is_in_nobodys_way(
    new_database: NewDatabase, stand_in: StandIn
) -> None:
    settings: Any = {"OPENAI_BASE_URL": stand_in.url, "SERVICE_BUDGET_USD": "0.04"}
    url = "http://127.0.0.1:9/services/secret-path"
    with running(new_database(), **settings, ALERT_WEBHOOK_URL=url) as service:
        assert service.image().is_success
        said = "ALERT_WEBHOOK_URL did not take an alert"
        wait_until(lambda: said in service.log.read_text(), "the log to say so")
        log = service.log.read_text()
        assert log.count("80 % is spent") == log.count("100 % is spent") == 1
        assert "secret-path" not in log


def test_the_cap_of_the_settings_needs_no_key(new_database: NewDatabase, stand_in: StandIn) -> None:
    settings: Any = {"OPENAI_BASE_URL": stand_in.url, "SERVICE_BUDGET_USD": "0.05"}
    url = new_database()
    with running(url, **settings, SERVICE_BUDGET_TIME_ZONE="Asia/Seoul") as service:
        assert service.image().json()["budget_remaining"] == 0.01
        refused = service.image()
        assert refused.status_code == 402
        now = datetime.now(UTC) + timedelta(hours=9)
        anew = (now.replace(day=1) + timedelta(days=32)).replace(day=1)
        assert f"{anew:%Y-%m-%d}T00:00:00+09:00" in refused.json()["detail"]
    # Another worker may have other settings; what was spent counts there too.
    with running(url, **settings, SERVICE_BUDGET_PERIOD="total") as service:
        assert service.image().status_code == 402
    with running(url, OPENAI_BASE_URL=stand_in.url) as service:
        assert service.image().is_success
    with running(url, **{**settings, "SERVICE_BUDGET_USD": "0.1"}) as service:
        assert service.image().status_code == 402, "0.08 are spent"
