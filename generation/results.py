"""What a generation is asked for and what it comes to: frozen records."""

from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

import models
import pricing

# The job that this task works for: the log says so on each line about it.
CURRENT_JOB_ID: ContextVar[int | None] = ContextVar("CURRENT_JOB_ID", default=None)


@dataclass(frozen=True)
class Usage:
    """What the provider counted, in tokens; of `prompt_tokens`, some were in its cache and some
    were written to it, and of `completion_tokens`, some were thoughts."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None


# What is asked for.


@dataclass(frozen=True, kw_only=True)
class Job:
    """A generation that is asked for. `model` is asked first, `named_model` is the request's own
    word for it; `key_id` is the API key that asked; `request_hash` tells its request from any other
    with its idempotency key."""

    job_type: ClassVar[models.JobType]

    model: str
    prompt: str
    named_model: str | None = None
    user_id: int | None = None
    key_id: int | None = None
    idempotency_key: str | None = None
    request_hash: str | None = None


@dataclass(frozen=True, kw_only=True)
class TextJob(Job):
    """Copy: `n` texts of at most `max_tokens` tokens each, for a segment if one is named."""

    job_type = "text"

    max_tokens: int
    n: int = 1
    segment_id: int | None = None
    tone: str | None = None
    keywords: list[str] | None = None


@dataclass(frozen=True, kw_only=True)
class ImageJob(Job):
    """One image, to be stored under its `image_key`."""

    job_type = "image"

    size: str
    quality: str
    image_key: str


# What one request to the provider comes to, after all its attempts. Values, not exceptions: of
# several requests for one job, each has an end of its own.


@dataclass(frozen=True)
class Response:
    """A 200 of the provider: its JSON, the model that was asked, after how many attempts."""

    body: Any
    request_id: str | None
    model: str = ""
    attempts: int = 1


@dataclass(frozen=True)
class Failure:
    """Why no response came that can be read. `is_unanswered`: the request went out, and may have
    been billed; of any other, nothing was. `lacks_model`: the provider has no such model.
    `refuses_n`: it may take no n above 1; `names_n`: and says so of n by its name. `is_retryable`:
    asking again may help, after `retry_after_seconds` if the provider named them."""

    reason: str
    is_unanswered: bool = False
    lacks_model: bool = False
    refuses_n: bool = False
    names_n: bool = False
    is_retryable: bool = False
    retry_after_seconds: float | None = None
    request_id: str | None = None
    model: str = ""
    attempts: int = 1

    @property
    def cost_usd(self) -> Decimal | None:
        return None if self.is_unanswered else Decimal(0)


# What the job comes to.


@dataclass(frozen=True)
class Bill:
    """What a generation took, in all its attempts. `model` is the one that worked, or the one that
    was asked last; a cost that nobody knows is None; `request_id` is the provider's."""

    model: str
    cost_usd: Decimal | None
    usage: Usage | None = None
    attempts: int | None = None
    request_id: str | None = None


@dataclass(frozen=True)
class WrittenText:
    """One variant of the copy, and how it ended; None where nobody said."""

    text: str
    finish_reason: str | None


@dataclass(frozen=True)
class TextResult:
    """The variants that came. `warning` says why they are fewer than were asked for, or not whole,
    or another model's."""

    bill: Bill
    texts: tuple[WrittenText, ...]
    warning: str | None = None

    @property
    def shares_usd(self) -> list[Decimal | None]:
        """What of the cost is each variant's."""
        return pricing.shares_usd(self.bill.cost_usd, len(self.texts))


@dataclass(frozen=True)
class ImageResult:
    """An image: of a stored one, `result` is its `image_name`; of any other, its URL (http(s):, or
    data: with the image itself), which may be gone after `image_expires_at`."""

    bill: Bill
    result: str
    revised_prompt: str | None = None
    image_name: str | None = None
    image_expires_at: datetime | None = None
    warning: str | None = None


class GenerationError(Exception):
    """Nothing came of the generation. `str()` says why, without a secret; its bill says what it
    cost all the same. `is_unanswered`: a request went out and no response came back."""

    def __init__(self, reason: str, bill: Bill, *, is_unanswered: bool = False) -> None:
        super().__init__(reason)
        self.bill = bill
        self.is_unanswered = is_unanswered
