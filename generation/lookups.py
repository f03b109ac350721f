"""What became of earlier generations: by their idempotency key, and by their content."""

from collections.abc import Sequence
from decimal import Decimal

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

import models
from generation.results import Bill, ImageResult, TextResult, Usage, WrittenText

JOBS, CONTENT = models.GenJob, models.GeneratedContent


def find(
    session: Session, key_id: int | None, idempotency_key: str
) -> tuple[models.GenJob | None, Sequence[models.GeneratedContent]]:
    """Return the job of this API key that holds the idempotency key, else the newest of those that
    released it, and what it made."""
    is_held = JOBS.idempotency_key == idempotency_key
    own = func.coalesce(JOBS.key_id, 0) == (key_id or 0)
    with_key = select(JOBS).where(own, or_(is_held, JOBS.released_key == idempotency_key))
    # Who holds it comes first.
    ordered = with_key.order_by(JOBS.idempotency_key.is_(None), JOBS.id.desc())
    row = session.scalar(ordered.limit(1))
    if row is None:
        return None, []
    return row, made_by(session, row.id)


def variants(
    session: Session, content: models.GeneratedContent
) -> Sequence[models.GeneratedContent]:
    """Return what the job of this content made, in order; this alone, where its job is not
    known."""
    if content.job_id is None:
        return [content]
    return made_by(session, content.job_id)


def made_by(session: Session, job_id: int) -> Sequence[models.GeneratedContent]:
    contents = select(CONTENT).where(CONTENT.job_id == job_id).order_by(CONTENT.id)
    return session.scalars(contents).all()


def usage(row: models.GenJob) -> Usage | None:
    """Return what the provider counted for the job, if it did."""
    if row.prompt_tokens is None:
        return None
    return Usage(row.prompt_tokens, row.completion_tokens or 0, row.total_tokens or 0)


def result(
    row: models.GenJob, contents: Sequence[models.GeneratedContent]
) -> TextResult | ImageResult:
    """Return what a completed job came to, from its rows."""
    cost_usd = None if row.estimated_cost is None else Decimal(str(row.estimated_cost))
    bill = Bill(row.model, cost_usd, usage(row), row.attempts, row.openai_request_id)
    if row.job_type == "text":
        texts = [WrittenText(each.result, each.finish_reason) for each in contents]
        return TextResult(bill, tuple(texts), row.error_message)
    image = contents[0]
    return ImageResult(
        bill,
        image.result,
        image.revised_prompt,
        image.image_name,
        image.image_expires_at,
        row.error_message,
    )
