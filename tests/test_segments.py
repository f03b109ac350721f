"""GET, POST, PATCH and DELETE /segments."""

import json
from datetime import datetime
from typing import Any

import pytest

import models
from tests.conftest import Service, StandIn, whole_second

PARENTS = {
    "name": "밀레니얼 부모",
    "description": "어린 자녀를 둔 30대",
    "criteria": {"age_range": "30-40", "has_children": True, "점수": 1.5, "없음": None},
}


def test_a_segment_is_created_with_its_criteria_as_a_json_string(service: Service) -> None:
    response = service.post("/segments", PARENTS)
    assert response.status_code == 200
    segment = response.json()
    (row,) = service.rows(models.Segment)
    assert segment == {
        "id": 1,
        "name": "밀레니얼 부모",
        "description": "어린 자녀를 둔 30대",
        "criteria": '{"age_range": "30-40", "has_children": true, "점수": 1.5, "없음": null}',
        "created_at": whole_second(row["created_at"]),
        "updated_at": segment["created_at"],
    }
    assert segment["criteria"] == json.dumps(PARENTS["criteria"], ensure_ascii=False)
    assert "밀레니얼" in response.text


def test_segments_are_listed_as_they_were_created(service: Service) -> None:
    assert service.get("/segments").json() == {"segments": []}
    made = [service.post("/segments", body).json() for body in (PARENTS, {"name": "모두"})]
    assert service.get("/segments").json() == {"segments": made}
    assert made[1]["criteria"] is None
    assert made[1]["description"] is None


def test_empty_criteria_stay_an_object(service: Service) -> None:
    assert service.post("/segments", {"name": "모두", "criteria": {}}).json()["criteria"] == "{}"


def test_a_deleted_segment_is_gone_and_its_id_is_not_given_again(service: Service) -> None:
    segment_id = service.post("/segments", PARENTS).json()["id"]
    response = service.client.delete(f"/segments/{segment_id}")
    assert response.status_code == 200
    assert response.json() == {"message": "Segment deleted successfully"}
    assert service.get("/segments").json() == {"segments": []}
    assert service.post("/segments", PARENTS).json()["id"] > segment_id


def test_deleting_an_unknown_segment_is_404(service: Service) -> None:
    response = service.client.delete("/segments/4711")
    assert response.status_code == 404
    assert response.json() == {"detail": "Segment not found"}


def test_one_segment_is_shown_by_its_id(service: Service) -> None:
    made = [service.post("/segments", body).json() for body in (PARENTS, {"name": "모두"})]
    for segment in made:
        response = service.get(f"/segments/{segment['id']}")
        assert response.status_code == 200
        assert response.json() == segment


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"name": "부모"}, {"name": "부모"}),
        ({"description": "설명"}, {"description": "설명"}),
        ({"description": None}, {"description": None}),
        ({"criteria": {"나이": "30-40"}}, {"criteria": '{"나이": "30-40"}'}),
        ({"criteria": None}, {"criteria": None}),
        ({"criteria": {}, "name": "모두"}, {"criteria": "{}", "name": "모두"}),
    ],
)
def test_only_what_is_sent_changes_and_the_update_is_dated(
    service: Service, change: dict[str, Any], shown: dict[str, Any]
) -> None:
    long_ago = datetime(2026, 11, 1, 10)
    dates = {"created_at": long_ago, "updated_at": long_ago}
    service.insert(models.Segment, {"name": "a", "description": "b", "criteria": "{}", **dates})
    service.insert(models.Segment, {"name": "another", **dates})
    before, another = service.get("/segments").json()["segments"]
    response = service.client.patch(f"/segments/{before['id']}", json=change)
    assert response.status_code == 200
    after = response.json()
    assert after == {**before, **shown, "updated_at": after["updated_at"]}
    assert after["updated_at"] > before["updated_at"]
    assert service.get("/segments").json() == {"segments": [after, another]}


def test_nothing_sent_changes_nothing(service: Service) -> None:
    long_ago = datetime(2026, 11, 1, 10)
    service.insert(models.Segment, {"name": "a", "created_at": long_ago, "updated_at": long_ago})
    (before,) = service.get("/segments").json()["segments"]
    assert service.client.patch(f"/segments/{before['id']}", json={}).json() == before


@pytest.mark.parametrize(
    "change",
    [{"name": None}, {"name": " "}, {"name": "a" * 256}, {"description": "\x00"}, {"criteria": 5}],
)
def test_a_bad_change_is_422_and_changes_nothing(service: Service, change: dict[str, Any]) -> None:
    made = service.post("/segments", PARENTS).json()
    assert service.client.patch(f"/segments/{made['id']}", json=change).status_code == 422
    assert service.get(f"/segments/{made['id']}").json() == made


def test_an_unknown_segment_is_404(service: Service) -> None:
    for response in (
        service.get("/segments/4711"),
        service.client.patch("/segments/4711", json={"name": "모두"}),
        service.client.patch("/segments/4711", json={}),
    ):
        assert response.status_code == 404
        assert response.json() == {"detail": "Segment not found"}


def test_the_next_text_is_written_for_the_segment_as_it_is_now(
    service: Service, stand_in: StandIn
) -> None:
    segment_id = service.post("/segments", PARENTS).json()["id"]
    service.client.patch(f"/segments/{segment_id}", json={"name": "캠핑족"})
    service.text(segment_id=segment_id)
    (asked,) = stand_in.asked
    assert "캠핑족" in asked["body"]["messages"][0]["content"]
