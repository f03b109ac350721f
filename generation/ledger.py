"""The ledger: a job's row is committed before its call to OpenAI and settled after it, whatever
happens to the client, the database or this process meanwhile."""

import asyncio
import contextlib
import json
import logging
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from anyio.to_thread import run_sync
from sqlalchemy import Connection, and_, bindparam, exc, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

import models
from database import SessionLocal, engine, said
from generation.group_commit import GroupCommit
from generation.images import KEEP_SECONDS
from generation.results import Generation, GenerationError, Usage
from settings import settings

SETTLE_SECONDS = 30  # how long a database that is away, or refuses, is waited for
LONGEST_CALL = {
    "text": timedelta(seconds=settings.text_timeout_seconds),
    "image": timedelta(seconds=settings.image_timeout_seconds + KEEP_SECONDS),
}
# After the call's own deadline, a row of a living process is settled within this time.
TIME_TO_SETTLE = timedelta(seconds=SETTLE_SECONDS + 10)
RECONCILE_SECONDS = 3
LONGEST_PAUSE_SECONDS = 2  # between two tries to settle
LAST_SECONDS = 2  # to settle in once the drain time is over, and then to write what can be written

log = logging.getLogger("uvicorn.error")


class JobFailed(Exception):
    """A generation came to nothing; `str()` says why, for people. `replayed`: it did so before."""

    def __init__(self, job_type: models.JobType, reason: object, *, replayed: bool = False) -> None:
        super().__init__(f"Failed to generate {job_type}: {reason}")
        self.replayed = replayed


class NotAccepting(Exception):
    """This process takes no more generations at the moment; `str()` says why."""


class KeyReused(Exception):
    """The idempotency key belongs to another request."""


class KeyInUse(Exception):
    """The request that first had this idempotency key still runs."""


class OutcomeUnknown(Exception):
    """The request with this idempotency key went out and no answer came back; `str()` says more."""


@dataclass(frozen=True)
class Job:
    """A generation that is asked for; `request_hash` tells its request from any other. Of copy, `n`
    texts of at most `max_tokens`; an image is stored under its `image_key`."""

    job_type: models.JobType
    model: str
    prompt: str
    user_id: int | None = None
    idempotency_key: str | None = None
    request_hash: str | None = None
    size: str | None = None
    quality: str | None = None
    image_key: str | None = None
    n: int | None = None
    max_tokens: int | None = None
    segment_id: int | None = None
    tone: str | None = None
    keywords: list[str] | None = None


@dataclass(frozen=True)
class Done:
    """A completed job, and the ids of what it made, in order; None where the log alone has it."""

    job_id: int
    content_ids: Sequence[int | None]
    generation: Generation
    replayed: bool = False


@dataclass(frozen=True)
class Settlement:
    """How a job ended: columns of its row, and of each content that it made. `again`: an earlier
    try to write this may have succeeded unnoticed. `unkept`: the database does not take the
    content; without it, the row ends so, and says this."""

    job_id: int
    columns: dict[str, Any]
    contents: list[dict[str, Any]]
    again: bool = False
    unkept: str | None = None


