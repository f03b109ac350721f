"""Which methods an address takes: HEAD wherever GET, and what Allow says."""

import re
from collections.abc import Iterator

import pytest

from tests.conftest import Service

PAGES = ("/docs", "/redoc", "/openapi.json", "/static-offline-docs/favicon.png")


def addresses(service: Service) -> Iterator[tuple[str, set[str]]]:
    """Of every route and page, with the methods it takes beside HEAD."""
    for path, operations in service.get("/openapi.json").json()["paths"].items():
        yield re.sub("{.*?}", "1", path), {method.upper() for method in operations}
    for page in PAGES:
        yield page, {"GET"}


def test_head_is_answered_as_get_is_without_the_body(guarded: Service) -> None:
    service = guarded
    service.post("/budgets", {"amount_usd": 1})
    service.post("/segments", {"name": "봄"})
    service.text()
    image = service.image().json()["image_url"]
    gets = [path for path, methods in addresses(service) if "GET" in methods]
    for address in (*gets, image, "/content/2147483647", "/health?v=2", "/segments/", "/nowhere"):
        get, head = service.get(address), service.client.head(address)
        assert head.content == b""
        assert head.status_code == get.status_code
        assert {**head.headers, "date": None} == {**get.headers, "date": None}
        assert head.headers["content-length"] == str(len(get.content))
    assert len(gets) == 16 + len(PAGES)


@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "TRACE", "HEAD"])
def test_allow_names_every_method_of_the_address(service: Service, method: str) -> None:
    for address, methods in addresses(service):
        allowed = methods | ({"HEAD"} if "GET" in methods else set())
        if method in allowed:
            continue
        response = service.client.request(method, address)
        assert response.status_code == 405
        assert set(response.headers["allow"].split(", ")) == allowed
        assert method == "HEAD" or response.json() == {"detail": "Method Not Allowed"}
