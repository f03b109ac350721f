"""The pages /docs and /redoc in a real browser, and the schema behind them."""

import json
import re
import shutil
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

import pytest
from jsonschema_rs import Draft202012Validator
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

import korean
import models
from tests.conftest import NewDatabase, Service, StandIn, running

ADMIN_KEY = "admin-5c1e8d2f7a90b346"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
# What is seen of the only image of a page: its size, and how many colours it has.
PIXELS = """() => {
    const image = document.images[0]
    const canvas = document.createElement("canvas")
    canvas.width = image.naturalWidth
    canvas.height = image.naturalHeight
    const drawn = canvas.getContext("2d")
    drawn.drawImage(image, 0, 0)
    const {data} = drawn.getImageData(0, 0, canvas.width, canvas.height)
    return [image.naturalWidth, image.naturalHeight, new Set(new Uint32Array(data.buffer)).size]
}"""
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


@pytest.fixture
def guarded_service(new_database: NewDatabase, stand_in: StandIn) -> Iterator[Service]:
    """One with an ADMIN_KEY, which some routes want, sent with every request of its client."""
    with running(new_database(), OPENAI_BASE_URL=stand_in.url, ADMIN_KEY=ADMIN_KEY) as service:
        service.client.headers["X-API-Key"] = ADMIN_KEY
        yield service


@pytest.fixture
def guarded_visit(browser: Browser, guarded_service: Service) -> Iterator[Visit]:
    visit = Visit(browser, guarded_service)
    yield visit
    visit.page.close()


def authorize(page: Page, key: str) -> None:
    """Give Swagger UI a key, as its "Authorize" button asks for it."""
    page.locator(".auth-wrapper .authorize").click()
    bearer = page.locator(".auth-container").filter(has_text="bearer")
    bearer.get_by_role("textbox").fill(key)
    bearer.get_by_role("button", name="Apply credentials").click()
    page.get_by_role("button", name="Close").last.click()


def execute(page: Page, operation_id: str) -> str:
    """Press "Try it out" and "Execute" on an operation, as it stands; the answer it shows."""
    operation = page.locator(f".opblock[id$='-{operation_id}']")
    operation.locator(".opblock-summary").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    answered = operation.locator(".live-responses-table .response-col_status").last
    expect(answered).to_contain_text("200")
    answer = operation.locator(".live-responses-table code.language-json").first
    shown: str = answer.inner_text()
    operation.locator(".opblock-summary").click()  # closed again: a long page is a slow one
    return shown


@in_a_browser
@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)  # slow, and of the page alone
def test_docs_run_every_route_as_it_stands_without_the_internet(guarded_visit: Visit) -> None:
    visit = guarded_visit
    visit.page.goto(f"{visit.service.url}/docs")
    expect(visit.page.locator(".opblock").last).to_be_visible()
    authorize(visit.page, ADMIN_KEY)
    ids = visit.page.locator(".opblock").evaluate_all("all => all.map(each => each.id)")
    names = [each.rpartition("-")[2] for each in ids]
    assert sorted(names) == sorted(operations(visit.service))
    # From top to bottom, but for those without an example: an image has no address that one could
    # name, and nothing is to be deleted, revoked or settled by pressing a button.
    unnamed = ("get_image", "delete_segment", "settle_job", "revoke_key", "delete_budget")
    shown = {name: json.loads(execute(visit.page, name)) for name in names if name not in unnamed}
    (segment,) = visit.service.rows(models.Segment)
    assert segment["name"] == "밀레니얼 부모"
    assert segment["updated_at"] > segment["created_at"]
    assert {row["segment_id"] for row in visit.service.rows(models.GeneratedContent)} == {1, None}
    assert len(shown["generate_text"]["variants"]) == 5
    assert shown["add_metrics"]["accepted"] == 15
    assert shown["compare_variants"]["leader"] == 3
    cost = shown["generate_text"]["cost"]
    assert shown["get_analytics_overview"]["generation_cost"] == cost
    assert shown["get_analytics_overview"]["cost_per_conversion"] == pytest.approx(cost / 131)
    assert shown["preview_image"]["max_cost"] >= shown["generate_image"]["cost"]
    assert shown["create_key"]["key"].startswith(shown["change_key"]["prefix"])
    assert shown["get_budget"]["id"] == shown["change_budget"]["id"] == 1
    assert shown["create_budget"]["spent"] == pytest.approx(cost + shown["generate_image"]["cost"])
    url = shown["generate_image"]["image_url"]
    assert url.startswith(f"{visit.service.url}/images/")
    visit.page.goto(url)
    width, height, colors = visit.page.evaluate(PIXELS)
    assert (width, height) == (1024, 1024)
    assert colors > 100
    visit.assert_nothing_from_elsewhere()


@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
@in_a_browser
def test_redoc_shows_the_routes_without_the_internet(visit: Visit) -> None:
    visit.page.goto(f"{visit.service.url}/redoc")
    expect(visit.page.get_by_role("heading", name="Artify Content Backend")).to_be_visible()
    expect(visit.page.get_by_role("heading", name="Generate Text")).to_be_visible()
    visit.assert_nothing_from_elsewhere()


