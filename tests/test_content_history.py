"""GET /content/history."""

from datetime import datetime, timedelta

import models
from tests.conftest import COFFEE, Service, whole_second


def test_what_was_generated_is_listed_newest_first(service: Service) -> None:
    text = service.post("/generate/text", COFFEE).json()
    image = service.post("/generate/image", {"prompt": "아침의 커피숍"}).json()

    listed = service.get("/content/history").json()

    text_row, image_row = service.rows(models.GeneratedContent)
    assert listed["total"] == 2
    assert listed["history"] == [
        {
            "id": 2,
            "content_type": "image",
            "prompt": "아침의 커피숍",
            "result": image["image_url"],
            "model": "dall-e-3",
            "created_at": whole_second(image_row["created_at"]),
            "finish_reason": None,
            "cut": None,
        },
        {
            "id": 1,
            "content_type": "text",
            "prompt": COFFEE["prompt"],
            "result": text["text"],
            "model": "gpt-3.5-turbo",
            "created_at": whole_second(text_row["created_at"]),
            "finish_reason": "stop",
            "cut": False,
        },
    ]
    only_images = service.get("/content/history", content_type="image").json()
    assert [item["id"] for item in only_images["history"]] == [2]
    assert only_images["total"] == 1


def test_the_limit_cuts_the_oldest_and_the_total_still_counts_them(service: Service) -> None:
    start = datetime(2026, 11, 23, 10, 0, 0, 999_999)
    service.insert(
        models.GeneratedContent,
        *(
            {
                "content_type": "text",
                "prompt": "p",
                "result": f"{number}",
                # The third was made first: the date decides, then the id.
                "created_at": start + timedelta(hours=-1 if number == 2 else 0),
            }
            for number in range(60)
        ),
    )
    listed = service.get("/content/history").json()
    assert [int(item["result"]) for item in listed["history"]] == list(range(59, 9, -1))
    assert listed["total"] == 60
    assert listed["history"][0]["created_at"] == "2026-11-23T10:00:00"
    assert service.get("/content/history", limit=1000).json()["history"][-1]["result"] == "2"
    assert len(service.get("/content/history", limit=1).json()["history"]) == 1


def test_what_has_no_date_comes_last(service: Service) -> None:
    """Older tables may hold such rows; SQLite and PostgreSQL sort NULL differently."""
    dates = (None, datetime(2026, 11, 23), None, datetime(2026, 11, 22))
    service.insert(
        models.GeneratedContent,
        *(
            {"content_type": "text", "prompt": "p", "result": str(number), "created_at": date}
            for number, date in enumerate(dates)
        ),
    )
    listed = service.get("/content/history").json()["history"]
    assert [item["result"] for item in listed] == ["1", "3", "2", "0"]
