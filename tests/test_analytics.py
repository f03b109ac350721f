"""GET /analytics/overview."""

from datetime import datetime
from typing import Any

import pytest

import models
from tests.conftest import Service

WITHOUT_CONTENT = {
    "generation_cost": None,
    "cost_per_click": None,
    "cost_per_conversion": None,
    "content_count": 0,
    "unknown_costs": 0,
}


def report(service: Service, project_id: int | None, **values: float) -> None:
    service.insert(
        models.Metric,
        *(
            {"project_id": project_id, "metric_name": name, "metric_value": value}
            for name, value in values.items()
        ),
    )


def test_without_metrics_everything_is_zero(service: Service) -> None:
    response = service.get("/analytics/overview")
    assert response.status_code == 200
    assert response.json() == {
        "total_campaigns": 0,
        "total_impressions": 0,
        "total_clicks": 0,
        "total_conversions": 0,
        "avg_ctr": 0.0,
        "avg_conversion_rate": 0.0,
        "conversion_rate_per_impression": 0.0,
        **WITHOUT_CONTENT,
    }


def test_sums_and_rates_over_all_projects_and_for_one(service: Service) -> None:
    report(service, 1, impressions=100_000, clicks=5_000, conversions=300, likes=9)
    report(service, 1, impressions=50_000, clicks=2_500, conversions=150)
    report(service, 2, impressions=50_000, clicks=0)
    report(service, None, impressions=1)

    assert service.get("/analytics/overview", project_id=1).json() == {
        "total_campaigns": 1,
        "total_impressions": 150_000,
        "total_clicks": 7_500,
        "total_conversions": 450,
        "avg_ctr": 5.0,
        "avg_conversion_rate": 6.0,
        "conversion_rate_per_impression": 0.3,
        **WITHOUT_CONTENT,
    }
    everything = service.get("/analytics/overview").json()
    assert everything["total_campaigns"] == 2
    assert everything["total_impressions"] == 200_001
    assert everything["avg_ctr"] == 7_500 * 100 / 200_001
    assert service.get("/analytics/overview", project_id=2).json()["avg_conversion_rate"] == 0.0


def test_singular_names_mean_the_same_and_fractions_stay(service: Service) -> None:
    report(service, 1, impression=1, impressions=2, click=0.5, conversion=0.25)
    overview = service.get("/analytics/overview").json()
    assert overview["total_impressions"] == 3
    assert overview["total_clicks"] == 0.5
    assert overview["avg_conversion_rate"] == 50.0


def metric(name: str, value: float, **fields: Any) -> dict[str, Any]:
    return {"metric_name": name, "metric_value": value, **fields}


def send(service: Service, *metrics: dict[str, Any]) -> None:
    added = service.post("/analytics/metrics", list(metrics)).json()
    assert (added["accepted"], added["errors"]) == (len(metrics), [])


def content(service: Service, *costs: float | None) -> list[int]:
    """The ids of new texts that cost so much."""
    rows = [{"content_type": "text", "prompt": "p", "result": "r", "cost": cost} for cost in costs]
    service.insert(models.GeneratedContent, *rows)
    return [row["id"] for row in service.rows(models.GeneratedContent)][-len(costs) :]


def test_a_campaign_is_a_pair_of_project_and_campaign(service: Service) -> None:
    send(
        service,
        metric("clicks", 1, project_id=1, campaign_id=1),
        metric("clicks", 1, project_id=1, campaign_id=1),
        metric("clicks", 1, project_id=1, campaign_id=2),
        metric("clicks", 1, project_id=2, campaign_id=1),
        metric("clicks", 1, project_id=1),  # the project's one campaign without an id
        metric("likes", 1, project_id=1),
        metric("likes", 1, project_id=3),
        metric("clicks", 1, campaign_id=1),
        metric("clicks", 1),  # of no campaign
    )
    assert service.get("/analytics/overview").json()["total_campaigns"] == 6
    of_one = service.get("/analytics/overview", project_id=1).json()
    assert (of_one["total_campaigns"], of_one["total_clicks"]) == (3, 4)
    of_campaign = service.get("/analytics/overview", campaign_id=1).json()
    assert (of_campaign["total_campaigns"], of_campaign["total_clicks"]) == (3, 4)
    both = service.get("/analytics/overview", project_id=2, campaign_id=1).json()
    assert (both["total_campaigns"], both["total_clicks"]) == (1, 1)


