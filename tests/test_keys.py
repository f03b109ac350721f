"""Who may do what: ADMIN_KEY, and the keys that it makes."""

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import update

import models
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
)

OPEN = {"/", "/health", "/images/{name}"}
ADMINS = {"keys", "budgets"}
# What each scope opens, as method and path.
NO_KEYS: tuple[dict[str, str], ...] = (
    {},
    {"X-API-Key": "artify_00000000_guess"},
    {"Authorization": "Basic eA=="},
)
BODIES: dict[str, Any] = {
    "/segments": {"name": "봄"},
    "/generate/text": COFFEE,
    "/generate/text/preview": COFFEE,
    "/generate/image": CAFE,
    "/generate/image/preview": CAFE,
    "/analytics/metrics": {"metric_name": "clicks", "metric_value": 1},
}


@pytest.fixture
def stranger(guarded: Service) -> Iterator[httpx.Client]:
    """A client without a key."""
    with httpx.Client(base_url=guarded.url, timeout=60) as client:
        yield client


def operations(service: Service) -> Iterator[tuple[str, str, str]]:
    """Of each route, its method, its path, and its tag."""
    for path, methods in service.get("/openapi.json").json()["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation["tags"][0]


def address(path: str) -> str:
    return re.sub("{.*?}", "1", path)


def test_every_route_but_the_open_ones_wants_a_key_before_anything_else(
    guarded: Service, stranger: httpx.Client, stand_in: StandIn
) -> None:
    seen = set()
    for method, path, _ in operations(guarded):
        for headers in (
            {},
            {"X-API-Key": "artify_00000000_guess"},
            {"Authorization": "Basic eA=="},
        ):
            response = stranger.request(method, address(path), content=b"{", headers=headers)
            if path in OPEN:
                assert response.status_code in (200, 404)
                continue
            assert response.status_code == 401, (method, path)
            assert response.headers["WWW-Authenticate"] == "Bearer"
            assert isinstance(response.json()["detail"], str)
        seen.add(path)
    assert seen > OPEN
    for page in ("/docs", "/redoc", "/openapi.json"):
        assert stranger.get(page).status_code == 200
    assert stand_in.asked == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {ADMIN_KEY}"},
        {"authorization": f"bearer {ADMIN_KEY}"},
        {"X-API-Key": ADMIN_KEY},
        {"Authorization": "Basic Ym9zczpib3Nz", "X-API-Key": ADMIN_KEY},
    ],
)
def test_the_admin_key_opens_everything(
    guarded: Service, stranger: httpx.Client, headers: dict[str, str]
) -> None:
    for path in ("/segments", "/keys", "/budgets", "/costs/history", "/models"):
        assert stranger.get(path, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "key",
    ["", ADMIN_KEY[:-1], ADMIN_KEY + "x", ADMIN_KEY.upper(), "artify_", "한국어"],
)
def test_what_is_not_quite_the_admin_key_opens_nothing(
    guarded: Service, stranger: httpx.Client, key: str
) -> None:
    assert stranger.get("/segments", headers={b"X-API-Key": key.encode()}).status_code == 401


def test_without_an_admin_key_the_service_is_open_and_says_so(
    service: Service, stand_in: StandIn
) -> None:
    assert service.log.read_text().count("ADMIN_KEY not set") == 1
    assert service.text().is_success
    for method, path, tag in operations(service):
        if tag in ADMINS or (method == "PATCH" and path.startswith("/costs")):
            response = service.client.request(method, address(path), json={})
            assert response.status_code == 403
            assert "ADMIN_KEY" in response.json()["detail"]


