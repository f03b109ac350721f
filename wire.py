"""What came over the wire, read by pure functions: texts, usage, reasons.

OpenAI-compatible servers leave fields out or fill them oddly. Whatever else is odd, copy that was
paid for is kept: each field is read by itself.
"""

import contextlib
import json
import math
import re
import time
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import astuple, dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import httpx2

MAX_TOKENS = 2_147_483_647  # what an INTEGER column holds
MAX_FINISH_REASON = 50  # characters, as the column has
MAX_LAYERS, CHUNK_BYTES = 3, 65_536
# A text's `finish_reason` where the response broke off before it told one.
INCOMPLETE = "incomplete"
# Where a part of a text has it, and parts that are none.
TEXTS = ("text", "content", "value", "parts")
THOUGHTS = ("reasoning", "reasoning_text", "thinking")
# A refusal of n, in words, and by its code or type what it is instead.
ABOUT_N = re.compile(
    r"(?<![\w\\-])n(?![\w-])|(?i:candidate_?count)|"
    r"(?i:\b(?:multiple|several|more than one|only one|number of|single)\b.{0,20}"
    r"\b(?:candidate|choice|completion|generation|output|response|result|sample|sequence)s?\b)",
)
OTHER_CAUSES = re.compile(
    r"context|length|token|billing|budget|quota|limit|policy|moderation|filter|safety|model|key|auth",
    re.IGNORECASE,
)
MONEY = re.compile(r"quota|billing|budget", re.IGNORECASE)
# JSON, leniently: a string, also one without an end; a sign; anything else.
TOKEN = re.compile(
    r""""[^"\\]*(?:\\.[^"\\]*)*(?:(?P<end>")|\\?\Z)|[{}\[\],:]|[^\s{}\[\],:"]+""", re.DOTALL
)
OPENING = re.compile(r"[{\[]")
ESCAPE = re.compile(r'\\(["\\/bfnrt]|u[0-9a-fA-F]{4})|\\')
CUT_ESCAPE = re.compile(r"\\(?:u[0-9a-fA-F]{0,3})?\Z")
# Server-sent events: what is not data in them.
EVENT = re.compile(r"^data:", re.MULTILINE)
NOT_DATA = re.compile(r"^data: *(?:\[DONE\])?|^(?:event|id|retry):.*|^:.*", re.MULTILINE)
RESULT = re.compile(r'"(?:choices|b64_json|url)\\*"')


@dataclass(frozen=True)
class Usage:
    """What OpenAI counted, in tokens; of `prompt_tokens`, some were in its cache and some were
    written to it, and of `completion_tokens`, some were thoughts."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


@dataclass(frozen=True)
class Refusal:
    """What a server said no with. `is_providers`: in an error object, as who made it can have been
    asked; a gateway's page is none."""

    reason: str = ""
    code: str = ""
    param: str = ""
    is_providers: bool = False

    @property
    def is_about_n(self) -> bool:
        """Whether it is n above 1 that is not taken, and nothing else."""
        if self.param or OTHER_CAUSES.search(self.code):
            return self.param == "n"
        return bool(ABOUT_N.search(self.reason))

    @property
    def is_about_money(self) -> bool:
        """Whether the account is empty, or at the end of its budget."""
        return bool(MONEY.search(self.code))


def refusal(content: bytes, charset: str | None = None) -> Refusal:
    """What is read of the body of an error status: OpenAI's `{"error": {…}}`, also in a list,
    vLLM's `{"object": "error", …}`, FastAPI's `{"detail": …}`, or plain words."""
    try:
        body = read_json(content, charset)
    except ValueError:
        words = _decoded(_inflated(content), charset).strip()
        return Refusal("" if words[:1] in ("<", "[", "{") else plain_text(words))
    body = dig(body, 0) if isinstance(body, list) else body
    error = dig(body, "error")
    is_providers = isinstance(error, dict) and bool(error)
    if not is_providers and dig(body, "object") == "error":
        error, is_providers = body, True
    code = " ".join(str(said) for name in ("code", "type") if (said := _word(dig(error, name))))
    loc = dig(body, "detail", 0, "loc")
    param = _word(dig(error, "param")) or (str(loc[-1]) if isinstance(loc, list) and loc else "")
    return Refusal(reason(body), code, param, is_providers)


def _word(value: Any) -> str:
    return str(value) if isinstance(value, str | int) else ""


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


