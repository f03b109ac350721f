"""POST /generate/text with n: several variants, one job, one bill."""

import json
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import models
from tests.conftest import Service, StandIn, running, wait_until

USAGE = {"prompt_tokens": 45, "completion_tokens": 32, "total_tokens": 77}
THINKING = "gpt-6.1-sol"  # refuses n > 1


def decimals(costs: list[Any]) -> Decimal:
    """Their sum, as a person adds up what is printed."""
    return sum((Decimal(str(cost)) for cost in costs), Decimal(0))


@pytest.fixture
def refuses_n(service: Service, stand_in: StandIn) -> Service:
    """A service that knows already of a model that it refuses n."""
    assert service.text(model=THINKING, n=2).is_success
    service.empty()
    stand_in.forget()
    return service


def test_five_variants_are_one_call_one_job_and_one_bill(
    service: Service, stand_in: StandIn
) -> None:
    response = service.text(n=5)
    assert response.status_code == 200
    answer = response.json()
    (asked,) = stand_in.asked
    assert asked["body"]["n"] == 5
    texts = [variant["text"] for variant in answer["variants"]]
    assert len(set(texts)) == 5
    assert (answer["text"], answer["id"]) == (texts[0], answer["variants"][0]["id"])
    assert answer["warning"] is None

    job = service.job()
    assert (job["status"], job["attempts"], job["n"], job["max_tokens"]) == ("completed", 1, 5, 100)
    assert job["estimated_cost"] == answer["cost"] > 0
    assert {name: job[name] for name in USAGE} == answer["usage"]
    rows = service.rows(models.GeneratedContent)
    assert [(row["id"], row["result"], row["cost"]) for row in rows] == [
        (variant["id"], variant["text"], variant["cost"]) for variant in answer["variants"]
    ]
    assert {row["job_id"] for row in rows} == {job["id"]}
    assert decimals([row["cost"] for row in rows]) == Decimal(str(answer["cost"]))
    assert service.get("/costs/summary").json()["total_cost"] == answer["cost"]
    assert service.get("/costs/history").json()["total"] == 1
    assert service.get("/content/history").json()["total"] == 5


def test_one_text_is_its_only_variant_and_n_is_not_sent(
    service: Service, stand_in: StandIn
) -> None:
    answer = service.text().json()
    (variant,) = answer["variants"]
    assert variant.items() <= answer.items(), "it is the answer's own text"
    assert "n" not in stand_in.asked[0]["body"]


@pytest.mark.parametrize("n", [1, 2, 3, 6, 7, 9, 10])
def test_the_shares_add_up_exactly(service: Service, stand_in: StandIn, n: int) -> None:
    stand_in.will("ok", usage={**USAGE, "completion_tokens": 33}, texts=["가"] * n)
    answer = service.text(n=n).json()
    assert answer["cost"] == 0.000072
    shares = [variant["cost"] for variant in answer["variants"]]
    assert decimals(shares) == Decimal("0.000072")
    assert max(shares) - min(shares) < 1e-9
    total = service.get("/analytics/content", group_by="tone").json()
    assert total == {"groups": [], "next_cursor": None}, "nothing of it was measured"


def test_what_was_asked_for_is_kept_with_the_content(service: Service) -> None:
    segment_id = service.post("/segments", {"name": "모두"}).json()["id"]
    service.text(segment_id=segment_id, tone=" 친근한 ", n=2)
    service.text(tone="", keywords=[])
    kept = [
        (row["segment_id"], row["tone"], row["keywords"])
        for row in service.rows(models.GeneratedContent)
    ]
    assert kept == [(segment_id, "친근한", '["커피", "아침", "신선함"]')] * 2 + [(None, None, None)]
    assert service.client.delete(f"/segments/{segment_id}").is_success
    item = service.get("/content/1").json()
    assert item["request"]["segment_id"] == segment_id


def test_a_model_that_refuses_n_is_asked_for_one_text_at_a_time(
    tmp_path: Path, stand_in: StandIn
) -> None:
    with running(f"sqlite:///{tmp_path}/a.db", OPENAI_BASE_URL=stand_in.url) as service:
        stand_in.will("ok", times=6, usage=USAGE)
        first = service.text(model=THINKING, n=5).json()
        assert len(first["variants"]) == 5
        assert [asked["body"].get("n") for asked in stand_in.asked] == [5, *[None] * 5]
        job = service.job()
        assert job["attempts"] == 6
        assert first["usage"] == {name: 5 * count for name, count in USAGE.items()}
        # 45 x 2 + 32 x 10, per million, five times; the refusal costs nothing.
        assert first["cost"] == job["estimated_cost"] == 0.00205
        assert [variant["cost"] for variant in first["variants"]] == [0.00041] * 5

        stand_in.forget()
        assert len(service.text(model=THINKING, n=3).json()["variants"]) == 3
        assert len(stand_in.asked) == 3, "it is not asked for several again"
        stand_in.forget()
        assert len(service.text(n=3).json()["variants"]) == 3
        assert len(stand_in.asked) == 1, "of other models this says nothing"