@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
def test_the_pages_work_behind_a_proxy_that_takes_a_prefix_off(new_database: NewDatabase) -> None:
    prefix = "/artify"
    with running(new_database(), UVICORN_ROOT_PATH=prefix) as service:
        for page in ("/docs", "/redoc"):
            html = service.get(page).text
            loaded = re.findall(r"""(?:src|href|url)(?:=|: )["'](.*?)["']""", html)
            assert f"{prefix}/openapi.json" in loaded
            assert len(loaded) >= 3
            for address in loaded:
                assert address.startswith(f"{prefix}/"), page
                assert service.get(address.removeprefix(prefix)).status_code == 200
        assert service.get("/openapi.json").json()["servers"][0]["url"] == prefix


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
        ("POST", "/generate/text/preview", "preview_text"),
        ("GET", "/segments", "list_segments"),
        ("POST", "/segments", "create_segment"),
        ("GET", "/segments/{segment_id}", "get_segment"),
        ("PATCH", "/segments/{segment_id}", "change_segment"),
        ("DELETE", "/segments/{segment_id}", "delete_segment"),
        ("POST", "/analytics/metrics", "add_metrics"),
        ("GET", "/analytics/overview", "get_analytics_overview"),
        ("GET", "/analytics/content", "list_content_figures"),
        ("GET", "/analytics/content/{content_id}/variants", "compare_variants"),
        ("GET", "/content/history", "list_content_history"),
        ("GET", "/content/{content_id}", "get_content"),
        ("GET", "/images/{name}", "get_image"),
        ("GET", "/models", "list_models"),
        ("GET", "/costs/summary", "get_costs_summary"),
        ("GET", "/costs/history", "list_costs_history"),
        ("POST", "/generate/image/preview", "preview_image"),
        ("PATCH", "/costs/jobs/{job_id}", "settle_job"),
        ("POST", "/keys", "create_key"),
        ("GET", "/keys", "list_keys"),
        ("PATCH", "/keys/{key_id}", "change_key"),
        ("DELETE", "/keys/{key_id}", "revoke_key"),
        ("POST", "/budgets", "create_budget"),
        ("GET", "/budgets", "list_budgets"),
        ("GET", "/budgets/{budget_id}", "get_budget"),
        ("PATCH", "/budgets/{budget_id}", "change_budget"),
        ("DELETE", "/budgets/{budget_id}", "delete_budget"),
        ("GET", "/", "get_service_status"),
        ("GET", "/health", "check_health"),
    }


def test_every_request_model_has_an_example_that_works(guarded_service: Service) -> None:
    service = guarded_service
    unknown = {"job_type": "text", "model": "gpt-4o", "prompt": "…", "status": "unknown"}
    service.insert(models.GenJob, {**unknown, "estimated_cost": None})
    schemas = service.get("/openapi.json").json()["components"]["schemas"]
    tried = []
    for operation in operations(service).values():
        if body := operation.get("requestBody"):
            described = body["content"]["application/json"]
            examples = [each["value"] for each in described.get("examples", {}).values()]
            name = described["schema"].get("$ref", "Metric").rsplit("/", 1)[-1]
            path = re.sub(r"{\w+_id}", "1", operation["path"])
            for example in (*schemas[name]["examples"], *examples):
                response = service.client.request(operation["method"], path, json=example)
                assert response.status_code == 200, response.text
                assert not response.json().get("errors")
                tried.append(path)
    assert len(tried) == 14


