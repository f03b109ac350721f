"""What /generate accepts and returns; the examples are what Swagger UI shows and sends."""

import hashlib
import secrets
from decimal import Decimal
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

import bounds
import models
import pricing
from access.caps import shown
from access.keys import Caller
from fields import (
    WHOLE,
    Dollars,
    Id,
    ImageModel,
    Keyword,
    MaxCost,
    Prompt,
    Request,
    TextModel,
    Timestamp,
    Tone,
    UserId,
)
from generation import prompts, results
from generation.ledger import Completed
from generation.prompts import Messages
from generation.results import ImageJob, ImageResult, TextJob, TextResult

MAX_VARIANTS = 10
Remaining = Annotated[Dollars | None, Field(exclude_if=lambda usd: usd is None, examples=[37.51])]


class NotTaken(Exception):
    """The model does not take some fields of the request; `reasons` says of each what it takes."""

    def __init__(self, reasons: dict[str, str]) -> None:
        super().__init__(" ".join(reasons.values()))
        self.reasons = reasons


class GenerationRequest(Request):
    """What requests of both kinds say of their cost."""

    max_cost: MaxCost = None

    def check_cost(self, most_usd: Decimal | None) -> None:
        """Refuse what could cost more than the request allows. Raises NotTaken."""
        if self.max_cost is None:
            return
        allowed = Decimal(str(self.max_cost))
        if most_usd is None:
            raise NotTaken({"max_cost": "The most that this request can cost is not known"})
        if most_usd > allowed:
            most = f"This request could cost {shown(most_usd)}, and max_cost is {shown(allowed)}"
            raise NotTaken({"max_cost": most})


# Copy.


class TextRequest(GenerationRequest):
    prompt: Prompt
    segment_id: Annotated[Id | None, Field(description="Write for this segment.")] = None
    tone: Tone | None = Field(None, description="Tone of voice: 전문적, 친근한, 유머러스, …")
    keywords: Annotated[
        list[Keyword] | None, Field(max_length=50, description="To be worked into the text.")
    ] = None
    max_tokens: Annotated[
        int, Field(ge=1, le=16_384, description="The text's largest length, in tokens."), WHOLE
    ] = 150
    model: TextModel | None = Field(
        None, description="One of GET /models of the kind text; the one of TEXT_MODEL by default."
    )
    user_id: UserId = None
    n: Annotated[
        int, Field(ge=1, le=MAX_VARIANTS, description="How many variants to write."), WHOLE
    ] = 1

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "prompt": "커피숍을 위한 마케팅 슬로건을 작성해주세요",
                    "segment_id": 1,
                    "tone": "친근한",
                    "keywords": ["커피", "아침", "신선함"],
                    "max_tokens": 100,
                    "n": 5,
                }
            ]
        }
    )

    def job(self, model: str, caller: Caller, idempotency_key: str | None) -> TextJob:
        """Return the job of this request, for which this model is asked first. Raises KeyTooNarrow
        where it is for another user than the caller's."""
        return TextJob(
            model=model,
            named_model=self.model,
            prompt=self.prompt,
            user_id=caller.user(self.user_id),
            key_id=caller.key_id,
            idempotency_key=idempotency_key,
            request_hash=fingerprint(self) if idempotency_key else None,
            n=self.n,
            max_tokens=self.max_tokens,
            segment_id=self.segment_id,
            tone=self.tone or None,
            keywords=self.keywords or None,
        )


def fingerprint(body: Request) -> str:
    """Return a hash that only the same request has, however its JSON is written."""
    # Fields at their default are left out of it, so that fields to come change nothing.
    request = f"{type(body).__name__} {body.model_dump_json(exclude_defaults=True)}"
    return hashlib.sha256(request.encode()).hexdigest()


class Usage(BaseModel):
    """An image's tokens are its input (prompt) and output (completion)."""

    prompt_tokens: int = Field(examples=[45])
    completion_tokens: int = Field(examples=[32])
    total_tokens: int = Field(examples=[77])

    model_config = ConfigDict(from_attributes=True)

    @classmethod
    def of(cls, usage: results.Usage | None) -> Self | None:
        return None if usage is None else cls.model_validate(usage)


class Variant(BaseModel):
    """One of the texts of a generation, and its share of the cost in US dollars. `cut`: it ended
    before its model was done with it, as `finish_reason` tells; both are null where nobody said."""

    id: int | None = Field(examples=[15])
    text: str = Field(examples=["아침을 깨우는 신선한 한 잔, 당신 곁의 커피"])
    cost: Dollars | None = Field(examples=[0.0000705])
    finish_reason: str | None = Field(examples=["stop"])
    cut: bool | None = Field(examples=[False])