def test_a_server_that_knows_no_n_is_asked_for_the_rest(tmp_path: Path, stand_in: StandIn) -> None:
    with running(f"sqlite:///{tmp_path}/a.db", OPENAI_BASE_URL=stand_in.url) as service:
        stand_in.will("n_ignored", times=8)
        assert len(service.text(n=4).json()["variants"]) == 4
        assert service.job()["attempts"] == 4
        assert len(service.text(n=4).json()["variants"]) == 4
        assert [asked["body"].get("n") for asked in stand_in.asked] == [4, *[None] * 7]


@pytest.mark.parametrize("status", [400, 422])
def test_a_refusal_of_n_in_any_words_is_understood(
    tmp_path: Path, stand_in: StandIn, status: int
) -> None:
    said = '{"error": {"message": "Multiple candidates is not enabled for this model"}}'
    with running(f"sqlite:///{tmp_path}/a.db", OPENAI_BASE_URL=stand_in.url) as service:
        stand_in.will("verbatim", status=status, body=said)
        assert len(service.text(n=2).json()["variants"]) == 2
        assert len(stand_in.asked) == 3
        stand_in.forget()
        assert len(service.text(n=2).json()["variants"]) == 2
        assert len(stand_in.asked) == 1, "it may have been a stray one: the prompt is paid once"


@pytest.mark.parametrize(
    "error",
    [
        {"message": "This prompt is too long", "code": "context_length_exceeded"},
        {"message": "Billing hard limit has been reached", "code": "billing_hard_limit_reached"},
        {"message": "Budget has been exceeded!", "type": "budget_exceeded", "code": "400"},
        {"message": "Unsupported value: 'none'", "param": "reasoning_effort", "code": None},
        {"message": "Invalid value", "param": "messages[1].content", "code": "invalid_value"},
        {"message": "5000 tokens for n = 2 completions", "code": "context_length_exceeded"},
        {"message": "The prompt triggered our content management policy", "code": None},
        {"message": "no such thing", "type": "invalid_request_error"},
    ],
)
def test_what_is_wrong_with_the_request_itself_is_asked_once_and_not_remembered(
    service: Service, stand_in: StandIn, error: dict[str, Any]
) -> None:
    stand_in.will("verbatim", status=400, body=json.dumps({"error": error}))
    response = service.text(n=2)
    assert response.status_code == 500
    assert error["message"] in response.json()["detail"]
    job = service.job()
    assert (job["status"], job["estimated_cost"], job["attempts"]) == ("failed", 0, 1)
    stand_in.forget()
    assert service.text(n=2).is_success
    assert len(stand_in.asked) == 1


@pytest.mark.parametrize("kept", [1, 2])
def test_what_a_broken_answer_lacks_is_not_bought_again(
    service: Service, stand_in: StandIn, kept: int
) -> None:
    choices = [
        {"index": index, "message": {"content": text}} for index, text in enumerate("가나다")
    ]
    body = json.dumps({"choices": choices}, ensure_ascii=False)
    stand_in.will("dropped", body=body[: body.index("가나다"[kept]) - 1])
    answer = service.text(n=3).json()
    assert [variant["text"] for variant in answer["variants"]] == list("가나다"[:kept])
    assert {variant["finish_reason"] for variant in answer["variants"]} == {"incomplete"}
    assert (
        f"{3 - kept} of the 3 variants came to nothing: OpenAI's answer broke off"
        in (answer["warning"])
    )
    assert (answer["cost"], len(stand_in.asked)) == (None, 1)
    assert len(service.text(n=3).json()["variants"]) == 3
    assert len(stand_in.asked) == 2, "nor is anything learnt of n from it"


def test_a_blocked_prompt_is_not_sent_again(service: Service, stand_in: StandIn) -> None:
    stand_in.will("blocked")
    assert service.text(n=5).status_code == 500
    assert len(stand_in.asked) == service.job()["attempts"] == 1


