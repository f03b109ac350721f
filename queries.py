"""Reads that handlers share: what was made, and what it cost."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, TypeVar

from sqlalchemy import func, select
from sqlalchemy.orm import Session

import models
import pricing

Dated = TypeVar("Dated", models.GeneratedContent, models.GenJob)


def newest(
    session: Session, table: type[Dated], wanted: dict[str, Any], limit: int
) -> tuple[Sequence[Dated], int]:
    """The newest rows whose columns have the wanted values (None wants any), and how many
    there are beyond the limit too."""
    filters = {name: value for name, value in wanted.items() if value is not None}
    total = session.scalar(select(func.count()).select_from(table).filter_by(**filters))
    newest_first = (table.created_at.desc().nulls_last(), table.id.desc())
    query = select(table).filter_by(**filters).order_by(*newest_first).limit(limit)
    return session.scalars(query).all(), total or 0


def costs_summary(session: Session, user_id: int | None) -> dict[str, Any]:
    """What all jobs cost in US dollars, or one user's; failed jobs count, with what they cost.

    A job of unknown cost adds nothing to the sums.
    """
    job = models.GenJob
    query = select(
        job.job_type,
        job.model,
        func.count(),
        func.sum(job.estimated_cost),
        func.min(job.created_at),
        func.max(job.created_at),
    ).group_by(job.job_type, job.model)
    if user_id is not None:
        query = query.where(job.user_id == user_id)
    jobs_by_type = {"text": 0, "image": 0}
    cost_by_type = {"text": Decimal(0), "image": Decimal(0)}
    cost_by_model: dict[str, Decimal] = {}
    dates = []
    for job_type, model, count, cost, first, last in session.execute(query):
        cost_usd = pricing.dollars(cost)
        jobs_by_type[job_type] = jobs_by_type.get(job_type, 0) + count
        cost_by_type[job_type] = cost_by_type.get(job_type, Decimal(0)) + cost_usd
        cost_by_model[model] = cost_by_model.get(model, Decimal(0)) + cost_usd
        dates += [date for date in (first, last) if date is not None]
    return {
        "total_cost": sum(cost_by_type.values()),
        "total_jobs": sum(jobs_by_type.values()),
        "text_jobs": jobs_by_type["text"],
        "image_jobs": jobs_by_type["image"],
        "text_cost": cost_by_type["text"],
        "image_cost": cost_by_type["image"],
        "cost_by_model": cost_by_model,
        "period": {"start": min(dates, default=None), "end": max(dates, default=None)},
    }
