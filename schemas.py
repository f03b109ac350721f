"""What the API accepts and returns; the examples are what Swagger UI shows and sends."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Collection
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Self

from fastapi import Header
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic_core import InitErrorDetails, PydanticCustomError

import models
import pricing
from settings import settings

MAX_PROMPT = 32_000
MAX_CRITERIA_DEPTH = 20
MAX_CRITERIA_LENGTH = 20_000


def _storable(text: str) -> str:
    """Refuse what PostgreSQL cannot store or UTF-8 cannot carry."""
    if "\x00" in text:
        raise PydanticCustomError("nul_character", "Text must not contain a NUL character (U+0000)")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError(
            "lone_surrogate", "Text must be valid Unicode, without lone surrogates"
        ) from None
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "Text must not be blank")
    return _storable(text)


def _plain_json(criteria: dict[str, Any]) -> dict[str, Any]:
    """Refuse what is no JSON (NaN, Infinity), cannot be stored, is too deep or too long."""
    inside: list[tuple[Any, int]] = [(criteria, 1)]
    while inside:
        value, depth = inside.pop()
        if isinstance(value, dict | list) and depth > MAX_CRITERIA_DEPTH:
            raise PydanticCustomError(
                "too_deep", f"Criteria must not nest deeper than {MAX_CRITERIA_DEPTH} levels"
            )
        if isinstance(value, str):
            _storable(value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise PydanticCustomError("not_finite", "Criteria must not contain NaN or Infinity")
        elif isinstance(value, dict):
            inside += [(part, depth + 1) for pair in value.items() for part in pair]
        elif isinstance(value, list):
            inside += [(part, depth + 1) for part in value]
    if len(json.dumps(criteria, ensure_ascii=False)) > MAX_CRITERIA_LENGTH:
        raise PydanticCustomError(
            "too_long", f"Criteria must not be longer than {MAX_CRITERIA_LENGTH} characters as JSON"
        )
    return criteria


def _priced(find: Callable[[str], object], names: Collection[str]) -> AfterValidator:
    """Refuse a model without a price: what it costs could only be guessed."""

    def check(model: str) -> str:
        if find(model) is None:
            known = f"{', '.join(names)}; GET /models lists all"
            raise PydanticCustomError(
                "no_price", f"No price is known for this model. Known: {known}"
            )
        return model

    return AfterValidator(check)


def _whole_second(moment: datetime) -> str:
    return moment.replace(microsecond=0).isoformat()


def _whole_number(value: Any) -> Any:
    """JSON has one kind of number: 100.0 is the integer 100. In an address, only digits count:
    Python would take 1_0 for 10."""
    if isinstance(value, str) and not re.fullmatch(r"-?[0-9]+", value):
        raise PydanticCustomError("int_parsing", "Should be a whole number")
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _count(value: float) -> int | float:
    return int(value) if value.is_integer() else value


# What readers of /openapi.json are told of these checks. A pattern that refuses blanks too would
# take tools that generate data from it too long.
STORABLE: JsonDict = {"pattern": r"^[^\u0000]*$"}
FILLED: JsonDict = {"minLength": 1, **STORABLE}

WHOLE = BeforeValidator(_whole_number)
Id = Annotated[int, Field(ge=1, le=2_147_483_647), WHOLE]
Tone = Annotated[str, Field(max_length=100, json_schema_extra=STORABLE), AfterValidator(_storable)]
Keyword = Annotated[str, Field(max_length=100, json_schema_extra=FILLED), AfterValidator(_filled)]
ModelName = Annotated[str, Field(max_length=100, pattern="^[!-~]*$")]
TextModel = Annotated[ModelName, _priced(pricing.text_model, pricing.TEXT_MODELS)]
ImageModel = Annotated[ModelName, _priced(pricing.image_model, pricing.IMAGE_MODELS)]
UserId = Annotated[
    Id | None,
    Field(description="Who it is for: the cost is booked on this user, whom OpenAI sees hashed."),
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=255,
        pattern="^[!-~]+$",
        description="Any text of your own, such as a UUID: however often the same request is sent "
        "with it, one generation is made and paid for, and each gets its answer.",
    ),
]
Criteria = Annotated[dict[str, Any], AfterValidator(_plain_json)]
Timestamp = Annotated[
    datetime, PlainSerializer(_whole_second), Field(examples=["2026-11-23T15:30:00"])
]
Count = Annotated[float, PlainSerializer(_count)]
Dollars = Annotated[Decimal, PlainSerializer(float)]


class Request(BaseModel):
    """What a client sends: "100" is no number and true is no id."""

    model_config = ConfigDict(strict=True)


class TextRequest(Request):
    prompt: Annotated[
        str, Field(max_length=MAX_PROMPT, json_schema_extra=FILLED), AfterValidator(_filled)
    ]
    segment_id: Annotated[Id | None, Field(description="Write for this segment.")] = None
    tone: Tone | None = Field(None, description="전문적, 친근한, 유머러스, …")
    keywords: Annotated[
        list[Keyword] | None, Field(max_length=50, description="To be worked into the text.")
    ] = None
    max_tokens: Annotated[
        int, Field(ge=1, le=16_384, description="The text's largest length, in tokens."), WHOLE
    ] = 150
    model: TextModel | None = Field(
        None, description=f"One of GET /models of the kind text; {settings.text_model} by default."
    )
    user_id: UserId = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "prompt": "커피숍을 위한 마케팅 슬로건을 작성해주세요",
                    "tone": "친근한",
                    "keywords": ["커피", "아침", "신선함"],
                    "max_tokens": 100,
                }
            ]
        }
    )


def fingerprint(asked: Request) -> str:
    """A hash that only the same request has, however its JSON is written. Fields at their default
    are left out of it, so that fields to come change nothing."""
    said = f"{type(asked).__name__} {asked.model_dump_json(exclude_defaults=True)}"
    return hashlib.sha256(said.encode()).hexdigest()


class Usage(BaseModel):
    """An image's tokens are its input (prompt) and output (completion)."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    model_config = ConfigDict(from_attributes=True)