class Ledger:
    """The jobs of this process. Made in its event loop; `close` waits for them."""

    def __init__(self) -> None:
        self._writer = GroupCommit[Job | Settlement](engine, _write)
        self._places_taken = 0
        self._stopping = False
        self._running: set[asyncio.Task[Done]] = set()
        self._calling: set[asyncio.Task[Any]] = set()
        self._reconciling = asyncio.create_task(_keep_reconciling())

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """One of MAX_IN_FLIGHT places. Raises NotAccepting."""
        if self._stopping:
            raise NotAccepting("This server is being stopped.")
        if self._places_taken >= settings.max_in_flight:
            raise NotAccepting(f"{self._places_taken} generations are running already.")
        self._places_taken += 1
        try:
            yield
        finally:
            self._places_taken -= 1

    async def earlier(self, job: Job) -> Done | None:
        """What the request came to that first had this idempotency key. None where there is none,
        or it failed unbilled and may run again. Raises JobFailed where it was billed for nothing,
        KeyReused, KeyInUse and OutcomeUnknown."""
        if job.idempotency_key is None:
            return None
        row, contents = await run_sync(_find, job.idempotency_key)
        if row is None:
            return None
        if row.request_hash != job.request_hash:
            raise KeyReused
        if row.status == "failed" and row.estimated_cost == 0:
            return None
        if row.status == "pending":
            raise KeyInUse
        if row.status == "unknown":
            raise OutcomeUnknown(f"{row.error_message} It is job {row.id} of /costs/history.")
        if not contents and row.status == "completed":
            raise OutcomeUnknown(f"{row.error_message} It is job {row.id} of /costs/history.")
        if not contents:
            raise JobFailed(job.job_type, row.error_message, replayed=True)
        ids = [content.id for content in contents]
        return Done(row.id, ids, _generation(row, contents), replayed=True)

    async def run(self, job: Job, call: Callable[[], Awaitable[Generation]]) -> Done:
        """Make the call between two short transactions. Raises JobFailed once the failure is on the
        row, what `earlier` raises, and SQLAlchemyError before anything is spent."""
        # A task of its own: the call is paid for, and settles, though its client may hang up.
        task = asyncio.create_task(self._run(job, call))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _run(self, job: Job, call: Callable[[], Awaitable[Generation]]) -> Done:
        while (job_id := await self._writer.write(job)) is None:  # another took the key just now
            if done := await self.earlier(job):
                return done
        task = asyncio.current_task()
        assert task
        self._calling.add(task)
        try:
            outcome: Generation | GenerationError = await call()
        except GenerationError as error:
            outcome = error
        except Exception as error:
            log.exception("Job %s", job_id)
            reason = f"unexpected {type(error).__name__}; the call may have been billed."
            outcome = GenerationError(reason, unanswered=True)
        finally:
            self._calling.discard(task)
        settled = await self._settle(_settlement(job, job_id, outcome))
        if isinstance(outcome, GenerationError):
            raise JobFailed(job.job_type, outcome) from outcome
        if isinstance(settled, str):
            nowhere = [None] * len(outcome.results)
            return Done(job_id, nowhere, replace(outcome, warning=settled))
        return Done(job_id, settled, outcome)

    async def _settle(self, settlement: Settlement) -> Sequence[int] | str:
        """The ids of the content; or, in words, that only the log has it. What was paid for must be
        beyond loss, and the client gets it: whatever the database says, it is waited for. If that
        is in vain, the log keeps all, and the row at least the end of its job."""
        try:
            return await self._keep_writing(settlement)
        except (Exception, asyncio.CancelledError) as error:
            is_stopped = isinstance(error, asyncio.CancelledError)
            why = "the service was stopped" if is_stopped else said(error)
        lost = {
            "event": "job not settled",
            "error": why,
            "job": {"id": settlement.job_id, **settlement.columns},
            "content": settlement.contents,
        }
        log.error(json.dumps(lost, ensure_ascii=False, default=str))
        unkept = f"The server's log alone has this: the database did not take it ({why})."
        if warning := settlement.columns["error_message"]:
            unkept = f"{warning} {unkept}"
        last = replace(settlement, unkept=unkept if settlement.contents else None)
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(LAST_SECONDS):
                # Where it cannot even be asked whether an earlier try has succeeded, none has.
                for again in (True, False):
                    with contextlib.suppress(Exception):
                        ids: Sequence[int] = await self._writer.write(replace(last, again=again))
                        return ids or unkept
        return unkept

    async def _keep_writing(self, settlement: Settlement) -> Sequence[int]:
        """The ids of the content, as soon as the database takes it. Raises what it said last where
        it does not within SETTLE_SECONDS."""
        refusal: exc.SQLAlchemyError | None = None
        pause_seconds = 0.1
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                while True:
                    try:
                        ids: Sequence[int] = await self._writer.write(settlement)
                        return ids
                    except exc.SQLAlchemyError as error:
                        refusal = error
                    if not settlement.again:
                        why = said(refusal)
                        log.warning("Job %s cannot be settled yet: %s", settlement.job_id, why)
                        settlement = replace(settlement, again=True)
                    await asyncio.sleep(pause_seconds * random.uniform(1, 1.5))
                    pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
        except (TimeoutError, asyncio.CancelledError) as end:
            raise refusal or end from None

    def stop(self) -> None:
        """Take no new work. After DRAIN_SECONDS, settle as unknown what OpenAI has not answered;
        what cannot be settled even then, leave to the log."""
        if not self._stopping:
            self._stopping = True
            loop = asyncio.get_running_loop()
            loop.call_later(settings.drain_seconds, _cancel, self._calling)
            loop.call_later(settings.drain_seconds + LAST_SECONDS, _cancel, self._running)

    async def close(self) -> None:
        """Wait until everything is settled."""
        self.stop()
        while self._running:
            await asyncio.wait(self._running)
        self._reconciling.cancel()
        await run_sync(self._writer.close)


