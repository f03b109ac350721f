"""The one door to OpenAI: asks, counts, prices; knows no database and no HTTP status of ours."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, TypeVar

import httpx2
import openai
import pydantic

import models
import pricing
from settings import Settings

TEXT_MODEL = "gpt-3.5-turbo"
IMAGE_MODEL = "dall-e-3"
DEFAULT_BASE_URL = "https://api.openai.com/v1"

Answer = TypeVar("Answer", bound=pydantic.BaseModel)


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


# Only what is read of OpenAI's answers. The SDK itself does not check them, and compatible servers
# leave fields out.
class _Usage(pydantic.BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None


class _Message(pydantic.BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(pydantic.BaseModel):
    message: _Message = _Message()
    finish_reason: str | None = None


class _Completion(pydantic.BaseModel):
    choices: list[_Choice] = []
    usage: _Usage | None = None


class _Image(pydantic.BaseModel):
    url: str | None = None
    b64_json: str | None = None
    revised_prompt: str | None = None


class _Images(pydantic.BaseModel):
    data: list[_Image] = []


class OpenAIClient:
    """OpenAI, or the compatible server at `openai_base_url`. One per process; close it."""

    def __init__(self, api_key: str, settings: Settings) -> None:
        self._api_key = api_key
        self._settings = settings
        # The SDK's own retries repeat a call that may have been billed.
        self._openai = openai.AsyncOpenAI(
            api_key=api_key,
            base_url=settings.openai_base_url or DEFAULT_BASE_URL,
            max_retries=0,
        )

    async def close(self) -> None:
        await self._openai.close()

    async def generate_text(self, messages: list[Any], max_tokens: int) -> Generation:
        """Copy for these messages. Raises GenerationError."""
        completion = await self._ask(
            _Completion,
            self._settings.text_timeout_seconds,
            lambda: self._openai.chat.completions.with_raw_response.create(
                model=TEXT_MODEL, messages=messages, max_completion_tokens=max_tokens
            ),
        )
        usage = _usage(completion)
        cost_usd = (
            pricing.text_cost_usd(TEXT_MODEL, usage.prompt_tokens, usage.completion_tokens)
            if usage
            else None
        )
        choice = completion.choices[0] if completion.choices else _Choice()
        text = _storable(choice.message.content)
        if not text.strip():
            raise GenerationError(_why_empty(choice), cost_usd=cost_usd, usage=usage)
        return Generation(text, cost_usd, usage)

    async def generate_image(
        self, prompt: str, size: pricing.Size, quality: pricing.Quality
    ) -> Generation:
        """One image for the prompt. Raises GenerationError."""
        images = await self._ask(
            _Images,
            self._settings.image_timeout_seconds,
            lambda: self._openai.images.with_raw_response.generate(
                model=IMAGE_MODEL, prompt=prompt, size=size, quality=quality, n=1
            ),
        )
        image = images.data[0] if images.data else _Image()
        url = image.url or (image.b64_json and f"data:image/png;base64,{image.b64_json}")
        if not url:
            raise GenerationError("OpenAI answered without an image.")
        return Generation(
            _storable(url),
            pricing.image_cost_usd(IMAGE_MODEL, quality, size),
            revised_prompt=image.revised_prompt,
        )

    async def _ask(
        self, answer: type[Answer], timeout_seconds: float, call: Callable[[], Awaitable[Any]]
    ) -> Answer:
        """Make the call before the deadline and read what matters of the answer."""
        try:
            async with asyncio.timeout(timeout_seconds):
                response = await call()
            return answer.model_validate_json(response.http_response.content)
        except openai.APIStatusError as error:
            raise GenerationError(self._refused(error), cost_usd=Decimal(0)) from error
        except (TimeoutError, openai.APITimeoutError) as error:
            raise GenerationError(
                f"OpenAI did not answer within {timeout_seconds:g} seconds; "
                "the call may have been billed."
            ) from error
        except openai.APIConnectionError as error:
            host = self._openai.base_url.host
            if isinstance(error.__cause__, httpx2.ConnectError):
                raise GenerationError(
                    f"{host} cannot be reached. Check the network and OPENAI_BASE_URL.",
                    cost_usd=Decimal(0),
                ) from error
            raise GenerationError(
                f"the connection to {host} broke off before the answer was complete; "
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
        body = error.body if isinstance(error.body, dict) else {}
        said = body.get("message")
        words = str(said or "no reason given").split()[:100]
        key = self._api_key
        pieces = {key[start : start + 6] for start in range(max(1, len(key) - 5))}
        told = " ".join(
            "[hidden]"
            if "sk-" in word or "***" in word or any(piece in word for piece in pieces)
            else word
            for word in words
        )
        return f"OpenAI answered {error.status_code}: {_storable(told)}"


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
    if tone:
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


def _usage(completion: _Completion) -> Usage | None:
    used = completion.usage
    if used is None or used.prompt_tokens is None or used.completion_tokens is None:
        return None
    total_tokens = used.total_tokens or used.prompt_tokens + used.completion_tokens
    return Usage(used.prompt_tokens, used.completion_tokens, total_tokens)


def _why_empty(choice: _Choice) -> str:
    if choice.message.refusal:
        return f"the model refused: {_storable(choice.message.refusal)}"
    if choice.finish_reason == "length":
        return "max_tokens was used up before any text came. Ask with a larger max_tokens."
    if choice.finish_reason == "content_filter":
        return "OpenAI's content filter held the text back. Change the prompt."
    return "OpenAI answered without any text."


def _storable(text: str | None) -> str:
    """The text without NUL characters, which PostgreSQL cannot store."""
    return (text or "").replace("\x00", "")
