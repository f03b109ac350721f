"""The SQL of a generation: its row is opened before the call, and settled after it."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BindParameter,
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

import models
from access import counters
from access.caps import Cap, Caps, Charge, Standing
from access.keys import Gate
from generation.results import (
    GenerationError,
    ImageResult,
    Job,
    TextJob,
    TextResult,
)

JOBS, CONTENT = models.GenJob, models.GeneratedContent
# A column is named here, or in the one function that fills it, and nowhere else.
# What of a job its row has from the start; what a kind of job lacks is NULL.
OPENED = (
    "user_id",
    "key_id",
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
JOB_IDS: BindParameter[int] = bindparam("job_ids", expanding=True)
STANDING = (
    select(JOBS.id, JOBS.status, JOBS.estimated_cost, JOBS.max_cost)
    .where(JOBS.id.in_(JOB_IDS))
    .with_for_update()
)
INSERT_CONTENT = insert(CONTENT).returning(CONTENT.id, sort_by_parameter_order=True)
DIED = (
    "the end of this call was never written: the process that made it ended, or the database "
    "refused (then its log says: job not settled); the call may have been billed."
)

RECONCILED_AT_ONCE = 1000

Result = TextResult | ImageResult


@dataclass(frozen=True)
class Opening:
    """A job whose row is to be written, and the most that it can cost; within this time, it will be
    settled."""

    job: Job
    max_cost_usd: Decimal | None
    settled_within: timedelta


@dataclass(frozen=True)
class Opened:
    """A job whose row is there."""

    job_id: int
    job: Job
    opened_at: datetime


@dataclass(frozen=True)
class Settlement:
    """How a job ended. `again`: an earlier try to write this may have succeeded unnoticed.
    `unkept`: the database does not take the content; without it, the row ends so, and says this."""

    opened: Opened
    outcome: Result | GenerationError
    completed_at: datetime
    again: bool = False
    unkept: str | None = None

    @property
    def job_id(self) -> int:
        return self.opened.job_id

    @property
    def job(self) -> Job:
        return self.opened.job

    @property
    def status(self) -> models.Status:
        if not isinstance(self.outcome, GenerationError):
            return "completed"
        if self.outcome.is_unanswered:
            return "unknown"
        return "failed"

    @property
    def size(self) -> int:
        """How many contents the job made."""
        if isinstance(self.outcome, TextResult):
            return len(self.outcome.texts)
        return int(isinstance(self.outcome, ImageResult))

    @property
    def message(self) -> str | None:
        """The reason of a failure, or what is to be said of a result."""
        if isinstance(self.outcome, GenerationError):
            return str(self.outcome)
        return self.outcome.warning


@dataclass(frozen=True)
class Settled:
    """The ids of what a job made; what the caps have left for another, and what to tell people of
    them."""

    content_ids: Sequence[int]
    left_usd: Decimal | None = None
    alerts: Sequence[str] = ()


@dataclass(frozen=True)
class Reconciled:
    """How many jobs are unknown now, and what to tell people of the caps."""

    count: int
    alerts: Sequence[str] = ()


def write(
    connection: Connection, entries: Sequence[Opening | Settlement], own: Cap | None = None
) -> Sequence[Opened | Settled | Exception | None]:
    """For each opening its row, the reason why it may have none, or None where its idempotency key
    is taken; for each settlement what came of it. `own` is the cap of the settings."""
    begin(connection)
    now = models.utc_now()
    openings = [entry for entry in entries if isinstance(entry, Opening)]
    settlements = [entry for entry in entries if isinstance(entry, Settlement)]
    charges = [charge(each.job, now) for each in openings]
    charges += [charge(each.job, each.opened.opened_at) for each in settlements]
    # First of all, in one order for everyone: no two groups can wait for each other.
    locked = counters.lock(connection, own, charges, now if openings else None)
    # Each kind at once, then each result to its entry.
    opened = iter(_open(connection, locked, openings, now))
    settled = iter(_settle(connection, locked, settlements))
    counters.write(connection, locked)
    results: list[Opened | Settled | Exception | None] = []
    for entry in entries:
        results.append(next(opened if isinstance(entry, Opening) else settled))
    return results


def begin(connection: Connection) -> None:
    """Begin to write: on SQLite, wait for other processes now, so that a row's times are those of
    its writing."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def charge(job: Job, opened_at: datetime) -> Charge:
    return Charge(job.key_id, job.user_id, opened_at)


def _open(
    connection: Connection, locked: Caps, openings: list[Opening], now: datetime
) -> list[Opened | Exception | None]:
    gate = Gate(connection, [each.job.key_id for each in openings], now)
    results: list[Opened | Exception | None] = [None] * len(openings)
    # In the order of their keys: two processes that claim the same ones cannot block each other.
    ordered = sorted(enumerate(openings), key=_key)
    inserts: list[tuple[int, Opening]] = []
    for index, opening in ordered:
        if refusal := _admit(gate, locked, opening, now):
            results[index] = refusal
        elif opening.job.idempotency_key:
            results[index] = _claim(connection, opening, now)
            if results[index] is None:
                locked.release(charge(opening.job, now), opening.max_cost_usd)
                gate.count(opening.job.key_id, -1)
        else:
            inserts.append((index, opening))
    if inserts:
        rows = [_row(opening, now) for _, opening in inserts]
        ids = connection.execute(INSERT_JOBS, rows).scalars()
        for (index, opening), job_id in zip(inserts, ids, strict=True):
            results[index] = Opened(job_id, opening.job, now)
    return results


