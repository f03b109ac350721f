"""POST /generate/text: the answer, the rows, and what OpenAI was asked."""

import json
import re
import socket
from decimal import Decimal
from pathlib import Path

import pytest

import models
from tests.conftest import COFFEE, KEY, NewDatabase, Service, StandIn, running


def test_copy_is_generated_priced_and_kept(service: Service, stand_in: StandIn) -> None:
    response = service.post("/generate/text", COFFEE)

    assert response.status_code == 200
    answer = response.json()
    used = answer["usage"]
    cost = (Decimal("0.0005") * used["prompt_tokens"]) + Decimal("0.0015") * used[
        "completion_tokens"
    ]
    assert answer == {
        "success": True,
        "id": answer["id"],
        "job_id": answer["job_id"],
        "text": f"[stand-in, not OpenAI] {COFFEE['prompt']}",
        "finish_reason": "stop",
        "cut": False,
        "variants": [
            {
                "id": answer["id"],
                "text": answer["text"],
                "cost": answer["cost"],
                "finish_reason": "stop",
                "cut": False,
            }
        ],
        "usage": used,
        "cost": float(cost / 1000),
        "model": "gpt-3.5-turbo",
        "warning": None,
    }
    assert used["total_tokens"] == used["prompt_tokens"] + used["completion_tokens"] > 0
    assert "커피숍" in response.text, "Korean stays readable in the JSON itself"

    job = service.job()
    assert job["id"] == answer["job_id"]
    assert job["status"] == "completed"
    assert job["attempts"] == 1
    assert str(job["openai_request_id"]).startswith("req_")
    assert (job["job_type"], job["model"]) == ("text", "gpt-3.5-turbo")
    assert job["estimated_cost"] == answer["cost"]
    assert {name: job[name] for name in used} == used
    assert job["prompt"] == COFFEE["prompt"]
    assert job["created_at"] <= job["completed_at"]
    (content,) = service.rows(models.GeneratedContent)
    assert (content["id"], content["job_id"]) == (answer["id"], answer["job_id"])
    assert content["result"] == answer["text"]
    assert (content["content_type"], content["prompt"]) == ("text", COFFEE["prompt"])


def test_the_example_of_the_contract_costs_what_the_price_table_says(
    service: Service, stand_in: StandIn
) -> None:
    stand_in.will("ok", usage={"prompt_tokens": 45, "completion_tokens": 32, "total_tokens": 77})
    response = service.post("/generate/text", COFFEE)
    assert response.json()["cost"] == 0.0000705
    assert '"cost":0.0000705' in response.text


def test_cached_tokens_are_billed_at_their_own_rate(service: Service, stand_in: StandIn) -> None:
    usage = {"prompt_tokens": 2000, "completion_tokens": 100, "total_tokens": 2100}
    details = {"prompt_tokens_details": {"cached_tokens": 500}}
    stand_in.will("ok", usage=usage | details)
    response = service.text(model="gpt-4o-mini")
    assert '"cost":0.0003225' in response.text
    assert response.json()["usage"] == usage
    job = service.job()
    assert (job["model"], job["cached_tokens"]) == ("gpt-4o-mini", 500)
    assert job["estimated_cost"] == 0.0003225
    assert service.get("/costs/history").json()["history"][0]["cached_tokens"] == 500


@pytest.mark.parametrize(
    # More than the prompt can only be counted apart: 22,000 x 0.15 + 100 x 0.60, per million.
    ("cached", "cost"),
    [(20_000, 0.00336), (-1, 0.00036), ("many", 0.00036), (None, 0.00036)],
)
def test_cached_tokens_that_cannot_be_are_no_discount(
    service: Service, stand_in: StandIn, cached: object, cost: float
) -> None:
    usage = {"prompt_tokens": 2000, "completion_tokens": 100, "total_tokens": 2100}
    stand_in.will("ok", usage=usage | {"prompt_tokens_details": {"cached_tokens": cached}})
    assert service.text(model="gpt-4o-mini").json()["cost"] == cost


