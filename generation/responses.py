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
# True in a body that is not all there.
BROKE_OFF = "broke_off"
# Where a part of a text has it, and parts that are none.
TEXTS = ("text", "content", "value", "parts")
CHOICE = {"message", "delta", "text"}
IMAGES = ("data", "image", "images", "output")
HANGUL = re.compile("[가-힣]")
THOUGHTS = ("reasoning", "reasoning_text", "thinking")
# A refusal of n, in words: its name as a name, or that there is to be one text. And by code, type
# or words, what else a refusal may be about.
ABOUT_N = re.compile(
    r"""['"`\[]n['"`\]]|\bn (?:[=<>≥]|must|should|value|param|is |does |greater|above)|\bn[=<>]"""
    r"|(?i:parameter|value|range of|argument|invalid|key|field):? n\b|(?i:candidate_?count)"
    r"|(?i:\b(?:multiple|several|more than one|only one|number of|single)\b.{0,20}"
    r"\b(?:candidate|choice|completion|generation|output|response|result|sample|sequence)s?\b"
    r"(?! tokens?))",
)
OTHER_CAUSES = re.compile(
    r"context|length|token|billing|budget|quota|limit|policy|moderation|filter|safety|key|auth"
    r"|model_not_found",
    re.IGNORECASE,
)
OTHER_WORDS = re.compile(r"flagged|moderation|safety|polic(?:y|ies)|context", re.IGNORECASE)
MONEY = re.compile(r"quota|billing|budget", re.IGNORECASE)
# What a gateway says of an origin that broke off, also where it puts it into an error object.
GATEWAYS_WORDS = re.compile(
    r"gateway|upstream|disconnected|connection|tim(?:ed|e)[ -]?out|provider returned", re.IGNORECASE
)
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
    """What a server said no with. `is_providers`: in an error object that speaks for itself; a
    gateway's page is none, nor what it says of an origin."""

    reason: str = ""
    code: str = ""
    param: str = ""
    is_providers: bool = False

    @property
    def is_about_n(self) -> bool:
        """Whether it is n above 1 that is not taken, and nothing else."""
        if self.param or OTHER_CAUSES.search(self.code) or OTHER_WORDS.search(self.reason):
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
    is_providers = is_providers and not GATEWAYS_WORDS.search(reason(body))
    code = " ".join(filter(None, (_word(dig(error, name)) for name in ("code", "type"))))
    loc = dig(body, "detail", 0, "loc")
    param = _word(dig(error, "param")) or _word(loc[-1] if isinstance(loc, list) and loc else "")
    return Refusal(reason(body), code, param.rpartition(".")[2], is_providers)


def _word(value: Any) -> str:
    """Some servers write their null as a word."""
    said = str(value) if isinstance(value, str | int) else ""
    return "" if said in ("None", "null") else said


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


def read_result(
    content: bytes,
    charset: str | None,
    kind: Literal["text", "image"],
    *,
    is_deflate: bool = False,
) -> Any:
    """The body of a 200, with its texts or its image where `choices` and `image` look for them,
    whatever they are wrapped in: compression, another encoding, events of a stream nobody asked
    for, JSON in JSON, words before or behind it, any depth, an end that is missing. ValueError
    where there is neither a result nor JSON."""
    text = _decoded(_inflated(content, is_deflate=is_deflate), charset)
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
    if kind == "image":
        found: dict[str, Any] = {"data": _images(documents)}
    else:
        found = _merged(_outermost(documents, _holds_choices), is_cut)
        found |= {name: _last(documents, name) for name in ("service_tier", "error")}
        found[BROKE_OFF] = is_cut
    found.setdefault("usage", _last(documents, "usage", _counts))
    if has_result(found):
        return found
    if body is None:
        raise ValueError("it holds no result and is no JSON")
    return found if kind == "text" and found["choices"] else body


def has_result(body: Any) -> bool:
    """Whether there is some text, or an image."""
    return bool(image(body)) or any(choice_text(each).strip() for each in choices(body))


def _inflated(content: bytes, *, is_deflate: bool = False) -> bytes:
    """Without gzip or deflate, whether a header tells of it or not; of what broke off, all that
    came."""
    for _ in range(MAX_LAYERS):
        is_zlib = content[:1] == b"x" and int.from_bytes(content[:2]) % 31 == 0
        if is_zlib or content[:2] == b"\x1f\x8b":
            inflated = _inflated_once(content, zlib.MAX_WBITS | 32)  # as it begins
        else:  # deflate may lack the frame that it should have
            inflated = _inflated_once(content, -zlib.MAX_WBITS) if is_deflate else b""
            is_deflate = False
        if not inflated:  # nor is everything zlib that begins like it
            break
        content = inflated
    return content


def _inflated_once(content: bytes, window_bits: int) -> bytes:
    whole, rest = bytearray(), content
    while rest:
        inflating = zlib.decompressobj(window_bits)
        try:
            for start in range(0, len(rest), CHUNK_BYTES):
                whole += inflating.decompress(rest[start : start + CHUNK_BYTES])
        except zlib.error:
            break
        rest = inflating.unused_data
    return bytes(whole)


