"""Whom the service answers: its own names, and pages of its own."""

from typing import Any

import httpx
import pytest

import models
from tests.conftest import COFFEE, NewDatabase, Service, StandIn, running

ORIGINS = [
    ("http://127.0.0.1:{port}", 200),
    ("http://evil.example", 403),
    ("http://127.0.0.1:1", 403),
    ("http://127.0.0.1.evil.example:{port}", 403),
    ("null", 403),
    ("", 403),
]


@pytest.mark.parametrize(("origin", "status"), ORIGINS)
def test_a_page_of_another_site_may_not_write_or_spend(
    service: Service, stand_in: StandIn, origin: str, status: int
) -> None:
    headers = {"Origin": origin.format(port=httpx.URL(service.url).port)}
    for path, body in (("/segments", {"name": "봄"}), ("/generate/text", COFFEE)):
        response = service.client.post(path, json=body, headers=headers)
        assert response.status_code == status
    assert len(stand_in.asked) == len(service.rows(models.Segment)) == (1 if status == 200 else 0)
    assert service.client.get("/segments", headers=headers).status_code == 200


def test_the_service_answers_to_its_names_alone(
    new_database: NewDatabase, stand_in: StandIn
) -> None:
    settings: Any = {"OPENAI_BASE_URL": stand_in.url, "HOST": "127.0.0.1"}
    with running(new_database(), **settings) as service:
        for host in ("localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST"):
            assert service.client.get("/segments", headers={"Host": host}).status_code == 200
        for host in ("evil.example", "localhost.evil.example", "", "[", "127.0.0.1@evil.example"):
            rebound = {"Host": host, "Origin": f"http://{host}"}
            refused = service.client.post("/generate/text", json=COFFEE, headers=rebound)
            assert refused.status_code == 421
            assert "ALLOWED_HOSTS" in refused.json()["detail"]
        assert service.client.get("/health", headers={"Host": "10.0.0.7"}).status_code == 200
    assert stand_in.asked == []


def test_names_are_those_of_the_settings(new_database: NewDatabase, stand_in: StandIn) -> None:
    settings: Any = {"PUBLIC_BASE_URL": "https://copy.example.com", "OPENAI_BASE_URL": stand_in.url}
    hosts = "127.0.0.1, inner.example"
    with running(new_database(), **settings, ALLOWED_HOSTS=hosts) as service:
        for host in ("copy.example.com", "inner.example:8000", "127.0.0.1"):
            own = {"Host": host, "Origin": "https://copy.example.com"}
            assert service.client.post("/segments", json={"name": "봄"}, headers=own).is_success
        assert service.client.get("/segments", headers={"Host": "evil"}).status_code == 421
        assert "any Host" not in service.log.read_text()


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/health", "/segments", "/nowhere", "/keys"])
def test_no_page_may_frame_an_answer(service: Service, path: str) -> None:
    headers = service.get(path).headers
    assert headers["Content-Security-Policy"].endswith("frame-ancestors 'none'")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "same-origin"
