"""The one door to OpenAI: asks, counts, prices; knows no database and no HTTP status of ours."""

import asyncio
import json
from collections.abc import Awaitable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import httpx2
import openai

import models
import pricing
from settings import Settings

TEXT_MODEL = "gpt-3.5-turbo"
IMAGE_MODEL = "dall-e-3"
DEFAULT_BASE_URL = "https://api.openai.com/v1"
CONNECT_TIMEOUT_SECONDS = 5
MAX_REASON = 500  # characters
MAX_TOKENS = 2_147_483_647  # what an INTEGER column holds


@dataclass(frozen=True)
class Usage:
    """What OpenAI counted, in tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


@dataclass(frozen=True)
class Generation:
    """What came of one call: copy, or the URL of an image. An unknown cost is None."""

    result: str
    cost_usd: Decimal | None
    usage: Usage | None = None
    revised_prompt: str | None = None


class GenerationError(Exception):
    """Nothing came of the call. `str()` says why, without a secret; `cost_usd` is what it cost
    all the same: 0 where OpenAI refused it, None where nobody can know."""

    def __init__(
        self, reason: str, *, cost_usd: Decimal | None = None, usage: Usage | None = None
    ) -> None:
        super().__init__(reason)
        self.cost_usd = cost_usd
        self.usage = usage


class OpenAIClient:
    """OpenAI, or the compatible server at `openai_base_url`. One per process; close it."""

    def __init__(self, api_key: str, settings: Settings) -> None:
        self._api_key = api_key
        self._settings = settings
        self._openai = openai.AsyncOpenAI(
            api_key=api_key,
            base_url=settings.openai_base_url or DEFAULT_BASE_URL,
            # The SDK's own retries repeat a call that may have been billed.
            max_retries=0,
            # How long an answer may take is decided in _ask.
            timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT_SECONDS),
        )

    async def close(self) -> None:
        await self._openai.close()

    async def generate_text(self, messages: list[Any], max_tokens: int) -> Generation:
        """Copy for these messages. Raises GenerationError."""
        answer = await self._ask(
            self._settings.text_timeout_seconds,
            self._openai.chat.completions.with_raw_response.create(
                model=TEXT_MODEL, messages=messages, max_completion_tokens=max_tokens
            ),
        )
        usage = _usage(answer)
        cost_usd = (
            pricing.text_cost_usd(TEXT_MODEL, usage.prompt_tokens, usage.completion_tokens)
            if usage
            else None
        )
        choice = _dig(answer, "choices", 0)
        text = _text(_dig(choice, "message", "content"))
        if not text.strip():
            why = self._without_key(_why_empty(answer, choice))
            raise GenerationError(why, cost_usd=cost_usd, usage=usage)
        return Generation(text, cost_usd, usage)

    async def generate_image(
        self, prompt: str, size: pricing.Size, quality: pricing.Quality
    ) -> Generation:
        """One image for the prompt. Raises GenerationError."""
        answer = await self._ask(
            self._settings.image_timeout_seconds,
            self._openai.images.with_raw_response.generate(
                model=IMAGE_MODEL, prompt=prompt, size=size, quality=quality, n=1
            ),
        )
        image = _dig(answer, "data", 0)
        url, b64_json = _text(_dig(image, "url")).strip(), _text(_dig(image, "b64_json"))
        if not (url or b64_json):
            why = _message(answer) or "OpenAI answered without an image."
            raise GenerationError(self._without_key(why))
        return Generation(
            url or f"data:image/png;base64,{b64_json}",
            pricing.image_cost_usd(IMAGE_MODEL, quality, size),
            revised_prompt=_text(_dig(image, "revised_prompt")) or None,
        )

    async def _ask(self, timeout_seconds: float, call: Awaitable[Any]) -> Any:
        """Await the call's answer before the deadline; its JSON. Raises GenerationError."""
        host = self._openai.base_url.host
        try:
            async with asyncio.timeout(timeout_seconds):
                response = await call
            return _json(response.http_response.content)
        except openai.APIStatusError as error:
            # A gateway that gave up waiting cannot know whether OpenAI went on and billed.
            cost_usd = None if error.status_code in (408, 502, 504) else Decimal(0)
            raise GenerationError(self._refused(error), cost_usd=cost_usd) from error
        except openai.APIConnectionError as error:
            if isinstance(error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout):
                why = f"{host} cannot be reached. Check the network and OPENAI_BASE_URL."
                raise GenerationError(why, cost_usd=Decimal(0)) from error
            raise GenerationError(
                f"the connection to {host} broke off before the answer was complete; "
                "the call may have been billed."
            ) from error
        except TimeoutError as error:
            raise GenerationError(
                f"OpenAI did not answer within {timeout_seconds:g} seconds; "
                "the call may have been billed."
            ) from error
        except (openai.OpenAIError, ValueError) as error:
            raise GenerationError("OpenAI's answer could not be read.") from error

    def _refused(self, error: openai.APIStatusError) -> str:
        """OpenAI's refusal for people. Its own words on a bad key quote the key: they stay out."""
        if error.status_code == 401:
            return "OpenAI rejected the API key (401). Check OPENAI_API_KEY."
        if error.status_code == 403:
            return "OpenAI denied access (403). Check what the key in OPENAI_API_KEY may use."
        try:
            said = _message(_json(error.response.content))
        except ValueError:  # a proxy's page
            said = ""
        return self._without_key(
            f"OpenAI answered {error.status_code}: {said or 'no reason given'}"
        )

    def _without_key(self, text: str) -> str:
        """A server's words without those that hold the key or a piece of it, cut or masked."""
        key = self._api_key
        # A short one is no secret, but what a server without keys is given.
        secret = len(key) >= 12
        pieces = {key[start : start + 6] for start in range(len(key) - 5)} if secret else set()

        def tells(word: str) -> bool:
            bare = word.strip(".,:;!?'\"`()[]{}<>")
            return (
                bare == key
                or bare.startswith("sk-")
                or "***" in word
                or (secret and bare.endswith(key[-4:]))
                or any(piece in word for piece in pieces)
            )

        words = ("[hidden]" if tells(word) else word for word in text.split())
        return " ".join(words)[:MAX_REASON]


