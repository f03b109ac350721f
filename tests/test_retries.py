"""Trying again where nothing can have been billed, and only there."""

import email.utils
import time
from pathlib import Path
from typing import Any

import pytest

import models
from tests.conftest import COFFEE, Service, StandIn, running


def refuse(stand_in: StandIn, status: int, times: int) -> None:
    if status == 429:
        stand_in.will("rate_limited", retry_after=0, times=times)
    else:
        stand_in.will("server_error", status=status, retry_after=0, times=times)


@pytest.mark.parametrize("status", [409, 429, 500, 502, 503])
@pytest.mark.parametrize("kind", ["text", "image"])
def test_a_refusal_that_cost_nothing_is_tried_again(
    service: Service, stand_in: StandIn, kind: str, status: int
) -> None:
    refuse(stand_in, status, times=2)
    response = service.post(f"/generate/{kind}", {"prompt": "아침"})
    assert response.status_code == 200
    assert len(stand_in.asked) == 3
    job = service.job()
    assert (job["status"], job["attempts"]) == ("completed", 3)
    assert job["estimated_cost"] == response.json()["cost"], "billed once"
    assert len(service.rows(models.GeneratedContent)) == 1


PAGE = "<html><title>502 Bad Gateway</title></html>"


@pytest.mark.parametrize("kind", ["text", "image"])
@pytest.mark.parametrize(
    ("status", "body"),
    [
        *((status, PAGE) for status in (500, 502, 503, 520, 524, 527, 530, 599)),
        (502, ""),
        (500, '{"message": "Internal server error"}'),
        (502, '{"error": "Bad Gateway", "status": 502}'),
        (520, '{"error": {}}'),
        (500, '{"error": {"mess'),
        # What a gateway says of its origin, in the form of the provider's own words.
        (502, '{"error": {"code": 502, "message": "Bad Gateway"}}'),
        (503, '{"error": {"message": "upstream request timeout", "type": "gateway_error"}}'),
        (500, '{"error": {"message": "APIConnectionError: Server disconnected"}}'),
        # A gateway that gave up waiting, whatever it is written in.
        (504, '{"error": {"message": "Timeout", "type": "timeout"}}'),
    ],
)
def test_a_gateways_word_may_have_been_billed_and_is_not_tried_again(
    service: Service, stand_in: StandIn, kind: str, status: int, body: str
) -> None:
    stand_in.will("verbatim", status=status, body=body, headers={"x-request-id": "req_lost"})
    response = service.post(f"/generate/{kind}", {"prompt": "아침"})
    assert response.status_code == 500
    assert response.json()["detail"].endswith("; the call may have been billed.")
    job = service.job()
    assert (job["status"], job["estimated_cost"], job["attempts"]) == ("unknown", None, 1)
    assert job["openai_request_id"] == "req_lost"
    assert len(stand_in.asked) == 1


@pytest.mark.parametrize(
    ("status", "body"),
    [
        *((status, PAGE) for status in (429, 521, 522, 523, 525, 526)),
        (500, '{"error": {"message": "The server had an error", "type": "server_error"}}'),
        (503, '[{"error": {"code": 503, "status": "UNAVAILABLE"}}]'),
        (500, '{"object": "error", "message": "CUDA out of memory", "code": 500}'),
    ],
)
def test_what_the_provider_says_itself_or_never_got_is_free_and_tried_again(
    service: Service, stand_in: StandIn, status: int, body: str
) -> None:
    stand_in.will("verbatim", status=status, body=body, headers={"retry-after": "0"})
    assert service.text().status_code == 200
    job = service.job()
    assert (job["status"], job["attempts"]) == ("completed", 2)
    assert job["estimated_cost"] > 0


@pytest.mark.parametrize("status", [409, 429, 500, 503, 521])
def test_a_server_that_says_not_to_try_again_is_heeded(
    service: Service, stand_in: StandIn, status: int
) -> None:
    body = '{"error": {"message": "Not now", "type": "server_error"}}'
    stand_in.will("verbatim", status=status, body=body, headers={"x-should-retry": "false"})
    assert service.text().json()["detail"].endswith(f"OpenAI answered {status}: Not now")
    job = service.job()
    assert (job["status"], job["estimated_cost"], job["attempts"]) == ("failed", 0, 1)