def test_rates_are_ratios_of_sums(service: Service) -> None:
    send(
        service,
        metric("impressions", 1000, project_id=1),
        metric("clicks", 100, project_id=1),
        metric("impressions", 10, project_id=2),
        metric("clicks", 10, project_id=2),
        metric("conversions", 1, project_id=2),
    )
    overview = service.get("/analytics/overview").json()
    assert overview["avg_ctr"] == 110 * 100 / 1010  # not the mean of 10 % and 100 %
    assert overview["avg_conversion_rate"] == 100 / 110
    assert overview["conversion_rate_per_impression"] == 100 / 1010


def test_costs_are_of_the_content_that_was_measured(service: Service) -> None:
    first, second, free, unknown, _unseen = content(service, 0.01, 0.02, 0.0, None, 5.0)
    send(
        service,
        metric("clicks", 40, content_id=first, project_id=1),
        metric("clicks", 10, content_id=first, project_id=2),
        metric("conversions", 3, content_id=second, project_id=1),
        metric("impressions", 7, content_id=free, project_id=2),
        metric("clicks", 1000, project_id=1),  # of no content
    )
    overview = service.get("/analytics/overview").json()
    assert overview["generation_cost"] == 0.03, "a content counts once"
    assert overview["cost_per_click"] == 0.0006
    assert overview["cost_per_conversion"] == 0.01
    assert (overview["content_count"], overview["unknown_costs"]) == (3, 0)
    assert overview["total_clicks"] == 1050

    of_two = service.get("/analytics/overview", project_id=2).json()
    assert (of_two["generation_cost"], of_two["cost_per_click"]) == (0.01, 0.001)
    assert of_two["cost_per_conversion"] is None

    send(service, metric("clicks", 1, content_id=unknown, project_id=3))
    of_three = service.get("/analytics/overview", project_id=3).json()
    assert of_three["generation_cost"] is of_three["cost_per_click"] is None
    assert (of_three["content_count"], of_three["unknown_costs"]) == (1, 1)
    everything = service.get("/analytics/overview").json()
    assert (everything["generation_cost"], everything["unknown_costs"]) == (0.03, 1)


@pytest.mark.parametrize(
    ("period", "clicks"),
    [
        ({}, 31),
        ({"start": "2026-11-02"}, 30),
        ({"start": "2026-11-02T00:00:00Z", "end": "2026-11-03T00:00:00Z"}, 2),
        ({"start": "2026-11-02", "end": "2026-11-02"}, 2),  # that day
        ({"end": "2026-11-02"}, 3),
        ({"end": "2026-11-02T00:00:00"}, 1),
        # The 3rd of November in Seoul begins on the 2nd at 15:00 in UTC.
        ({"start": "2026-11-03T00:00:00+09:00", "end": "2026-11-04T00:00:00+09:00"}, 4),
        ({"start": "2026-11-03T18:00:00.5"}, 16),
        ({"start": "2026-11-05"}, 0),
        ({"start": "0001-01-01", "end": "9999-12-31"}, 31),
    ],
)
def test_a_period_begins_at_its_start_and_ends_before_its_end(
    service: Service, period: dict[str, str], clicks: int
) -> None:
    times = ("01T23:59:59.999", "02T00:00", "03T00:00", "03T18:00", "04T00:00")
    send(
        service,
        *(
            metric("clicks", 2**number, project_id=1, timestamp=f"2026-11-{time}")
            for number, time in enumerate(times)
        ),
    )
    assert service.get("/analytics/overview", **period).json()["total_clicks"] == clicks