# Where an example has a null, the fields have the examples: of one of the whole, FastAPI leaves out
# every null, and what is left is no answer.
class TextAnswer(BaseModel):
    """`variants` are all texts, the first of them is also `text`; `warning` says why they are fewer
    than `n`, which of them were cut off, and where another model than the one that was named
    answered. `id` is that of /content/history, `job_id` that of /costs/history; `id` is null where
    the database went away meanwhile and only the server's log has the text. `cost` (US dollars, of
    all variants together) is null where OpenAI did not report all tokens; `usage` is what it
    reported. `budget_remaining` is the least that a cap which bears on it has left, in US dollars;
    it is left out where none does."""

    success: bool = True
    id: int | None = Field(examples=[15])
    job_id: int = Field(examples=[342])
    text: str = Field(examples=["아침을 깨우는 신선한 한 잔, 당신 곁의 커피"])
    finish_reason: str | None = Field(examples=["stop"])
    cut: bool | None = Field(examples=[False])
    variants: list[Variant]
    usage: Usage | None
    cost: Dollars | None = Field(examples=[0.0000705])
    model: str = Field(examples=["gpt-3.5-turbo"])
    warning: str | None = Field(examples=[None])
    budget_remaining: Remaining = None

    @classmethod
    def of(cls, completed: Completed[TextResult]) -> Self:
        """Return the answer that a completed job gives."""
        result = completed.result
        variants = [
            Variant(
                id=content_id,
                text=text.text,
                cost=share_usd,
                finish_reason=text.finish_reason,
                cut=models.is_cut(text.finish_reason),
            )
            for content_id, text, share_usd in zip(
                completed.content_ids, result.texts, result.shares_usd, strict=True
            )
        ]
        first = variants[0]
        return cls(
            id=first.id,
            job_id=completed.job_id,
            text=first.text,
            finish_reason=first.finish_reason,
            cut=first.cut,
            variants=variants,
            usage=Usage.of(result.bill.usage),
            cost=result.bill.cost_usd,
            model=result.bill.model,
            warning=result.warning,
            budget_remaining=completed.left_usd,
        )


class TextPreview(BaseModel):
    """What this request would send to OpenAI, and the most it can cost in US dollars: every
    tokenizer makes fewer tokens of the messages than `max_prompt_tokens`, and `n` texts are at most
    `max_completion_tokens` long. A model that refuses `n` reads the messages `n` times."""

    messages: list[dict[str, str]] = Field(
        examples=[[{"role": "user", "content": "커피숍을 위한 마케팅 슬로건을 작성해주세요"}]]
    )
    model: str = Field(examples=["gpt-3.5-turbo"])
    max_prompt_tokens: int = Field(examples=[1500])
    max_completion_tokens: int = Field(examples=[500])
    max_cost: Dollars = Field(examples=[0.0015])

    @classmethod
    def of(cls, body: TextRequest, messages: Messages, model: str, *, regional: bool) -> Self:
        """Say what this model can cost for these messages."""
        prompt_tokens = body.n * prompts.prompt_tokens_at_most(messages)
        completion_tokens = body.n * body.max_tokens
        return cls(
            messages=messages,
            model=model,
            max_prompt_tokens=prompt_tokens,
            max_completion_tokens=completion_tokens,
            max_cost=bounds.text_cost_usd(
                model, prompt_tokens, completion_tokens, regional=regional
            ),
        )


# Images.