@pytest.mark.parametrize(
    "code", ["insufficient_quota", "billing_not_active", "billing_hard_limit_reached"]
)
def test_an_empty_account_is_not_asked_again(
    service: Service, stand_in: StandIn, code: str
) -> None:
    body = f'{{"error": {{"message": "No money", "type": "{code}", "code": "{code}"}}}}'
    stand_in.will("verbatim", status=429, body=body)
    assert "No money" in service.text().json()["detail"]
    assert service.job()["attempts"] == 1


@pytest.mark.parametrize("status", [409, 429, 500])
def test_after_the_last_attempt_it_is_a_failure_that_cost_nothing(
    service: Service, stand_in: StandIn, status: int
) -> None:
    refuse(stand_in, status, times=3)
    response = service.text()
    assert response.status_code == 500
    assert f"OpenAI answered {status}" in response.json()["detail"]
    assert len(stand_in.asked) == 3
    job = service.job()
    assert (job["status"], job["attempts"], job["estimated_cost"]) == ("failed", 3, 0)
    assert job["openai_request_id"] == "req_refused"


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured(service: Service, stand_in: StandIn, as_date: bool) -> None:
    # A date has whole seconds: two from now is more than one away.
    retry_after: Any = email.utils.formatdate(time.time() + 2, usegmt=True) if as_date else 1
    stand_in.will("rate_limited", retry_after=retry_after)
    began = time.monotonic()
    assert service.text().status_code == 200
    assert time.monotonic() - began >= 0.9
    assert service.job()["attempts"] == 2


@pytest.mark.parametrize("retry_after", ["soon", "nan", "-5"])
def test_a_retry_after_that_says_nothing_is_no_obstacle(
    service: Service, stand_in: StandIn, retry_after: str
) -> None:
    stand_in.will("rate_limited", retry_after=retry_after)
    assert service.text().status_code == 200
    assert service.job()["attempts"] == 2


def test_a_pause_longer_than_the_deadline_is_not_begun(service: Service, stand_in: StandIn) -> None:
    stand_in.will("rate_limited", retry_after=61)
    response = service.text()  # would last a minute
    assert "OpenAI answered 429" in response.json()["detail"]
    job = service.job()
    assert (job["status"], job["attempts"], job["estimated_cost"]) == ("failed", 1, 0)


def test_max_attempts_and_one_deadline_over_all_of_them_are_settings(
    tmp_path: Path, stand_in: StandIn
) -> None:
    settings: dict[str, Any] = {"MAX_ATTEMPTS": 2, "TEXT_TIMEOUT_SECONDS": 1}
    url = f"sqlite:///{tmp_path}/a.db"
    with running(url, OPENAI_BASE_URL=stand_in.url, **settings) as service:
        refuse(stand_in, 500, times=2)
        assert "OpenAI answered 500" in service.text().json()["detail"]
        refuse(stand_in, 500, times=1)
        stand_in.will("slow", seconds=20)
        assert "did not answer within 1 seconds" in service.text().json()["detail"]
        assert [
            (job["status"], job["attempts"], job["estimated_cost"])
            for job in service.rows(models.GenJob)
        ] == [("failed", 2, 0), ("unknown", 2, None)]


def test_a_call_that_may_have_been_billed_is_not_made_again_after_a_refusal(
    service: Service, stand_in: StandIn
) -> None:
    refuse(stand_in, 503, times=1)
    stand_in.will("dropped")
    assert service.text().status_code == 500
    assert len(stand_in.asked) == 2
    job = service.job()
    assert (job["status"], job["attempts"], job["estimated_cost"]) == ("unknown", 2, None)


def test_a_server_that_is_not_there_is_asked_three_times(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    with running(url, OPENAI_BASE_URL="http://127.0.0.1:9/v1") as service:
        response = service.post("/generate/text", COFFEE)
        assert "127.0.0.1 cannot be reached" in response.json()["detail"]
        job = service.job()
        assert (job["status"], job["attempts"], job["estimated_cost"]) == ("failed", 3, 0)
