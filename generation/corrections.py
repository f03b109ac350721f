"""What a person says that a job cost, where nobody knew: as the provider's bill has it."""

from decimal import Decimal

from sqlalchemy import select
from sqlalchemy.orm import Session

import models
import pricing
from access import counters
from access.caps import Cap, Charge, Standing
from generation import lookups, records

JOB = models.GenJob


class JobNotFound(Exception):
    """There is no job of this id."""


class CostKnown(Exception):
    """The job's cost is known, or will be: it still runs."""


def settle(session: Session, own: Cap | None, job_id: int, cost_usd: float, by: str) -> list[str]:
    """Book what an unknown job cost, and who says so; return what to tell people of the caps. The
    caps count it instead of the most that it could cost. Raises JobNotFound and CostKnown."""
    whose = select(JOB.key_id, JOB.user_id, JOB.created_at).where(JOB.id == job_id)
    found = session.execute(whose).first()
    session.rollback()
    if found is None:
        raise JobNotFound
    charge = Charge(found.key_id, found.user_id, found.created_at or models.utc_now())
    connection = session.connection()
    records.begin(connection)
    locked = counters.lock(connection, own, [charge])
    job = session.scalars(select(JOB).where(JOB.id == job_id).with_for_update()).one()
    if job.status == "pending" or (job.estimated_cost is not None and job.settled_by is None):
        raise CostKnown
    before = Standing(job.status, job.estimated_cost, job.max_cost)
    job.estimated_cost, job.settled_by, job.settled_at = cost_usd, by, models.utc_now()
    if job.status == "unknown":
        # It is not known to have brought anything: that is what failed means.
        job.status = "failed"
    if job.status == "failed" and cost_usd == 0 and job.idempotency_key:
        job.idempotency_key, job.released_key = None, job.idempotency_key
    contents = lookups.made_by(session, job_id)
    if contents:
        shares = pricing.shares_usd(Decimal(str(cost_usd)), len(contents))
        for content, share_usd in zip(contents, shares, strict=True):
            content.cost = float(share_usd or 0)
    alerts = locked.change(charge, before, Standing(job.status, cost_usd, job.max_cost))
    counters.write(connection, locked)
    session.flush()
    return alerts
