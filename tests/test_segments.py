"""GET, POST and DELETE /segments."""

import json

import models
from tests.conftest import Service

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
        "created_at": row["created_at"].replace(microsecond=0).isoformat(),
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