def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    for task in list(tasks):
        task.cancel()


def _find(
    idempotency_key: str,
) -> tuple[models.GenJob | None, Sequence[models.GeneratedContent]]:
    """The job that holds the key, else the newest of those that freed it, and what it made."""
    job = models.GenJob
    freed = and_(job.status == "failed", func.coalesce(job.estimated_cost, 1) == 0)
    with_key = select(job).where(job.idempotency_key == idempotency_key)
    with SessionLocal() as session:
        row = session.scalar(with_key.order_by(freed, job.id.desc()).limit(1))
        return row, _made_by(session, row.id) if row else []


def variants(
    session: Session, content: models.GeneratedContent
) -> Sequence[models.GeneratedContent]:
    """What the job of this content made, in order; this alone, where its job is not known."""
    return [content] if content.job_id is None else _made_by(session, content.job_id)


def _made_by(session: Session, job_id: int) -> Sequence[models.GeneratedContent]:
    made = select(CONTENT).where(CONTENT.job_id == job_id).order_by(CONTENT.id)
    return session.scalars(made).all()


def usage(row: models.GenJob) -> Usage | None:
    """What OpenAI counted for the job, if it did."""
    if row.prompt_tokens is None:
        return None
    return Usage(row.prompt_tokens, row.completion_tokens or 0, row.total_tokens or 0)


def _generation(row: models.GenJob, contents: Sequence[models.GeneratedContent]) -> Generation:
    """What a completed job came to, from its rows."""
    content, *others = contents
    cost_usd = None if row.estimated_cost is None else Decimal(str(row.estimated_cost))
    return Generation(
        content.result,
        row.model,
        cost_usd,
        usage(row),
        content.revised_prompt,
        content.image_name,
        content.image_expires_at,
        others=tuple(each.result for each in others),
        finish_reasons=tuple(each.finish_reason for each in contents),
        warning=row.error_message,
    )


def _settlement(job: Job, job_id: int, outcome: Generation | GenerationError) -> Settlement:
    status: models.Status = "completed"
    if isinstance(outcome, GenerationError):
        status = "unknown" if outcome.unanswered else "failed"
    usage, now = outcome.usage, models.utc_now()
    columns = {
        "model": outcome.model or job.model,
        "status": status,
        "estimated_cost": None if outcome.cost_usd is None else float(outcome.cost_usd),
        "prompt_tokens": usage and usage.prompt_tokens,
        "completion_tokens": usage and usage.completion_tokens,
        "total_tokens": usage and usage.total_tokens,
        "cached_tokens": usage and usage.cached_tokens,
        "cache_write_tokens": usage and usage.cache_write_tokens,
        "attempts": outcome.attempts,
        "openai_request_id": outcome.request_id,
        "error_message": str(outcome) if isinstance(outcome, GenerationError) else outcome.warning,
        "completed_at": now,
    }
    if isinstance(outcome, GenerationError):
        return Settlement(job_id, columns, [])
    content = {
        "job_id": job_id,
        "content_type": job.job_type,
        "prompt": job.prompt,
        "model": outcome.model,
        "segment_id": job.segment_id,
        "tone": job.tone,
        "keywords": job.keywords and json.dumps(job.keywords, ensure_ascii=False),
        "revised_prompt": outcome.revised_prompt,
        "image_name": outcome.image_name,
        "image_expires_at": outcome.image_expires_at,
        "created_at": now,
    }
    parts = zip(outcome.results, outcome.finish_reasons, outcome.shares_usd, strict=True)
    contents = [
        {
            **content,
            "result": result,
            "finish_reason": finish_reason,
            "cost": None if usd is None else float(usd),
        }
        for result, finish_reason, usd in parts
    ]
    return Settlement(job_id, columns, contents)


JOBS, CONTENT = models.GenJob, models.GeneratedContent
INSERT_JOBS = insert(JOBS).returning(JOBS.id, sort_by_parameter_order=True)
# Returns nothing where another job holds the key.
CLAIM_KEY = {
    dialect.dialect.name: dialect.insert(JOBS).on_conflict_do_nothing().returning(JOBS.id)
    for dialect in (postgresql, sqlite)
}
UPDATE_JOBS = update(JOBS).where(JOBS.id == bindparam("job_id"))
INSERT_CONTENT = insert(CONTENT).returning(CONTENT.id, sort_by_parameter_order=True)