def read_json(content: bytes, charset: str | None = None) -> Any:
    """ValueError where it cannot be read."""
    try:
        return json.loads(_decoded(_inflated(content), charset))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_result(content: bytes, charset: str | None, kind: Literal["text", "image"]) -> Any:
    """The body of a 200, with its texts or its image where `choices` and `image` look for them,
    whatever they are wrapped in: compression, another encoding, events of a stream nobody asked
    for, JSON in JSON, words before or behind it, any depth, an end that is missing. ValueError
    where there is neither a result nor JSON."""
    text = _decoded(_inflated(content), charset)
    holds = _holds_choices if kind == "text" else _is_image
    documents, is_cut = [], False
    try:
        body = json.loads(text)
        if _holds_choices(body) or image(body):
            return body
        documents = [body]
    except (ValueError, RecursionError):
        # Half a text is worth keeping, half an image is none.
        documents, is_cut = _documents(text, cut_strings=kind == "text")
        body = None
    found = _outermost(documents, holds)
    if not found and body is not None:
        return body
    usage = _last(documents, "usage")
    if kind == "image":
        return _result({"data": found[-1:], "usage": usage}, body)
    others = {name: _last(documents, name) for name in ("service_tier", "error")}
    return _result({"choices": _merged(found, is_cut), "usage": usage, **others}, body)


def _result(found: dict[str, Any], body: Any) -> dict[str, Any]:
    if body is None and not has_result(found):
        raise ValueError("it holds no result and is no JSON")
    return found


def has_result(body: Any) -> bool:
    """Whether there is some text, or an image."""
    return bool(image(body)) or any(choice_text(each).strip() for each in choices(body))


def _inflated(content: bytes) -> bytes:
    """Without gzip or deflate, whether a header tells of it or not; of what broke off, all that
    came."""
    for _ in range(MAX_LAYERS):
        is_zlib = content[:1] == b"x" and int.from_bytes(content[:2]) % 31 == 0
        if not (is_zlib or content[:2] == b"\x1f\x8b"):
            break
        content = _inflated_once(content)
    return content


def _inflated_once(content: bytes) -> bytes:
    whole, rest = bytearray(), content
    while rest:
        inflating = zlib.decompressobj(zlib.MAX_WBITS | 32)  # gzip or zlib, as it begins
        try:
            for start in range(0, len(rest), CHUNK_BYTES):
                whole += inflating.decompress(rest[start : start + CHUNK_BYTES])
        except zlib.error:
            break
        rest = inflating.unused_data
    return bytes(whole)


def _decoded(content: bytes, charset: str | None) -> str:
    """As UTF-8, 16 or 32 by its first bytes; where that fails, as the header says."""
    detected = json.detect_encoding(content)
    for encoding in (detected, charset):
        with contextlib.suppress(UnicodeDecodeError, LookupError):
            return content.decode(encoding or detected)
    return content.decode(detected, "replace")


def _documents(text: str, *, cut_strings: bool) -> tuple[list[Any], bool]:
    """The JSON objects and lists in the text, one after the other, and whether the last one is
    cut."""
    if EVENT.search(text):
        text = NOT_DATA.sub("", text.replace("\r", "\n"))
    documents: list[Any] = []
    end: int | None = 0
    while end is not None and (start := OPENING.search(text, end)):
        document, end = _lenient(text, start.start(), cut_strings=cut_strings)
        documents.append(document)
    return documents, end is None


def _lenient(text: str, start: int, *, cut_strings: bool) -> tuple[Any, int | None]:
    """The JSON value that begins there and where it ends; of one that is cut, what there is, and
    None. Python's own reader gives up on those, and on a thousand levels."""
    holders: list[Any] = [[]]
    keys: list[str | None] = [None]
    for token in TOKEN.finditer(text, start):
        sign = token[0]
        if sign in ("}", "]"):
            holders.pop()
            keys.pop()
            if len(holders) == 1:
                return holders[0][0], token.end()
        elif sign == ",":
            keys[-1] = None
        elif sign != ":":
            is_cut = sign[0] == '"' and token["end"] is None
            value = None if is_cut and not cut_strings else _value(sign)
            holder, key = holders[-1], keys[-1]
            if isinstance(holder, list):
                holder.append(value)
            elif key is not None:
                holder[key] = value
            elif isinstance(value, str):
                keys[-1] = value
            if isinstance(value, dict | list):
                holders.append(value)
                keys.append(None)
    return holders[0][0], None


def _value(sign: str) -> Any:
    """What the sign stands for: a new object or list, a string, also with odd escapes or cut."""
    if sign in ("{", "["):
        return {} if sign == "{" else []
    with contextlib.suppress(ValueError):
        return json.loads(sign, strict=False)
    if not sign.startswith('"'):
        return None
    inside = CUT_ESCAPE.sub("", sign[1:].removesuffix('"'))
    plain = ESCAPE.sub(lambda escape: escape[0] if escape[1] else r"\\", inside)
    return json.loads(f'"{plain}"', strict=False)