def _decoded(content: bytes, charset: str | None) -> str:
    """As UTF-8, 16 or 32 by its first bytes; where that fails, as the header says, or as Korean
    Windows does."""
    detected = json.detect_encoding(content)
    try:
        return content.decode(detected)
    except UnicodeDecodeError as error:
        is_cut = error.reason == "unexpected end of data"
        has_korean = HANGUL.search(content[: error.start].decode(detected, "ignore"))
    for encoding in (charset, None if is_cut or has_korean else "cp949"):
        with contextlib.suppress(UnicodeDecodeError, LookupError):
            if encoding:
                return content.decode(encoding)
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
            waiting.append(_parsed(value))
        elif isinstance(value, dict) and holds(value):
            found.append(value)
        elif isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list):
            waiting.extend(value)
    return found


def _images(documents: list[Any]) -> list[dict[str, Any]]:
    """The image, if there is one: the last that is there itself, else the last URL in a list."""
    with_image: list[dict[str, Any]] = []
    with_url: list[dict[str, Any]] = []
    waiting: deque[tuple[Any, bool]] = deque((document, False) for document in documents)
    while waiting:
        value, is_listed = waiting.popleft()
        if isinstance(value, str) and RESULT.search(value):
            waiting.append((_parsed(value), is_listed))
        elif isinstance(value, list):
            waiting.extend((part, True) for part in value)
        elif isinstance(value, dict):
            if value.get("b64_json") and isinstance(value["b64_json"], str):
                with_image.append(value)
            elif is_listed and _is_image(value):
                with_url.append(value)
            waiting.extend((part, name in IMAGES) for name, part in value.items())
    return (with_image or with_url)[-1:]


def _parsed(value: str) -> Any:
    """The JSON in a string, or the objects in it."""
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return _documents(value, cut_strings=False)[0]


def _last(documents: list[Any], name: str, holds: Callable[[Any], bool] | None = None) -> Any:
    """The value of this name in the last object for which this holds, or that has one at all."""
    named = _outermost(documents, holds or (lambda value: dig(value, name) is not None))
    return named[-1][name] if named else None


def _counts(value: Any) -> bool:
    """Whether it has a usage that counts tokens: a wrapper may have one of its own."""
    return bool(text_usage(value) or image_usage(value))


def _holds_choices(value: Any) -> bool:
    return bool(choices(value))


def _is_image(value: Any) -> bool:
    return any(isinstance(url := dig(value, name), str) and url for name in ("b64_json", "url"))


def _merged(holders: list[dict[str, Any]], is_cut: bool) -> dict[str, Any]:
    """The choices of all of these, such as the pieces of a stream, by their index. Of several whole
    answers in one, nobody knows what each was billed at."""
    merged: dict[int, dict[str, Any]] = {}
    several = False
    for holder in holders:
        for place, choice in enumerate(choices(holder)):
            index = count(dig(choice, "index"))
            index = place if index is None else index
            piece, text = dig(choice, "delta"), choice_text(choice)
            whole = merged.get(index)
            is_second = whole and text and piece is None and not whole["in_pieces"]
            if is_second and whole and not text.startswith(whole["message"]["content"]):
                index, whole, several = max(merged) + 1, None, True
            if whole is None:
                whole = {"message": {"content": ""}, "finish_reason": None, "in_pieces": False}
                merged[index] = whole
            message = whole["message"]
            message["content"] = message["content"] + text if piece or not text else text
            for said in (dig(choice, "message", "refusal"), dig(piece, "refusal")):
                message["refusal"] = said or message.get("refusal")
            whole["finish_reason"] = dig(choice, "finish_reason") or whole["finish_reason"]
            whole["in_pieces"] = whole["in_pieces"] or piece is not None
    for whole in merged.values():
        if not whole["finish_reason"] and (is_cut or whole["in_pieces"]):
            whole["finish_reason"] = INCOMPLETE
    found: dict[str, Any] = {"choices": list(merged.values())}
    return {**found, "usage": None} if several else found


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
    if isinstance(found, str) and found.strip().startswith(("[", "{")):
        found = _parsed(found)
    if isinstance(found, dict):  # one alone, or by their numbers
        found = [found] if found.keys() & CHOICE else list(found.values())
    return [_choice(each) for each in found] if isinstance(found, list) else []


def _choice(value: Any) -> Any:
    """The choice, also out of a string that holds one."""
    if isinstance(value, str) and value.startswith("{"):
        inside = _parsed(value)
        return inside if isinstance(inside, dict) and inside.keys() & CHOICE else value
    return value


def choice_text(choice: Any) -> str:
    """The copy of a choice, or of a piece of one."""
    for part in (dig(choice, "message"), dig(choice, "delta"), choice):
        content = dig(part, "content")
        if isinstance(content, int | float) and not isinstance(content, bool):
            return str(content)
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