def test_a_key_is_shown_once_and_kept_as_a_hash(guarded: Service) -> None:
    made = make_key(guarded, scopes=["read"])
    key = made.pop("key")
    assert key.startswith(f"{made['prefix']}_")
    (row,) = guarded.rows(models.ApiKey)
    assert row["key_hash"] == hashlib.sha256(key.encode()).hexdigest()
    secret = key.removeprefix(made["prefix"])
    assert secret not in str(row)
    listed = guarded.get("/keys")
    assert secret not in listed.text
    assert listed.json()["keys"] == [made]
    assert secret not in guarded.log.read_text()


def test_each_scope_opens_its_routes_and_no_other(guarded: Service, stand_in: StandIn) -> None:
    clients = {
        scope: Caller(guarded, make_key(guarded, scopes=[scope])["key"])
        for scope in ("generate", "metrics", "read")
    }
    opened: dict[str, set[str]] = {scope: set() for scope in clients}
    for method, path, _ in operations(guarded):
        for scope, client in clients.items():
            response = client.request(method, address(path), json=BODIES.get(path))
            if response.status_code == 403:
                assert scope in response.json()["detail"]
            elif path not in OPEN:
                opened[scope].add(f"{method} {path}")
    assert opened["metrics"] == {"POST /analytics/metrics"}
    assert opened["generate"] == {
        *("POST /segments", "PATCH /segments/{segment_id}", "DELETE /segments/{segment_id}"),
        *(f"POST {path}" for path in BODIES if path.startswith("/generate")),
    }
    assert {each.partition(" ")[0] for each in opened["read"]} == {"GET"}
    assert not any("keys" in each or "budgets" in each for each in opened["read"])
    assert len(stand_in.asked) == 2, "the texts and images of the one that may generate"


def test_a_user_key_generates_as_that_user_and_no_other(
    guarded: Service, stand_in: StandIn
) -> None:
    client = Caller(guarded, make_key(guarded, user_id=7)["key"])
    for own in (COFFEE, {**COFFEE, "user_id": 7}):
        assert client.post("/generate/text", json=own).status_code == 200
    for path in ("/generate/text", "/generate/image"):
        refused = client.post(path, json={**BODIES[path], "user_id": 8})
        assert refused.status_code == 403
    assert [job["user_id"] for job in guarded.rows(models.GenJob)] == [7, 7]
    assert len(stand_in.asked) == 2


def test_a_user_key_sees_that_users_rows_alone(guarded: Service, stand_in: StandIn) -> None:
    mine, theirs = (make_key(guarded, user_id=user_id) for user_id in (7, 8))
    me, them = Caller(guarded, mine["key"]), Caller(guarded, theirs["key"])
    ours = me.post("/generate/text", json=COFFEE).json()
    other = them.post("/generate/text", json={**COFFEE, "n": 2}).json()
    loose = guarded.text().json()
    for content_id in (ours["id"], other["id"], loose["id"]):
        metric = {"metric_name": "clicks", "metric_value": 1, "content_id": content_id}
        assert me.post("/analytics/metrics", json=metric).is_success

    history = me.get("/content/history").json()
    assert ([each["id"] for each in history["history"]], history["total"]) == ([ours["id"]], 1)
    jobs = me.get("/costs/history").json()
    assert ([each["id"] for each in jobs["history"]], jobs["total"]) == ([ours["job_id"]], 1)
    assert jobs["history"][0]["key_id"] == mine["id"]
    assert me.get("/costs/summary").json()["total_jobs"] == 1
    listed = me.get("/analytics/content").json()["content"]
    assert [each["content_id"] for each in listed] == [ours["id"]]
    for path in ("/costs/summary", "/costs/history"):
        assert me.get(path, params={"user_id": 7}).is_success
        assert me.get(path, params={"user_id": 8}).status_code == 403
    for foreign in (other["id"], loose["id"], 2_147_483_647):
        for path in (f"/content/{foreign}", f"/analytics/content/{foreign}/variants"):
            assert me.get(path).status_code == 404
    # Figures are the team's.
    assert me.get("/analytics/overview").json()["total_clicks"] == 3
    # A key without a user sees all.
    everyone = Caller(guarded, make_key(guarded)["key"])
    assert everyone.get("/content/history").json()["total"] == 4
    assert everyone.get("/costs/summary", params={"user_id": 8}).json()["total_jobs"] == 1


