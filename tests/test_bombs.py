"""Bodies that would take long: refused early, in few words, while the others are served."""

import json
import threading
import time
from typing import Any

import httpx
import pytest

from tests.conftest import Service

LIMIT = 3_900_000


def repeated(unit: bytes, begin: bytes, end: bytes) -> bytes:
    return begin + unit * ((LIMIT - len(begin) - len(end)) // len(unit)) + end


def fields(begin: bytes, end: bytes, count: int) -> bytes:
    return begin + b",".join(b'"f%d":0' % number for number in range(count)) + end


BOMBS = {
    "unknown fields of a metric": ("/analytics/metrics", fields(b"{", b"}", 300_000)),
    "unknown fields of a list of metrics": (
        "/analytics/metrics",
        b"[" + b",".join([fields(b"{", b"}", 16)] * 1_000) + b"]",
    ),
    "a list of empty things": ("/analytics/metrics", repeated(b"{},", b"[", b"{}]")),
    "a long name": ("/analytics/metrics", b'{"' + b"a" * LIMIT + b'":1}'),
    "criteria of empty things": (
        "/segments",
        repeated(b"[],", b'{"name":"a","criteria":{"a":[', b"[]]}}"),
    ),
    "criteria of few parts": (
        "/segments",
        b'{"name":"a","criteria":{"a":[' + b"[]," * 30_000 + b"[]]}}",
    ),
    "keywords": ("/generate/text", repeated(b"1,", b'{"prompt":"a","keywords":[', b"1]}")),
    "unknown fields of a text": ("/generate/text", fields(b'{"prompt":"a",', b"}", 90_000)),
    "depth": ("/segments", b'{"name":"a","criteria":' + b'{"a":' * 40_000),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_body_that_would_take_long_is_refused_in_few_words(service: Service, name: str) -> None:
    path, body = BOMBS[name]
    headers = {"Content-Type": "application/json"}
    response = service.client.post(path, content=body, headers=headers)
    assert response.status_code in ((422, 200) if "list of metrics" in name else (422,))
    assert len(response.content) < 1_000_000
    if response.status_code == 422:
        assert len(response.content) < 5_000
        assert len(response.json()["detail"]) <= 20


def test_an_answer_names_at_most_twenty_errors(service: Service) -> None:
    address = "/costs/summary?" + "&".join(f"a{number}=1" for number in range(3_000))
    detail = service.get(address).json()["detail"]
    assert len(detail) == 20
    assert "more errors" in detail[-1]["msg"]


def test_others_are_served_meanwhile(service: Service) -> None:
    bombs = [BOMBS[name] for name in BOMBS for _ in range(2)]
    worst = 0.0

    def throw(path: str, body: bytes) -> None:
        httpx.post(service.url + path, content=body, headers={"Content-Type": "application/json"})

    threads = [threading.Thread(target=throw, args=bomb) for bomb in bombs]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        began = time.monotonic()
        assert service.get("/health").is_success
        worst = max(worst, time.monotonic() - began)
    # A machine may be slow; seconds it is not.
    assert worst < 5


def test_a_thousand_metrics_with_the_longest_names_are_taken(service: Service) -> None:
    metrics: list[dict[str, Any]] = [
        {
            "metric_name": "이" * 255,
            "metric_value": 1.5,
            "project_id": 1,
            "campaign_id": 2,
            "timestamp": "2026-11-23T00:00:00+09:00",
            "event_id": f"{number:03d}" + "," * 252,
        }
        for number in range(1_000)
    ]
    body = json.dumps(metrics).encode()
    response = service.client.post(
        "/analytics/metrics", content=body, headers={"Content-Type": "application/json"}
    )
    assert response.json()["accepted"] == 1_000