def _write(connection: Connection, entries: Sequence[Job | Settlement]) -> list[Any]:
    """For each job the id of its new row, None where its key is taken; for each settlement the ids
    of what it made."""
    if connection.dialect.name == "sqlite":
        # Waits for other processes now, so that a row's times are those of its writing.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    opened = iter(_open(connection, [each for each in entries if isinstance(each, Job)]))
    settled = iter(_settle(connection, [each for each in entries if isinstance(each, Settlement)]))
    return [next(opened if isinstance(entry, Job) else settled) for entry in entries]


def _open(connection: Connection, jobs: list[Job]) -> list[int | None]:
    now = models.utc_now()
    rows = [
        {
            "user_id": job.user_id,
            "job_type": job.job_type,
            "model": job.model,
            "prompt": job.prompt,
            "idempotency_key": job.idempotency_key,
            "request_hash": job.request_hash,
            "size": job.size,
            "quality": job.quality,
            "image_key": job.image_key,
            "n": job.n,
            "max_tokens": job.max_tokens,
            "status": "pending",
            "estimated_cost": None,
            "created_at": now,
            "expires_at": now + LONGEST_CALL[job.job_type] + TIME_TO_SETTLE,
        }
        for job in jobs
    ]
    ids: dict[int, int | None] = {}
    without_key = [place for place, job in enumerate(jobs) if job.idempotency_key is None]
    if without_key:
        new = connection.execute(INSERT_JOBS, [rows[place] for place in without_key])
        ids |= dict(zip(without_key, new.scalars(), strict=True))
    # In the order of their keys: two processes that claim the same ones cannot block each other.
    for place in sorted(range(len(jobs)), key=lambda place: jobs[place].idempotency_key or ""):
        if place not in ids:
            ids[place] = connection.execute(
                CLAIM_KEY[connection.dialect.name], rows[place]
            ).scalar()
    return [ids[place] for place in range(len(jobs))]


def _settle(connection: Connection, settlements: list[Settlement]) -> list[list[int]]:
    # By job: what is written again may meet its first try here.
    by_job = {each.job_id: each for each in settlements}
    ids: defaultdict[int | None, list[int]] = defaultdict(list)
    if by_job:
        ends = [{"job_id": job_id, **each.columns} for job_id, each in by_job.items()]
        connection.execute(UPDATE_JOBS, ends)
    # Only now: the update has waited for a first try that was still committing.
    if repeated := [each.job_id for each in settlements if each.again]:
        there = select(CONTENT.job_id, CONTENT.id).where(CONTENT.job_id.in_(repeated))
        for job_id, content_id in connection.execute(there.order_by(CONTENT.id)):
            ids[job_id].append(content_id)
    missing = [each for each in by_job.values() if each.job_id not in ids]
    unkept = [
        {"job_id": each.job_id, "error_message": each.unkept} for each in missing if each.unkept
    ]
    if unkept:
        connection.execute(UPDATE_JOBS, unkept)
    contents = [content for each in missing if not each.unkept for content in each.contents]
    if contents:
        made = connection.execute(INSERT_CONTENT, contents).scalars()
        for content, content_id in zip(contents, made, strict=True):
            ids[content["job_id"]].append(content_id)
    return [ids[each.job_id] for each in settlements]


async def _keep_reconciling() -> None:
    while True:
        try:
            if count := await run_sync(_reconcile):
                log.warning("%s jobs of a process that died are unknown now", count)
        except Exception as error:  # the database is away: the next round may find it
            log.error("Jobs cannot be reconciled now: %s", said(error))
        await asyncio.sleep(RECONCILE_SECONDS)


def _reconcile() -> int:
    """Mark what no living process can still be waiting for as unknown. How many jobs it was."""
    now = models.utc_now()
    # A worker of the release before this one wrote no expires_at.
    long_ago = now - max(LONGEST_CALL.values()) - TIME_TO_SETTLE
    undated = and_(JOBS.expires_at.is_(None), JOBS.created_at < long_ago)
    died = (
        update(JOBS)
        .where(JOBS.status == "pending", or_(JOBS.expires_at < now, undated))
        .values(
            status="unknown",
            completed_at=now,
            error_message=(
                "the end of this call was never written: the process that made it ended, or the "
                "database refused (then its log says: job not settled); "
                "the call may have been billed."
            ),
        )
    )
    with engine.begin() as connection:
        return connection.execute(died).rowcount
