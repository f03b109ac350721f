"""POST /generate/image: the answer, the rows, and what OpenAI was asked."""

import base64

import httpx
import pytest

import models
from tests.conftest import Service, StandIn

CAFE = {"prompt": "따뜻한 아침 햇살이 드는 아늑한 커피숍"}


def test_an_image_is_generated_priced_and_kept(service: Service, stand_in: StandIn) -> None:
    response = service.post("/generate/image", CAFE)

    assert response.status_code == 200
    answer = response.json()
    assert answer == {
        "success": True,
        "id": answer["id"],
        "job_id": answer["job_id"],
        "image_url": answer["image_url"],
        "revised_prompt": f"[stand-in, not OpenAI] {CAFE['prompt']}",
        "cost": 0.04,
        "model": "dall-e-3",
        "size": "1024x1024",
    }
    assert httpx.get(answer["image_url"]).content.startswith(b"\x89PNG")

    (asked,) = stand_in.asked
    assert asked["path"] == "/v1/images/generations"
    assert asked["body"] == {
        "model": "dall-e-3",
        "prompt": CAFE["prompt"],
        "size": "1024x1024",
        "quality": "standard",
        "n": 1,
    }
    (job,) = service.rows(models.GenJob)
    assert (job["job_type"], job["model"], job["status"]) == ("image", "dall-e-3", "completed")
    assert job["estimated_cost"] == 0.04
    assert job["prompt_tokens"] is job["completion_tokens"] is job["total_tokens"] is None
    (content,) = service.rows(models.GeneratedContent)
    assert (job["id"], content["id"]) == (answer["job_id"], answer["id"])
    assert content["job_id"] == answer["job_id"]
    assert content["revised_prompt"] == answer["revised_prompt"]
    assert content["content_type"] == "image"
    assert content["result"] == answer["image_url"]


@pytest.mark.parametrize(
    ("quality", "size", "cost"),
    [
        ("standard", "1024x1024", 0.04),
        ("standard", "1024x1792", 0.08),
        ("standard", "1792x1024", 0.08),
        ("hd", "1024x1024", 0.08),
        ("hd", "1024x1792", 0.12),
        ("hd", "1792x1024", 0.12),
    ],
)
def test_each_size_and_quality_has_its_price(
    service: Service, stand_in: StandIn, quality: str, size: str, cost: float
) -> None:
    answer = service.post("/generate/image", {**CAFE, "quality": quality, "size": size}).json()
    assert (answer["cost"], answer["size"]) == (cost, size)
    (asked,) = stand_in.asked
    assert (asked["body"]["quality"], asked["body"]["size"]) == (quality, size)


def test_an_image_that_comes_as_bytes_is_not_lost(service: Service, stand_in: StandIn) -> None:
    stand_in.will("b64_json")
    url = service.post("/generate/image", CAFE).json()["image_url"]
    kind, _, data = url.partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("behavior", "reason", "cost"),
    [
        ("blocked", "OpenAI answered 400: Your request was rejected by our safety system", 0),
        ("out_of_money", "OpenAI answered 429: You exceeded your current quota", 0),
        ("unauthorized", "OpenAI rejected the API key (401). Check OPENAI_API_KEY.", 0),
        ("no_data", "OpenAI answered without an image.", None),
    ],
)
def test_a_failed_call_is_500_and_a_failed_row_without_content(
    service: Service, stand_in: StandIn, behavior: str, reason: str, cost: float | None
) -> None:
    stand_in.will(behavior)
    response = service.post("/generate/image", CAFE)
    assert response.status_code == 500
    detail = response.json()["detail"]
    assert detail.startswith("Failed to generate image: ")
    assert reason in detail
    (job,) = service.rows(models.GenJob)
    assert (job["status"], job["estimated_cost"]) == ("failed", cost)
    assert job["error_message"] == detail.removeprefix("Failed to generate image: ")
    assert service.rows(models.GeneratedContent) == []
