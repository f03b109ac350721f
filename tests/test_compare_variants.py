"""GET /analytics/content/{id}/variants: the siblings side by side, and who leads."""

from typing import Any

import pytest

import models
from tests import figures
from tests.conftest import Service

COUNTED = ("impressions", "clicks", "conversions")


def made(service: Service, *counts: tuple[float, ...]) -> list[int]:
    """The ids of variants of which so much was reported."""
    ids = [each["id"] for each in service.text(n=len(counts)).json()["variants"]]
    report(service, ids, *counts)
    return ids


def report(service: Service, ids: list[int], *counts: tuple[float, ...], **fields: Any) -> None:
    metrics = [
        {"metric_name": name, "metric_value": count, "content_id": content_id, **fields}
        for content_id, each in zip(ids, counts, strict=True)
        for name, count in zip(COUNTED, each, strict=False)
    ]
    assert service.post("/analytics/metrics", metrics).json()["accepted"] == len(metrics)


def compare(service: Service, content_id: int, **query: Any) -> dict[str, Any]:
    response = service.get(f"/analytics/content/{content_id}/variants", **query)
    assert response.status_code == 200, response.text
    compared: dict[str, Any] = response.json()
    return compared


def test_the_leader_is_ahead_of_each_other_one_beyond_chance(service: Service) -> None:
    ids = made(service, (2000, 60), (2000, 120), (2000, 70), (2000, 61), (0, 0))
    compared = compare(service, ids[3])
    assert (compared["by"], compared["leader"]) == ("ctr", ids[1])
    variants = compared["variants"]
    assert [each["content_id"] for each in variants] == ids
    assert [each["clicks"] for each in variants] == [60, 120, 70, 61, 0]
    assert [each["enough_data"] for each in variants] == [True] * 4 + [False]
    others = [0, 2, 3]
    clicks = [each["clicks"] for each in variants]
    p_values = [figures.frozen("p_value", [[120, 2000], [clicks[n], 2000]]) for n in others]
    assert [variants[n]["p_value"] for n in others] == pytest.approx(p_values)
    holm = figures.frozen("holm", p_values)
    assert [variants[n]["p_value_holm"] for n in others] == pytest.approx(holm)
    for place in (1, 4):  # in front, and never seen
        assert variants[place]["p_value"] is variants[place]["p_value_holm"] is None
    assert compare(service, ids[4]) == compared, "from whichever sibling"


def test_nobody_leads_while_it_may_be_chance_and_the_p_values_say_so(service: Service) -> None:
    ids = made(service, (1000, 40), (1000, 45), (1000, 20))
    compared = compare(service, ids[0])
    assert compared["leader"] is None
    first, front, last = compared["variants"]
    assert front["p_value"] is None
    assert first["p_value"] > 0.5
    assert last["p_value_holm"] == 2 * last["p_value"] < 0.05


def test_few_numbers_are_not_enough(service: Service) -> None:
    ids = made(service, (10, 4), (1000, 10))
    few, many = compare(service, ids[0])["variants"]
    assert (few["enough_data"], many["enough_data"]) == (False, True)
    assert few["p_value"] < 0.001
    assert few["p_value_holm"] is None
    assert compare(service, ids[0])["leader"] is None


def test_a_stray_impression_of_one_variant_hides_no_leader(service: Service) -> None:
    ids = made(service, (2000, 60), (2000, 120), (1, 1))
    assert compare(service, ids[0])["leader"] == ids[1]


@pytest.mark.parametrize(
    ("by", "counts", "leader", "enough"),
    [
        # The better one is not too small for having hardly missed.
        ("conversion_rate", [(900, 32, 30), (900, 40, 25)], 0, [True, True]),
        ("ctr", [(400, 397), (400, 360)], 0, [True, True]),
        # Whoever is too small takes no part, and nobody else is the worse for it.
        ("ctr", [(100, 5), (1_000_000, 20_000), (1_000_000, 10_000)], 1, [False, True, True]),
        ("ctr", [(100, 4), (1_000_000, 20_000), (1_000_000, 10_000)], 1, [False, True, True]),
        ("ctr", [(1000, 100), (1000, 50), (1_000_000, 1000)], 0, [True, True, True]),
        # Nobody is ahead of more clicks than impressions; what was corrected below 0 hides nobody.
        ("ctr", [(2000, 60), (2000, 120), (10, 11)], None, [True, True, False]),
        ("ctr", [(2000, 60), (2000, 120), (2000, -1)], 1, [True, True, False]),
    ],
)
def test_the_highest_rate_of_those_large_enough_leads(
    service: Service,
    by: str,
    counts: list[tuple[float, ...]],
    leader: int | None,
    enough: list[bool],
) -> None:
    ids = made(service, *counts)
    compared = compare(service, ids[0], by=by)
    assert compared["leader"] == (None if leader is None else ids[leader])
    assert [each["enough_data"] for each in compared["variants"]] == enough


@pytest.mark.parametrize(
    ("by", "leader"),
    [("ctr", 0), ("conversion_rate", 1), ("conversion_rate_per_impression", 1)],
)
def test_the_rate_to_lead_by_can_be_chosen(service: Service, by: str, leader: int) -> None:
    ids = made(service, (5000, 400, 20), (5000, 200, 100))
    compared = compare(service, ids[0], by=by)
    assert (compared["by"], compared["leader"]) == (by, ids[leader])


def test_only_what_is_asked_for_counts(service: Service) -> None:
    ids = made(service, (2000, 60), (2000, 160))
    report(service, ids, (2000, 200), (2000, 20), project_id=1, campaign_id=7)
    assert compare(service, ids[0])["leader"] == ids[0]
    assert compare(service, ids[0], project_id=1, campaign_id=7)["leader"] == ids[0]
    report(service, ids, (2000, 60), (2000, 160), project_id=2, timestamp="2026-11-01")
    assert compare(service, ids[0], project_id=2)["leader"] == ids[1]
    assert compare(service, ids[0], end="2026-11-02")["leader"] == ids[1]
    nothing = compare(service, ids[0], project_id=3)
    assert [each["impressions"] for each in nothing["variants"]] == [0, 0]
    assert nothing["leader"] is None


def test_a_content_alone_is_its_own_only_variant(service: Service) -> None:
    image = service.image().json()
    compared = compare(service, image["id"])
    assert [each["result"] for each in compared["variants"]] == [image["image_url"]]
    assert compared["leader"] is None
    # Content older than the records of its job.
    service.insert(models.GeneratedContent, {"content_type": "text", "prompt": "p", "result": "r"})
    (variant,) = compare(service, image["id"] + 1)["variants"]
    assert (variant["job_id"], variant["generation_cost"]) == (None, None)


def test_unknown_content_is_404(service: Service) -> None:
    response = service.get("/analytics/content/4711/variants")
    assert response.status_code == 404
    assert response.json() == {"detail": "Content not found"}
