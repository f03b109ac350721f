"""The ledger: a job's row is committed before its call to OpenAI and settled after it."""

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict

from fastapi.concurrency import run_in_threadpool
from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError

import models
from database import SessionLocal
from openai_client import Generation, GenerationError

log = logging.getLogger("uvicorn.error")


class JobFailed(Exception):
    """A generation came to nothing; `str()` says why, for people."""

    def __init__(self, job_type: models.JobType, reason: GenerationError) -> None:
        super().__init__(f"Failed to generate {job_type}: {reason}")


async def run(
    job_type: models.JobType, model: str, prompt: str, call: Callable[[], Awaitable[Generation]]
) -> Generation:
    """Make the call between two short transactions: no connection waits for OpenAI.

    Raises JobFailed once the failure is on the row.
    """
    job_id = await run_in_threadpool(_open, job_type, model, prompt)
    try:
        generation = await call()
    except GenerationError as error:
        await run_in_threadpool(_settle, job_id, error)
        raise JobFailed(job_type, error) from error
    except Exception as error:
        reason = GenerationError(f"unexpected {type(error).__name__}")
        await run_in_threadpool(_settle, job_id, reason)
        raise
    content = models.GeneratedContent(
        content_type=job_type, prompt=prompt, result=generation.result, model=model
    )
    try:
        await run_in_threadpool(_settle, job_id, generation, content)
    except SQLAlchemyError:
        # It is paid for: the client gets it, and the log keeps what the row could not.
        paid_for = json.dumps(asdict(generation), ensure_ascii=False, default=str)
        log.exception("Job %s stays pending; it came to %s", job_id, paid_for)
    return generation


def _open(job_type: models.JobType, model: str, prompt: str) -> int:
    with SessionLocal.begin() as session:
        job = models.GenJob(
            job_type=job_type, model=model, prompt=prompt, status="pending", estimated_cost=None
        )
        session.add(job)
        session.flush()
        return job.id


def _settle(
    job_id: int,
    outcome: Generation | GenerationError,
    content: models.GeneratedContent | None = None,
) -> None:
    """The job's end and its content in one transaction: both are there, or neither is."""
    usage = outcome.usage
    with SessionLocal.begin() as session:
        session.execute(
            update(models.GenJob)
            .where(models.GenJob.id == job_id)
            .values(
                prompt_tokens=usage and usage.prompt_tokens,
                completion_tokens=usage and usage.completion_tokens,
                total_tokens=usage and usage.total_tokens,
                estimated_cost=None if outcome.cost_usd is None else float(outcome.cost_usd),
                status="completed" if content else "failed",
                error_message=None if content else str(outcome),
                completed_at=models.utc_now(),
            )
        )
        if content:
            session.add(content)