@pytest.mark.parametrize("kind", ["text", "image"])
def test_a_model_is_asked_by_name_and_recorded(
    service: Service, stand_in: StandIn, kind: str
) -> None:
    model = {"text": "gpt-4", "image": "dall-e-3"}[kind]
    answer = service.post(f"/generate/{kind}", {"prompt": "아침", "model": model}).json()
    (asked,) = stand_in.asked
    assert asked["body"]["model"] == answer["model"] == service.job()["model"] == model
    (content,) = service.rows(models.GeneratedContent)
    assert content["model"] == model
    assert list(service.get("/costs/summary").json()["cost_by_model"]) == [model]


@pytest.mark.parametrize(
    ("kind", "known"), [("text", "gpt-3.5-turbo, gpt-4, gpt-4o"), ("image", "dall-e-3, gpt-image")]
)
@pytest.mark.parametrize("model", ["gpt-unheard-of", "tts-1", "", "GPT-4"])
def test_a_model_without_a_price_is_422_with_those_that_have_one(
    service: Service, stand_in: StandIn, kind: str, known: str, model: str
) -> None:
    response = service.post(f"/generate/{kind}", {"prompt": "아침", "model": model})
    assert response.status_code == 422
    (detail,) = response.json()["detail"]
    assert detail["loc"] == ["body", "model"]
    assert f"No price is known for this model. Known: {known}" in detail["msg"]
    assert stand_in.asked == service.rows(models.GenJob) == []


def test_a_model_beyond_the_table_is_priced_by_genai_prices(
    service: Service, stand_in: StandIn
) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
    details = {"prompt_tokens_details": {"cached_tokens": 400}}
    stand_in.will("ok", usage=usage | details)
    answer = service.text(model="gpt-5.2").json()
    # 600 x 1.75 + 400 x 0.175 + 100 x 14, per million
    assert (answer["model"], answer["cost"]) == ("gpt-5.2", 0.00252)


def test_tokens_written_to_the_cache_have_their_own_price(
    service: Service, stand_in: StandIn
) -> None:
    usage = {"prompt_tokens": 1500, "completion_tokens": 10, "total_tokens": 1510}
    details = {"prompt_tokens_details": {"cached_tokens": 200, "cache_write_tokens": 1200}}
    stand_in.will("ok", usage=usage | details)
    # 100 x 0.1 + 200 x 0.01 + 1200 x 0.125 + 10 x 0.5, per million
    assert service.text(model="gpt-6-luna").json()["cost"] == 0.000167
    assert service.job()["cache_write_tokens"] == 1200
    # More than the prompt: counted apart. 10,500 x 0.125 + 10 x 0.5, per million
    stand_in.will("ok", usage=usage | {"prompt_tokens_details": {"cache_write_tokens": 9000}})
    assert service.text(model="gpt-6-luna").json()["cost"] == 0.0013175


@pytest.mark.parametrize(
    ("model", "tier", "cost"),
    [
        ("gpt-4o", "default", 0.0125),
        ("gpt-4o", "priority", 0.02125),
        ("gpt-5-mini", "flex", 0.001125),
        ("gpt-4o", "flex", None),
        ("gpt-4o", None, 0.0125),
        ("gpt-4o", 5, 0.0125),
    ],
)
def test_an_answer_is_booked_at_the_tier_it_was_given_at(
    service: Service, stand_in: StandIn, model: str, tier: object, cost: float | None
) -> None:
    usage = {"prompt_tokens": 1_000, "completion_tokens": 1_000, "total_tokens": 2_000}
    stand_in.will("ok", usage=usage, service_tier=tier)
    answer = service.text(model=model).json()
    assert (answer["cost"], answer["usage"]) == (cost, usage)
    assert service.job()["estimated_cost"] == cost


@pytest.mark.parametrize("kind", ["text", "image"])
def test_the_user_is_recorded_and_openai_sees_a_hash(
    service: Service, stand_in: StandIn, kind: str
) -> None:
    for user_id in (7, 7, 2_147_483_647, None):
        body = {"prompt": "아침", "user_id": user_id}
        assert service.post(f"/generate/{kind}", body).is_success
    assert [job["user_id"] for job in service.rows(models.GenJob)] == [7, 7, 2_147_483_647, None]
    seen = [asked["body"].get("safety_identifier") for asked in stand_in.asked]
    assert seen[0] == seen[1] != seen[2]
    assert all(re.fullmatch("[0-9a-f]{64}", each) for each in seen[:3])
    assert seen[3] is None
    assert "safety_identifier" not in stand_in.asked[3]["body"]
    summary = service.get("/costs/summary", user_id=7).json()
    assert summary["total_jobs"] == 2
    assert service.get("/costs/history", user_id=7).json()["total"] == 2


