"""POST /generate/text/preview: what would be sent, and the most it can cost."""

from pathlib import Path
from typing import Any

import pytest

import models
from tests.conftest import COFFEE, Service, StandIn, running

PATH = "/generate/text/preview"


def preview(service: Service, **fields: Any) -> dict[str, Any]:
    response = service.post(PATH, {**COFFEE, **fields})
    assert response.status_code == 200, response.text
    previewed: dict[str, Any] = response.json()
    return previewed


def test_the_messages_are_those_that_will_be_sent(service: Service, stand_in: StandIn) -> None:
    segment = {"name": "밀레니얼 부모", "criteria": {"age_range": "30-40"}}
    segment_id = service.post("/segments", segment).json()["id"]
    previewed = preview(service, segment_id=segment_id, n=5)
    assert stand_in.asked == []
    assert service.rows(models.GenJob) == service.rows(models.GeneratedContent) == []
    service.text(segment_id=segment_id, n=5)
    (asked,) = stand_in.asked
    assert previewed["messages"] == asked["body"]["messages"]
    assert previewed["model"] == asked["body"]["model"]
    assert "밀레니얼 부모" in service.post(PATH, {**COFFEE, "segment_id": segment_id}).text


def test_the_largest_cost_is_counted_by_hand(service: Service) -> None:
    previewed = preview(service, model="gpt-6-luna", n=3, max_tokens=200)
    sent = sum(len(message["content"].encode()) for message in previewed["messages"])
    # A token is at least a byte, and a chat template adds a few.
    assert previewed["max_prompt_tokens"] == 3 * (sent + 3 * 32)
    assert previewed["max_completion_tokens"] == 600
    # Input may all be written to the cache, at 0.125 instead of 0.10 per million, and the project
    # may be in fast mode, at twice that.
    most = (previewed["max_prompt_tokens"] * 0.25 + 600 * 1.00) / 1_000_000
    assert previewed["max_cost"] == pytest.approx(most, rel=1e-12)


@pytest.mark.parametrize("model", ["gpt-3.5-turbo", "gpt-4o", "gpt-5.2", "gpt-6.1-sol"])
@pytest.mark.parametrize("n", [1, 10])
def test_no_request_costs_more(service: Service, stand_in: StandIn, model: str, n: int) -> None:
    most = preview(service, model=model, n=n)
    prompt_tokens = most["max_prompt_tokens"] // n
    told = {"prompt_tokens": prompt_tokens, "completion_tokens": 100 * n}
    if model == "gpt-6.1-sol":  # refuses n: each call reads the messages
        told["completion_tokens"] = 100
        stand_in.will("ok") if n > 1 else None
    tier = None if model == "gpt-3.5-turbo" else "priority"
    stand_in.will("ok", usage={**told, "total_tokens": 1}, service_tier=tier, times=n)
    answer = service.text(model=model, n=n).json()
    assert 0 < answer["cost"] <= most["max_cost"]


def test_a_regional_host_counts(tmp_path: Path) -> None:
    with running(
        f"sqlite:///{tmp_path}/a.db",
        OPENAI_BASE_URL="https://eu.api.openai.com/v1",
        TEXT_MODEL="gpt-6-luna",
    ) as service:
        most = preview(service)
        tokens = most["max_prompt_tokens"], most["max_completion_tokens"]
        at_list = (tokens[0] * 0.125 + tokens[1] * 0.50) / 1e6
        assert most["max_cost"] == pytest.approx(at_list * 2 * 1.1)


def test_where_a_model_may_be_gone_its_successor_counts_too(service: Service) -> None:
    # gpt-4o, in fast mode, is dearer than its successor, gpt-5.4 has none.
    most = preview(service, model="gpt-4o")
    tokens = most["max_prompt_tokens"], most["max_completion_tokens"]
    assert most["max_cost"] == pytest.approx((tokens[0] * 4.25 + tokens[1] * 17) / 1e6)
    assert most["model"] == "gpt-4o"


def test_unknown_segment_is_404(service: Service) -> None:
    response = service.post(PATH, {**COFFEE, "segment_id": 4711})
    assert response.status_code == 404
    assert response.json() == {"detail": "Segment not found"}


def test_a_preview_needs_no_key(tmp_path: Path) -> None:
    with running(f"sqlite:///{tmp_path}/a.db", OPENAI_API_KEY="") as service:
        assert preview(service)["max_cost"] > 0
