"""Idempotency-Key: however often the same request comes, it is made and paid for once."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import models
from generation.schemas import ImageRequest, TextRequest, fingerprint
from tests.conftest import COFFEE, Service, StandIn, running, wait_until

REPLAYED = "Idempotent-Replayed"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/generate/text", COFFEE),
        ("/generate/image", {"prompt": "아침", "size": "1792x1024", "quality": "hd"}),
    ],
)
def test_the_same_request_gets_the_same_answer_and_is_paid_for_once(
    service: Service, stand_in: StandIn, path: str, body: dict[str, Any]
) -> None:
    headers = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}
    first = service.client.post(path, json=body, headers=headers)
    assert first.status_code == 200
    assert REPLAYED not in first.headers

    again = service.client.post(path, json=body, headers=headers)
    # The same, written another way.
    turned = service.client.post(
        path, json=dict(reversed(body.items())) | {"user_id": None}, headers=headers
    )

    for replay in (again, turned):
        assert replay.status_code == 200
        assert replay.headers[REPLAYED] == "true"
        assert replay.text == first.text
    assert len(stand_in.asked) == 1
    assert len(service.rows(models.GenJob)) == len(service.rows(models.GeneratedContent)) == 1


def test_an_answer_without_usage_is_replayed_as_it_was(service: Service, stand_in: StandIn) -> None:
    stand_in.will("no_usage")
    first, again = service.text(key="a"), service.text(key="a")
    assert first.json()["usage"] is None
    assert again.text == first.text


def test_another_body_under_the_same_key_is_422(service: Service, stand_in: StandIn) -> None:
    assert service.text(key="a").is_success
    image = service.client.post(
        "/generate/image", json={"prompt": COFFEE["prompt"]}, headers={"Idempotency-Key": "a"}
    )
    for response in (service.text(key="a", max_tokens=99), image):
        assert response.status_code == 422
        (detail,) = response.json()["detail"]
        assert detail["loc"] == ["header", "Idempotency-Key"]
        assert "belongs to a request with another body" in detail["msg"]
    assert len(stand_in.asked) == 1


def test_a_request_has_the_same_hash_in_every_version() -> None:
    """Keys are kept for good: another order of the fields would break them."""
    image = ImageRequest(prompt="a", size="1024x1792", quality="hd", model="dall-e-3", user_id=7)
    hashed = "4ad03a4f03ef5c361e768a4656abffe830c763fa5f9afa70f7101b19be88a0c9"
    assert fingerprint(image) == hashed
    text = TextRequest(
        prompt="a",
        tone="친근한",
        keywords=["b"],
        max_tokens=9,
        model="gpt-4",
        user_id=7,
        segment_id=3,
    )
    hashed = "659f1ceba67a7b3437b79eb23e9d85341aa043e151e78edbf5cb49c95916b056"
    assert fingerprint(text) == hashed


def test_while_the_first_request_runs_it_is_409(service: Service, stand_in: StandIn) -> None:
    stand_in.will("slow", seconds=1)
    with ThreadPoolExecutor() as clients:
        first = clients.submit(service.text, key="a")
        wait_until(lambda: stand_in.asked, "OpenAI to be asked")
        early = service.text(key="a")
        assert early.status_code == 409
        assert "still runs" in early.json()["detail"]
        assert int(early.headers["Retry-After"]) > 0
        assert service.text(key="a", max_tokens=1).status_code == 422
        answer = first.result().text
    assert service.text(key="a").text == answer
    assert len(stand_in.asked) == 1


def test_a_failure_that_cost_nothing_may_run_again(service: Service, stand_in: StandIn) -> None:
    stand_in.will("blocked")
    assert service.text(key="a").status_code == 500
    assert service.text(key="a", max_tokens=99).status_code == 422, "but not with another body"
    assert len(stand_in.asked) == 1

    made = service.text(key="a")

    assert made.status_code == 200
    assert REPLAYED not in made.headers
    assert service.text(key="a").text == made.text
    assert len(stand_in.asked) == 2
    jobs = service.rows(models.GenJob)
    assert [job["status"] for job in jobs] == ["failed", "completed"]
    assert [job["idempotency_key"] for job in jobs] == [None, "a"], "released by the settlement"


@pytest.mark.parametrize("behavior", ["refused", "cut", "empty"])
def test_a_failure_that_was_billed_is_not_billed_again(
    service: Service, stand_in: StandIn, behavior: str
) -> None:
    stand_in.will(behavior)
    first, again = service.text(key="a"), service.text(key="a")
    assert first.status_code == again.status_code == 500
    assert again.json() == first.json()
    assert again.headers[REPLAYED] == "true"
    assert service.job()["estimated_cost"] > 0
    assert len(stand_in.asked) == 1


def test_what_may_have_been_billed_is_409_and_says_what_is_known(
    service: Service, stand_in: StandIn
) -> None:
    stand_in.will("dropped")
    assert service.text(key="a").status_code == 500
    again = service.text(key="a")
    assert again.status_code == 409
    detail = again.json()["detail"]
    assert "broke off before the answer was complete; the call may have been billed." in detail
    assert f"job {service.job()['id']} of /costs/history" in detail
    assert "use a new key" in detail
    assert len(stand_in.asked) == 1


def test_different_keys_claimed_at_once_do_not_block_each_other(
    service: Service, stand_in: StandIn
) -> None:
    with ThreadPoolExecutor(20) as clients:
        keys = [str(number % 40) for number in range(200)]
        responses = list(clients.map(lambda key: service.text(key=key), keys))
    assert {each.status_code for each in responses} <= {200, 409}
    assert len(stand_in.asked) == len(service.rows(models.GenJob)) == 40


def test_a_key_outlives_the_process_and_the_segment(tmp_path: Path, stand_in: StandIn) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    with running(url, OPENAI_BASE_URL=stand_in.url) as service:
        segment_id = service.post("/segments", {"name": "모두"}).json()["id"]
        first = service.text(key="a", segment_id=segment_id)
        service.client.delete(f"/segments/{segment_id}")
    with running(url, OPENAI_BASE_URL=stand_in.url, OPENAI_API_KEY="") as service:
        assert service.text(key="a", segment_id=segment_id).text == first.text
    assert len(stand_in.asked) == 1


def test_without_a_key_each_request_is_its_own(service: Service, stand_in: StandIn) -> None:
    first, second = service.text(), service.text()
    assert first.json()["job_id"] != second.json()["job_id"]
    assert len(stand_in.asked) == 2


@pytest.mark.parametrize("key", ["", "a" * 256, "키".encode(), "a b"])
def test_a_key_that_cannot_be_used_is_422(
    service: Service, stand_in: StandIn, key: str | bytes
) -> None:
    for path in ("/generate/text", "/generate/image"):
        headers: Any = {"Idempotency-Key": key}
        response = service.client.post(path, json={"prompt": "아침"}, headers=headers)
        assert response.status_code == 422
        assert response.json()["detail"][0]["loc"] == ["header", "Idempotency-Key"]
    assert stand_in.asked == []


def test_the_longest_key_is_kept_whole(service: Service, stand_in: StandIn) -> None:
    assert service.text(key="a" * 255).is_success
    assert service.text(key="a" * 254).is_success
    assert service.text(key="a" * 255).headers[REPLAYED] == "true"
    assert len(stand_in.asked) == 2