@pytest.mark.parametrize("user_id", [0, -1, 2_147_483_648, "7", 1.5, True])
def test_a_user_that_cannot_be_is_422(service: Service, stand_in: StandIn, user_id: object) -> None:
    assert service.text(user_id=user_id).status_code == 422
    assert stand_in.asked == []


def test_tone_keywords_and_segment_reach_the_model(service: Service, stand_in: StandIn) -> None:
    segment = {
        "name": "밀레니얼 부모",
        "description": "어린 자녀를 둔 30대",
        "criteria": {"age_range": "30-40", "has_children": True},
    }
    segment_id = service.post("/segments", segment).json()["id"]

    assert service.post("/generate/text", {**COFFEE, "segment_id": segment_id}).is_success

    (asked,) = stand_in.asked
    assert asked["path"] == "/v1/chat/completions"
    assert asked["headers"]["authorization"] == f"Bearer {KEY}"
    body = asked["body"]
    assert body["model"] == "gpt-3.5-turbo"
    assert body["max_completion_tokens"] == 100
    assert "max_tokens" not in body
    system, user = body["messages"]
    assert user == {"role": "user", "content": COFFEE["prompt"]}
    assert system["role"] == "system"
    for part in (
        "language of the user's message",
        "Tone of voice: 친근한",
        "커피, 아침, 신선함",
        "밀레니얼 부모",
        "어린 자녀를 둔 30대",
        '{"age_range": "30-40", "has_children": true}',
    ):
        assert part in system["content"]


def test_a_prompt_alone_is_enough(service: Service, stand_in: StandIn) -> None:
    assert service.post("/generate/text", {"prompt": "Write a slogan"}).is_success
    (asked,) = stand_in.asked
    assert asked["body"]["max_completion_tokens"] == 150
    assert "Tone" not in asked["body"]["messages"][0]["content"]


def test_unknown_segment_is_404_before_anything_is_spent(
    service: Service, stand_in: StandIn
) -> None:
    response = service.post("/generate/text", {**COFFEE, "segment_id": 4711})
    assert response.status_code == 404
    assert response.json() == {"detail": "Segment not found"}
    assert stand_in.asked == []
    assert service.rows(models.GenJob) == []


@pytest.mark.parametrize(
    ("behavior", "reason", "cost"),
    [
        ("unauthorized", "OpenAI rejected the API key (401). Check OPENAI_API_KEY.", 0),
        ("out_of_money", "OpenAI answered 429: You exceeded your current quota", 0),
        ("blocked", "OpenAI answered 400: Your request was rejected by our safety system", 0),
        ("wrong_shape", "OpenAI answered without any text.", None),
        ("no_choices", "OpenAI answered without any text.", "usage"),
        ("empty", "OpenAI answered without any text.", "usage"),
        ("refused", "the model refused: I can't help with that.", "usage"),
        ("cut", "max_tokens was used up before any text came.", "usage"),
    ],
)
def test_a_failed_call_is_500_and_a_failed_row_without_content(
    service: Service, stand_in: StandIn, behavior: str, reason: str, cost: object
) -> None:
    stand_in.will(behavior)

    response = service.post("/generate/text", COFFEE)

    assert response.status_code == 500
    detail = response.json()["detail"]
    assert detail.startswith("Failed to generate text: ")
    assert reason in detail
    job = service.job()
    assert job["status"] == "failed"
    assert job["error_message"] == detail.removeprefix("Failed to generate text: ")
    assert job["completed_at"] is not None
    if cost == "usage":  # billed all the same
        assert isinstance(job["estimated_cost"], float)
        assert job["estimated_cost"] > 0
        assert job["total_tokens"]
    else:  # 0 is certain, NULL is unknown
        assert job["estimated_cost"] == cost
    assert service.rows(models.GeneratedContent) == []
    assert len(stand_in.asked) == job["attempts"] == 1, "what cannot help is not tried again"


