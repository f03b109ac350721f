"""What a generation comes to: frozen records."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

import pricing


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
class Generation:
    """What came of one generation: copy, or an image's URL (http(s):, or data: with the image
    itself). `others` are the variants of the copy beside it, `finish_reasons` how each of all
    these ended, and `warning` says why they are fewer than were asked for, or not whole. `model` is
    the one that worked. An unknown cost is None. A stored image is its `image_name` instead of a
    URL; any other may be gone after `image_expires_at`."""

    result: str
    model: str
    cost_usd: Decimal | None
    usage: Usage | None = None
    revised_prompt: str | None = None
    image_name: str | None = None
    image_expires_at: datetime | None = None
    attempts: int | None = None
    request_id: str | None = None
    others: tuple[str, ...] = ()
    finish_reasons: tuple[str | None, ...] = (None,)
    warning: str | None = None

    @property
    def results(self) -> tuple[str, ...]:
        return (self.result, *self.others)

    @property
    def shares_usd(self) -> list[Decimal | None]:
        """What of the cost is each result's."""
        return pricing.shares_usd(self.cost_usd, len(self.results))


class GenerationError(Exception):
    """Nothing came of the generation. `str()` says why, without a secret.

    `model` is the one that was asked last. `cost_usd` is what it cost all the same: 0 where nothing
    can have been billed, None where nobody knows. `unanswered`: the request went out and no answer
    came back. `model_gone`: the server has no such model. `n_refused`: it may take no `n` above 1.
    `retryable`: nothing was billed, and asking again may help, after `retry_after_seconds` if the
    server named them.
    """

    def __init__(
        self,
        reason: str,
        *,
        model: str | None = None,
        cost_usd: Decimal | None = None,
        usage: Usage | None = None,
        unanswered: bool = False,
        model_gone: bool = False,
        n_refused: bool = False,
        retryable: bool = False,
        retry_after_seconds: float | None = None,
        attempts: int | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(reason)
        self.model = model
        self.cost_usd = cost_usd
        self.usage = usage
        self.unanswered = unanswered
        self.model_gone = model_gone
        self.n_refused = n_refused
        self.retryable = retryable
        self.retry_after_seconds = retry_after_seconds
        self.attempts = attempts
        self.request_id = request_id