class TextAnswer(BaseModel):
    """`id` is that of /content/history, `job_id` that of /costs/history. `usage` and `cost` (US
    dollars) are null where OpenAI did not report the tokens; `id` is null where the database went
    away meanwhile and only the server's log has the text."""

    success: bool = True
    id: int | None
    job_id: int
    text: str
    usage: Usage | None
    cost: Dollars | None
    model: str

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "success": True,
                    "id": 15,
                    "job_id": 342,
                    "text": "아침을 깨우는 신선한 한 잔, 당신 곁의 커피",
                    "usage": {"prompt_tokens": 45, "completion_tokens": 32, "total_tokens": 77},
                    "cost": 0.0000705,
                    "model": "gpt-3.5-turbo",
                }
            ]
        }
    )


class ImageRequest(Request):
    prompt: Annotated[
        str, Field(max_length=MAX_PROMPT, json_schema_extra=FILLED), AfterValidator(_filled)
    ]
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
        description=f"One of GET /models of the kind image; {settings.image_model} by default.",
    )
    user_id: UserId = None

    @model_validator(mode="after")
    def _is_taken(self) -> Self:
        """Refuse what the model does not take. Not field by field: their order is in every
        fingerprint."""
        name = self.model or settings.image_model
        model = pricing.image_model(name)
        if model is None:  # said already, or at the start
            return self
        takes: dict[str, str] = {}
        if not pricing.takes_size(model, self.size):
            takes["size"] = ", ".join(model.sizes)
            if model.any_size:
                takes["size"] += "; or width x height, both divisible by 16, from 1:3 to 3:1"
        if len(self.prompt) > model.longest_prompt:
            takes["prompt"] = f"at most {model.longest_prompt} characters"
        if self.quality not in model.qualities:
            takes["quality"] = ", ".join(model.qualities)
        if takes:
            more = f". For more, name a model such as {model.successor}" if model.successor else ""
            raise ValidationError.from_exception_data(
                "ImageRequest",
                [
                    InitErrorDetails(
                        type=PydanticCustomError(
                            "not_taken",
                            f"{name} does not take this {field}. It takes: {values}{more}",
                        ),
                        loc=(field,),
                        input=None,
                    )
                    for field, values in takes.items()
                ],
            )
        return self

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
    the model bills images and not tokens."""

    success: bool = True
    id: int | None
    job_id: int
    image_url: str
    image_expires_at: Timestamp | None
    revised_prompt: str | None
    usage: Usage | None
    cost: Dollars | None
    model: str
    size: str

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "success": True,
                    "id": 16,
                    "job_id": 343,
                    "image_url": f"http://localhost:8000/images/{'4f' * 16}.png",
                    "image_expires_at": None,
                    "revised_prompt": "A cozy coffee shop in warm morning light, watercolor",
                    "usage": None,
                    "cost": 0.04,
                    "model": "dall-e-3",
                    "size": "1024x1024",
                }
            ]
        }
    )


class SegmentRequest(Request):
    name: Annotated[str, Field(max_length=255, json_schema_extra=FILLED), AfterValidator(_filled)]
    description: (
        Annotated[
            str, Field(max_length=10_000, json_schema_extra=STORABLE), AfterValidator(_storable)
        ]
        | None
    ) = None
    criteria: Annotated[
        Criteria | None,
        Field(description=f"Any JSON object, at most {MAX_CRITERIA_DEPTH} levels deep."),
    ] = None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "밀레니얼 부모",
                    "description": "어린 자녀를 둔 30대 부모",
                    "criteria": {"age_range": "30-40", "has_children": True},
                }
            ]
        }
    )


class Segment(BaseModel):
    """`criteria` is a JSON object as a string."""

    id: int
    name: str
    description: str | None
    criteria: str | None
    created_at: Timestamp | None
    updated_at: Timestamp | None

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "id": 1,
                    "name": "2030 여성",
                    "description": "20-30대 여성 고객층",
                    "criteria": '{"age_range": "20-30", "gender": "female"}',
                    "created_at": "2026-11-23T10:00:00",
                    "updated_at": "2026-11-23T10:00:00",
                }
            ]
        },
    )


class SegmentList(BaseModel):
    segments: list[Segment]


class Message(BaseModel):
    message: str = Field(examples=["Segment deleted successfully"])


class Overview(BaseModel):
    """Sums of the metrics; `avg_ctr` (clicks / impressions) and `avg_conversion_rate`
    (conversions / clicks) are in percent, 0.0 where the divisor is 0."""

    total_campaigns: int = Field(examples=[25])
    total_impressions: Count = Field(examples=[150000])
    total_clicks: Count = Field(examples=[7500])
    total_conversions: Count = Field(examples=[450])
    avg_ctr: float = Field(examples=[5.0])
    avg_conversion_rate: float = Field(examples=[6.0])


class Content(BaseModel):
    """One thing generated; for an image, `result` is its URL."""

    id: int
    content_type: str
    prompt: str
    result: str
    model: str | None
    created_at: Timestamp | None

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "id": 15,
                    "content_type": "text",
                    "prompt": "커피숍을 위한 마케팅 슬로건을 작성해주세요",
                    "result": "아침을 깨우는 신선한 한 잔, 당신 곁의 커피",
                    "model": "gpt-3.5-turbo",
                    "created_at": "2026-11-23T15:30:00",
                }
            ]
        },
    )


class ContentHistory(BaseModel):
    """`total` counts all that matches, also beyond `limit`."""

    history: list[Content]
    total: int = Field(examples=[1])


class Period(BaseModel):
    start: Timestamp | None
    end: Timestamp | None


class CostsSummary(BaseModel):
    """Costs are in US dollars; `period` runs from the first counted job to the last."""

    total_cost: Dollars = Field(examples=[12.45])
    total_jobs: int = Field(examples=[342])
    text_jobs: int = Field(examples=[280])
    image_jobs: int = Field(examples=[62])
    text_cost: Dollars = Field(examples=[8.23])
    image_cost: Dollars = Field(examples=[4.22])
    cost_by_model: dict[str, Dollars] = Field(examples=[{"gpt-3.5-turbo": 8.23, "dall-e-3": 4.22}])
    period: Period


class Job(BaseModel):
    """One generation; a field without a value is left out. `estimated_cost` is in US dollars and
    absent where the cost is unknown. `status` is pending, completed, failed (nothing came of it) or
    unknown (it went out and no answer came back: it may have been billed)."""

    id: int
    user_id: int | None = None
    job_type: str
    model: str
    prompt: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    estimated_cost: Dollars | None = None
    status: str | None = None
    error_message: str | None = None
    attempts: int | None = None
    openai_request_id: str | None = None
    size: str | None = None
    quality: str | None = None
    created_at: Timestamp | None = None
    completed_at: Timestamp | None = None

    model_config = ConfigDict(
        from_attributes=True,
        json_schema_extra={
            "examples": [
                {
                    "id": 342,
                    "user_id": 1,
                    "job_type": "text",
                    "model": "gpt-3.5-turbo",
                    "prompt": "커피숍을 위한 마케팅 슬로건을 작성해주세요",
                    "prompt_tokens": 45,
                    "completion_tokens": 32,
                    "total_tokens": 77,
                    "estimated_cost": 0.0000705,
                    "status": "completed",
                    "attempts": 1,
                    "openai_request_id": "req_4c1d9a",
                    "created_at": "2026-11-23T15:30:00",
                    "completed_at": "2026-11-23T15:30:02",
                }
            ]
        },
    )


class ContentItem(Content):
    """Everything known of one thing generated; what is not known is null. `size` and `quality` are
    an image's, as they were asked for; `cost` is in US dollars."""

    job_id: int | None
    revised_prompt: str | None
    image_expires_at: Timestamp | None
    size: str | None = None
    quality: str | None = None
    usage: Usage | None = None
    cost: Dollars | None = None
    job: Job | None = None