@pytest.mark.parametrize(
    ("behavior", "reason"),
    [
        ("dropped", "broke off before the answer was complete; the call may have been billed."),
        ("broken_json", "OpenAI's answer could not be read; the call may have been billed."),
        ("not_json", "OpenAI's answer could not be read; the call may have been billed."),
    ],
)
@pytest.mark.parametrize("kind", ["text", "image"])
def test_a_call_without_an_answer_is_unknown_and_never_made_again(
    service: Service, stand_in: StandIn, kind: str, behavior: str, reason: str
) -> None:
    stand_in.will(behavior)
    response = service.post(f"/generate/{kind}", {"prompt": "아침"})
    assert response.status_code == 500
    assert reason in response.json()["detail"]
    job = service.job()
    assert (job["status"], job["estimated_cost"], job["attempts"]) == ("unknown", None, 1)
    assert reason in str(job["error_message"])
    assert job["completed_at"] is not None
    assert job["openai_request_id"] == ("req_broken" if behavior == "broken_json" else None)
    assert service.rows(models.GeneratedContent) == []
    assert len(stand_in.asked) == 1


TEXT = '"message": {"content": "좋은 아침"}'
USAGE = '"usage": {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}'
COST = 0.000035


@pytest.mark.parametrize(
    ("body", "text", "cost"),
    [
        (f'{{"choices": [{{{TEXT}}}], {USAGE}}}', "좋은 아침", COST),
        (f'\ufeff{{"choices": [{{{TEXT}}}], {USAGE}}}', "좋은 아침", COST),
        (f'{{"choices": [{{{TEXT}, "finish_reason": 0}}, 5], {USAGE}}}', "좋은 아침", COST),
        (f'{{"choices": [{{{TEXT}}}], "usage": []}}', "좋은 아침", None),
        (f'{{"choices": [{{{TEXT}}}], "usage": {{"prompt_tokens": 10}}}}', "좋은 아침", None),
        (f'{{"choices": [{{{TEXT}}}], {USAGE.replace("10", "10.0")}}}', "좋은 아침", COST),
        (f'{{"choices": [{{{TEXT}}}], {USAGE.replace("10", "10.5")}}}', "좋은 아침", None),
        (f'{{"choices": [{{{TEXT}}}], {USAGE.replace("10", "-1")}}}', "좋은 아침", None),
        (f'{{"choices": [{{{TEXT}}}], {USAGE.replace("10", "NaN")}}}', "좋은 아침", None),
        (f'{{"choices": [{{{TEXT}}}], {USAGE.replace("10", "2147483648")}}}', "좋은 아침", None),
        (f'{{"choices": [{{{TEXT}}}], {USAGE.replace("30", "null")}}}', "좋은 아침", COST),
        (
            '{"choices": [{"message": {"content": [{"type": "text", "text": "좋은 "},'
            f' {{"type": "text", "text": "아침"}}], "refusal": false}}}}], {USAGE}}}',
            "좋은 아침",
            COST,
        ),
        (f'{{"choices": [{{"message": {{"content": "a\\ud800b"}}}}], {USAGE}}}', "a?b", COST),
        (f'{{"choices": [{{"message": {{"content": "a\\u0000b"}}}}], {USAGE}}}', "ab", COST),
    ],
)
def test_copy_in_an_odd_answer_is_kept(
    service: Service, stand_in: StandIn, body: str, text: str, cost: float | None
) -> None:
    stand_in.will("verbatim", body=body)
    response = service.post("/generate/text", COFFEE)
    assert response.status_code == 200, response.text
    assert (response.json()["text"], response.json()["cost"]) == (text, cost)
    assert service.job()["estimated_cost"] == cost
    (content,) = service.rows(models.GeneratedContent)
    assert content["result"] == text


