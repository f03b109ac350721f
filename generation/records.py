"""The SQL of a generation: its row is opened before the call, and settled after it."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import takewhile
from typing import Any

from sqlalchemy import (
    Connection,
    Engine,
    and_,
    bindparam,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

import models
from generation.results import (
    Bill,
    GenerationError,
    ImageResult,
    Job,
    TextJob,
    TextResult,
    Usage,
    WrittenText,
)

JOBS, CONTENT = models.GenJob, models.GeneratedContent
# A column is named here, or in the one function that fills it, and nowhere else.
# What of a job its row has from the start; what a kind of job lacks is NULL.
OPENED = (
    "user_id",
    "job_type",
    "model",
    "prompt",
    "idempotency_key",
    "request_hash",
    "size",
    "quality",
    "image_key",
    "n",
    "max_tokens",
)
# What of a usage its row has in the end.
COUNTED = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cached_tokens",
    "cache_write_tokens",
)
# All columns of a content, so that texts and images can be inserted together.
MADE = [column.name for column in CONTENT.__table__.columns if column.name != "id"]
INSERT_JOBS = insert(JOBS).returning(JOBS.id, sort_by_parameter_order=True)
# Returns nothing where another job holds the key.
CLAIM_KEY = {
    dialect.dialect.name: dialect.insert(JOBS).on_conflict_do_nothing().returning(JOBS.id)
    for dialect in (postgresql, sqlite)
}
UPDATE_JOBS = update(JOBS).where(JOBS.id == bindparam("job_id"))
INSERT_CONTENT = insert(CONTENT).returning(CONTENT.id, sort_by_parameter_order=True)
DIED = (
    "the end of this call was never written: the process that made it ended, or the database "
    "refused (then its log says: job not settled); the call may have been billed."
)

Result = TextResult | ImageResult


@dataclass(frozen=True)
class Opening:
    """A job whose row is to be written; within this time, it will be settled."""

    job: Job
    settled_within: timedelta


@dataclass(frozen=True)
class Settlement:
    """How a job ended. `again`: an earlier try to write this may have succeeded unnoticed.
    `unkept`: the database does not take the content; without it, the row ends so, and says this."""

    job_id: int
    job: Job
    outcome: Result | GenerationError
    completed_at: datetime
    again: bool = False
    unkept: str | None = None

    @property
    def status(self) -> models.Status:
        if not isinstance(self.outcome, GenerationError):
            return "completed"
        if self.outcome.is_unanswered:
            return "unknown"
        return "failed"

    @property
    def message(self) -> str | None:
        """The reason of a failure, or what is to be said of a result."""
        if isinstance(self.outcome, GenerationError):
            return str(self.outcome)
        return self.outcome.warning


def write(connection: Connection, entries: Sequence[Opening | Settlement]) -> list[Any]:
    """For each opening the id of the new row, None where its key is taken; for each settlement the
    ids of what was made."""
    if connection.dialect.name == "sqlite":
        # Waits for other processes now, so that a row's times are those of its writing.
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    openings: list[Opening] = []
    settlements: list[Settlement] = []
    for entry in entries:
        if isinstance(entry, Opening):
            openings.append(entry)
        else:
            settlements.append(entry)
    # Each kind at once, then each result to its entry.
    opened = iter(_open(connection, openings))
    settled = iter(_settle(connection, settlements))
    results: list[Any] = []
    for entry in entries:
        results.append(next(opened if isinstance(entry, Opening) else settled))
    return results


def _open(connection: Connection, openings: list[Opening]) -> list[int | None]:
    now = models.utc_now()
    ids: list[int | None] = [None] * len(openings)
    # In the order of their keys: two processes that claim the same ones cannot block each other.
    ordered = sorted(enumerate(openings), key=_key)
    without_key = list(takewhile(lambda pair: not _key(pair), ordered))
    if without_key:
        rows = [_opened(opening, now) for _, opening in without_key]
        new = connection.execute(INSERT_JOBS, rows).scalars()
        for (index, _), job_id in zip(without_key, new, strict=True):
            ids[index] = job_id
    claim = CLAIM_KEY[connection.dialect.name]
    for index, opening in ordered[len(without_key) :]:
        ids[index] = connection.execute(claim, _opened(opening, now)).scalar()
    return ids


def _key(pair: tuple[int, Opening]) -> str:
    return pair[1].job.idempotency_key or ""


def _opened(opening: Opening, now: datetime) -> dict[str, Any]:
    row = {name: getattr(opening.job, name, None) for name in OPENED}
    row["status"] = "pending"
    row["estimated_cost"] = None
    row["created_at"] = now
    row["expires_at"] = now + opening.settled_within
    return row


def _settle(connection: Connection, settlements: list[Settlement]) -> list[list[int]]:
    # By job: what is written again may meet its first try here.
    by_job = {each.job_id: each for each in settlements}
    if by_job:
        connection.execute(UPDATE_JOBS, list(map(_update, by_job.values())))
    # Only now: the update has waited for a first try that was still committing.
    ids = _there_already(connection, settlements)
    contents: list[dict[str, Any]] = []
    for each in by_job.values():
        if each.job_id in ids:
            continue
        if each.unkept:
            words = {"job_id": each.job_id, "error_message": each.unkept}
            connection.execute(UPDATE_JOBS, words)
        else:
            contents += made(each)
    if contents:
        new = connection.execute(INSERT_CONTENT, contents).scalars()
        for content, content_id in zip(contents, new, strict=True):
            ids[content["job_id"]].append(content_id)
    return [ids[each.job_id] for each in settlements]


def _there_already(
    connection: Connection, settlements: list[Settlement]
) -> defaultdict[int | None, list[int]]:
    """Return the ids of the contents that an earlier try has written, by job."""
    ids: defaultdict[int | None, list[int]] = defaultdict(list)
    again = [each.job_id for each in settlements if each.again]
    if again:
        there = select(CONTENT.job_id, CONTENT.id).where(CONTENT.job_id.in_(again))
        for job_id, content_id in connection.execute(there.order_by(CONTENT.id)):
            ids[job_id].append(content_id)
    return ids


def _update(settlement: Settlement) -> dict[str, Any]:
    row = ended(settlement)
    row["job_id"] = settlement.job_id
    return row


def ended(settlement: Settlement) -> dict[str, Any]:
    """Return the columns of a job that its settlement sets."""
    bill = settlement.outcome.bill
    columns = {name: getattr(bill.usage, name, None) for name in COUNTED}
    columns["model"] = bill.model
    columns["status"] = settlement.status
    columns["estimated_cost"] = _stored(bill.cost_usd)
    columns["attempts"] = bill.attempts
    columns["openai_request_id"] = bill.request_id
    columns["error_message"] = settlement.message
    columns["completed_at"] = settlement.completed_at
    # What came to nothing and cost nothing may run again.
    columns["idempotency_key"] = columns["released_key"] = None
    is_free = settlement.status == "failed" and bill.cost_usd == 0
    held = "released_key" if is_free else "idempotency_key"
    columns[held] = settlement.job.idempotency_key
    return columns


def made(settlement: Settlement) -> list[dict[str, Any]]:
    """Return the columns of each content that the job made."""
    outcome = settlement.outcome
    if isinstance(outcome, ImageResult):
        return [
            _content(
                settlement,
                outcome.bill.cost_usd,
                result=outcome.result,
                revised_prompt=outcome.revised_prompt,
                image_name=outcome.image_name,
                image_expires_at=outcome.image_expires_at,
            )
        ]
    contents: list[dict[str, Any]] = []
    if isinstance(outcome, TextResult):
        for text, usd in zip(outcome.texts, outcome.shares_usd, strict=True):
            own = {"result": text.text, "finish_reason": text.finish_reason}
            contents.append(_content(settlement, usd, **own))
    return contents


def _content(settlement: Settlement, cost_usd: Decimal | None, **own: Any) -> dict[str, Any]:
    job = settlement.job
    row = dict.fromkeys(MADE)
    row.update(own)
    row["job_id"] = settlement.job_id
    row["content_type"] = job.job_type
    row["prompt"] = job.prompt
    row["model"] = settlement.outcome.bill.model
    row["cost"] = _stored(cost_usd)
    row["created_at"] = settlement.completed_at
    if isinstance(job, TextJob):
        row["segment_id"] = job.segment_id
        row["tone"] = job.tone
        row["keywords"] = job.keywords and json.dumps(job.keywords, ensure_ascii=False)
    return row


def _stored(cost_usd: Decimal | None) -> float | None:
    return None if cost_usd is None else float(cost_usd)


def find(
    session: Session, idempotency_key: str
) -> tuple[models.GenJob | None, Sequence[models.GeneratedContent]]:
    """Return the job that holds the key, else the newest of those that released it, and what it
    made."""
    is_held = JOBS.idempotency_key == idempotency_key
    with_key = select(JOBS).where(or_(is_held, JOBS.released_key == idempotency_key))
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


def result(row: models.GenJob, contents: Sequence[models.GeneratedContent]) -> Result:
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


def reconcile(engine: Engine, longest: timedelta) -> int:
    """Mark what no living process can still be waiting for as unknown. How many jobs it was.
    `longest` is the longest time from opening to settling."""
    now = models.utc_now()
    # A worker of the release before 2.0.0 wrote no expires_at.
    undated = and_(JOBS.expires_at.is_(None), JOBS.created_at < now - longest)
    died = (
        update(JOBS)
        .where(JOBS.status == "pending", or_(JOBS.expires_at < now, undated))
        .values(status="unknown", completed_at=now, error_message=DIED)
    )
    with engine.begin() as connection:
        return connection.execute(died).rowcount