class ImageRequest(GenerationRequest):
    prompt: Prompt
    size: Annotated[
        str,
        Field(
            max_length=20,
            description="1024x1024, 1024x1792, 1792x1024, or what else the model takes.",
        ),
    ] = "1024x1024"
    quality: Annotated[
        str,
        Field(max_length=20, description="standard, hd, or what else the model takes."),
    ] = "standard"
    model: ImageModel | None = Field(
        None,
        description="One of GET /models of the kind image; the one of IMAGE_MODEL by default.",
    )
    user_id: UserId = None

    def check(self, default_model: str) -> None:
        """Refuse what the model does not take, which is this one where none is named. Raises
        NotTaken."""
        name = self.model or default_model
        model = pricing.image_model(name)
        assert model, "a named model is checked as a field, the default one at the start"
        takes: dict[str, str] = {}
        if not pricing.takes_size(model, self.size):
            takes["size"] = ", ".join(model.sizes)
            if model.any_size:
                takes["size"] += (
                    "; or width x height, both divisible by 16, from 1:3 to 3:1, no side over 3840 "
                    "and no more pixels than 3840x2160"
                )
        if len(self.prompt) > model.longest_prompt:
            takes["prompt"] = f"at most {model.longest_prompt} characters"
        if self.quality not in model.qualities:
            takes["quality"] = ", ".join(model.qualities)
        more = ""
        if model.successor:
            more = f". For more, name a model such as {model.successor}"
        if takes:
            raise NotTaken(
                {
                    field: f"{name} does not take this {field}. It takes: {values}{more}"
                    for field, values in takes.items()
                }
            )

    def job(self, model: str, caller: Caller, idempotency_key: str | None) -> ImageJob:
        """Return the job of this request, for which this model is asked first. Raises KeyTooNarrow
        where it is for another user than the caller's."""
        return ImageJob(
            model=model,
            named_model=self.model,
            prompt=self.prompt,
            user_id=caller.user(self.user_id),
            key_id=caller.key_id,
            idempotency_key=idempotency_key,
            request_hash=fingerprint(self) if idempotency_key else None,
            size=self.size,
            quality=self.quality,
            image_key=secrets.token_hex(16),
        )

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "prompt": "따뜻한 아침 햇살이 드는 아늑한 커피숍, 수채화",
                    "size": "1024x1024",
                    "quality": "standard",
                }
            ]
        }
    )


class ImageAnswer(BaseModel):
    """`id` is that of /content/history (null where only the server's log has the image), `job_id`
    that of /costs/history; `cost` is in US dollars. `image_url` lasts; only where the image could
    not be stored, it is OpenAI's own, and `image_expires_at` says until when. `usage` is null where
    the model bills images and not tokens. `warning` says where another model than the one that was
    named answered. `budget_remaining` is the least that a cap which bears on it has left, in US
    dollars; it is left out where none does."""

    success: bool = True
    id: int | None = Field(examples=[16])
    job_id: int = Field(examples=[343])
    image_url: str = Field(examples=[f"http://localhost:8000/images/{'4f' * 16}.png"])
    image_expires_at: Timestamp | None = Field(examples=[None])
    revised_prompt: str | None = Field(
        examples=["A cozy coffee shop in warm morning light, watercolor"]
    )
    usage: Usage | None = Field(examples=[None])
    cost: Dollars | None = Field(examples=[0.04])
    model: str = Field(examples=["dall-e-3"])
    size: str = Field(examples=["1024x1024"])
    warning: str | None = Field(examples=[None])
    budget_remaining: Remaining = None

    @classmethod
    def of(cls, completed: Completed[ImageResult], image_url: str, size: str) -> Self:
        """Return the answer that a completed job gives."""
        result = completed.result
        return cls(
            id=completed.content_ids[0],
            job_id=completed.job_id,
            image_url=image_url,
            image_expires_at=result.image_expires_at,
            revised_prompt=result.revised_prompt,
            usage=Usage.of(result.bill.usage),
            cost=result.bill.cost_usd,
            model=result.bill.model,
            size=size,
            warning=result.warning,
            budget_remaining=completed.left_usd,
        )


class ImagePreview(BaseModel):
    """What this request would ask OpenAI for, and the most it can cost in US dollars: the prompt is
    at most `max_prompt_tokens` long, and the image takes at most `max_output_tokens`, whoever of
    the model's succession draws it; null where all of them bill images and not tokens. `max_cost`
    is null where no bound is known: under a cap, that is refused."""

    prompt: str = Field(examples=["따뜻한 아침 햇살이 드는 아늑한 커피숍, 수채화"])
    model: str = Field(examples=["gpt-image-2.5-flare"])
    size: str = Field(examples=["1024x1024"])
    quality: str = Field(examples=["standard"])
    max_prompt_tokens: int = Field(examples=[141])
    max_output_tokens: int | None = Field(examples=[439])
    max_cost: Dollars | None = Field(examples=[0.013875])

    @classmethod
    def of(cls, body: ImageRequest, model: str, *, regional: bool) -> Self:
        """Say what this model can cost for this image."""
        prompt_tokens = prompts.prompt_tokens_at_most([{"content": body.prompt}])
        return cls(
            prompt=body.prompt,
            model=model,
            size=body.size,
            quality=body.quality,
            max_prompt_tokens=prompt_tokens,
            max_output_tokens=bounds.most_output_tokens(model, body.quality, body.size),
            max_cost=bounds.image_cost_usd(
                model, body.quality, body.size, prompt_tokens, regional=regional
            ),
        )
