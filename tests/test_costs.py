"""GET /costs/summary and GET /costs/history."""

from datetime import datetime
from typing import Any

import models
from tests.conftest import COFFEE, Service, StandIn, whole_second


def job(**fields: Any) -> dict[str, Any]:
    day = datetime(2026, 11, 1, 10, 0, 0)
    defaults = {
        "user_id": 1,
        "job_type": "text",
        "model": "gpt-3.5-turbo",
        "prompt": "아침",
        "prompt_tokens": None,
        "completion_tokens": None,
        "total_tokens": None,
        "estimated_cost": 0.0,
        "status": "completed",
        "error_message": None,
        "created_at": day,
        "completed_at": day,
    }
    return {**defaults, **fields}


def test_without_jobs_the_summary_is_empty(service: Service) -> None:
    assert service.get("/costs/summary").json() == {
        "total_cost": 0.0,
        "total_jobs": 0,
        "text_jobs": 0,
        "image_jobs": 0,
        "text_cost": 0.0,
        "image_cost": 0.0,
        "cost_by_model": {},
        "period": {"start": None, "end": None},
    }


def test_an_images_tokens_are_in_its_row_and_not_in_the_history(service: Service) -> None:
    """As the contract has it: a job of images carries no token fields."""
    made = service.image(model="gpt-image-2").json()
    (listed,) = service.get("/costs/history").json()["history"]
    assert listed["estimated_cost"] == made["cost"]
    assert not [name for name in listed if name.endswith("_tokens")]
    assert service.job()["total_tokens"] == made["usage"]["total_tokens"] > 0
    item = service.get(f"/content/{made['id']}").json()
    assert item["usage"] == made["usage"]
    assert item["job"]["total_tokens"] == made["usage"]["total_tokens"]


def test_costs_add_up_by_type_model_and_user(service: Service) -> None:
    service.insert(
        models.GenJob,
        job(estimated_cost=0.1, created_at=datetime(2026, 10, 1)),
        job(estimated_cost=0.2),
        job(estimated_cost=0.0000705, user_id=2, model="gpt-4"),
        job(estimated_cost=None, status="failed"),
        job(job_type="image", model="dall-e-3", estimated_cost=0.04),
        job(
            job_type="image",
            model="dall-e-3",
            estimated_cost=0.08,
            user_id=None,
            created_at=datetime(2026, 11, 7, 16, 0, 0, 1),
        ),
    )
    response = service.get("/costs/summary")
    assert response.status_code == 200
    assert response.json() == {
        "total_cost": 0.4200705,
        "total_jobs": 6,
        "text_jobs": 4,
        "image_jobs": 2,
        "text_cost": 0.3000705,
        "image_cost": 0.12,
        "cost_by_model": {"gpt-3.5-turbo": 0.3, "gpt-4": 0.0000705, "dall-e-3": 0.12},
        "period": {"start": "2026-10-01T00:00:00", "end": "2026-11-07T16:00:00"},
    }
    one = service.get("/costs/summary", user_id=2).json()
    assert (one["total_cost"], one["total_jobs"]) == (0.0000705, 1)


def test_the_history_leaves_out_what_has_no_value(service: Service, stand_in: StandIn) -> None:
    text = service.post("/generate/text", COFFEE).json()
    service.post("/generate/image", {"prompt": "아침의 커피숍"})
    stand_in.will("blocked")
    service.post("/generate/text", COFFEE)

    listed = service.get("/costs/history").json()

    assert listed["total"] == 3
    failed, image, made = listed["history"]
    text_job, image_job, _ = service.rows(models.GenJob)
    assert image == {
        "id": 2,
        "job_type": "image",
        "model": "dall-e-3",
        "prompt": "아침의 커피숍",
        "estimated_cost": 0.04,
        "size": "1024x1024",
        "quality": "standard",
        "status": "completed",
        "attempts": 1,
        "openai_request_id": image_job["openai_request_id"],
        "created_at": whole_second(image_job["created_at"]),
        "completed_at": whole_second(image_job["completed_at"]),
    }
    assert made == {
        "id": 1,
        "job_type": "text",
        "model": "gpt-3.5-turbo",
        "prompt": COFFEE["prompt"],
        **text["usage"],
        "estimated_cost": text["cost"],
        "status": "completed",
        "attempts": 1,
        "openai_request_id": text_job["openai_request_id"],
        "created_at": whole_second(text_job["created_at"]),
        "completed_at": whole_second(text_job["completed_at"]),
    }
    assert (failed["status"], failed["estimated_cost"]) == ("failed", 0.0)
    assert failed["error_message"].startswith("OpenAI answered 400")


def test_the_history_is_filtered_and_limited(service: Service) -> None:
    service.insert(
        models.GenJob,
        *(job(user_id=user_id, job_type=kind) for user_id in (1, 2) for kind in ("text", "image")),
    )

    def ids(**filters: Any) -> list[int]:
        return [each["id"] for each in service.get("/costs/history", **filters).json()["history"]]

    assert ids() == [4, 3, 2, 1]
    assert ids(user_id=1) == [2, 1]
    assert ids(job_type="text") == [3, 1]
    assert ids(user_id=2, job_type="image") == [4]
    assert ids(limit=1) == [4]
    assert service.get("/costs/history", user_id=1, limit=1).json()["total"] == 2