def test_a_plus_in_an_address_need_not_be_escaped(service: Service) -> None:
    send(service, metric("clicks", 1, timestamp="2026-11-02T16:00:00Z"))
    for start, clicks in (("2026-11-03T01:00:00+09:00", 1), ("2026-11-03T01:00:01+09:00", 0)):
        response = service.client.get(f"/analytics/overview?start={start}")
        assert response.json()["total_clicks"] == clicks


def test_rows_dated_by_the_database_are_in_their_period(service: Service) -> None:
    with service.engine.begin() as connection:
        for day in ("2026-11-01 00:00:00", "2026-10-31 23:59:59"):
            connection.exec_driver_sql(
                "INSERT INTO metrics (metric_name, metric_value, timestamp)"
                f" VALUES ('clicks', 5, '{day}')"
            )
    for period in ({"start": "2026-11-01"}, {"end": "2026-10-31"}, {"end": "2026-11-01T00:00"}):
        assert service.get("/analytics/overview", **period).json()["total_clicks"] == 5


@pytest.mark.parametrize(
    ("stored", "is_from", "is_before"),
    [
        ("09:59:59.999999", False, True),
        ("09:59:59", False, True),
        ("10:00:00", True, False),
        ("10:00:00.000000", True, False),
        ("10:00:00.000001", True, False),
        ("10:00:01", True, False),
    ],
)
@pytest.mark.parametrize(
    ("day", "edge"),
    [("2026-11-01", "10:00:00"), ("2026-11-01", "10:00:00.000000"), ("0001-01-01", "10:00")],
)
def test_a_time_at_an_edge_is_compared_as_a_time_however_it_is_spelled(
    service: Service, day: str, edge: str, stored: str, is_from: bool, is_before: bool
) -> None:
    insert_at(service, f"{day} {stored}")
    assert_period(service, f"{day}T{edge}", is_from, is_before)


@pytest.mark.parametrize(
    ("stored", "is_from", "is_before"),
    [
        ("10:00:00", False, True),
        ("10:00:00.000000", False, True),
        ("10:00:00.499999", False, True),
        ("10:00:00.500000", True, False),
        ("10:00:01", True, False),
    ],
)
def test_an_edge_may_have_a_fraction_of_a_second(
    service: Service, stored: str, is_from: bool, is_before: bool
) -> None:
    insert_at(service, f"2026-11-01 {stored}")
    assert_period(service, "2026-11-01T10:00:00.5", is_from, is_before)


def insert_at(service: Service, stored: str) -> None:
    """Insert a click at this time, spelled as it stands where the database stores texts."""
    with service.engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO metrics (metric_name, metric_value, timestamp)"
            f" VALUES ('clicks', 1, '{stored}')"
        )


def assert_period(service: Service, edge: str, is_from: bool, is_before: bool) -> None:
    for name, counts in (("start", is_from), ("end", is_before)):
        overview = service.get("/analytics/overview", **{name: edge}).json()
        assert overview["total_clicks"] == int(counts), name


def test_undated_rows_count_where_no_period_is_asked_for(service: Service) -> None:
    service.insert(models.Metric, metric("clicks", 5, timestamp=None))
    service.insert(models.Metric, metric("clicks", 2, timestamp=datetime(2026, 11, 1)))
    assert service.get("/analytics/overview").json()["total_clicks"] == 7
    assert service.get("/analytics/overview", end="2026-11-30").json()["total_clicks"] == 2


def test_corrections_are_subtracted_without_noise(service: Service) -> None:
    send(service, *(metric("clicks", value) for value in (0.1, 0.2, -0.3)))
    send(service, metric("conversions", 5), *(metric("impressions", 0.1) for _ in range(10)))
    overview = service.get("/analytics/overview").json()
    assert overview["total_clicks"] == 0
    assert overview["total_impressions"] == 1
    assert overview["avg_conversion_rate"] == 0.0
    send(service, metric("clicks", -1))
    overview = service.get("/analytics/overview").json()
    assert overview["total_clicks"] == -1
    assert overview["avg_conversion_rate"] == 0.0
