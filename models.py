"""The schema that the migrations leave. Timestamps are UTC without a zone; money is US dollars."""

from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Float,
    Index,
    String,
    Text,
    TextClause,
    func,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.roles import DDLConstraintColumnRole

JobType = Literal["text", "image"]
Status = Literal["pending", "completed", "failed", "unknown"]


def utc_now() -> datetime:
    """Return this moment in UTC, without a zone, as every table stores it."""
    return datetime.now(UTC).replace(tzinfo=None)


def is_cut(finish_reason: str | None) -> bool | None:
    """Tell whether a text ended before its model was done; None where no finish_reason came."""
    return None if finish_reason is None else finish_reason.lower() != "stop"


class UtcNow(TextClause):
    """The moment of writing in UTC, for rows that another program inserts."""

    inherit_cache = True

    def __init__(self) -> None:
        super().__init__("CURRENT_TIMESTAMP")


@compiles(UtcNow, "postgresql")
def _render_utc_now(_element: UtcNow, _compiler: SQLCompiler, **_options: Any) -> str:
    # The server may live in another zone than UTC: now() alone would be local time.
    return "timezone('utc', now())"


class Newest(FunctionElement[datetime]):
    """A time in descending order, undated rows last."""

    inherit_cache = True


@compiles(Newest)
def _render_newest(element: Newest, compiler: SQLCompiler, **options: Any) -> str:
    # SQLite's DESC means NULLS LAST already, and its indexes may not say so.
    return f"{compiler.process(element.clauses, **options)} DESC"


@compiles(Newest, "postgresql")
def _render_newest_on_postgresql(element: Newest, compiler: SQLCompiler, **options: Any) -> str:
    return f"{compiler.process(element.clauses, **options)} DESC NULLS LAST"


class Base(DeclarativeBase):
    # Without AUTOINCREMENT, SQLite gives a deleted row's id to the next one; PostgreSQL never does.
    __table_args__ = ({"sqlite_autoincrement": True},)


class Segment(Base):
    """A group of customers that copy is written for; `criteria` is a JSON object as text."""

    __tablename__ = "segments"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str | None] = mapped_column(Text)
    criteria: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime | None] = mapped_column(default=utc_now, server_default=UtcNow())
    updated_at: Mapped[datetime | None] = mapped_column(default=utc_now, server_default=UtcNow())


class GeneratedContent(Base):
    """A text or an image that the job `job_id` made.

    A stored image's `result` and `image_name` are its name in the image store; its address is made
    when it is read. The `result` of an image that could not be stored is the provider's address,
    until `image_expires_at`, or a data: URL. `segment_id`, `tone` and `keywords` (a JSON list as
    text) are the request's; `cost` is its share of the job's; `finish_reason` is the provider's.
    """

    __tablename__ = "generated_content"

    id: Mapped[int] = mapped_column(primary_key=True)
    content_type: Mapped[str] = mapped_column(String(50))
    prompt: Mapped[str] = mapped_column(Text)
    result: Mapped[str] = mapped_column(Text)
    model: Mapped[str | None] = mapped_column(String(100))
    created_at: Mapped[datetime | None] = mapped_column(default=utc_now, server_default=UtcNow())
    job_id: Mapped[int | None]
    revised_prompt: Mapped[str | None] = mapped_column(Text)
    image_name: Mapped[str | None] = mapped_column(String(64))
    image_expires_at: Mapped[datetime | None]
    segment_id: Mapped[int | None]
    tone: Mapped[str | None] = mapped_column(String(100))
    keywords: Mapped[str | None] = mapped_column(Text)
    cost: Mapped[float | None] = mapped_column(Float)
    finish_reason: Mapped[str | None] = mapped_column(String(50))

    @property
    def cut(self) -> bool | None:
        return is_cut(self.finish_reason)


class GenJob(Base):
    """One generation and what it cost; an unknown cost is NULL, never 0.

    `status` is "pending" from before the call until "completed", "failed" (nothing came of it) or
    "unknown" (it went out and no response came: it may have been billed). A row still pending
    at `expires_at` belongs to a process that died. `image_key` is the name, without its ending,
    that its image has in the store, if one was stored. `n` is how many variants of at most
    `max_tokens` were requested. A job that failed and cost nothing has released its
    `idempotency_key`: another may take it, for the same request. `max_cost` is the most it can
    cost, which caps hold for it until it has ended. What nobody knew, a person may have settled:
    `settled_by`, at `settled_at`.
    """

    __tablename__ = "gen_jobs"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int | None]
    job_type: Mapped[str] = mapped_column(String(50))
    model: Mapped[str] = mapped_column(String(100))
    prompt: Mapped[str] = mapped_column(Text)
    prompt_tokens: Mapped[int | None]
    completion_tokens: Mapped[int | None]
    total_tokens: Mapped[int | None]
    estimated_cost: Mapped[float | None] = mapped_column(Float, server_default="0.0")
    status: Mapped[str | None] = mapped_column(String(50), server_default="completed")
    error_message: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime | None] = mapped_column(default=utc_now, server_default=UtcNow())
    completed_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    attempts: Mapped[int | None]
    cached_tokens: Mapped[int | None]
    cache_write_tokens: Mapped[int | None]
    openai_request_id: Mapped[str | None] = mapped_column(String(255))
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    request_hash: Mapped[str | None] = mapped_column(String(64))
    size: Mapped[str | None] = mapped_column(String(20))
    quality: Mapped[str | None] = mapped_column(String(20))
    image_key: Mapped[str | None] = mapped_column(String(32))
    max_tokens: Mapped[int | None]
    n: Mapped[int | None]
    released_key: Mapped[str | None] = mapped_column(String(255))
    key_id: Mapped[int | None]
    max_cost: Mapped[float | None] = mapped_column(Float)
    settled_by: Mapped[str | None] = mapped_column(String(255))
    settled_at: Mapped[datetime | None]