def _outermost(documents: list[Any], holds: Callable[[Any], bool]) -> list[dict[str, Any]]:
    """The objects for which this holds and that are in no other, in order; also those of JSON in
    strings."""
    found: list[dict[str, Any]] = []
    waiting = deque(documents)
    while waiting:
        value = waiting.popleft()
        if isinstance(value, str) and RESULT.search(value):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                value, _ = _documents(value, cut_strings=False)
        if isinstance(value, dict) and holds(value):
            found.append(value)
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return found


def _last(documents: list[Any], name: str) -> Any:
    """The last value of this name."""
    named = _outermost(documents, lambda value: dig(value, name) is not None)
    return named[-1][name] if named else None


def _holds_choices(value: Any) -> bool:
    found = dig(value, "choices")
    return isinstance(found, list | dict) and bool(found)


def _is_image(value: Any) -> bool:
    return any(isinstance(url := dig(value, name), str) and url for name in ("b64_json", "url"))


def _merged(holders: list[dict[str, Any]], is_cut: bool) -> list[dict[str, Any]]:
    """The choices of all of these, such as the pieces of a stream, by their index."""
    merged: dict[int, dict[str, Any]] = {}
    for holder in holders:
        for place, choice in enumerate(choices(holder)):
            index = count(dig(choice, "index"))
            blank = {"message": {"content": ""}, "finish_reason": None, "in_pieces": False}
            whole = merged.setdefault(place if index is None else index, blank)
            message, piece = whole["message"], dig(choice, "delta")
            text = choice_text(choice)
            message["content"] = message["content"] + text if piece or not text else text
            for said in (dig(choice, "message", "refusal"), dig(piece, "refusal")):
                message["refusal"] = said or message.get("refusal")
            whole["finish_reason"] = dig(choice, "finish_reason") or whole["finish_reason"]
            whole["in_pieces"] = whole["in_pieces"] or piece is not None
    for whole in merged.values():
        if not whole["finish_reason"] and (is_cut or whole["in_pieces"]):
            whole["finish_reason"] = INCOMPLETE
    return list(merged.values())


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
    """The text, or the texts of parts, however nested, as every database can store it."""
    texts: list[str] = []
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, list):
            waiting += reversed(part)
        elif isinstance(part, dict) and part.get("type") not in THOUGHTS:
            waiting += [part[name] for name in TEXTS if part.get(name)][:1]
    return "".join(texts).replace("\x00", "").encode(errors="replace").decode()


def choices(answer: Any) -> list[Any]:
    found = dig(answer, "choices")
    if isinstance(found, dict):  # one alone, or by their numbers
        return [found] if found.keys() & {"message", "delta", "text"} else list(found.values())
    return found if isinstance(found, list) else []


def choice_text(choice: Any) -> str:
    """The copy of a choice, or of a piece of one."""
    for part in (dig(choice, "message"), dig(choice, "delta"), choice):
        if text := plain_text(part):
            return text
    return ""


def finish_reason(choice: Any) -> str | None:
    """How the text ended: `stop` where it is whole; None where nobody said."""
    said = dig(choice, "finish_reason")
    return plain_text(said)[:MAX_FINISH_REASON].strip() or None if isinstance(said, str) else None


def service_tier(answer: Any) -> str:
    """At which of OpenAI's tiers it was answered, such as priority; empty where nobody said."""
    return plain_text(dig(answer, "service_tier"))


def image(answer: Any) -> Any:
    """The image, with its `url` or itself as `b64_json`; None where there is none."""
    found = dig(answer, "data", 0)
    return found if _is_image(found) else None


def reason(answer: Any) -> str:
    """What a server gives as its reason, wherever it puts it."""
    if isinstance(answer, list):
        answer = dig(answer, 0)
    for path in (
        *(("error", "message"), ("message",), ("error",), ("detail",)),
        ("detail", 0, "msg"),
    ):
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
    return Usage(
        prompt_tokens,
        completion_tokens,
        count(dig(usage, "total_tokens")) or prompt_tokens + completion_tokens,
        count(dig(details, "cached_tokens")),
        count(dig(details, "cache_write_tokens")),
        count(dig(usage, f"{received}_tokens_details", "reasoning_tokens")),
    )


def count(value: Any) -> int | None:
    """The number of tokens; None where it is none."""
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