def test_an_idempotency_key_is_the_api_keys_own(guarded: Service, stand_in: StandIn) -> None:
    first, second = (Caller(guarded, make_key(guarded)["key"]) for _ in range(2))
    headers = {"Idempotency-Key": "spring"}
    texts = [
        client.post("/generate/text", json=COFFEE, headers=headers)
        for client in (first, second, guarded.client)
    ]
    assert [text.status_code for text in texts] == [200] * 3
    assert not any("Idempotent-Replayed" in text.headers for text in texts)
    assert len({text.json()["job_id"] for text in texts}) == 3
    again = first.post("/generate/text", json=COFFEE, headers=headers)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.text == texts[0].text
    # Another body is no matter of anybody else's either.
    third = Caller(guarded, make_key(guarded)["key"])
    body = {**COFFEE, "max_tokens": 99}
    assert third.post("/generate/text", json=body, headers=headers).status_code == 200
    assert len(stand_in.asked) == 4


def test_a_revoked_key_opens_nothing_on_any_worker(
    new_database: NewDatabase, stand_in: StandIn
) -> None:
    settings: Any = {"OPENAI_BASE_URL": stand_in.url, "ADMIN_KEY": ADMIN_KEY}
    with running(new_database(), workers=2, **settings) as service:
        service.client.headers["X-API-Key"] = ADMIN_KEY
        made = make_key(service)
        client = Caller(service, made["key"])
        with ThreadPoolExecutor(8) as pool:
            assert client.get("/segments").is_success

            def generate(_: int) -> int:
                return client.post("/generate/text", json=COFFEE).status_code

            sent = [pool.submit(generate, index) for index in range(60)]
            assert service.client.delete(f"/keys/{made['id']}").is_success
            asked = len(stand_in.asked)
            statuses = {each.result() for each in sent}
            assert statuses <= {200, 401}
            # Those that were open by then have gone out at most.
            assert len(stand_in.asked) <= asked + 8
            for _ in range(10):
                with httpx.Client(base_url=service.url) as fresh:
                    sent_key = {"X-API-Key": made["key"]}
                    assert fresh.get("/segments", headers=sent_key).status_code == 401
        (listed,) = service.get("/keys").json()["keys"]
        assert listed["revoked_at"]


def test_a_key_ends_when_it_should(guarded: Service) -> None:
    made = make_key(guarded, expires_at="2027-01-01T00:00:00+09:00")
    assert made["expires_at"] == "2026-12-31T15:00:00"
    client = Caller(guarded, made["key"])
    assert client.get("/segments").is_success
    past = (models.utc_now() - timedelta(seconds=1)).isoformat()
    assert guarded.client.patch(f"/keys/{made['id']}", json={"expires_at": past}).is_success
    assert client.get("/segments").status_code == 401
    assert guarded.client.patch(f"/keys/{made['id']}", json={"expires_at": None}).is_success
    assert client.get("/segments").is_success


