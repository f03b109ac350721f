"""POST /generate/image: the answer, the rows, and what OpenAI was asked."""

import re
from typing import Any

import pytest

import models
from tests.conftest import CAFE, Service, StandIn

FLARE = "gpt-image-2.5-flare"


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        # 5 text in, 8 image in, 30 out, per million.
        ({"input_tokens": 10, "output_tokens": 100, "total_tokens": 110}, 0.00305),
        ({"input_tokens": 10, "output_tokens": 100, "total_tokens": 210}, 0.00605),
        (
            {
                "input_tokens": 10,
                "input_tokens_details": {"text_tokens": 4, "image_tokens": 2},
                "output_tokens": 100,
            },
            0.003068,  # four of the input are of an unknown kind: the dearest
        ),
        (
            {
                "input_tokens": 10,
                "input_tokens_details": {"text_tokens": 10, "image_tokens": 20},
                "output_tokens": 100,
                "output_tokens_details": {"image_tokens": 150, "text_tokens": 0},
            },
            0.00471,
        ),
    ],
)
def test_no_token_of_an_image_is_free(
    service: Service, stand_in: StandIn, usage: dict[str, Any], cost: float
) -> None:
    stand_in.will("ok", usage=usage)
    assert service.image(model="gpt-image-2.5-flare").json()["cost"] == cost


def test_an_image_is_generated_priced_and_kept(service: Service, stand_in: StandIn) -> None:
    response = service.post("/generate/image", CAFE)

    assert response.status_code == 200
    answer = response.json()
    assert answer == {
        "success": True,
        "id": answer["id"],
        "job_id": answer["job_id"],
        "image_url": answer["image_url"],
        "image_expires_at": None,
        "revised_prompt": f"[stand-in, not OpenAI] {CAFE['prompt']}",
        "usage": None,
        "cost": 0.04,
        "model": "dall-e-3",
        "size": "1024x1024",
        "warning": None,
    }
    assert re.fullmatch(rf"{service.url}/images/[0-9a-f]{{32}}\.png", answer["image_url"])
    assert service.client.get(answer["image_url"]).content.startswith(b"\x89PNG")

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
    assert (job["size"], job["quality"]) == ("1024x1024", "standard")
    (content,) = service.rows(models.GeneratedContent)
    assert (job["id"], content["id"]) == (answer["job_id"], answer["id"])
    assert content["job_id"] == answer["job_id"]
    assert content["revised_prompt"] == answer["revised_prompt"]
    assert content["content_type"] == "image"
    assert content["result"] == content["image_name"] == f"{job['image_key']}.png"
    assert answer["image_url"].endswith(f"/images/{content['image_name']}")


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


def test_an_image_that_comes_as_bytes_is_kept_too(service: Service, stand_in: StandIn) -> None:
    stand_in.will("b64_json")
    answer = service.image().json()
    assert answer["image_url"].startswith(f"{service.url}/images/")
    assert service.client.get(answer["image_url"]).content.startswith(b"\x89PNG")
    assert answer["cost"] == 0.04


@pytest.mark.parametrize(
    ("quality", "asked", "cost"),
    [
        # 21 x 5 for the prompt, and the image's tokens x 30, per million
        ("standard", "medium", 0.013275),
        ("hd", "high", 0.052785),
        ("low", "low", 0.005985),
        ("xhigh", "xhigh", 0.093765),
        ("max", "max", 0.210825),
        ("auto", "auto", 0.052785),
    ],
)
def test_gpt_image_gets_its_own_qualities_and_is_billed_by_tokens(
    service: Service, stand_in: StandIn, quality: str, asked: str, cost: float
) -> None:
    response = service.image(model=FLARE, quality=quality, size="1792x1024")
    answer = response.json()
    assert response.status_code == 200, response.text
    (request,) = stand_in.asked
    assert request["body"] == {
        "model": FLARE,
        "prompt": CAFE["prompt"],
        "size": "1792x1024",
        "quality": asked,
        "n": 1,
    }
    assert (answer["model"], answer["size"], answer["cost"]) == (FLARE, "1792x1024", cost)
    assert answer["revised_prompt"] is None
    job = service.job()
    assert answer["usage"] == {
        name: job[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    }
    assert job["prompt_tokens"] == len(CAFE["prompt"]) == 21
    assert (job["estimated_cost"], job["quality"]) == (cost, quality)


USAGE = {"input_tokens": 40, "output_tokens": 439, "total_tokens": 479}


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        # 40 x 5 + 439 x 30, per million: without details, all input is text and all output image.
        (USAGE, 0.01337),
        (USAGE | {"output_tokens_details": {"image_tokens": 400, "text_tokens": 39}}, 0.01337),
        # 30 x 5 + 10 x 8 + 439 x 30
        (USAGE | {"input_tokens_details": {"text_tokens": 30, "image_tokens": 10}}, 0.0134),
        # 20 x 5 + 20 x 1.25 + 439 x 30
        (USAGE | {"input_tokens_details": {"cached_tokens": 20}}, 0.013295),
        # More than the input: 9,000 x 8 + 439 x 30
        (USAGE | {"input_tokens_details": {"image_tokens": 9000, "cached_tokens": 9}}, 0.08517),
        (USAGE | {"output_tokens": -1}, None),
        ({"input_tokens": 40}, None),
        (None, None),
    ],
)
def test_the_cost_of_an_image_by_its_usage(
    service: Service, stand_in: StandIn, usage: dict[str, Any] | None, cost: float | None
) -> None:
    stand_in.will("ok", usage=usage)
    answer = service.image(model=FLARE).json()
    assert answer["cost"] == service.job()["estimated_cost"] == cost
    assert (answer["usage"] is None) is (cost is None)


