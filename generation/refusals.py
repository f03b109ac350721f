"""What a refusal means, read by pure functions: why, and what it is about."""

import re
from dataclasses import dataclass
from typing import Any

from generation import bodies
from generation.responses import dig, plain_text, reason

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
    """What is read of the body of an error status: OpenAI's `{"error": {…}}`, also in a list,
    vLLM's `{"object": "error", …}`, FastAPI's `{"detail": …}`, or plain words."""
    try:
        body = bodies.read_json(content, charset)
    except ValueError:
        words = bodies.decode(bodies.inflate(content), charset).strip()
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