def _admit(gate: Gate, locked: Caps, opening: Opening, now: datetime) -> Exception | None:
    """Count the job for its key and hold what it can cost, or say why neither may be."""
    job = opening.job
    refusal = gate.refusal(job.key_id) or locked.hold(charge(job, now), opening.max_cost_usd)
    if refusal is None:
        gate.count(job.key_id)
    return refusal


def _claim(connection: Connection, opening: Opening, now: datetime) -> Opened | None:
    claim = CLAIM_KEY[connection.dialect.name]
    job_id = connection.execute(claim, _row(opening, now)).scalar()
    return None if job_id is None else Opened(job_id, opening.job, now)


def _key(pair: tuple[int, Opening]) -> tuple[str, int]:
    job = pair[1].job
    return job.idempotency_key or "", job.key_id or 0


def _row(opening: Opening, now: datetime) -> dict[str, Any]:
    row = {name: getattr(opening.job, name, None) for name in OPENED}
    row["status"] = "pending"
    row["estimated_cost"] = None
    row["max_cost"] = _stored(opening.max_cost_usd)
    row["created_at"] = now
    row["expires_at"] = now + opening.settled_within
    return row


def _settle(connection: Connection, locked: Caps, settlements: list[Settlement]) -> list[Settled]:
    # By job: what is written again may meet its first try here.
    by_job = {each.job_id: each for each in settlements}
    alerts = _count(connection, locked, by_job)
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
            contents += _made(each)
    if contents:
        new = connection.execute(INSERT_CONTENT, contents).scalars()
        for content, content_id in zip(contents, new, strict=True):
            ids[content["job_id"]].append(content_id)
    return [
        Settled(
            ids[each.job_id],
            locked.left_usd(charge(each.job, each.opened.opened_at)),
            tuple(alerts.pop(each.job_id, ())),
        )
        for each in settlements
    ]


def _count(
    connection: Connection, locked: Caps, by_job: Mapping[int, Settlement]
) -> dict[int, list[str]]:
    """Let the caps count what the jobs have come to; return the alerts, by job."""
    alerts: dict[int, list[str]] = {}
    if not locked or not by_job:
        return alerts
    # What a row was when it was last written, by whomever: it may be settled already.
    rows = connection.execute(STANDING, {"job_ids": list(by_job)})
    for job_id, status, cost_usd, max_cost_usd in rows:
        each = by_job[job_id]
        before = Standing(status, cost_usd, max_cost_usd)
        after = Standing(each.status, _stored(each.outcome.bill.cost_usd), max_cost_usd)
        whose = charge(each.job, each.opened.opened_at)
        alerts[job_id] = locked.change(whose, before, after)
    return alerts


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
    row = _ended(settlement)
    row["job_id"] = settlement.job_id
    return row


def line(settlement: Settlement, why: str) -> str:
    """Return all of a settlement that the database does not take, as JSON for the log."""
    lost = {
        "event": "job not settled",
        "error": why,
        "job": {"id": settlement.job_id, **_ended(settlement)},
        "content": _made(settlement),
    }
    return json.dumps(lost, ensure_ascii=False, default=str)


def _ended(settlement: Settlement) -> dict[str, Any]:
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


def _made(settlement: Settlement) -> list[dict[str, Any]]:
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


def reconcile(engine: Engine, own: Cap | None, longest: timedelta) -> Reconciled:
    """Mark what no living process can still be waiting for as unknown. `longest` is the longest
    time from opening to settling."""
    now = models.utc_now()
    # A worker of the release before 2.0.0 wrote no expires_at.
    undated = and_(JOBS.expires_at.is_(None), JOBS.created_at < now - longest)
    died = and_(JOBS.status == "pending", or_(JOBS.expires_at < now, undated))
    found = select(JOBS.id, JOBS.key_id, JOBS.user_id, JOBS.created_at, JOBS.max_cost).where(died)
    with engine.begin() as connection:
        rows = connection.execute(found.limit(RECONCILED_AT_ONCE)).all()
    if not rows:
        return Reconciled(0)
    alerts: list[str] = []
    with engine.begin() as connection:
        begin(connection)
        charges = {row.id: Charge(row.key_id, row.user_id, row.created_at or now) for row in rows}
        locked = counters.lock(connection, own, list(charges.values()))
        ended = {"status": "unknown", "completed_at": now, "error_message": DIED}
        # Still: whom it belongs to may have settled it meanwhile.
        still = update(JOBS).where(JOBS.id.in_(charges), died).values(**ended)
        marked = connection.execute(still.returning(JOBS.id, JOBS.max_cost)).all()
        for job_id, max_cost_usd in marked:
            before = Standing("pending", None, max_cost_usd)
            after = Standing("unknown", None, max_cost_usd)
            alerts += locked.change(charges[job_id], before, after)
        counters.write(connection, locked)
    return Reconciled(len(marked), alerts)
