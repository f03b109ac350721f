"""Every error of the service: its status, its words, and its answer."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy import exc
from starlette.routing import Match, Route

from access.caps import CapReached
from access.keys import KeyInvalid, KeyMissing, KeyTooNarrow, RateReached
from access.manage import AmountMissing, BudgetNotFound, BudgetOfSettings, KeyNotFound
from analytics.ingest import EventIdReused, UnknownContent
from database import DatabaseAway, DatabaseRefuses, unavailable
from dependencies import OpenAINotConfigured
from fields import shown_loc
from generation.corrections import CostKnown, JobNotFound
from generation.images import ImageNotFound, StoreUnavailable
from generation.ledger import JobFailed, KeyInUse, KeyReused, NotAccepting, OutcomeUnknown
from generation.schemas import NotTaken
from queries import ContentNotFound, SegmentNotFound

# A thousand metrics with the longest Korean names and ids, escaped, fit in.
MAX_BODY_BYTES = 4_000_000
RETRY_AFTER = {"Retry-After": "5"}
WANTS_KEY = {"WWW-Authenticate": "Bearer"}
REPLAYED = {"Idempotent-Replayed": "true"}
TOO_LARGE = 413
MAX_ERRORS, MAX_REASON = 20, 2_000
HANGUL = re.compile("[가-힣]")

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
AMOUNT_MISSING = {
    "loc": ["body", "cap", "amount_usd"],
    "msg": "Field required: this key has no cap yet",
    "type": "missing",
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
    # Who may do what, and how much it may cost.
    Row(
        KeyMissing,
        401,
        "This service wants a key. Send it as Authorization: Bearer ..., or as X-API-Key.",
        "No key was sent.",
        WANTS_KEY,
    ),
    Row(
        KeyInvalid,
        401,
        "This key opens nothing: it is mistyped, has ended, or was revoked.",
        "The key opens nothing.",
        WANTS_KEY,
    ),
    Row(
        CapReached,
        402,
        "{}",
        "It could cost more than a cap has left; nothing was spent.",
    ),
    Row(KeyTooNarrow, 403, "{}.", "The key does not open this, or is another user's."),
    Row(
        RateReached,
        429,
        "This key may ask for {} generations per minute. Retry-After says when it may again.",
        "The key has asked too often; Retry-After says when it may again.",
    ),
    # What is named and not there.
    Row(SegmentNotFound, 404, "Segment not found", "There is no such segment."),
    Row(ContentNotFound, 404, "Content not found", "There is no such content."),
    Row(JobNotFound, 404, "Job not found", "There is no such job."),
    Row(KeyNotFound, 404, "Key not found", "There is no such key."),
    Row(BudgetNotFound, 404, "Budget not found", "There is no such budget."),
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
    Row(
        BudgetOfSettings,
        409,
        "This is the cap of SERVICE_BUDGET_USD: change the setting, and start the service again.",
        "It is the cap of the settings.",
    ),
    Row(
        CostKnown,
        409,
        "The cost of this job is known, or it still runs. Only what nobody knows can be settled.",
        "The cost of this job is known, or it still runs.",
    ),
    # What is wrong with the request itself.
    Row(
        TOO_LARGE,
        413,
        f"The request body is larger than {MAX_BODY_BYTES} bytes.",
        "The request is too large.",
    ),
    Row(KeyReused, 422, [KEY_REUSED]),
    Row(AmountMissing, 422, [AMOUNT_MISSING]),
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
        RateReached: _answer_rate_reached,
        exc.DBAPIError: _answer_database,
        exc.TimeoutError: _answer_database,
    }
    for error, answer in special.items():
        app.add_exception_handler(error, answer)


def too_large() -> JSONResponse:
    """Return the answer to a body that is too large."""
    row = ROWS[TOO_LARGE]
    return _json(row.status, row.words)


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


async def _answer_rate_reached(_: Request, error: RateReached) -> JSONResponse:
    """429 with what the IETF's draft and its predecessors call the rate."""
    response = _answer(ROWS[RateReached], error)
    limit, seconds = str(error.limit), str(error.retry_after_seconds)
    response.headers["Retry-After"] = response.headers["RateLimit-Reset"] = seconds
    response.headers["RateLimit-Limit"] = limit
    response.headers["RateLimit-Remaining"] = "0"
    response.headers["RateLimit-Policy"] = f'"minute";q={limit};w=60'
    response.headers["RateLimit"] = f'"minute";r=0;t={seconds}'
    return response


async def _answer_database(_: Request, error: exc.SQLAlchemyError) -> JSONResponse:
    """503 while the database, or a free connection to it, is out of reach, or it takes nothing."""
    reason = unavailable(error)
    if reason is None:
        raise error
    return _answer(ROWS[type(reason)], reason)


async def _answer_invalid(_: Request, error: RequestValidationError) -> JSONResponse:
    """422 without the rejected input: it may hold what JSON cannot carry."""
    found = error.errors()
    details = []
    for invalid in found[:MAX_ERRORS]:
        loc = shown_loc(invalid["loc"])
        reason = invalid["msg"]
        if invalid["type"] in ("model_attributes_type", "model_type"):
            reason = "Send a JSON object, with the header Content-Type: application/json"
        elif invalid["type"] == "json_invalid":
            reason = f"The JSON is not valid: {invalid['ctx']['error']} (character {loc[-1]})"
        details.append({"loc": loc, "msg": reason[:MAX_REASON], "type": invalid["type"]})
    if len(found) > MAX_ERRORS:
        more = f"and {len(found) - MAX_ERRORS + 1} more errors"
        details[-1] = {"loc": [found[0]["loc"][0]], "msg": more, "type": "more"}
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
