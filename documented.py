"""What /docs shows of each route's errors."""

from typing import Any

from pydantic import BaseModel

from access.caps import CapReached
from access.keys import KeyInvalid, KeyMissing, KeyTooNarrow, RateReached
from access.manage import BudgetNotFound, BudgetOfSettings, KeyNotFound
from analytics.ingest import UnknownContent
from database import DatabaseAway
from dependencies import OpenAINotConfigured
from errors import ROWS, TOO_LARGE, Row
from fields import InvalidField
from generation.corrections import CostKnown, JobNotFound
from generation.images import ImageNotFound, StoreUnavailable
from generation.ledger import JobFailed, KeyInUse, NotAccepting, OutcomeUnknown
from models import JobType
from queries import ContentNotFound, SegmentNotFound

# What a route's `responses` takes.
Documented = dict[int | str, dict[str, Any]]


class ErrorAnswer(BaseModel):
    detail: str


class InvalidRequest(BaseModel):
    detail: list[InvalidField]


# Where a request may be wrong, and why, for example.
INVALID = {
    "name": ("body", "Text must not be blank"),
    "prompt": ("body", "Text must not be blank"),
    "metric_value": ("body", "Input should be a finite number"),
    "segment_id": ("path", "Input should be a whole number"),
    "content_id": ("path", "Input should be a whole number"),
    "cost": ("body", "Input should be greater than or equal to 0"),
    "amount_usd": ("body", "Input should be greater than or equal to 0"),
    "key_id": ("path", "Input should be a whole number"),
    "budget_id": ("path", "Input should be a whole number"),
    "limit": ("query", "Should be a whole number"),
    "project_id": ("query", "Should be a whole number"),
    "user_id": ("query", "Should be a whole number"),
}


def shown(*errors: type[Exception] | Exception, invalid: str | None = None) -> Documented:
    """Document the errors of a route, and that this field of it may be invalid. The first error of
    a status is its example; it is an instance where it has something to say."""
    rows: list[tuple[Row, object]] = [(_row(error), error) for error in errors]
    documented: Documented = {}
    if invalid:
        part, reason = INVALID[invalid]
        example = [{"loc": [part, invalid], "msg": reason, "type": "value_error"}]
        description = "The request is not valid; nothing was stored or spent."
        documented[422] = _response(InvalidRequest, description, example)
        if part == "body":
            rows.append((ROWS[TOO_LARGE], None))
    for row, error in rows:
        if row.status in documented:
            documented[row.status]["description"] += f" Or: {row.description}"
        else:
            documented[row.status] = _response(ErrorAnswer, row.description, row.detail(error))
    return documented


def _row(error: type[Exception] | Exception) -> Row:
    return ROWS[type(error) if isinstance(error, Exception) else error]


def _response(model: type[BaseModel], description: str, detail: Any) -> dict[str, Any]:
    example = {"application/json": {"example": {"detail": detail}}}
    return {"model": model, "description": description, "content": example}


NARROW = "This takes a key with the scope read; this key has: metrics"
SPENT = (
    "This request could cost $0.04, which is more than a cap has left. The cap on the service, "
    "$50.00 per month (Asia/Seoul): $49.97 is spent, $0.00 is held by running requests, $0.03 is "
    "left. It starts anew at 2026-12-01T00:00:00+09:00."
)
REJECTED = "OpenAI rejected the API key (401). Check OPENAI_API_KEY."


def guarded(*errors: type[Exception] | Exception, invalid: str | None = None) -> Documented:
    """Document these errors of a route, and those of a key."""
    return shown(KeyMissing, KeyInvalid, KeyTooNarrow(NARROW), *errors, invalid=invalid)


def _generating(job_type: JobType, *others: type[Exception]) -> Documented:
    failed = JobFailed(job_type, REJECTED, job_id=342)
    refused = (OpenAINotConfigured, NotAccepting, DatabaseAway, KeyInUse, OutcomeUnknown)
    limited = (CapReached(SPENT), RateReached(60, 7))
    return guarded(failed, *limited, *refused, *others, invalid="prompt")


def reading(filtered_by: str) -> Documented:
    """Document the errors of a route that reads what this parameter leaves."""
    return guarded(DatabaseAway, invalid=filtered_by)


GUARDED = guarded(DatabaseAway)
WRITING = guarded(DatabaseAway, invalid="name")
ONE_SEGMENT = guarded(SegmentNotFound, DatabaseAway, invalid="segment_id")
CHANGING = guarded(SegmentNotFound, DatabaseAway, invalid="name")
PREVIEWING = guarded(SegmentNotFound, DatabaseAway, invalid="prompt")
PREVIEWING_IMAGE = guarded(DatabaseAway, invalid="prompt")
GENERATING_TEXT = _generating("text", SegmentNotFound)
GENERATING_IMAGE = _generating("image")
ONE_CONTENT = guarded(ContentNotFound, DatabaseAway, invalid="content_id")
REPORTING = guarded(UnknownContent, DatabaseAway, invalid="metric_value")
SETTLING = guarded(JobNotFound, CostKnown, DatabaseAway, invalid="cost")
MAKING_A_KEY = guarded(DatabaseAway, invalid="name")
ONE_KEY = guarded(KeyNotFound, DatabaseAway, invalid="key_id")
CHANGING_A_KEY = guarded(KeyNotFound, DatabaseAway, invalid="name")
MAKING_A_BUDGET = guarded(KeyNotFound, DatabaseAway, invalid="amount_usd")
ONE_BUDGET = guarded(BudgetNotFound, DatabaseAway, invalid="budget_id")
REMOVING_A_BUDGET = guarded(BudgetNotFound, BudgetOfSettings, DatabaseAway, invalid="budget_id")
CHANGING_A_BUDGET = guarded(BudgetNotFound, BudgetOfSettings, DatabaseAway, invalid="amount_usd")
IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp")
IMAGE_SCHEMA = {"type": "string", "format": "binary"}
ONE_IMAGE = shown(ImageNotFound, StoreUnavailable)
ONE_IMAGE[200] = {
    "description": "The image; it never changes, so it may be cached for good.",
    "content": {kind: {"schema": IMAGE_SCHEMA} for kind in IMAGE_TYPES},
}
# Said here and not declared: FastAPI would add a 422 that never comes.
IMAGE_NAME = {
    "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
}
