"""What a refusal means, read by pure functions: why, what it is about, and what to do."""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2

from generation import bodies
from generation.responses import dig, plain_text, reason, request_id, retry_after_seconds
from generation.results import Failure

MAX_REASON = 500  # characters
# Shorter, a key is no secret, but what a server without keys is given.
SHORTEST_SECRET = 12
SHORTEST_PIECE = 6
PIECES = re.compile(r"[\w-]+")
GATEWAY_TIMEOUTS = (408, 504, 524)
# Cloudflare's words for an origin that no request has reached: its documentation of 5xx errors.
UNREACHED_ORIGIN = (521, 522, 523, 525, 526)
# What to do about a 401 or a 403 that is not about the key itself, by its code or its words.
ACCESS_ADVICE = {
    "incorrect_hostname": "Set OPENAI_BASE_URL to the host of this key's region.",
    "mismatched_organization": "OPENAI_ORG_ID must name the organization of OPENAI_API_KEY.",
    "mismatched_project": "OPENAI_PROJECT_ID must name the project of OPENAI_API_KEY.",
    "must be verified": "Verify it in your OpenAI account, or name another model.",
    "unsupported_country": "Run this service where OpenAI is available.",
    "model_not_found": "Allow the model in the project's settings, or name another model.",
    "ip_not_authorized": "Allow this machine's address in the project's settings.",
    "insufficient_permissions": "Give the key in OPENAI_API_KEY the permission that is missing.",
}
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


def read(content: bytes, charset: str | None = None) -> Refusal:
    """Return what is read of the body of an error status: OpenAI's `{"error": {…}}`, also in a
    list, vLLM's `{"object": "error", …}`, FastAPI's `{"detail": …}`, or plain words."""
    try:
        body = bodies.read_json(content, charset)
    except ValueError:
        words = bodies.decode(bodies.inflate(content), charset).strip()
        if words.startswith(("<", "[", "{")):
            # A page, or JSON that is broken: no words for people.
            return Refusal()
        return Refusal(plain_text(words))
    if isinstance(body, list):
        body = dig(body, 0)
    error = dig(body, "error")
    # Who says so matters for the bill: a gateway knows nothing of what its origin did.
    is_providers = isinstance(error, dict) and bool(error)
    if not is_providers and dig(body, "object") == "error":
        error, is_providers = body, True
    is_providers = is_providers and not GATEWAYS_WORDS.search(reason(body))
    code = f"{_word(dig(error, 'code'))} {_word(dig(error, 'type'))}".strip()
    param = _word(dig(error, "param"))
    # FastAPI's: where in the request it is wrong, the field last.
    loc = dig(body, "detail", 0, "loc")
    if not param and isinstance(loc, list) and loc:
        param = _word(loc[-1])
    return Refusal(reason(body), code, param.rpartition(".")[2], is_providers)


def failure(response: httpx2.Response, n: int, api_key: str) -> Failure:
    """Say what an error status means for the bill, for another attempt, and for people; `n` is how
    many texts were asked for in one."""
    status, headers = response.status_code, response.headers
    refusal = read(response.content, response.charset_encoding)
    # What the provider says itself, it did not bill; a gateway that gave up waiting, or whose
    # origin broke off, cannot know.
    is_lost = status >= 500 and status not in UNREACHED_ORIGIN and not refusal.is_providers
    is_unanswered = is_lost or status in GATEWAY_TIMEOUTS
    refuses_n = n > 1 and status in (400, 422) and refusal.is_about_n
    # A conflict, a limit, a fault: these may pass; an empty account does not.
    is_passing = status in (409, 429) or status >= 500
    is_final = headers.get("x-should-retry", "").lower() == "false" or refusal.is_about_money
    why = _why(status, refusal, api_key)
    if response.has_redirect_location:
        to = _host(headers["location"]) or response.url.host
        why = f"OPENAI_BASE_URL leads elsewhere ({status}), to {to}. Set it to where that is."
    if is_unanswered:
        why = f"{why.rstrip('.')}; the call may have been billed."
    return Failure(
        why,
        is_unanswered=is_unanswered,
        lacks_model=status in (400, 404) and "model_not_found" in refusal.code.split(),
        refuses_n=refuses_n,
        names_n=refuses_n and refusal.param == "n",  # in words, it may be a stray one
        is_retryable=is_passing and not is_unanswered and not is_final,
        retry_after_seconds=retry_after_seconds(headers.get("retry-after", "")),
        request_id=request_id(response),
    )


def _host(location: str) -> str | None:
    """Return the host of an address alone: the rest may be a secret."""
    try:
        return urlsplit(location).hostname
    except ValueError:
        return None


def _why(status: int, refusal: Refusal, api_key: str) -> str:
    """Return the provider's own words, and what to do."""
    words = without_key(refusal.reason, api_key)
    if status not in (401, 403):
        return f"OpenAI answered {status}: {words or 'no reason given'}"
    words = words.rstrip(".")
    for cause, advice in ACCESS_ADVICE.items():
        if cause in f"{refusal.code} {refusal.reason}":
            words = words or without_key(refusal.code, api_key)
            return f"OpenAI denied access ({status}): {words}. {advice}"
    # Anything else is about the key itself.
    quoted = words and f" It says: {words}."
    if status == 401:
        return f"OpenAI rejected the API key (401). Check OPENAI_API_KEY.{quoted}"
    return f"OpenAI denied access (403). Check what the key in OPENAI_API_KEY may use.{quoted}"


def without_key(text: str, api_key: str) -> str:
    """Return the text without the words that hold the key, or its beginning or end, cut or
    masked."""
    words = [_hidden(word, api_key) for word in text.split()]
    return " ".join(words)[:MAX_REASON]


def _hidden(word: str, api_key: str) -> str:
    if "***" in word:
        return "[hidden]"
    for piece in PIECES.findall(word):
        if _is_of_key(piece, api_key):
            return "[hidden]"
    return word


def _is_of_key(piece: str, api_key: str) -> bool:
    """Tell whether it is a key, or the beginning, the middle or the end of this one."""
    if len(api_key) < SHORTEST_SECRET:
        return piece == api_key or piece.startswith("sk-")
    is_middle = len(piece) >= SHORTEST_PIECE and piece in api_key
    return is_middle or piece.startswith("sk-") or api_key in piece or piece.endswith(api_key[-4:])


def _word(value: Any) -> str:
    # Some servers write their null as a word.
    if not isinstance(value, str | int) or value in ("None", "null"):
        return ""
    return str(value)
