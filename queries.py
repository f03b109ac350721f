"""Reads that handlers share: one segment or content, the histories, and what all jobs cost."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import TypeVar

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

import models
import pricing
import schemas

Dated = TypeVar("Dated", models.GeneratedContent, models.GenJob)


class SegmentNotFound(Exception):
    """There is no segment of this id."""


class ContentNotFound(Exception):
    """There is no content of this id."""


def segment(session: Session, segment_id: int) -> models.Segment:
    """Find the segment. Raises SegmentNotFound."""
    found = session.get(models.Segment, segment_id)
    if found is None:
        raise SegmentNotFound
    return found


def content(session: Session, content_id: int, user_id: int | None) -> models.GeneratedContent:
    """Find what was generated, for this user where one is named. Raises ContentNotFound."""
    query = _of_user(select(models.GeneratedContent), user_id)
    found = session.scalar(query.where(models.GeneratedContent.id == content_id))
    if found is None:
        raise ContentNotFound
    return found


def job(session: Session, job_id: int) -> models.GenJob:
    """Find the job, which is there."""
    return session.get_one(models.GenJob, job_id, populate_existing=True)


def newest_content(
    session: Session, user_id: int | None, limit: int, content_type: str | None
) -> tuple[Sequence[models.GeneratedContent], int]:
    """Return what was generated last, of this type and for this user where they are named, and how
    many there are beyond the limit too."""
    query = _of_user(select(models.GeneratedContent), user_id)
    if content_type is not None:
        query = query.where(models.GeneratedContent.content_type == content_type)
    return _newest(session, models.GeneratedContent, query, limit)


def newest_jobs(
    session: Session, user_id: int | None, limit: int, job_type: str | None
) -> tuple[Sequence[models.GenJob], int]:
    """Return the last jobs in the same way."""
    query = select(models.GenJob)
    if user_id is not None:
        query = query.where(models.GenJob.user_id == user_id)
    if job_type is not None:
        query = query.where(models.GenJob.job_type == job_type)
    return _newest(session, models.GenJob, query, limit)


def _of_user(
    query: Select[models.GeneratedContent], user_id: int | None
) -> Select[models.GeneratedContent]:
    if user_id is None:
        return query
    jobs = select(models.GenJob.id).where(models.GenJob.user_id == user_id)
    return query.where(models.GeneratedContent.job_id.in_(jobs))


def _newest(
    session: Session, table: type[Dated], query: Select[Dated], limit: int
) -> tuple[Sequence[Dated], int]:
    # Counted apart: a window over all rows would read what the page does not show.
    total = session.scalar(query.with_only_columns(func.count(), maintain_column_froms=True))
    newest_first = (table.created_at.desc().nulls_last(), table.id.desc())
    return session.scalars(query.order_by(*newest_first).limit(limit)).all(), total or 0


def costs_summary(session: Session, user_id: int | None) -> schemas.CostsSummary:
    """Sum up what all jobs cost, or one user's; failed jobs count, with what they cost.

    A job of unknown cost adds nothing to the sums.
    """
    job = models.GenJob
    query = select(
        job.job_type,
        job.model,
        func.count().label("jobs"),
        func.sum(job.estimated_cost).label("cost"),
        func.min(job.created_at).label("first"),
        func.max(job.created_at).label("last"),
    ).group_by(job.job_type, job.model)
    if user_id is not None:
        query = query.where(job.user_id == user_id)
    jobs_by_type: Counter[str] = Counter()
    cost_by_type: defaultdict[str, Decimal] = defaultdict(Decimal)
    cost_by_model: defaultdict[str, Decimal] = defaultdict(Decimal)
    dates: list[datetime] = []
    for row in session.execute(query):
        cost_usd = pricing.dollars(row.cost)
        jobs_by_type[row.job_type] += row.jobs
        cost_by_type[row.job_type] += cost_usd
        cost_by_model[row.model] += cost_usd
        # Jobs older than this service may be undated.
        dates.extend(filter(None, (row.first, row.last)))
    return schemas.CostsSummary(
        total_cost=sum(cost_by_type.values(), Decimal(0)),
        total_jobs=jobs_by_type.total(),
        text_jobs=jobs_by_type["text"],
        image_jobs=jobs_by_type["image"],
        text_cost=cost_by_type["text"],
        image_cost=cost_by_type["image"],
        cost_by_model=cost_by_model,
        period=schemas.Period(start=min(dates, default=None), end=max(dates, default=None)),
    )
