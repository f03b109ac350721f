"""GET / and GET /health."""

import re

from tests.conftest import Service


def test_the_service_says_what_it_is(service: Service) -> None:
    response = service.get("/")
    assert response.status_code == 200
    assert response.json() == {
        "service": "Artify Content Backend",
        "version": "2.0.0",
        "status": "healthy",
        "openai_configured": True,
        "database": "connected",
    }


def test_health_carries_a_timestamp_in_milliseconds(service: Service) -> None:
    health = service.get("/health").json()
    assert health["status"] == "healthy"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", health["timestamp"])
