"""GET /analytics/content: what each content did and cost, and groups of them."""

from collections.abc import Iterator
from typing import Any

import pytest

import models
from tests import figures
from tests.conftest import Service

PATH = "/analytics/content"
COUNTED = ("impressions", "clicks", "conversions")


def make(service: Service, *contents: dict[str, Any]) -> None:
    """Texts 1, 2, … with these columns."""
    rows = [{"content_type": "text", "prompt": "p", "cost": 0.001, **each} for each in contents]
    for number, row in enumerate(rows, 1):
        service.insert(models.GeneratedContent, {"result": f"글 {number}", **row})


def report(service: Service, content_id: int, *counts: float, **fields: Any) -> None:
    metrics = [
        {"metric_name": name, "metric_value": count, "content_id": content_id, **fields}
        for name, count in zip(COUNTED, counts, strict=False)
    ]
    added = service.post("/analytics/metrics", metrics).json()
    assert added["accepted"] == len(metrics), added


def listed(service: Service, **query: Any) -> list[dict[str, Any]]:
    response = service.get(PATH, **query)
    assert response.status_code == 200, response.text
    page = response.json()
    assert page["next_cursor"] is None
    rows: list[dict[str, Any]] = page["groups" if "group_by" in query else "content"]
    return rows


def test_the_figures_of_one_text(service: Service) -> None:
    service.post("/segments", {"name": "모두"})
    made = service.text(segment_id=1).json()
    report(service, made["id"], 4000, 150, 12)
    report(service, made["id"], 1000, 50, project_id=1)
    (row,) = listed(service)
    assert list(row)[:2] == ["content_id", "job_id"]

    def interval(hits: int, trials: int) -> Any:
        low, high = figures.frozen("interval", (hits, trials))
        return pytest.approx([low * 100, high * 100])

    assert row == {
        "content_id": made["id"],
        "job_id": made["job_id"],
        "content_type": "text",
        "result": made["text"],
        "model": "gpt-3.5-turbo",
        "segment_id": 1,
        "tone": "친근한",
        "finish_reason": "stop",
        "cut": False,
        "impressions": 5000,
        "clicks": 200,
        "conversions": 12,
        "ctr": 4.0,
        "ctr_interval": interval(200, 5000),
        "conversion_rate": 6.0,
        "conversion_rate_interval": interval(12, 200),
        "conversion_rate_per_impression": 0.24,
        "conversion_rate_per_impression_interval": interval(12, 5000),
        "generation_cost": made["cost"],
        "cost_per_click": pytest.approx(made["cost"] / 200),
        "cost_per_conversion": pytest.approx(made["cost"] / 12),
    }
    assert service.get(f"/content/{made['id']}").json()["performance"] == {
        name: value for name, value in row.items() if name in service_figures(service)
    }


def service_figures(service: Service) -> set[str]:
    schemas = service.get("/openapi.json").json()["components"]["schemas"]
    return set(schemas["Figures"]["properties"])


def test_an_image_is_shown_at_its_address_of_today(service: Service) -> None:
    made = service.image().json()
    report(service, made["id"], 10)
    (row,) = listed(service)
    assert (row["content_type"], row["result"]) == ("image", made["image_url"])
    assert row["tone"] is row["segment_id"] is None


def test_what_cannot_be_known_is_null(service: Service) -> None:
    make(service, {"cost": None}, {}, {})
    report(service, 1, 100, 10)
    report(service, 2, 0, 5)
    report(service, 3, 10, 20)
    unknown, unseen, odd = sorted(listed(service), key=lambda row: row["content_id"])
    assert unknown["generation_cost"] is unknown["cost_per_click"] is None
    assert unseen["ctr"] == 0.0
    assert unseen["ctr_interval"] is unseen["cost_per_conversion"] is None
    assert unseen["cost_per_click"] == 0.0002
    assert (odd["ctr"], odd["ctr_interval"]) == (200.0, None)


def test_content_that_nothing_was_reported_of_is_not_listed(service: Service) -> None:
    make(service, {}, {})
    report(service, 2, 1)
    service.insert(models.Metric, {"metric_name": "clicks", "metric_value": 1, "content_id": 4711})
    assert [row["content_id"] for row in listed(service)] == [2]


def test_filters(service: Service) -> None:
    make(service, {"segment_id": 1}, {"segment_id": 2}, {})
    report(service, 1, 1, project_id=1, campaign_id=1, timestamp="2026-11-01")
    report(service, 1, 2, project_id=1, campaign_id=2, timestamp="2026-11-02")
    report(service, 2, 4, project_id=1, campaign_id=1, timestamp="2026-11-03")
    report(service, 3, 8, project_id=2, campaign_id=1, timestamp="2026-11-01")

    def seen(**query: Any) -> dict[int, int]:
        return {row["content_id"]: row["impressions"] for row in listed(service, **query)}

    assert seen() == {1: 3, 2: 4, 3: 8}
    assert seen(project_id=1) == {1: 3, 2: 4}
    assert seen(campaign_id=1) == {1: 1, 2: 4, 3: 8}
    assert seen(project_id=1, campaign_id=2) == {1: 2}
    assert seen(segment_id=1) == {1: 3}
    assert seen(segment_id=1, end="2026-11-01") == {1: 1}
    assert seen(start="2026-11-02") == {1: 2, 2: 4}
    assert seen(segment_id=9) == {}


SORTS = (
    *COUNTED,
    *("ctr", "conversion_rate", "conversion_rate_per_impression"),
    *("generation_cost", "cost_per_click", "cost_per_conversion"),
)