def test_usage_that_a_model_does_not_bill_by_is_kept_beside_the_price_of_the_image(
    service: Service, stand_in: StandIn
) -> None:
    stand_in.will("b64_json", usage=USAGE)
    answer = service.image(quality="hd").json()
    assert (answer["cost"], answer["model"]) == (0.08, "dall-e-3")
    assert answer["usage"]["total_tokens"] == service.job()["total_tokens"] == 479


def test_an_image_without_usage_has_no_known_cost(service: Service, stand_in: StandIn) -> None:
    stand_in.will("no_usage")
    answer = service.image(model="gpt-image-2").json()
    assert answer["image_url"].startswith(f"{service.url}/images/")
    assert answer["cost"] is answer["usage"] is service.job()["estimated_cost"] is None


@pytest.mark.parametrize(
    ("body", "field", "takes"),
    [
        (
            {"quality": "low"},
            "quality",
            "dall-e-3 does not take this quality. It takes: standard, hd. For more, name a model "
            "such as gpt-image-2.5-flare",
        ),
        ({"size": "1536x1024"}, "size", "1024x1024, 1024x1792, 1792x1024"),
        ({"size": "auto", "model": "dall-e-3"}, "size", "1024x1024, 1024x1792, 1792x1024"),
        (
            {"quality": "max", "model": "gpt-image-2"},
            "quality",
            "standard, hd, low, medium, high, auto",
        ),
        ({"quality": "ultra", "model": FLARE}, "quality", "high, auto, xhigh, max"),
        ({"size": "1000x1000", "model": FLARE}, "size", "divisible by 16, from 1:3 to 3:1"),
        ({"size": "1792x1024", "model": "gpt-image-1.5"}, "size", "1024x1536, auto"),
        (
            {"prompt": "가" * 4_001},
            "prompt",
            "dall-e-3 does not take this prompt. It takes: at most",
        ),
    ],
)
def test_what_the_model_does_not_take_is_422_with_what_it_takes(
    service: Service, stand_in: StandIn, body: dict[str, str], field: str, takes: str
) -> None:
    response = service.image(**body)
    assert response.status_code == 422
    (detail,) = response.json()["detail"]
    assert detail["loc"] == ["body", field]
    assert takes in detail["msg"]
    assert stand_in.asked == service.rows(models.GenJob) == []


@pytest.mark.parametrize(
    "body",
    [
        {"model": FLARE, "size": "1536x864", "quality": "low"},
        {"model": FLARE, "size": "auto"},
        {"model": f"{FLARE}-2026-09-08", "size": "1536x1024"},
        {"model": "gpt-image-1.5", "size": "1024x1536", "quality": "medium"},
        {"model": "gpt-image-2", "size": "1024x1024", "prompt": "가" * 32_000},
        {"model": "gpt-image-2.6-sunburst", "size": "1024x1792", "quality": "max"},
    ],
)
def test_what_the_model_takes_passes_as_it_is(
    service: Service, stand_in: StandIn, body: dict[str, str]
) -> None:
    assert service.image(**body).json()["model"] == body["model"]
    (asked,) = stand_in.asked
    assert asked["body"]["size"] == body["size"]
    assert not {"response_format", "style"} & set(asked["body"])


@pytest.mark.parametrize(
    ("model", "cost"),
    [
        ("dall-e-3", None),  # bills images: whether it bills one that did not come, nobody knows
        (FLARE, 0.01337),  # bills tokens: 40 x 5 + 439 x 30, per million
    ],
)
def test_tokens_without_an_image_are_billed_all_the_same(
    service: Service, stand_in: StandIn, model: str, cost: float | None
) -> None:
    stand_in.will("no_data", usage=USAGE)
    assert service.image(model=model).status_code == 500
    job = service.job()
    assert (job["status"], job["model"], job["estimated_cost"]) == ("failed", model, cost)
    assert job["total_tokens"] == 479


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
