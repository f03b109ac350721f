"""What is refused: 422 with a reason, the same on both databases, nothing stored or spent."""

import base64
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

import models
from tests.conftest import ADMIN_KEY, Service, StandIn

TEXT, IMAGE, SEGMENTS = "/generate/text", "/generate/image", "/segments"
PREVIEW, METRICS = "/generate/text/preview", "/analytics/metrics"
CLICK = {"metric_name": "clicks", "metric_value": 1}
HUGE = "9" * 5_000


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


BODIES: list[tuple[str, Any, str]] = [
    (TEXT, {}, "Field required"),
    (TEXT, [], "Send a JSON object"),
    (TEXT, {"prompt": None}, "valid string"),
    (TEXT, {"prompt": 5}, "valid string"),
    (TEXT, {"prompt": ""}, "must not be blank"),
    (TEXT, {"prompt": " \n\t\u3000"}, "must not be blank"),
    (TEXT, {"prompt": "가" * 32_001}, "at most 32000 characters"),
    (TEXT, {"prompt": "a\x00b"}, "NUL character"),
    (TEXT, {"prompt": "p", "tone": "a\x00b"}, "NUL character"),
    (TEXT, {"prompt": "p", "tone": "가" * 101}, "at most 100 characters"),
    (TEXT, {"prompt": "p", "keywords": ["a\x00b"]}, "NUL character"),
    (TEXT, {"prompt": "p", "keywords": [" "]}, "must not be blank"),
    (TEXT, {"prompt": "p", "keywords": "커피"}, "valid list"),
    (TEXT, {"prompt": "p", "keywords": ["커피"] * 51}, "at most 50 items"),
    (TEXT, {"prompt": "p", "max_tokens": 0}, "greater than or equal to 1"),
    (TEXT, {"prompt": "p", "max_tokens": 16_385}, "less than or equal to 16384"),
    (TEXT, {"prompt": "p", "max_tokens": "100"}, "valid integer"),
    (TEXT, {"prompt": "p", "max_tokens": 1.5}, "valid integer"),
    (TEXT, {"prompt": "p", "segment_id": 0}, "greater than or equal to 1"),
    (TEXT, {"prompt": "p", "segment_id": 2_147_483_648}, "less than or equal to 2147483647"),
    (TEXT, {"prompt": "p", "segment_id": True}, "valid integer"),
    (IMAGE, {"prompt": " "}, "must not be blank"),
    (IMAGE, {"prompt": "가" * 4_001}, "at most 4000 characters"),
    (IMAGE, {"prompt": "가" * 32_001, "model": "gpt-image-2"}, "at most 32000 characters"),
    (IMAGE, {"prompt": "p", "size": "256x256"}, "It takes: 1024x1024, 1024x1792, 1792x1024"),
    (IMAGE, {"prompt": "p", "quality": "ultra"}, "It takes: standard, hd"),
    (IMAGE, {"prompt": "p", "size": "1024x1024\x00"}, "does not take this size"),
    (IMAGE, {"prompt": "p", "size": "1" * 21}, "at most 20 characters"),
    (
        IMAGE,
        {"prompt": "p", "model": "gpt-image-2", "size": "\u0661024x1024"},
        "not take this size",
    ),
    (IMAGE, {"prompt": "p", "model": "dall-e-3\x00"}, "String should match pattern"),
    (TEXT, {"prompt": "p", "model": "ft:gpt-3.5-turbo-\x00"}, "String should match pattern"),
    (TEXT, {"prompt": "p", "model": "ft:gpt-3.5-turbo-" + "a" * 84}, "at most 100 characters"),
    (TEXT, {"prompt": "p", "n": 0}, "greater than or equal to 1"),
    (TEXT, {"prompt": "p", "n": 11}, "less than or equal to 10"),
    (TEXT, {"prompt": "p", "n": "5"}, "valid integer"),
    (PREVIEW, {"prompt": " "}, "must not be blank"),
    (PREVIEW, {"prompt": "p", "model": "gpt-unheard-of"}, "No price is known"),
    (METRICS, {}, "Field required"),
    (METRICS, 5, "Send a JSON object"),
    (METRICS, {"metric_name": "clicks"}, "Field required"),
    (METRICS, {**CLICK, "metric_name": " "}, "must not be blank"),
    (METRICS, {**CLICK, "metric_name": "가" * 256}, "at most 255 characters"),
    (METRICS, {**CLICK, "metric_name": "a\x00b"}, "NUL character"),
    (METRICS, {**CLICK, "metric_value": "1"}, "valid number"),
    (METRICS, {**CLICK, "metric_value": None}, "valid number"),
    (METRICS, {**CLICK, "metric_value": True}, "valid number"),
    (METRICS, {**CLICK, "metric_value": 1.1e12}, "less than or equal to 1000000000000"),
    (METRICS, {**CLICK, "metric_value": -1.1e12}, "greater than or equal to -1000000000000"),
    (METRICS, {**CLICK, "project_id": 0}, "greater than or equal to 1"),
    (METRICS, {**CLICK, "project_id": 2_147_483_648}, "less than or equal to 2147483647"),
    (METRICS, {**CLICK, "project_id": "1"}, "valid integer"),
    (METRICS, {**CLICK, "campaign_id": 2**63}, "less than or equal to"),
    (METRICS, {**CLICK, "campaign_id": 10**30}, "less than or equal to"),
    (METRICS, {**CLICK, "content_id": 1.5}, "valid integer"),
    (METRICS, {**CLICK, "content_id": -1}, "greater than or equal to 1"),
    (METRICS, {**CLICK, "event_id": ""}, "must not be blank"),
    (METRICS, {**CLICK, "event_id": 7}, "valid string"),
    (METRICS, {**CLICK, "event_id": "a" * 256}, "at most 255 characters"),
    (METRICS, {**CLICK, "event_id": "a\x00"}, "NUL character"),
    (METRICS, {**CLICK, "timestamp": 1_700_000_000}, "ISO 8601"),
    (METRICS, {**CLICK, "timestamp": "1700000000"}, "ISO 8601"),
    (METRICS, {**CLICK, "timestamp": "yesterday"}, "ISO 8601"),
    (METRICS, {**CLICK, "timestamp": "2026-02-30T00:00:00Z"}, "ISO 8601"),
    (METRICS, {**CLICK, "timestamp": "0001-01-01T00:00:00+09:00"}, "ISO 8601"),
    (METRICS, {**CLICK, "timestamp": "9999-12-31T00:00:00Z"}, "more than a day in the future"),
    (METRICS, {**CLICK, "contentId": 1}, "Extra inputs are not permitted"),
    (METRICS, [CLICK] * 1_001, "at most 1000 metrics"),
    (SEGMENTS, {"name": " "}, "must not be blank"),
    (SEGMENTS, {"name": "가" * 256}, "at most 255 characters"),
    (SEGMENTS, {"name": "a\x00"}, "NUL character"),
    (SEGMENTS, {"name": "a", "description": "\x00"}, "NUL character"),
    (SEGMENTS, {"name": "a", "description": "가" * 10_001}, "at most 10000 characters"),
    (SEGMENTS, {"name": "a", "criteria": [1]}, "valid dictionary"),
    (SEGMENTS, {"name": "a", "criteria": "{}"}, "valid dictionary"),
    (SEGMENTS, {"name": "a", "criteria": {"a\x00": 1}}, "NUL character"),
    (SEGMENTS, {"name": "a", "criteria": {"a": ["b", {"c": "\x00"}]}}, "NUL character"),
    (SEGMENTS, {"name": "a", "criteria": nested(21)}, "deeper than 20 levels"),
    (SEGMENTS, {"name": "a", "criteria": nested(400)}, "deeper than 20 levels"),
    (SEGMENTS, {"name": "a", "criteria": {"a": "가" * 20_001}}, "longer than 20000"),
]
RAW: list[tuple[str, bytes, str]] = [
    (TEXT, b"", "Field required"),
    (TEXT, b"{", "Expecting property name"),
    (TEXT, b"null", "Send a JSON object"),
    (TEXT, b'{"prompt": "\xff"}', "JSON cannot be read"),
    (TEXT, b'{"prompt": "\\ud800"}', "unicode string"),
    (TEXT, b'{"prompt": "p", "tone": "\\udfff"}', "unicode string"),
    (TEXT, b'{"prompt": "p", "max_tokens": NaN}', "valid integer"),
    (TEXT, b'{"prompt": "p", "max_tokens": Infinity}', "valid integer"),
    (TEXT, b'{"prompt": "p", "max_tokens": 1e999}', "valid integer"),
    (TEXT, f'{{"prompt": "p", "max_tokens": {HUGE}}}'.encode(), "JSON cannot be read"),
    (METRICS, b'{"metric_name": "clicks", "metric_value": NaN}', "finite number"),
    (METRICS, b'{"metric_name": "clicks", "metric_value": Infinity}', "finite number"),
    (METRICS, b'{"metric_name": "clicks", "metric_value": -1e999}', "finite number"),
    (METRICS, b'{"metric_name": "\\ud800", "metric_value": 1}', "unicode string"),
    (METRICS, f'{{"metric_name": "a", "metric_value": 1{"0" * 400}}}'.encode(), ""),
    (SEGMENTS, b'{"name": "\\udc00"}', "unicode string"),
    (SEGMENTS, b'{"name": "a", "criteria": {"x": NaN}}', "NaN or Infinity"),
    (SEGMENTS, b'{"name": "a", "criteria": {"x": [-Infinity]}}', "NaN or Infinity"),
    (SEGMENTS, b'{"name": "a", "criteria": {"x": 1e999}}', "NaN or Infinity"),
    (SEGMENTS, b'{"name": "a", "criteria": {"\\ud800": 1}}', "lone surrogates"),
    (SEGMENTS, b'{"name": "a", "criteria": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "cannot be"),
]
KOREAN = '{"prompt": "커피숍을 위한 슬로건", "name": "봄"}'
CP949 = "is not UTF-8, but looks like CP949 (Korean Windows)"
# What is said of each, or None where it can be read.
ENCODED: list[tuple[bytes, str | None]] = [
    (KOREAN.encode("cp949"), CP949),
    (KOREAN.encode("euc-kr"), CP949),
    ('{"prompt": "똠방각하 펲시콜라"}'.encode("cp949"), CP949),
    ('{"이름": "p"}'.encode("cp949"), CP949),
    (b'{"prompt": "\xff"}', "is not UTF-8."),
    ('{"prompt": "für große Cafés"}'.encode("latin-1"), "is not UTF-8."),
    ('{"prompt": "コーヒー"}'.encode("shift-jis"), "is not UTF-8."),
    # Cut inside a character: read as CP949, it would be Korean too.
    (KOREAN.encode()[:17], "is not UTF-8."),
    ('{"prompt": "커피'.encode()[:-1] + b'"}', "is not UTF-8."),
    (KOREAN.encode("utf-16")[:-1], "is not UTF-16"),
    (KOREAN.encode("utf-32")[:-1], "is not UTF-32"),
    (KOREAN.encode("utf-8-sig"), None),
    (KOREAN.encode("utf-16"), None),
    (KOREAN.encode("utf-16-be"), None),
    (KOREAN.encode("utf-32"), None),
]
QUERIES = [
    "/content/history?limit=0",
    "/content/history?limit=1001",
    "/content/history?limit=ten",
    "/content/history?content_type=video",
    "/content/history?content_type=%00",
    "/costs/history?limit=-1",
    "/costs/history?limit=99999999999999999999",
    "/costs/history?job_type=video",
    "/costs/history?user_id=0",
    "/costs/history?user_id=2147483648",
    "/costs/summary?user_id=0",
    "/costs/summary?user_id=2147483648",
    "/costs/summary?user_id=NaN",
    "/analytics/overview?project_id=0",
    "/analytics/overview?project_id=2147483648",
    "/analytics/overview?project_id=%ED%A0%80",
    "/analytics/overview?campaign_id=0",
    "/analytics/overview?campaign=7",
    "/analytics/overview?start_date=2026-11-01",
    "/analytics/content?content_id=1",
    "/analytics/content/1/variants?order=asc",
    "/analytics/overview?start=yesterday",
    "/analytics/overview?start=1700000000",
    "/analytics/overview?start=2026-11-02&end=2026-11-01",
    "/analytics/overview?start=2026-11-02T00:00:00&end=2026-11-02T00:00:00",
    "/analytics/content?sort=name",
    "/analytics/content?order=up",
    "/analytics/content?group_by=prompt",
    "/analytics/content?limit=0",
    "/analytics/content?limit=1001",
    "/analytics/content?segment_id=one",
    "/analytics/content?cursor=",
    "/analytics/content?cursor=%00",
    "/analytics/content?cursor=W10=",
    *(
        f"/analytics/content?cursor={base64.urlsafe_b64encode(forged).decode()}"
        for forged in (
            b"[" * 1499,
            b'[[null, "impressions", "desc"], 1.0]',
            b'[[null, "impressions", "desc"], "1", [1]]',
            b'[[null, "impressions", "desc"], NaN, [1]]',
            b'[[null, "impressions", "desc"], 1.0, ["1"]]',
            b'[[null, "impressions", "desc"], 1.0, [true]]',
            b'[[null, "impressions", "desc"], 1.0, [-1]]',
            b'[[null, "impressions", "desc"], 1.0, [1000000000000000000000000000000]]',
            b'[["tone", "impressions", "desc"], 1.0, ["a"]]',
        )
    ),
    "/analytics/content?group_by=tone&cursor="
    + base64.urlsafe_b64encode(b'[["tone", "impressions", "desc"], 1.0, ["\\u0000"]]').decode(),
    "/analytics/content/0/variants",
    "/analytics/content/1/variants?by=clicks",
    "/segments/0",
    "/segments/one",
    "/content/0",
    "/content/2147483648",
    "/content/one",
]


def refused(service: Service, stand_in: StandIn, response: Any, reason: str = "") -> None:
    assert response.status_code == 422, response.text
    details = response.json()["detail"]
    assert details
    assert all(set(each) == {"loc", "msg", "type"} and each["msg"] for each in details)
    assert reason in details[0]["msg"]
    assert stand_in.asked == []
    with service.engine.connect() as connection:
        for table in (models.Segment, models.GenJob, models.GeneratedContent, models.Metric):
            assert connection.execute(select(table.id)).all() == []


@pytest.mark.parametrize(("path", "body", "reason"), BODIES)
def test_bad_body(service: Service, stand_in: StandIn, path: str, body: Any, reason: str) -> None:
    refused(service, stand_in, service.post(path, body), reason)


@pytest.mark.parametrize(("path", "raw", "reason"), RAW)
def test_bad_json(service: Service, stand_in: StandIn, path: str, raw: bytes, reason: str) -> None:
    headers = {"Content-Type": "application/json"}
    response = service.client.post(path, content=raw, headers=headers)
    refused(service, stand_in, response, reason)


@pytest.mark.parametrize("charset", ["", "; charset=euc-kr"])
@pytest.mark.parametrize(("raw", "reason"), ENCODED)
def test_json_in_another_encoding_says_in_which(
    service: Service, stand_in: StandIn, raw: bytes, reason: str | None, charset: str
) -> None:
    headers = {"Content-Type": f"application/json{charset}"}
    for method, path in (("POST", PREVIEW), ("POST", SEGMENTS), ("PATCH", "/segments/1")):
        response = service.client.request(method, path, content=raw, headers=headers)
        if reason:
            refused(service, stand_in, response, f"JSON cannot be read: it {reason}")
            (detail,) = response.json()["detail"]
            assert "Send it as UTF-8" in detail["msg"]
            assert ("CP949" in detail["msg"]) == (reason == CP949)
        else:
            assert response.status_code == 200, response.text


@pytest.mark.parametrize("path", QUERIES)
def test_bad_query(service: Service, stand_in: StandIn, path: str) -> None:
    refused(service, stand_in, service.get(path))


def test_a_get_refuses_a_parameter_it_does_not_know_and_one_sent_twice(
    guarded: Service, stand_in: StandIn
) -> None:
    """Every one that answers JSON, on what /openapi.json says of it."""
    service = guarded
    refusing = set()
    for path, operations in service.get("/openapi.json").json()["paths"].items():
        answers = operations.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        if "application/json" not in answers:
            continue
        address = re.sub("{.*?}", "1", path)
        described = operations["get"].get("parameters", [])
        known = [each["name"] for each in described if each["in"] == "query"]
        there_are = f"There are: {', '.join(known)}" if known else "This address takes none"
        others = [each["name"] for each in described if each["in"] != "query"]
        for name in (*others, "page", "Limit", "시작", "", "\x00"):
            reason = f"There is no parameter '{name}' here. {there_are}"
            response = service.client.get(address, params={name: 1})
            refused(service, stand_in, response, reason)
            assert response.json()["detail"][0]["loc"] == ["query", name]
        for name in known:
            response = service.client.get(address, params={name: ["1", "1"]})
            refused(service, stand_in, response, f"Parameter '{name}' should be sent once")
        refusing.add(path)
    assert len(refusing) == 15


def test_everything_wrong_with_an_address_is_said_at_once(
    service: Service, stand_in: StandIn
) -> None:
    response = service.get("/costs/summary?start=2027-01-01&end=&start=2028-01-01")
    refused(service, stand_in, response)
    assert [each["loc"][1] for each in response.json()["detail"]] == ["start", "end"]


def test_images_pages_and_what_is_sent_take_any_parameter(service: Service) -> None:
    image = service.image().json()["image_url"]
    for address in (image, "/docs", "/redoc", "/openapi.json"):
        assert service.client.get(f"{address}?v=2&v=3").status_code == 200
    assert service.client.post("/segments?v=2", json={"name": "봄"}).status_code == 200
    assert service.client.delete("/segments/1?v=2").status_code == 200


@pytest.mark.parametrize("segment_id", ["0", "2147483648", "-1", "one", "%00", "1.5", "1.0", "1_0"])
def test_bad_segment_id(service: Service, stand_in: StandIn, segment_id: str) -> None:
    refused(service, stand_in, service.client.delete(f"/segments/{segment_id}"))


def test_a_body_that_is_not_sent_as_json_says_how_to_send_it(
    service: Service, stand_in: StandIn
) -> None:
    response = service.client.post(TEXT, data={"prompt": "아침"})
    refused(service, stand_in, response, "Content-Type: application/json")


def test_a_body_over_4_mb_is_413(service: Service, stand_in: StandIn) -> None:
    body = json.dumps({"prompt": "a" * 4_000_000}).encode()
    headers = {"Content-Type": "application/json"}
    chunks = (body[start : start + 65_536] for start in range(0, len(body), 65_536))
    for content in (body, chunks):
        response = service.client.post(TEXT, content=content, headers=headers)
        assert response.status_code == 413
        assert response.json() == {"detail": "The request body is larger than 4000000 bytes."}
    assert stand_in.asked == []
    assert service.rows(models.GenJob) == []


def test_the_limits_themselves_are_allowed(service: Service) -> None:
    largest = {"name": "가" * 255, "description": "나" * 10_000, "criteria": nested(20)}
    segment_id = service.post(SEGMENTS, largest).json()["id"]
    asked = {"prompt": "다" * 32_000, "tone": "라" * 100, "keywords": ["마" * 100] * 50}
    for body in (
        {**asked, "max_tokens": 16_384, "segment_id": segment_id},
        {"prompt": "p", "max_tokens": 1, "tone": "", "keywords": []},
        {"prompt": "p", "segment_id": None, "tone": None, "keywords": None},
        {"prompt": "p", "segment_id": float(segment_id), "max_tokens": 100.0},
    ):
        assert service.post(TEXT, body).status_code == 200
    assert service.post(IMAGE, {"prompt": "바" * 4_000}).status_code == 200
    assert service.get("/content/history", limit=1000).status_code == 200


# The stricter of the two about what it stores.
@pytest.mark.parametrize("new_database", ["postgresql"], indirect=True)
def test_schemathesis_finds_no_500_and_no_undocumented_answer(guarded: Service) -> None:
    checks = (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    )
    run = subprocess.run(
        [
            *(str(Path(sys.executable).parent / "schemathesis"), "run", "--no-color"),
            *("--phases", "examples,coverage,fuzzing", "--max-examples", "6", "--seed", "1"),
            *("--suppress-health-check", "all"),  # they judge by time
            *("--header", f"X-API-Key: {ADMIN_KEY}"),
            *("--checks", ",".join(checks), f"{guarded.url}/openapi.json"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert "Tested: 31" in run.stdout, run.stdout
