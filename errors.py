"""Every error of the service: its status, its words, and what /docs shows of it."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy import exc
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from analytics.ingest import EventIdReused, UnknownContent
from database import DatabaseAway, DatabaseRefuses, unavailable
from dependencies import OpenAINotConfigured
from fields import InvalidField
from generation.images import ImageNotFound, StoreUnavailable
from generation.ledger import JobFailed, KeyInUse, KeyReused, NotAccepting, OutcomeUnknown
from generation.schemas import NotTaken
from models import JobType
from queries import ContentNotFound, SegmentNotFound

# A thousand metrics with the longest Korean names and ids, escaped, fit in.
MAX_BODY_BYTES = 4_000_000
RETRY_AFTER = {"Retry-After": "5"}
REPLAYED = {"Idempotent-Replayed": "true"}
TOO_LARGE = 413
HANGUL = re.compile("[가-힣]")

# What a route's `responses` takes.
Documented = dict[int | str, dict[str, Any]]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row:
    """What an error, or what the framework answers with a status, is answered with. What the error
    itself says goes where the words have a {}; `line` goes to the log in the same way."""

    error: type[Exception] | int
    status: int
    words: str | list[dict[str, Any]]
    description: str = ""
    headers: Mapping[str, str] | None = None
    line: str | None = None

    def detail(self, error: object) -> Any:
        return self.words.format(error) if isinstance(self.words, str) else self.words


KEY_REUSED = {
    "loc": ["header", "Idempotency-Key"],
    "msg": "This Idempotency-Key belongs to a request with another body. Use a new key.",
    "type": "key_reused",
}
EVENT_ID_REUSED = {
    "loc": ["event_id"],
    "msg": "This event_id was sent before with other values, and those count. If something new "
    "happened, give it an event_id of its own, with all that tells its row from others, such as "
    "day/campaign/content/metric; to correct what was sent, send the difference under another one, "
    "with the timestamp of what it corrects.",
    "type": "event_id_reused",
}
# What is wrong with one metric of a list.
REFUSED_METRICS = {
    UnknownContent: {"loc": ["content_id"], "msg": "Content not found", "type": "not_found"},
    EventIdReused: EVENT_ID_REUSED,
}
TABLE = (
    # What is named and not there.
    Row(SegmentNotFound, 404, "Segment not found", "There is no such segment."),
    Row(ContentNotFound, 404, "Content not found", "There is no such content."),
    Row(ImageNotFound, 404, "Image not found", "There is no such image."),
    Row(
        UnknownContent,
        404,
        "Content not found",
        "There is no such content (of one metric; in a list: its error).",
    ),
    # A request that was sent before.
    Row(
        KeyInUse,
        409,
        "The first request with this Idempotency-Key still runs. Ask again in a few seconds.",
        "The first request with this Idempotency-Key still runs (Retry-After says when to ask "
        "again).",
        RETRY_AFTER,
    ),
    Row(
        OutcomeUnknown,
        409,
        "What the first request with this Idempotency-Key came to is not known: {} To generate "
        "once more all the same, use a new key.",
        "Nobody knows what the first request with this Idempotency-Key came to.",
    ),
    # What is wrong with the request itself.
    Row(
        TOO_LARGE,
        413,
        f"The request body is larger than {MAX_BODY_BYTES} bytes.",
        "The request is too large.",
    ),
    Row(KeyReused, 422, [KEY_REUSED]),
    Row(EventIdReused, 422, [{**EVENT_ID_REUSED, "loc": ["body", "event_id"]}]),
    # The traceback goes to the log, not to the client.
    Row(
        Exception,
        500,
        "Something went wrong on our side. The reason is in the server's log.",
    ),
    Row(
        JobFailed,
        500,
        "{}",
        "Nothing came of the call to OpenAI; its job is kept as failed.",
    ),
    # What may work later.
    Row(
        OpenAINotConfigured,
        503,
        "OpenAI API key not configured. Please set OPENAI_API_KEY.",
        "No OpenAI key is set.",
    ),
    Row(
        NotAccepting,
        503,
        "{} Please try again in a few seconds.",
        "As many generations run as may; Retry-After says for how long.",
        RETRY_AFTER,
    ),
    Row(
        DatabaseAway,
        503,
        "The database cannot be reached at the moment. Please try again in a few seconds.",
        "The database is out of reach; Retry-After says for how long.",
        RETRY_AFTER,
        line="Database: {}",
    ),
    Row(
        DatabaseRefuses,
        503,
        "The database takes no changes at the moment. Please try again in a few seconds.",
        "The database takes no changes; Retry-After says for how long.",
        RETRY_AFTER,
        line="Database: {}",
    ),
    Row(
        StoreUnavailable,
        503,
        "The image store cannot be reached at the moment. Please try again in a few seconds.",
        "The image store is out of reach.",
        RETRY_AFTER,
        line="Image store: {}",
    ),
)
ROWS = {row.error: row for row in TABLE}


# What /docs shows.


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
        place, reason = INVALID[invalid]
        example = [{"loc": [place, invalid], "msg": reason, "type": "value_error"}]
        description = "The request is not valid; nothing was stored or spent."
        documented[422] = _response(InvalidRequest, description, example)
        if place == "body":
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


REJECTED = "OpenAI rejected the API key (401). Check OPENAI_API_KEY."


def _generating(job_type: JobType, *others: type[Exception]) -> Documented:
    failed = JobFailed(job_type, REJECTED, job_id=342)
    refused = (OpenAINotConfigured, NotAccepting, DatabaseAway, KeyInUse, OutcomeUnknown)
    return shown(failed, *refused, *others, invalid="prompt")


def reading(filtered_by: str) -> Documented:
    """Document the errors of a route that reads what this parameter leaves."""
    return shown(DatabaseAway, invalid=filtered_by)


UNAVAILABLE = shown(DatabaseAway)
WRITING = shown(DatabaseAway, invalid="name")
ONE_SEGMENT = shown(SegmentNotFound, DatabaseAway, invalid="segment_id")
CHANGING = shown(SegmentNotFound, DatabaseAway, invalid="name")
PREVIEWING = shown(SegmentNotFound, DatabaseAway, invalid="prompt")
GENERATING_TEXT = _generating("text", SegmentNotFound)
GENERATING_IMAGE = _generating("image")
ONE_CONTENT = shown(ContentNotFound, DatabaseAway, invalid="content_id")
REPORTING = shown(UnknownContent, DatabaseAway, invalid="metric_value")
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


# What is answered.


def install(app: FastAPI) -> None:
    """Answer every error of this app in JSON, as the table says."""
    # One handler for each row; some errors have more to say, or to find out.
    for row in TABLE:
        app.add_exception_handler(row.error, _answering(row))
    special: dict[int | type[Exception], Any] = {
        400: _answer_unreadable,
        405: _answer_other_method,
        RequestValidationError: _answer_invalid,
        NotTaken: _answer_not_taken,
        JobFailed: _answer_job_failed,
        exc.DBAPIError: _answer_database,
        exc.TimeoutError: _answer_database,
    }
    for error, answer in special.items():
        app.add_exception_handler(error, answer)
    app.add_middleware(BodyLimit)


def _json(status: int, detail: Any, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"detail": detail}, status_code=status, headers=headers)


def _answer(row: Row, error: Exception) -> JSONResponse:
    if row.line:
        log.error(row.line.format(error))
    return _json(row.status, row.detail(error), row.headers)


def _answering(row: Row) -> Any:
    async def answer(_: Request, error: Exception) -> JSONResponse:
        return _answer(row, error)

    return answer


async def _answer_job_failed(_: Request, error: JobFailed) -> JSONResponse:
    log.warning("Job %s: %s", error.job_id, error, extra={"job_id": error.job_id})
    response = _answer(ROWS[JobFailed], error)
    if error.is_replayed:
        response.headers.update(REPLAYED)
    return response


async def _answer_database(_: Request, error: exc.SQLAlchemyError) -> JSONResponse:
    """503 while the database, or a free connection to it, is out of reach, or it takes nothing."""
    reason = unavailable(error)
    if reason is None:
        raise error
    return _answer(ROWS[type(reason)], reason)


async def _answer_invalid(_: Request, error: RequestValidationError) -> JSONResponse:
    """422 without the rejected input: it may hold what JSON cannot carry."""
    details = []
    for invalid in error.errors():
        place = [
            part.encode(errors="replace").decode() if isinstance(part, str) else part
            for part in invalid["loc"]
        ]
        reason = invalid["msg"]
        if invalid["type"] in ("model_attributes_type", "model_type"):
            reason = "Send a JSON object, with the header Content-Type: application/json"
        elif invalid["type"] == "json_invalid":
            reason = f"The JSON is not valid: {invalid['ctx']['error']} (character {place[-1]})"
        details.append({"loc": place, "msg": reason, "type": invalid["type"]})
    return _json(422, details)


async def _answer_not_taken(_: Request, error: NotTaken) -> JSONResponse:
    reasons = error.reasons.items()
    details = [{"loc": ["body", name], "msg": said, "type": "not_taken"} for name, said in reasons]
    return _json(422, details)


async def _answer_unreadable(_: Request, error: HTTPException) -> JSONResponse:
    """422 where FastAPI says 400: Python cannot read the JSON of the body, as it is no UTF-8, too
    deep, or has too big a number."""
    reason = "JSON cannot be read"
    if isinstance(error.__cause__, UnicodeDecodeError):
        korean = ""
        if _is_cp949(error.__cause__):
            korean = ", but looks like CP949 (Korean Windows)"
        reason += (
            f": it is not {error.__cause__.encoding.upper()}{korean}. Send it as UTF-8: with curl, "
            "for example, from a file that is saved as UTF-8 (--data-binary @file.json)"
        )
    return _json(422, [{"loc": ["body"], "msg": reason, "type": "json_invalid"}])


def _is_cp949(reason: UnicodeDecodeError) -> bool:
    """Tell whether it is Korean as CP949, which EUC-KR is part of."""
    # Korean that is read as UTF-8 as far as the error is UTF-8, damaged: as CP949, it would be
    # other Korean.
    if HANGUL.search(reason.object[: reason.start].decode(errors="ignore")):
        return False
    try:
        return HANGUL.search(reason.object.decode("cp949")) is not None
    except UnicodeDecodeError:
        return False


async def _answer_other_method(request: Request, error: HTTPException) -> JSONResponse:
    """405 with every method of this address: each is a route of its own, and knows of no other."""
    methods: set[str] = set()
    for route in request.app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is Match.PARTIAL:
            methods |= route.methods or set()
    allowed: Mapping[str, str] | None = error.headers
    if methods:
        allowed = {"Allow": ", ".join(sorted(methods))}
    return _json(405, error.detail, allowed)


class BodyLimit:
    """413 for a body that says it is too large, or says nothing and turns out to be. The server
    reads no more of a body than it says."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._counting = RequestBodyLimitMiddleware(app, MAX_BODY_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._app
        if scope["type"] == "http":
            announced = dict(scope["headers"]).get(b"content-length")
            if announced is None:
                answer = self._counting
            elif int(announced) > MAX_BODY_BYTES:
                row = ROWS[TOO_LARGE]
                answer = _json(row.status, row.words)
        await answer(scope, receive, send)
