"""What each error says to people, and how /docs shows it for each kind of route."""

import re
from typing import Any

from pydantic import BaseModel

import fields
import models

# A thousand metrics with the longest Korean names and ids, escaped, fit in.
MAX_BODY_BYTES = 4_000_000


class ErrorAnswer(BaseModel):
    detail: str


class InvalidRequest(BaseModel):
    detail: list[fields.InvalidField]


SEGMENT_NOT_FOUND = "Segment not found"
CONTENT_NOT_FOUND = "Content not found"
IMAGE_NOT_FOUND = "Image not found"
STORE_LOST = "The image store cannot be reached at the moment. Please try again in a few seconds."
BODY_TOO_LARGE = f"The request body is larger than {MAX_BODY_BYTES} bytes."
OPENAI_NOT_CONFIGURED = "OpenAI API key not configured. Please set OPENAI_API_KEY."
DATABASE_LOST = "The database cannot be reached at the moment. Please try again in a few seconds."
DATABASE_REFUSES = "The database takes no changes at the moment. Please try again in a few seconds."
KEY_IN_USE = "The first request with this Idempotency-Key still runs. Ask again in a few seconds."
KEY_REUSED = {
    "loc": ["header", "Idempotency-Key"],
    "msg": "This Idempotency-Key belongs to a request with another body. Use a new key.",
    "type": "key_reused",
}
UNKNOWN_CONTENT = {"loc": ["content_id"], "msg": CONTENT_NOT_FOUND, "type": "not_found"}
EVENT_ID_REUSED = {
    "loc": ["event_id"],
    "msg": "This event_id was sent before with other values, and those count. If something new "
    "happened, give it an event_id of its own, with all that tells its row from others, such as "
    "day/campaign/content/metric; to correct what was sent, send the difference under another one, "
    "with the timestamp of what it corrects.",
    "type": "event_id_reused",
}
OUTCOME_UNKNOWN = (
    "What the first request with this Idempotency-Key came to is not known: {} To generate once "
    "more all the same, use a new key."
)
NOT_ACCEPTING = "{} Please try again in a few seconds."
OUR_MISTAKE = "Something went wrong on our side. The reason is in the server's log."

HANGUL = re.compile("[가-힣]")


def unreadable(reason: BaseException | None) -> dict[str, Any]:
    """Why Python cannot read the JSON of a body: no UTF-8, too deep, too big a number."""
    told = "JSON cannot be read"
    if isinstance(reason, UnicodeDecodeError):
        korean = ", but looks like CP949 (Korean Windows)" if _is_cp949(reason) else ""
        told += (
            f": it is not {reason.encoding.upper()}{korean}. Send it as UTF-8: with curl, for "
            "example, from a file that is saved as UTF-8 (--data-binary @file.json)"
        )
    return {"loc": ["body"], "msg": told, "type": "json_invalid"}


def _is_cp949(reason: UnicodeDecodeError) -> bool:
    """Whether it is Korean as CP949, which EUC-KR is part of. Korean that is read as UTF-8 as far
    as the error is UTF-8, damaged: as CP949, it would be other Korean."""
    if HANGUL.search(reason.object[: reason.start].decode(errors="ignore")):
        return False
    try:
        return HANGUL.search(reason.object.decode("cp949")) is not None
    except UnicodeDecodeError:
        return False


# What a route's `responses` takes.
Documented = dict[int | str, dict[str, Any]]


def _documented(
    status: int, description: str, detail: Any, model: type[BaseModel] = ErrorAnswer
) -> Documented:
    example = {"application/json": {"example": {"detail": detail}}}
    return {status: {"model": model, "description": description, "content": example}}


def _invalid(place: str, field: str, reason: str) -> Documented:
    detail = [{"loc": [place, field], "msg": reason, "type": "value_error"}]
    description = "The request is not valid; nothing was stored or spent."
    return _documented(422, description, detail, InvalidRequest)


NOT_FOUND = _documented(404, "There is no such segment.", SEGMENT_NOT_FOUND)
UNAVAILABLE = _documented(
    503, "The database is out of reach; Retry-After says for how long.", DATABASE_LOST
)
ONE_CONTENT = (
    UNAVAILABLE
    | _documented(404, "There is no such content.", CONTENT_NOT_FOUND)
    | _invalid("path", "content_id", "Input should be a whole number")
)
IMAGE = {"type": "string", "format": "binary"}
ONE_IMAGE: Documented = {
    200: {
        "description": "The image; it never changes, so it may be cached for good.",
        "content": {kind: {"schema": IMAGE} for kind in ("image/png", "image/jpeg", "image/webp")},
    },
    **_documented(404, "There is no such image.", IMAGE_NOT_FOUND),
    **_documented(503, "The image store is out of reach.", STORE_LOST),
}
# Said here and not declared: FastAPI would add a 422 that never comes.
IMAGE_NAME = {
    "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
}
ONE_SEGMENT = (
    UNAVAILABLE | NOT_FOUND | _invalid("path", "segment_id", "Input should be a whole number")
)
WRITING = (
    UNAVAILABLE
    | _invalid("body", "name", "Text must not be blank")
    | _documented(413, "The request is too large.", BODY_TOO_LARGE)
)
CHANGING = WRITING | NOT_FOUND
PREVIEWING = CHANGING | _invalid("body", "prompt", "Text must not be blank")
REPORTING = (
    WRITING
    | _invalid("body", "metric_value", "Input should be a finite number")
    | _documented(
        404, "There is no such content (of one metric; in a list: its error).", CONTENT_NOT_FOUND
    )
)


def reading(filtered_by: str) -> Documented:
    return UNAVAILABLE | _invalid("query", filtered_by, "Should be a whole number")


def generating(job_type: models.JobType) -> Documented:
    failure = "OpenAI rejected the API key (401). Check OPENAI_API_KEY."
    return (
        WRITING
        | _invalid("body", "prompt", "Text must not be blank")
        | _documented(
            500,
            "Nothing came of the call to OpenAI; its job is kept as failed.",
            f"Failed to generate {job_type}: {failure}",
        )
        | _documented(
            503,
            "No OpenAI key is set; or the database is out of reach, or as many generations run as "
            "may: then Retry-After says for how long.",
            OPENAI_NOT_CONFIGURED,
        )
        | _documented(
            409,
            "The first request with this Idempotency-Key still runs (Retry-After says when to ask "
            "again), or nobody knows what it came to.",
            KEY_IN_USE,
        )
    )