def pages(service: Service, **query: Any) -> Iterator[dict[str, Any]]:
    """All rows, page by page."""
    cursor = None
    while True:
        page = service.get(PATH, **query, **({"cursor": cursor} if cursor else {})).json()
        rows = page["groups" if "group_by" in query else "content"]
        assert len(rows) <= query["limit"]
        yield from rows
        cursor = page["next_cursor"]
        if cursor is None:
            return
        assert len(rows) == query["limit"]


@pytest.fixture
def campaign(service: Service) -> Service:
    """Eleven texts: some alike, some of unknown cost, some that nobody clicked on."""
    make(
        service,
        *(
            {
                "cost": None if number % 5 == 0 else number * 0.0001,
                "segment_id": number % 3 or None,
                "tone": ("친근한", "전문적", None)[number % 3],
                "model": ("gpt-4", None)[number % 2],
            }
            for number in range(11)
        ),
    )
    for number in range(1, 12):
        counts = (number * 7 % 5 * 100, number % 3 * 3, number % 4 * 0.3)
        project_id = number % 2 or None
        report(service, number, *counts, project_id=project_id, campaign_id=number % 3 or 3)
    return service


@pytest.mark.parametrize("order", ["desc", "asc"])
@pytest.mark.parametrize("sort", SORTS)
def test_pages_hold_each_content_once_in_order(campaign: Service, sort: str, order: str) -> None:
    everything = list(pages(campaign, sort=sort, order=order, limit=1000))
    assert {row["content_id"] for row in everything} == set(range(1, 12))
    sign = -1 if order == "desc" else 1
    assert everything == sorted(
        everything,
        key=lambda row: (row[sort] is None, sign * (row[sort] or 0), row["content_id"]),
    )
    for limit in (1, 3) if sort == "cost_per_click" else (3,):
        assert list(pages(campaign, sort=sort, order=order, limit=limit)) == everything


@pytest.mark.parametrize("group_by", ["segment", "tone", "model", "campaign"])
def test_groups_add_up_their_content(campaign: Service, group_by: str) -> None:
    content = listed(campaign)
    groups = listed(campaign, group_by=group_by)
    keys = {"campaign": ("project_id", "campaign_id"), "segment": ("segment_id",)}.get(
        group_by, (group_by,)
    )
    for name in COUNTED:
        assert sum(group[name] for group in groups) == pytest.approx(
            sum(row[name] for row in content), abs=1e-9
        )
    assert sum(group["content_count"] for group in groups) == 11
    assert sum(group["unknown_costs"] for group in groups) == 3
    if group_by != "campaign":
        for group in groups:
            (key,) = keys
            mine = [row for row in content if row[key] == group[key]]
            assert group["impressions"] == sum(row["impressions"] for row in mine)
            clicks = sum(row["clicks"] for row in mine)
            assert group["ctr"] == clicks * 100 / group["impressions"]
            cost = round(sum(row["generation_cost"] or 0 for row in mine), 10)
            assert group["generation_cost"] == cost
    names = {"segment_id", "segment_name", "tone", "model", "project_id", "campaign_id"}
    shown = {*keys, *(["segment_name"] if group_by == "segment" else [])}
    assert all(set(group) & names == shown for group in groups)
    for sort in ("ctr", "generation_cost"):
        whole = list(pages(campaign, group_by=group_by, sort=sort, limit=1000))
        assert list(pages(campaign, group_by=group_by, sort=sort, limit=1)) == whole


def test_what_names_no_campaign_is_in_no_group_of_campaigns(service: Service) -> None:
    make(service, {}, {})
    report(service, 1, 10)
    report(service, 2, 20, project_id=1)
    report(service, 2, 40, campaign_id=1)
    groups = listed(service, group_by="campaign")
    assert [
        (group["project_id"], group["campaign_id"], group["impressions"]) for group in groups
    ] == [(None, 1, 40), (1, None, 20)]
    assert service.get("/analytics/overview").json()["total_campaigns"] == 2


def test_a_content_of_two_campaigns_counts_in_both(service: Service) -> None:
    make(service, {"cost": 0.01})
    report(service, 1, 100, 10, project_id=1, campaign_id=1)
    report(service, 1, 100, 30, project_id=1, campaign_id=2)
    groups = listed(service, group_by="campaign", sort="clicks")
    assert [(group["campaign_id"], group["clicks"]) for group in groups] == [(2, 30), (1, 10)]
    assert [group["generation_cost"] for group in groups] == [0.01, 0.01]
    (row,) = listed(service, group_by="tone")
    assert (row["clicks"], row["generation_cost"]) == (40, 0.01)


def test_a_deleted_segment_keeps_its_figures(service: Service) -> None:
    service.post("/segments", {"name": "모두"})
    make(service, {"segment_id": 1})
    report(service, 1, 100)
    (before,) = listed(service, group_by="segment")
    assert (before["segment_id"], before["segment_name"]) == (1, "모두")
    assert service.client.delete("/segments/1").is_success
    (after,) = listed(service, group_by="segment")
    assert after == {**before, "segment_name": None}
    assert [row["segment_id"] for row in listed(service, segment_id=1)] == [1]
    assert service.get("/content/1").json()["request"]["segment_id"] == 1


def test_a_cursor_is_of_its_own_query(campaign: Service) -> None:
    cursor = campaign.get(PATH, limit=1).json()["next_cursor"]
    assert campaign.get(PATH, limit=5, cursor=cursor).is_success
    for other in ({"sort": "ctr"}, {"order": "asc"}, {"group_by": "tone"}):
        response = campaign.get(PATH, cursor=cursor, **other)
        assert response.status_code == 422
        (reason,) = response.json()["detail"]
        assert reason["loc"] == ["query", "cursor"]
        assert "next_cursor of the same query" in reason["msg"]
