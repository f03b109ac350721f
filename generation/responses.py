"""What came over the wire, read by pure functions: texts, usage, reasons.

OpenAI-compatible servers leave fields out or fill them oddly. Whatever else is odd, copy that was
paid for is kept: each field is read by itself.
"""

import json
import math
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, replace
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import httpx2

from generation import bodies
from generation.results import Usage

MAX_TOKENS = 2_147_483_647  # what an INTEGER column holds
MAX_FINISH_REASON = 50  # characters, as the column has
# A text's `finish_reason` where the response broke off before it told one.
INCOMPLETE = "incomplete"
# True in a body that is not all there.
BROKE_OFF = "broke_off"
# Where a part of a text has it, and parts that are none.
TEXTS = ("text", "content", "value", "parts")
CHOICE = {"message", "delta", "text"}
IMAGES = ("data", "image", "images", "output")
# Where a reason may be.
REASONS: tuple[tuple[str | int, ...], ...] = (
    ("error", "message"),
    ("message",),
    ("error",),
    ("detail",),
    ("detail", 0, "msg"),
)
THOUGHTS = ("reasoning", "reasoning_text", "thinking")
RESULT = re.compile(r'"(?:choices|b64_json|url)\\*"')


def retry_after_seconds(value: str) -> float | None:
    """Retry-After (RFC 9110): seconds, or a date."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return None
    if not math.isfinite(seconds):
        return None
    return max(0.0, seconds)


def request_id(response: httpx2.Response) -> str | None:
    return plain_text(response.headers.get("x-request-id"))[:255] or None


def read_result(
    content: bytes,
    charset: str | None,
    kind: Literal["text", "image"],
    *,
    is_deflate: bool = False,
) -> Any:
    """Return the body of a 200, with its texts or its image where `choices` and `image` look for
    them, whatever they are wrapped in: compression, another encoding, events of a stream nobody
    asked for, JSON in JSON, words before or behind it, any depth, an end that is missing.
    ValueError where there is neither a result nor JSON."""
    text = bodies.decode(bodies.inflate(content, is_deflate=is_deflate), charset)
    documents, is_cut = [], False
    # Nearly every body is plain JSON; only what is not is searched.
    try:
        body = json.loads(text)
        if _holds_choices(body) or image(body):
            return body
        documents = [body]
    except (ValueError, RecursionError):
        # Half a text is worth keeping, half an image is none.
        documents, is_cut = bodies.documents_in(text, cut_strings=kind == "text")
        body = None
    if kind == "image":
        found: dict[str, Any] = {"data": _images(documents)}
    else:
        found = _merged(_outermost(documents, _holds_choices), is_cut)
        for name in ("service_tier", "error"):
            found[name] = _last(documents, name)
        found[BROKE_OFF] = is_cut
    found.setdefault("usage", _last(documents, "usage", _counts))
    if has_result(found):
        return found
    if body is None:
        raise ValueError("it holds no result and is no JSON")
    if kind == "text" and found["choices"]:
        return found  # they say why there is no text
    return body


def has_result(body: Any) -> bool:
    """Tell whether there is some text, or an image."""
    return bool(image(body)) or any(choice_text(each).strip() for each in choices(body))


def _outermost(documents: list[Any], holds: Callable[[Any], bool]) -> list[dict[str, Any]]:
    """Return the objects for which this holds and that are in no other, in order; also those of
    JSON in strings."""
    found: list[dict[str, Any]] = []
    waiting = deque(documents)
    while waiting:
        value = waiting.popleft()
        if isinstance(value, str) and RESULT.search(value):
            waiting.append(_parsed(value))
        elif isinstance(value, dict) and holds(value):
            found.append(value)
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return found


def _images(documents: list[Any]) -> list[dict[str, Any]]:
    """Return the image, if there is one: the last that is there itself, else the last URL in a
    list."""
    with_image: list[dict[str, Any]] = []
    with_url: list[dict[str, Any]] = []
    waiting: deque[tuple[Any, bool]] = deque([(documents, False)])
    while waiting:
        value, is_listed = waiting.popleft()
        if isinstance(value, str) and RESULT.search(value):
            waiting.append((_parsed(value), is_listed))
        elif isinstance(value, list):
            for part in value:
                waiting.append((part, value is not documents))
        elif isinstance(value, dict):
            if value.get("b64_json") and isinstance(value["b64_json"], str):
                with_image.append(value)
            elif is_listed and _is_image(value):
                with_url.append(value)
            for name, part in value.items():
                waiting.append((part, name in IMAGES))
    return (with_image or with_url)[-1:]


def _parsed(value: str) -> Any:
    """Return the JSON in a string, or the objects in it."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return bodies.documents_in(value, cut_strings=False)[0]