def test_what_is_sent_of_a_key_changes_and_nothing_else(guarded: Service) -> None:
    cap = {"amount_usd": 5, "period": "day", "time_zone": "Asia/Seoul"}
    made = make_key(guarded, user_id=7, scopes=["read"], cap=cap, rate_per_minute=3)
    del made["key"]
    path = f"/keys/{made['id']}"
    assert guarded.client.patch(path, json={}).json() == made
    changed = guarded.client.patch(path, json={"name": "봄", "scopes": ["read", "metrics"]}).json()
    assert changed == {**made, "name": "봄", "scopes": ["read", "metrics"]}
    larger = guarded.client.patch(path, json={"cap": {"amount_usd": 9}}).json()["cap"]
    assert larger == {**made["cap"], "amount_usd": 9, "left": 9, "name": "봄"}
    assert guarded.client.patch(path, json={"cap": None}).json()["cap"] is None
    assert guarded.client.patch(path, json={"cap": {"period": "day"}}).status_code == 422
    assert guarded.client.patch(path, json={"cap": cap}).json()["cap"]["period"] == "day"
    assert guarded.client.patch(path, json={"cap": None}).is_success
    assert guarded.get("/budgets").json()["budgets"] == []
    refused: tuple[Any, ...] = ({"user_id": 8}, {"scopes": []}, {"scopes": ["admin"]})
    for wrong in (*refused, {"rate_per_minute": 0}, {"name": None}):
        assert guarded.client.patch(path, json=wrong).status_code == 422
    for method in ("PATCH", "DELETE"):
        missing = guarded.client.request(method, "/keys/99", json={})
        assert (missing.status_code, missing.json()) == (404, {"detail": "Key not found"})


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"name": " "},
        {"name": "a", "scope": ["read"]},
        {"name": "a", "scopes": "read"},
        {"name": "a", "cap": {"amount_usd": -1}},
        {"name": "a", "cap": {"amount_usd": 1, "time_zone": "Mars"}},
        {"name": "a", "cap": {"amount_usd": 1, "period": "year"}},
        {"name": "a", "rate_per_minute": 0},
        {"name": "a", "expires_at": "tomorrow"},
    ],
)
def test_a_key_that_would_limit_other_than_was_meant_is_refused(
    guarded: Service, wrong: dict[str, Any]
) -> None:
    assert guarded.post("/keys", wrong).status_code == 422
    assert guarded.rows(models.ApiKey) == guarded.rows(models.Budget) == []


def test_a_list_tells_when_a_key_was_used_and_what_it_spent(
    guarded: Service, stand_in: StandIn
) -> None:
    used = make_key(guarded, cap={"amount_usd": 1, "period": "total"})
    make_key(guarded)
    client = Caller(guarded, used["key"])
    assert client.post("/generate/image", json=CAFE).is_success
    first, second = guarded.get("/keys").json()["keys"]
    assert first["last_used_at"]
    assert (first["spent"], first["left"]) == (0.04, 0.96)
    assert (second["last_used_at"], second["spent"], second["left"]) == (None, 0, None)


def test_a_key_keeps_its_rate_however_many_ask(guarded: Service, stand_in: StandIn) -> None:
    made = make_key(guarded, rate_per_minute=5)
    client = Caller(guarded, made["key"])
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: client.post("/generate/text", json=COFFEE), range(12)))
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [429] * 7
    assert len(stand_in.asked) == 5
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.headers["RateLimit-Limit"] == "5"
    assert refused.headers["RateLimit-Remaining"] == "0"
    assert refused.headers["RateLimit-Reset"] == refused.headers["Retry-After"]
    assert "5 generations per minute" in refused.json()["detail"]
    # What was sent a minute ago counts no more.
    with guarded.engine.begin() as connection:
        ago = models.utc_now() - timedelta(seconds=61)
        connection.execute(update(models.GenJob).values(created_at=ago))
    assert client.post("/generate/text", json=COFFEE).is_success
    # And a replay is no generation.
    headers = {"Idempotency-Key": "a"}
    for _ in range(8):
        assert client.post("/generate/text", json=COFFEE, headers=headers).is_success


def test_the_description_tells_how_to_send_a_key(guarded: Service, service: Service) -> None:
    for described, is_open in ((guarded, False), (service, True)):
        document = described.get("/openapi.json").json()
        schemes = document["components"]["securitySchemes"]
        assert {scheme["type"] for scheme in schemes.values()} == {"http", "apiKey"}
        for path, methods in document["paths"].items():
            for operation in methods.values():
                ways = operation.get("security")
                assert (ways is None) == (path in OPEN)
                assert ways is None or ({} in ways) == is_open