class TextPrice(BaseModel):
    """US dollars per million tokens; what is null costs as much as other input."""

    input_usd: Dollars = Field(examples=[0.1])
    cached_input_usd: Dollars | None = Field(examples=[0.01])
    cache_write_usd: Dollars | None = Field(examples=[0.125])
    output_usd: Dollars = Field(examples=[0.5])

    model_config = ConfigDict(from_attributes=True)


class ImageTokenPrice(BaseModel):
    """US dollars per million tokens."""

    text_input_usd: Dollars = Field(examples=[5])
    cached_text_input_usd: Dollars = Field(examples=[1.25])
    image_input_usd: Dollars = Field(examples=[8])
    image_output_usd: Dollars = Field(examples=[30])

    model_config = ConfigDict(from_attributes=True)


class ImagePrice(BaseModel):
    """US dollars per image."""

    quality: str = Field(examples=["standard"])
    size: str = Field(examples=["1024x1024"])
    image_usd: Dollars = Field(examples=[0.04])


class Model(BaseModel):
    """A model that may be asked for. `resolves_to` is the one that is asked for it now: its
    successor, once OpenAI has refused it. `retired_on` is the day OpenAI ends it or ended it.
    `qualities` and `sizes` are what an image model takes, `any_size` that it takes others too, and
    `longest_prompt` is in characters."""

    id: str = Field(examples=["gpt-3.5-turbo"])
    kind: models.JobType
    default: bool
    resolves_to: str = Field(examples=["gpt-6-luna"])
    retired_on: date | None
    successor: str | None = Field(examples=["gpt-6-luna"])
    prices: TextPrice | ImageTokenPrice | list[ImagePrice]
    source: str = Field(examples=[pricing.OPENAI])
    checked_on: date | None
    qualities: list[str] | None = None
    sizes: list[str] | None = None
    any_size: bool | None = None
    longest_prompt: int | None = None

    @classmethod
    def of(
        cls,
        name: str,
        model: pricing.TextModel | pricing.ImageModel,
        default: bool,
        resolves_to: str,
    ) -> "Model":
        prices: Any = model.price
        if isinstance(prices, dict):
            prices = [
                {"quality": quality, "size": size, "image_usd": usd}
                for (quality, size), usd in prices.items()
            ]
        kind = "text" if isinstance(model, pricing.TextModel) else "image"
        own = {"id": name, "kind": kind, "default": default, "resolves_to": resolves_to}
        return cls.model_validate({**vars(model), **own, "prices": prices})


class ModelList(BaseModel):
    models: list[Model]


class CostsHistory(BaseModel):
    """`total` counts all that matches, also beyond `limit`. A job of images carries no tokens here;
    /content/{id} has them."""

    history: list[Job]
    total: int = Field(examples=[1])

    @field_validator("history")
    @classmethod
    def _without_tokens_of_images(cls, history: list[Job]) -> list[Job]:
        none = {name: None for name in Job.model_fields if name.endswith("_tokens")}
        return [job.model_copy(update=none) if job.job_type == "image" else job for job in history]


class ServiceStatus(BaseModel):
    """`status` is "degraded" and `database` "disconnected" while the database is out of reach."""

    service: str = Field(examples=["Artify Content Backend"])
    version: str = Field(examples=["2.0.0"])
    status: str = Field(examples=["healthy"])
    openai_configured: bool = Field(examples=[True])
    database: str = Field(examples=["connected"])


class Health(BaseModel):
    status: str = Field(examples=["healthy"])
    timestamp: str = Field(examples=["2026-11-23T16:00:00.000Z"])
