"""The pages /docs and /redoc in a real browser, and the schema behind them."""

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

import models
from tests.conftest import Service

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
in_a_browser = pytest.mark.skipif(not CHROMIUM, reason="no Chromium is installed here")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


class Visit:
    """A page of the service, and every address the browser asked for on it."""

    def __init__(self, browser: Browser, service: Service) -> None:
        self.service = service
        self.page: Page = browser.new_page()
        self.asked: list[Request] = []
        self.errors: list[str] = []
        self.page.on("request", self.remember)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def remember(self, request: Request) -> None:
        self.asked.append(request)

    def assert_nothing_from_elsewhere(self) -> None:
        own = (f"{self.service.url}/", "data:", "blob:")
        sent = [request.url for request in self.asked if request.failure != "csp"]
        assert [url for url in sent if not url.startswith(own)] == []
        assert self.errors == []


@pytest.fixture
def visit(browser: Browser, service: Service) -> Iterator[Visit]:
    visit = Visit(browser, service)
    yield visit
    visit.page.close()


def execute(page: Page, operation_id: str) -> None:
    """Press "Try it out" and "Execute" on an operation, as it stands."""
    operation = page.locator(f".opblock[id$='-{operation_id}']")
    operation.locator(".opblock-summary").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    answered = operation.locator(".live-responses-table .response-col_status").last
    expect(answered).to_contain_text("200")


@in_a_browser
def test_docs_run_the_examples_without_the_internet(visit: Visit) -> None:
    visit.page.goto(f"{visit.service.url}/docs")
    execute(visit.page, "create_segment")
    execute(visit.page, "generate_text")
    execute(visit.page, "generate_image")

    (segment,) = visit.service.rows(models.Segment)
    assert segment["name"] == "밀레니얼 부모"
    kinds = [content["content_type"] for content in visit.service.rows(models.GeneratedContent)]
    assert kinds == ["text", "image"]
    visit.assert_nothing_from_elsewhere()


@in_a_browser
def test_redoc_shows_the_routes_without_the_internet(visit: Visit) -> None:
    visit.page.goto(f"{visit.service.url}/redoc")
    expect(visit.page.get_by_role("heading", name="Artify Content Backend")).to_be_visible()
    expect(visit.page.get_by_role("heading", name="Generate Text")).to_be_visible()
    visit.assert_nothing_from_elsewhere()


def operations(service: Service) -> dict[str, dict[str, Any]]:
    """By operation id, with the method and path beside."""
    schema = service.get("/openapi.json").json()
    return {
        operation["operationId"]: {**operation, "method": method, "path": path}
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    }


def test_operation_ids_are_clean_verbs(service: Service) -> None:
    assert {
        (each["method"].upper(), each["path"], name) for name, each in operations(service).items()
    } == {
        ("POST", "/generate/text", "generate_text"),
        ("POST", "/generate/image", "generate_image"),
        ("GET", "/segments", "list_segments"),
        ("POST", "/segments", "create_segment"),
        ("DELETE", "/segments/{segment_id}", "delete_segment"),
        ("GET", "/analytics/overview", "get_analytics_overview"),
        ("GET", "/content/history", "list_content_history"),
        ("GET", "/costs/summary", "get_costs_summary"),
        ("GET", "/costs/history", "list_costs_history"),
        ("GET", "/", "get_service_status"),
        ("GET", "/health", "check_health"),
    }


def test_every_request_model_has_an_example_that_works(service: Service) -> None:
    schemas = service.get("/openapi.json").json()["components"]["schemas"]
    tried = 0
    for operation in operations(service).values():
        if body := operation.get("requestBody"):
            name = body["content"]["application/json"]["schema"]["$ref"].rsplit("/", 1)[-1]
            for example in schemas[name]["examples"]:
                assert service.post(operation["path"], example).status_code == 200
                tried += 1
    assert tried == 3


def test_every_documented_error_carries_an_example(service: Service) -> None:
    documented = set()
    for name, operation in operations(service).items():
        assert operation["summary"]
        assert operation["description"]
        for status, response in operation["responses"].items():
            if status != "200":
                example = response["content"]["application/json"]["example"]
                assert example["detail"]
                documented.add((name, status))
    assert {status for name, status in documented if name == "generate_text"} == {
        *("404", "413", "422", "500", "503")
    }
    assert {status for name, status in documented if name == "delete_segment"} == {
        *("404", "422", "503")
    }
    assert {status for name, status in documented if name == "list_segments"} == {"503"}
    assert not {name for name, _ in documented} & {"get_service_status", "check_health"}