def examples(described: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Every example in what /openapi.json says, with the schema it is one of."""
    if isinstance(described, list):
        for each in described:
            yield from examples(each)
    if not isinstance(described, dict):
        return
    shown = described.get("examples", [])
    if isinstance(shown, dict):  # of a body or a parameter, beside its schema
        yield from ((described["schema"], each["value"]) for each in shown.values())
    else:
        yield from ((described, each) for each in shown)
    if "example" in described:
        yield described["schema"], described["example"]
    for name, each in described.items():
        if name not in ("example", "examples"):
            yield from examples(each)


def test_every_example_is_valid_by_its_own_schema(service: Service) -> None:
    document = service.get("/openapi.json").json()
    found = list(examples(document))
    for schema, example in found:
        whole = {**schema, "components": document["components"]}
        Draft202012Validator(whole, validate_formats=True).validate(example)
    assert len(found) > 200


def objects(described: Any) -> Iterator[dict[str, Any]]:
    """Every object in what /openapi.json says, at any depth."""
    inside = described if isinstance(described, list) else []
    if isinstance(described, dict):
        yield described
        inside = list(described.values())
    for each in inside:
        yield from objects(each)


def test_what_generators_make_of_the_description_compiles(service: Service) -> None:
    """A status is a number, a number is one type, and limits are those of one type."""
    for operation in operations(service).values():
        assert all(status.isdigit() for status in operation["responses"])
    for each in objects(service.get("/openapi.json").json()):
        if "anyOf" in each:
            types = {choice.get("type") for choice in each["anyOf"]}
            assert not {"integer", "number"} <= types, each
            assert set(each) <= {"anyOf", "title", "description", "examples", "default"}, each


@in_a_browser
@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
def test_no_schema_is_named_as_a_global_of_javascript(visit: Visit) -> None:
    names = list(visit.service.get("/openapi.json").json()["components"]["schemas"])
    taken = "names => names.filter(name => name in globalThis)"
    assert visit.page.evaluate(taken, ["Error", *names]) == ["Error"]


def test_who_where_and_what_is_described(service: Service) -> None:
    document = service.get("/openapi.json").json()
    assert document["info"]["contact"]["name"]
    assert document["info"]["license"] == {"name": "MIT", "identifier": "MIT"}
    (server,) = document["servers"]
    assert server["description"]
    assert urljoin(f"{service.url}/artify/openapi.json", server["url"]) == f"{service.url}/artify/"
    used = [tag for each in operations(service).values() for tag in each["tags"]]
    # In the order of the pages, which is not that of the rooms that the routes are in.
    assert sorted(tag["name"] for tag in document["tags"]) == sorted(set(used))
    assert all(tag["description"] for tag in document["tags"])


def test_every_documented_error_carries_an_example(service: Service) -> None:
    documented: dict[str, dict[str, Any]] = {}
    for name, operation in operations(service).items():
        assert operation["summary"]
        assert operation["description"]
        documented[name] = {
            status: response["content"]["application/json"]["example"]["detail"]
            for status, response in operation["responses"].items()
            if status != "200"
        }
    open_to_all = {"get_image", "get_service_status", "check_health"}
    for name, errors in documented.items():
        guards = {status for status in ("401", "403") if errors.pop(status, None)}
        assert guards == (set() if name in open_to_all else {"401", "403"}), name
    writing = {"413", "422", "503"}
    limited = {"402", "429"}
    assert {name: set(errors) for name, errors in documented.items()} == {
        "generate_text": {"404", "409", "500", *limited, *writing},
        "generate_image": {"409", "500", *limited, *writing},
        "preview_text": {"404", *writing},
        "preview_image": writing,
        "list_segments": {"503"},
        "create_segment": writing,
        "get_segment": {"404", "422", "503"},
        "change_segment": {"404", *writing},
        "delete_segment": {"404", "422", "503"},
        "add_metrics": {"404", *writing},
        "get_analytics_overview": {"422", "503"},
        "list_content_figures": {"422", "503"},
        "compare_variants": {"404", "422", "503"},
        "list_content_history": {"422", "503"},
        "get_content": {"404", "422", "503"},
        "get_image": {"404", "503"},
        "list_models": {"503"},
        "get_costs_summary": {"422", "503"},
        "list_costs_history": {"422", "503"},
        "settle_job": {"404", "409", *writing},
        "create_key": writing,
        "list_keys": {"503"},
        "change_key": {"404", *writing},
        "revoke_key": {"404", "422", "503"},
        "create_budget": {"404", *writing},
        "list_budgets": {"503"},
        "get_budget": {"404", "422", "503"},
        "change_budget": {"404", "409", *writing},
        "delete_budget": {"404", "409", "422", "503"},
        "get_service_status": set(),
        "check_health": set(),
    }
    for kind in ("text", "image"):
        errors = documented[f"generate_{kind}"]
        assert errors["500"].startswith(f"Failed to generate {kind}: ")
        assert errors["503"].startswith("OpenAI API key not configured.")
    assert "database" in documented["list_segments"]["503"]
    assert documented["delete_segment"]["422"][0]["loc"] == ["path", "segment_id"]


def test_limits_are_told_in_json_schema(service: Service) -> None:
    response = service.get("/openapi.json")
    fields = response.json()["components"]["schemas"]["TextRequest"]["properties"]
    limits = {name: fields["max_tokens"][name] for name in ("minimum", "maximum", "default")}
    assert limits == {"minimum": 1, "maximum": 16_384, "default": 150}
    assert not re.search(r'"(ge|le|gt|lt)":', response.text)


def described(value: Any) -> Iterator[str]:
    """Every text in this part of the API's description that people read."""
    if isinstance(value, list):
        for part in value:
            yield from described(part)
    elif isinstance(value, dict):
        for name, part in value.items():
            if name in ("summary", "description") and isinstance(part, str):
                yield part
            elif name not in ("example", "examples"):
                yield from described(part)


def test_everything_is_said_in_english_and_korean(running_service: Service) -> None:
    document = running_service.get("/openapi.json").json()
    for path in document["paths"].values():
        for operation in path.values():
            assert operation["summary"].count(" · ") >= 1
    assert set(korean.OPERATIONS) == set(operations(running_service))
    assert set(korean.SCHEMAS) <= set(document["components"]["schemas"])
    texts = list(described(document))
    for text in texts:
        assert re.search("[가-힣]", text), f"no Korean: {text}"
        assert re.search("[A-Za-z]{4}", text), f"no English: {text}"
    said = "\n".join(texts)
    for english, in_korean in korean.TEXTS.items():
        assert english in said, f"nothing says this any more: {english}"
        assert in_korean in said