@pytest.mark.parametrize(
    ("status", "body", "reason", "cost"),
    [
        (200, f'{{"choices": null, {USAGE}}}', "OpenAI answered without any text.", COST),
        (200, f'{{"choices": [null], {USAGE}}}', "OpenAI answered without any text.", COST),
        (200, f'{{"choices": [{{"message": null}}], {USAGE}}}', "without any text", COST),
        (200, '{"error": {"message": "Provider overloaded"}}', "Provider overloaded", None),
        (400, '{"error": {"message": "bad \\ud83d"}}', "OpenAI answered 400: bad ?", 0),
        (400, '{"error": "model not loaded"}', "OpenAI answered 400: model not loaded", 0),
        (400, '[{"error": {"message": "bad"}}]', "OpenAI answered 400: bad", 0),
        (404, '{"detail": "Not Found"}', "OpenAI answered 404: Not Found", 0),
        (400, "[" * 100_000, "OpenAI answered 400: no reason given", 0),
        (404, "", "OpenAI answered 404: no reason given", 0),
        # A gateway that gave up cannot know whether the call was billed.
        (504, "<html>Gateway Time-out</html>", "OpenAI answered 504", "unknown"),
        (408, '{"error": "Timed out"}', "OpenAI answered 408: Timed out", "unknown"),
    ],
)
def test_every_way_to_say_no_is_understood(
    service: Service, stand_in: StandIn, status: int, body: str, reason: str, cost: object
) -> None:
    stand_in.will("verbatim", status=status, body=body)
    response = service.post("/generate/text", COFFEE)
    assert response.status_code == 500
    assert reason in response.json()["detail"]
    job = service.job()
    expected = ("unknown", None) if cost == "unknown" else ("failed", cost)
    assert (job["status"], job["estimated_cost"]) == expected
    assert len(stand_in.asked) == 1


@pytest.mark.parametrize(
    ("status", "code", "message", "detail"),
    [
        (
            401,
            "invalid_api_key",
            f"Incorrect API key provided: {KEY}.",
            "OpenAI rejected the API key (401). Check OPENAI_API_KEY. It says: "
            "Incorrect API key provided: [hidden].",
        ),
        (401, None, "", "OpenAI rejected the API key (401). Check OPENAI_API_KEY."),
        (
            401,
            "incorrect_hostname",
            "Use eu.api.openai.com with this key.",
            "OpenAI denied access (401): Use eu.api.openai.com with this key. "
            "Set OPENAI_BASE_URL to the host of this key's region.",
        ),
        (
            401,
            "mismatched_organization",
            "OpenAI-Organization header should match organization for API key",
            "OpenAI denied access (401): OpenAI-Organization header should match organization for "
            "API key. OPENAI_ORG_ID must name the organization of OPENAI_API_KEY.",
        ),
        (
            403,
            None,
            "Your organization must be verified to use the model `gpt-image-2`.",
            "OpenAI denied access (403): Your organization must be verified to use the model "
            "`gpt-image-2`. Verify it in your OpenAI account, or name another model.",
        ),
        (
            403,
            "unsupported_country_region_territory",
            "Country, region, or territory not supported",
            "OpenAI denied access (403): Country, region, or territory not supported. "
            "Run this service where OpenAI is available.",
        ),
        (
            403,
            "other",
            "Not for you",
            "OpenAI denied access (403). Check what the key in OPENAI_API_KEY may use. "
            "It says: Not for you.",
        ),
        (
            403,
            None,
            "",
            "OpenAI denied access (403). Check what the key in OPENAI_API_KEY may use.",
        ),
    ],
)
def test_a_denial_gives_the_providers_reason_and_what_to_do(
    service: Service,
    stand_in: StandIn,
    status: int,
    code: str | None,
    message: str,
    detail: str,
) -> None:
    body = json.dumps({"error": {"message": message, "type": "invalid", "code": code}})
    stand_in.will("verbatim", status=status, body=body)
    assert service.text().json()["detail"] == f"Failed to generate text: {detail}"
    assert service.job()["error_message"] == detail
    assert KEY not in service.log.read_text()


def test_a_reason_without_end_is_cut(service: Service, stand_in: StandIn) -> None:
    stand_in.will("verbatim", status=400, body='{"error": "' + "가" * 300_000 + '"}')
    assert len(service.post("/generate/text", COFFEE).json()["detail"]) < 600


TAIL = KEY[-4:]


