"""What came over the wire, read by pure functions: texts, usage, reasons.

OpenAI-compatible servers leave fields out or fill them oddly. Whatever else is odd, copy that was
paid for is kept: each field is read by itself.
"""

import json
import math
import time
from dataclasses import astuple, dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

MAX_TOKENS = 2_147_483_647  # what an INTEGER column holds


@dataclass(frozen=True)
class Usage:
    """What OpenAI counted, in tokens; of `prompt_tokens`, some were in its cache and some were
    written to it."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


def retry_after_seconds(value: str) -> float | None:
    """Retry-After (RFC 9110): seconds, or a date."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def request_id(response: httpx2.Response) -> str | None:
    return plain_text(response.headers.get("x-request-id"))[:255] or None


def read_json(content: bytes) -> Any:
    """ValueError where it cannot be read."""
    try:
        return json.loads(content.decode("utf-8-sig", "replace"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def dig(value: Any, *path: str | int) -> Any:
    """What lies at the path inside the JSON value; None where the path ends early."""
    for step in path:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and len(value) > step:
            value = value[step]
        else:
            return None
    return value


def plain_text(value: Any) -> str:
    """The text, or the texts of a list of parts, as every database can store it."""
    if isinstance(value, list):
        value = "".join(plain_text(dig(part, "text")) for part in value)
    if not isinstance(value, str):
        return ""
    return value.replace("\x00", "").encode(errors="replace").decode()


def choices(answer: Any) -> list[Any]:
    choices = dig(answer, "choices")
    return choices if isinstance(choices, list) else []


def reason(answer: Any) -> str:
    """What a server gives as its reason, wherever it puts it."""
    if isinstance(answer, list):
        answer = dig(answer, 0)
    for path in (("error", "message"), ("message",), ("error",), ("detail",)):
        if said := plain_text(dig(answer, *path)):
            return said
    return ""


def text_usage(answer: Any) -> Usage | None:
    """The tokens of a text, where the server counted them plausibly."""
    return _counted(answer, "prompt", "completion")


def added_up(usages: list[Usage]) -> Usage | None:
    """What several calls took together; a detail that none of them told stays unknown."""
    if not usages:
        return None
    together: list[Any] = []
    for counts in zip(*map(astuple, usages), strict=True):
        told = [count for count in counts if count is not None]
        together.append(min(sum(told), MAX_TOKENS) if told else None)
    return Usage(*together)


def image_usage(answer: Any) -> Usage | None:
    """The same for an image: its input and output tokens."""
    return _counted(answer, "input", "output")


def _counted(answer: Any, sent: str, received: str) -> Usage | None:
    usage = dig(answer, "usage")
    prompt_tokens = count(dig(usage, f"{sent}_tokens"))
    completion_tokens = count(dig(usage, f"{received}_tokens"))
    if prompt_tokens is None or completion_tokens is None:
        return None
    details = dig(usage, f"{sent}_tokens_details")
    cached_tokens = count(dig(details, "cached_tokens"))
    cache_write_tokens = count(dig(details, "cache_write_tokens"))
    if cached_tokens is not None:
        cached_tokens = min(cached_tokens, prompt_tokens)
    if cache_write_tokens is not None:
        cache_write_tokens = min(cache_write_tokens, prompt_tokens - (cached_tokens or 0))
    total_tokens = count(dig(usage, "total_tokens")) or prompt_tokens + completion_tokens
    return Usage(prompt_tokens, completion_tokens, total_tokens, cached_tokens, cache_write_tokens)


def count(value: Any) -> int | None:
    if isinstance(value, int | float) and 0 <= value <= MAX_TOKENS and value == int(value):
        return int(value)
    return None


def why_empty(answer: Any, choice: Any) -> str:
    if refusal := plain_text(dig(choice, "message", "refusal")):
        return f"the model refused: {refusal}"
    finish_reason = dig(choice, "finish_reason")
    if finish_reason == "length":
        return "max_tokens was used up before any text came. Ask with a larger max_tokens."
    if finish_reason == "content_filter":
        return "OpenAI's content filter held the text back. Change the prompt."
    return reason(answer) or "OpenAI answered without any text."