def _last(documents: list[Any], name: str, holds: Callable[[Any], bool] | None = None) -> Any:
    """Return the value of this name in the last object for which this holds, or that has one at
    all."""
    named = _outermost(documents, holds or (lambda value: dig(value, name) is not None))
    return dig(named[-1:], 0, name)


def _counts(value: Any) -> bool:
    """Tell whether it has a usage that counts tokens: a wrapper may have one of its own."""
    return bool(text_usage(value) or image_usage(value))


def _holds_choices(value: Any) -> bool:
    return bool(choices(value))


def _is_image(value: Any) -> bool:
    for name in ("b64_json", "url"):
        url = dig(value, name)
        if url and isinstance(url, str):
            return True
    return False


def _merged(holders: list[dict[str, Any]], is_cut: bool) -> dict[str, Any]:
    """Return the choices of all of these, such as the pieces of a stream, by their index."""
    # Of several whole answers in one, nobody knows what each was billed at.
    merged: dict[int, dict[str, Any]] = {}
    found: dict[str, Any] = {}
    # A text may come in pieces, or whole answers one after the other.
    for holder in holders:
        for position, choice in enumerate(choices(holder)):
            index = count(dig(choice, "index"))
            if index is None:
                index = position
            whole = merged.get(index)
            if whole and _is_another(choice, whole):
                index, whole = max(merged) + 1, None
                found["usage"] = None
            if whole is None:
                whole = {"message": {"content": ""}, "finish_reason": None, "in_pieces": False}
                merged[index] = whole
            _add(choice, whole)
    for whole in merged.values():
        if not whole["finish_reason"] and (is_cut or whole["in_pieces"]):
            whole["finish_reason"] = INCOMPLETE
    found["choices"] = list(merged.values())
    return found


def _is_another(choice: Any, whole: dict[str, Any]) -> bool:
    """Tell whether it is a text of its own: no piece, and not the whole of what came in pieces."""
    text = choice_text(choice)
    if not text or dig(choice, "delta") is not None or whole["in_pieces"]:
        return False
    return not text.startswith(whole["message"]["content"])


def _add(choice: Any, whole: dict[str, Any]) -> None:
    piece, text = dig(choice, "delta"), choice_text(choice)
    message = whole["message"]
    if piece or not text:
        text = message["content"] + text
    message["content"] = text
    for refusal in (dig(choice, "message", "refusal"), dig(piece, "refusal")):
        message["refusal"] = refusal or message.get("refusal")
    whole["finish_reason"] = dig(choice, "finish_reason") or whole["finish_reason"]
    whole["in_pieces"] = whole["in_pieces"] or piece is not None


def dig(value: Any, *path: str | int) -> Any:
    """Return what lies at the path inside the JSON value; None where the path ends early."""
    for step in path:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and len(value) > step:
            value = value[step]
        else:
            return None
    return value


def plain_text(value: Any) -> str:
    """Return the text, or the texts of parts, however nested, as every database can store it."""
    texts: list[str] = []
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, list):
            waiting += reversed(part)
        elif isinstance(part, dict) and part.get("type") not in THOUGHTS:
            waiting.append(next(filter(None, map(part.get, TEXTS)), None))
    return "".join(texts).replace("\x00", "").encode(errors="replace").decode()


def choices(answer: Any) -> list[Any]:
    found = dig(answer, "choices")
    if isinstance(found, str) and found.strip().startswith(("[", "{")):
        found = _parsed(found)
    if isinstance(found, dict) and found.keys() & CHOICE:  # one alone
        found = [found]
    elif isinstance(found, dict):  # by their numbers
        found = list(found.values())
    if not isinstance(found, list):
        return []
    return list(map(_choice, found))