@pytest.mark.parametrize(
    ("behavior", "reason", "cost"),
    [
        ("blocked", "rejected by our safety system", 0.00082),
        ("refused", "the model refused: I can't help with that.", 0.00123),
        ("dropped", "the call may have been billed", None),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_call_that_fails_does_not_lose_the_others(
    refuses_n: Service,
    stand_in: StandIn,
    place: int,
    behavior: str,
    reason: str,
    cost: float | None,
) -> None:
    service = refuses_n
    told = [{"behavior": "ok", "usage": USAGE}] * 2
    told.insert(place, {"behavior": behavior, "usage": USAGE})
    stand_in.client.post("/stand-in/next", json=told).raise_for_status()
    response = service.text(key="once", model=THINKING, n=3)
    assert response.status_code == 200
    answer = response.json()
    assert len(answer["variants"]) == 2
    assert answer["warning"].startswith("1 of the 3 variants came to nothing: ")
    assert reason in answer["warning"]
    assert answer["cost"] == cost
    job = service.job()
    assert (job["status"], job["attempts"]) == ("completed", 3)
    assert job["estimated_cost"] == cost
    assert job["error_message"] == answer["warning"]
    shares = [row["cost"] for row in service.rows(models.GeneratedContent)]
    assert len(shares) == 2
    if cost is None:
        assert shares == [None, None]
    else:
        assert decimals(shares) == Decimal(str(cost))
    replay = service.text(key="once", model=THINKING, n=3)
    assert replay.headers["Idempotent-Replayed"] == "true"
    assert replay.text == response.text


def test_an_answer_that_breaks_its_reader_does_not_lose_the_others(
    refuses_n: Service, stand_in: StandIn
) -> None:
    stand_in.will("verbatim", body="[" * 100_000)
    answer = refuses_n.text(model=THINKING, n=3).json()
    assert len(answer["variants"]) == 2
    assert "could not be read; the call may have been billed" in answer["warning"]
    assert answer["usage"]["total_tokens"] > 0, "what is known stays known"
    assert answer["cost"] is None


def test_a_variant_without_text_is_told_of(service: Service, stand_in: StandIn) -> None:
    stand_in.will("empty", usage=USAGE, texts=["", "아침", "저녁"])
    answer = service.text(n=3).json()
    assert [variant["text"] for variant in answer["variants"]] == ["아침", "저녁"]
    assert answer["warning"] == (
        "1 of the 3 variants came to nothing: OpenAI answered without any text."
    )
    assert decimals([each["cost"] for each in answer["variants"]]) == Decimal("0.0000705")
    assert len(stand_in.asked) == 1


def test_when_all_fail_the_job_says_what_is_known(service: Service, stand_in: StandIn) -> None:
    stand_in.will("empty", usage=USAGE, texts=["", " "])
    assert service.text(n=2).status_code == 500
    job = service.job()
    assert (job["status"], job["estimated_cost"]) == ("failed", 0.0000705)
    assert service.rows(models.GeneratedContent) == []


def test_when_all_fail_and_one_is_unanswered_the_job_is_unknown(
    tmp_path: Path, stand_in: StandIn
) -> None:
    stand_in.will("ok")
    stand_in.will("blocked")
    stand_in.will("dropped")
    with running(f"sqlite:///{tmp_path}/a.db", OPENAI_BASE_URL=stand_in.url) as service:
        response = service.text(model=THINKING, n=2)
        assert response.status_code == 500
        assert "may have been billed" in response.json()["detail"]
        job = service.job()
        assert (job["status"], job["estimated_cost"], job["attempts"]) == ("unknown", None, 3)


def test_more_texts_than_asked_for_are_not_shown(service: Service, stand_in: StandIn) -> None:
    stand_in.will("ok", texts=["하나", "둘", "셋"])
    answer = service.text(n=2).json()
    assert [variant["text"] for variant in answer["variants"]] == ["하나", "둘"]
    assert answer["warning"] is None


def test_one_deadline_spans_all_calls_and_what_came_is_kept(
    tmp_path: Path, stand_in: StandIn
) -> None:
    stand_in.will("slow", seconds=0.6)  # refuses n only then
    stand_in.will("ok")
    stand_in.will("slow", seconds=3)
    with running(
        f"sqlite:///{tmp_path}/a.db", OPENAI_BASE_URL=stand_in.url, TEXT_TIMEOUT_SECONDS=1.2
    ) as service:
        answer = service.text(model=THINKING, n=2).json()
        assert len(answer["variants"]) == 1
        assert "did not answer within 1.2 seconds" in answer["warning"]
        assert answer["cost"] is service.job()["estimated_cost"] is None


def test_a_stopping_service_keeps_the_variants_that_came(tmp_path: Path, stand_in: StandIn) -> None:
    stand_in.will("ok")
    stand_in.will("ok")
    stand_in.will("slow", seconds=20)
    with (
        running(
            f"sqlite:///{tmp_path}/a.db", OPENAI_BASE_URL=stand_in.url, DRAIN_SECONDS=0.5
        ) as service,
        ThreadPoolExecutor() as clients,
    ):
        response = clients.submit(service.text, model=THINKING, n=2)
        wait_until(lambda: len(stand_in.asked) == 3, "OpenAI to be asked three times")
        service.process.terminate()
        assert response.result().status_code == 200
        answer = response.result().json()
        assert len(answer["variants"]) == 1
        assert "stopped before OpenAI answered" in answer["warning"]
        assert service.process.wait(timeout=10) == 0
        assert service.job()["status"] == "completed"


def test_the_calls_of_one_job_do_not_wait_for_each_other(tmp_path: Path, stand_in: StandIn) -> None:
    stand_in.will("ok")
    stand_in.will("slow", seconds=1, times=4)
    with running(
        f"sqlite:///{tmp_path}/a.db",
        OPENAI_BASE_URL=stand_in.url,
        MAX_IN_FLIGHT=1,
        TEXT_TIMEOUT_SECONDS=3,
    ) as service:
        assert len(service.text(model=THINKING, n=4).json()["variants"]) == 4