class Metric(Base):
    """One reported figure of a campaign, such as 120 clicks.

    A campaign is a pair of `project_id` and `campaign_id`; these and `event_id`, unique within its
    project, are the client's own.
    """

    __tablename__ = "metrics"

    id: Mapped[int] = mapped_column(primary_key=True)
    project_id: Mapped[int | None]
    metric_name: Mapped[str] = mapped_column(String(255))
    metric_value: Mapped[float] = mapped_column(Float)
    timestamp: Mapped[datetime | None] = mapped_column(default=utc_now, server_default=UtcNow())
    campaign_id: Mapped[int | None] = mapped_column(BigInteger)
    content_id: Mapped[int | None]
    event_id: Mapped[str | None] = mapped_column(String(255))


class ApiKey(Base):
    """A key that opens some routes: `scopes`, their names with spaces between. It is found by its
    `prefix`; of the whole, only the SHA-256 is here. With a `user_id`, it is that user's alone.
    `cap_id` is the budget that was made with it."""

    __tablename__ = "api_keys"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    prefix: Mapped[str] = mapped_column(String(32), unique=True)
    key_hash: Mapped[str] = mapped_column(String(64))
    user_id: Mapped[int | None]
    scopes: Mapped[str] = mapped_column(String(255))
    expires_at: Mapped[datetime | None]
    rate_per_minute: Mapped[int | None]
    cap_id: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(default=utc_now, server_default=UtcNow())
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Budget(Base):
    """A cap: so many US dollars in each period of this time zone, for one key, for one user, or,
    with neither, for the whole service."""

    __tablename__ = "budgets"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(String(255))
    key_id: Mapped[int | None]
    user_id: Mapped[int | None]
    amount: Mapped[float] = mapped_column(Float)
    period: Mapped[str] = mapped_column(String(10))
    time_zone: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(default=utc_now, server_default=UtcNow())


class BudgetPeriod(Base):
    """What the jobs of one period have spent of a budget and hold, in trillionths of a US dollar.

    Its `budget_id` is 0 for the budget of the settings. `alerted` is the share of the budget, in
    percent, that people were last told of.
    """

    __tablename__ = "budget_periods"

    id: Mapped[int] = mapped_column(primary_key=True)
    budget_id: Mapped[int]
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    spent: Mapped[int] = mapped_column(BigInteger)
    held: Mapped[int] = mapped_column(BigInteger)
    alerted: Mapped[int] = mapped_column(default=0, server_default="0")


def _partial_index(
    name: str, *columns: DDLConstraintColumnRole, where: ColumnElement[bool], unique: bool = False
) -> Index:
    return Index(name, *columns, unique=unique, postgresql_where=where, sqlite_where=where)


Index(
    "ix_generated_content_newest",
    Newest(GeneratedContent.created_at),
    GeneratedContent.id.desc(),
)
Index("ix_generated_content_job_id", GeneratedContent.job_id)
_partial_index(
    "ix_generated_content_image_name",
    GeneratedContent.image_name,
    where=GeneratedContent.image_name.is_not(None),
)

# The history; what may have died; whose a stored image is.
Index("ix_gen_jobs_newest", Newest(GenJob.created_at), GenJob.id.desc())
_partial_index("ix_gen_jobs_pending", GenJob.expires_at, where=GenJob.status == "pending")
_partial_index("ix_gen_jobs_image_key", GenJob.image_key, where=GenJob.image_key.is_not(None))
# One job holds an idempotency key, which is the API key's own; those that failed unbilled have
# released theirs, and are found by it still. A unique index takes two NULLs for different.
_whose_key = func.coalesce(GenJob.key_id, 0)
Index("ix_gen_jobs_idempotency_key", _whose_key, GenJob.idempotency_key, unique=True)
_partial_index(
    "ix_gen_jobs_released_key",
    _whose_key,
    GenJob.released_key,
    where=GenJob.released_key.is_not(None),
)
# How many generations a key asked for in the last minute; what it spent.
_partial_index(
    "ix_gen_jobs_key", GenJob.key_id, GenJob.created_at, where=GenJob.key_id.is_not(None)
)

Index(
    "ix_budget_periods_period",
    BudgetPeriod.budget_id,
    BudgetPeriod.starts_at,
    BudgetPeriod.ends_at,
    unique=True,
)

_partial_index(
    "ix_metrics_event",
    func.coalesce(Metric.project_id, 0),
    Metric.event_id,
    where=Metric.event_id.is_not(None),
    unique=True,
)
# These hold all that a sum needs, so that the rows themselves are not read.
Index(
    "ix_metrics_campaign",
    Metric.project_id,
    Metric.campaign_id,
    Metric.content_id,
    Metric.metric_name,
    Metric.timestamp,
    Metric.metric_value,
)
Index(
    "ix_metrics_content",
    Metric.content_id,
    Metric.metric_name,
    Metric.timestamp,
    Metric.metric_value,
)