def _choice(value: Any) -> Any:
    """Return the choice, also out of a string that holds one."""
    if isinstance(value, str) and value.startswith("{"):
        inside = _parsed(value)
        if isinstance(inside, dict) and inside.keys() & CHOICE:
            return inside
    return value


def choice_text(choice: Any) -> str:
    """Return the copy of a choice, or of a piece of one."""
    for part in (dig(choice, "message"), dig(choice, "delta"), choice):
        content = dig(part, "content")
        if isinstance(content, int | float) and not isinstance(content, bool):
            return str(content)
        if text := plain_text(part):
            return text
    return ""


def finish_reason(choice: Any) -> str | None:
    """Say how the text ended: `stop` where it is whole; None where nobody said."""
    given = dig(choice, "finish_reason")
    if not isinstance(given, str):
        return None
    return plain_text(given)[:MAX_FINISH_REASON].strip() or None


def service_tier(answer: Any) -> str:
    """At which of OpenAI's tiers it was answered, such as priority; empty where nobody said."""
    return plain_text(dig(answer, "service_tier"))


def image(answer: Any) -> Any:
    """Return the image, with its `url` or itself as `b64_json`; None where there is none."""
    found = dig(answer, "data", 0)
    if not _is_image(found):
        return None
    return found


def image_url(image: Any) -> str | None:
    """Return where the image is: its http(s): URL, or a data: URL with the image itself; None where
    there is neither."""
    # One of the two is there; some gateways fill both, or swap them.
    url, encoded = _stripped(dig(image, "url")), _stripped(dig(image, "b64_json"))
    if url.startswith("data:") and not encoded:  # some gateways send one, in either place
        encoded = url
    encoded = "".join(encoded.rpartition(",")[2].split())
    encoded += "=" * (-len(encoded) % 4)  # which some leave out
    if encoded:
        return f"data:image/png;base64,{encoded}"
    if not url.lower().startswith(("http://", "https://")):
        return None
    return url


def _stripped(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    return value.strip()


def reason(answer: Any) -> str:
    """Return what a server gives as its reason, wherever it puts it."""
    if isinstance(answer, list):
        answer = dig(answer, 0)
    for path in REASONS:
        words = plain_text(dig(answer, *path))
        if words:
            return words
    return ""


def text_usage(answer: Any) -> Usage | None:
    """Return the tokens of a text, where the server counted them plausibly."""
    return _counted(answer, "prompt", "completion")


def added_up(usages: list[Usage]) -> Usage | None:
    """Return what several calls took together; a detail that none of them told stays unknown."""
    if not usages:
        return None
    together = usages[0]
    for usage in usages[1:]:
        for name, tokens in asdict(usage).items():
            before = getattr(together, name)
            if tokens is not None:
                most = min((before or 0) + tokens, MAX_TOKENS)
                together = replace(together, **{name: most})
    return together


def image_usage(answer: Any) -> Usage | None:
    """Return the same for an image: its input and output tokens."""
    return _counted(answer, "input", "output")


def _counted(answer: Any, sent: str, received: str) -> Usage | None:
    usage = dig(answer, "usage")
    prompt_tokens = count(dig(usage, f"{sent}_tokens"))
    completion_tokens = count(dig(usage, f"{received}_tokens"))
    if prompt_tokens is None or completion_tokens is None:
        return None
    details = dig(usage, f"{sent}_tokens_details")
    total_tokens = count(dig(usage, "total_tokens")) or prompt_tokens + completion_tokens
    return Usage(
        prompt_tokens,
        completion_tokens,
        min(total_tokens, MAX_TOKENS),
        count(dig(details, "cached_tokens")),
        count(dig(details, "cache_write_tokens")),
        count(dig(usage, f"{received}_tokens_details", "reasoning_tokens")),
    )


def count(value: Any) -> int | None:
    """Return the number of tokens; None where it is none."""
    if isinstance(value, str) and value.isdecimal() and len(value) <= len(str(MAX_TOKENS)):
        value = int(value)
    if isinstance(value, bool):
        return None
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