def text_messages(
    prompt: str,
    *,
    tone: str | None = None,
    keywords: list[str] | None = None,
    segment: models.Segment | None = None,
) -> list[dict[str, str]]:
    """The chat messages that ask for this copy."""
    lines = [
        "You are a marketing copywriter. Write exactly what the user asks for and nothing else.",
        "Answer in the language of the user's message.",
    ]
    if tone and tone.strip():
        lines.append(f"Tone of voice: {tone}")
    if keywords:
        lines.append(f"Work in these keywords: {', '.join(keywords)}")
    if segment:
        lines.append(f"Write for this target segment: {segment.name}")
        if segment.description:
            lines.append(f"About the segment: {segment.description}")
        if segment.criteria:
            lines.append(f"Who belongs to it (JSON): {segment.criteria}")
    return [
        {"role": "system", "content": "\n".join(lines)},
        {"role": "user", "content": prompt},
    ]


# OpenAI-compatible servers leave fields out or fill them oddly. Whatever else is odd, copy that was
# paid for is kept: each field is read by itself.


def _json(content: bytes) -> Any:
    return json.loads(content.decode("utf-8-sig", "replace"))


def _dig(value: Any, *path: str | int) -> Any:
    """What lies at the path inside the JSON value; None where the path ends early."""
    for step in path:
        if isinstance(value, dict) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and len(value) > step:
            value = value[step]
        else:
            return None
    return value


def _text(value: Any) -> str:
    """The text, or the texts of a list of parts, as every database can store it."""
    if isinstance(value, list):
        value = "".join(_text(_dig(part, "text")) for part in value)
    if not isinstance(value, str):
        return ""
    return value.replace("\x00", "").encode(errors="replace").decode()


def _message(answer: Any) -> str:
    """What a server gives as its reason, wherever it puts it."""
    if isinstance(answer, list):
        answer = _dig(answer, 0)
    for path in (("error", "message"), ("message",), ("error",), ("detail",)):
        if text := _text(_dig(answer, *path)):
            return text
    return ""


def _usage(answer: Any) -> Usage | None:
    """The tokens, where the server counted them plausibly."""
    prompt_tokens, completion_tokens, total_tokens = (
        _count(_dig(answer, "usage", name))
        for name in ("prompt_tokens", "completion_tokens", "total_tokens")
    )
    if prompt_tokens is None or completion_tokens is None:
        return None
    total_tokens = total_tokens or prompt_tokens + completion_tokens
    return Usage(prompt_tokens, completion_tokens, total_tokens)


def _count(value: Any) -> int | None:
    if isinstance(value, int | float) and 0 <= value <= MAX_TOKENS and value == int(value):
        return int(value)
    return None


def _why_empty(answer: Any, choice: Any) -> str:
    if refusal := _text(_dig(choice, "message", "refusal")):
        return f"the model refused: {refusal}"
    finish_reason = _dig(choice, "finish_reason")
    if finish_reason == "length":
        return "max_tokens was used up before any text came. Ask with a larger max_tokens."
    if finish_reason == "content_filter":
        return "OpenAI's content filter held the text back. Change the prompt."
    return _message(answer) or "OpenAI answered without any text."