@pytest.mark.parametrize(
    "told",
    [
        {"behavior": "unauthorized"},
        {"behavior": "echoed_key"},
        {"behavior": "verbatim", "status": 402, "body": f'{{"error": "key ending in ({TAIL})."}}'},
        {"behavior": "verbatim", "status": 402, "body": f'{{"error": "key …{KEY[-9:]}"}}'},
        {
            "behavior": "verbatim",
            "body": f'{{"choices": [{{"message": {{"refusal": "bad key {KEY}"}}}}]}}',
        },
        {"behavior": "verbatim", "body": f'{{"error": {{"message": "bad key {KEY}"}}}}'},
    ],
)
def test_no_piece_of_the_key_shows(
    service: Service, stand_in: StandIn, told: dict[str, object]
) -> None:
    stand_in.client.post("/stand-in/next", json=told).raise_for_status()
    detail = service.post("/generate/text", COFFEE).json()["detail"]
    job = service.job()
    for shown in (detail, str(job["error_message"]), service.log.read_text()):
        assert not any(KEY[start : start + 6] in shown for start in range(len(KEY) - 5))
        assert TAIL not in shown


def test_words_that_only_look_like_a_key_stay(service: Service, stand_in: StandIn) -> None:
    said = "This risk-free, task-based test model is EMPTY."
    stand_in.will("verbatim", status=400, body=f'{{"error": "{said}"}}')
    assert said in service.post("/generate/text", COFFEE).json()["detail"]


@pytest.mark.parametrize("counts", [(0, 0, 0), (10, 0, 10), (0, 20, 20)])
def test_a_text_of_no_tokens_has_no_known_cost(
    service: Service, stand_in: StandIn, counts: tuple[int, int, int]
) -> None:
    names = ("prompt_tokens", "completion_tokens", "total_tokens")
    stand_in.will("ok", usage=dict(zip(names, counts, strict=True)))
    assert service.text().json()["cost"] is None


def test_text_without_usage_is_kept_and_its_cost_is_unknown(
    service: Service, stand_in: StandIn
) -> None:
    stand_in.will("no_usage")
    answer = service.post("/generate/text", COFFEE).json()
    assert answer["text"]
    assert answer["usage"] is None
    assert answer["cost"] is None
    job = service.job()
    assert job["status"] == "completed"
    assert job["estimated_cost"] is None
    assert job["total_tokens"] is None


def test_without_a_key_generation_is_503_and_the_rest_works(
    new_database: NewDatabase, stand_in: StandIn
) -> None:
    with running(new_database(), OPENAI_API_KEY="", OPENAI_BASE_URL=stand_in.url) as service:
        for path in ("/generate/text", "/generate/image"):
            response = service.post(path, {"prompt": "아침"})
            assert response.status_code == 503
            assert response.json() == {
                "detail": "OpenAI API key not configured. Please set OPENAI_API_KEY."
            }
        assert service.post("/segments", {"name": "모두"}).is_success
        assert service.get("/").json()["openai_configured"] is False
        assert service.rows(models.GenJob) == []
        assert "WARNING: OPENAI_API_KEY not set" in service.log.read_text().splitlines()
    assert stand_in.asked == []


def test_a_call_past_its_deadline_is_unknown(tmp_path: Path, stand_in: StandIn) -> None:
    stand_in.will("slow", seconds=3, times=2)
    with running(
        f"sqlite:///{tmp_path}/a.db",
        OPENAI_BASE_URL=stand_in.url,
        TEXT_TIMEOUT_SECONDS=0.7,
        IMAGE_TIMEOUT_SECONDS=0.7,
    ) as service:
        for kind in ("text", "image"):
            response = service.post(f"/generate/{kind}", {"prompt": "아침"})
            assert response.status_code == 500
            assert "did not answer within 0.7 seconds" in response.json()["detail"]
        jobs = service.rows(models.GenJob)
        assert [(job["status"], job["estimated_cost"]) for job in jobs] == [("unknown", None)] * 2
        assert len(stand_in.asked) == 2, "never again after a timeout"


def test_a_server_that_accepts_no_connection_costs_nothing(tmp_path: Path) -> None:
    with socket.socket() as full:  # a backlog nobody empties: connecting takes for ever
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(address)
        with running(
            f"sqlite:///{tmp_path}/a.db", OPENAI_BASE_URL=f"http://127.0.0.1:{address[1]}/v1"
        ) as service:
            response = service.post("/generate/text", COFFEE)
            assert "127.0.0.1 cannot be reached" in response.json()["detail"]
            assert service.job()["estimated_cost"] == 0
        for each in waiting:
            each.close()
