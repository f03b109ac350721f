"""GET /content/{id}."""

from typing import Any

import models
from tests.conftest import COFFEE, Service, whole_second


def test_a_text_with_everything_known_of_it(service: Service) -> None:
    made = service.text(user_id=7).json()
    (job,) = service.get("/costs/history").json()["history"]
    item = service.get(f"/content/{made['id']}").json()
    (row,) = service.rows(models.GeneratedContent)
    assert item == {
        "id": made["id"],
        "content_type": "text",
        "prompt": COFFEE["prompt"],
        "result": made["text"],
        "model": "gpt-3.5-turbo",
        "created_at": whole_second(row["created_at"]),
        "finish_reason": "stop",
        "cut": False,
        "job_id": made["job_id"],
        "revised_prompt": None,
        "image_expires_at": None,
        "size": None,
        "quality": None,
        "usage": made["usage"],
        "cost": made["cost"],
        "request": {
            **COFFEE,
            "segment_id": None,
            "n": 1,
            "size": None,
            "quality": None,
            "user_id": 7,
        },
        "job": item["job"],
        "siblings": [],
        "performance": item["performance"],
    }
    assert item["performance"]["impressions"] == 0
    assert without_nulls(item["job"]) == job
    assert job["user_id"] == 7


def test_the_siblings_of_a_variant(service: Service) -> None:
    variants = service.text(n=3).json()["variants"]
    item = service.get(f"/content/{variants[1]['id']}").json()
    assert item["siblings"] == [variants[0], variants[2]]
    assert item["result"] == variants[1]["text"]
    assert item["cost"] == variants[1]["cost"]
    assert item["job"]["estimated_cost"] > item["cost"]
    assert item["request"]["n"] == 3


def test_an_image_with_everything_known_of_it(service: Service) -> None:
    made = service.image(size="1024x1792", quality="hd").json()
    item = service.get(f"/content/{made['id']}").json()
    assert (item["size"], item["quality"], item["cost"]) == ("1024x1792", "hd", 0.12)
    assert item["usage"] is None
    assert item["result"] == made["image_url"]
    assert item["revised_prompt"] == made["revised_prompt"]
    assert item["job"]["openai_request_id"].startswith("req_")


def test_content_older_than_the_records_of_its_job(service: Service) -> None:
    row = {"content_type": "image", "prompt": "p", "result": "https://example.com/a.png"}
    service.insert(models.GeneratedContent, row)
    (content,) = service.rows(models.GeneratedContent)
    item = service.get(f"/content/{content['id']}").json()
    assert item["result"] == "https://example.com/a.png"
    assert item["job"] is item["usage"] is item["cost"] is item["job_id"] is None


def test_unknown_content_is_404(service: Service) -> None:
    response = service.get("/content/4711")
    assert response.status_code == 404
    assert response.json() == {"detail": "Content not found"}


def without_nulls(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
