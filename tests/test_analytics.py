"""GET /analytics/overview."""

import models
from tests.conftest import Service


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
