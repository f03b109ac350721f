"""What the API accepts and returns; the examples are what Swagger UI shows and sends."""

import json
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)

import models
import pricing
from analytics.schemas import Figures
from fields import (
    MAX_CRITERIA_DEPTH,
    Criteria,
    Description,
    Dollars,
    Name,
    Request,
    Timestamp,
)
from generation import lookups
from generation.schemas import Usage, Variant

# Segments.


class SegmentColumns(Request):
    """What of a segment can be sent."""

    def columns(self) -> dict[str, Any]:
        """Return what was sent, as it is stored: criteria as text."""
        sent = self.model_dump(exclude_unset=True)
        if sent.get("criteria") is not None:
            sent["criteria"] = json.dumps(sent["criteria"], ensure_ascii=False)
        return sent


class SegmentRequest(SegmentColumns):
    name: Name
    description: Description | None = None
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


class SegmentChange(SegmentColumns):
    """Only what is sent changes; null empties a description or criteria."""

    name: Name = Field(default_factory=str)
    description: Description | None = None
    criteria: Criteria | None = None

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"description": "주말에 카페를 찾는 30대 부모"}]}
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


# What was generated.


class Content(BaseModel):
    """One thing generated; for an image, `result` is its URL. `cut`: a text that ended before its
    model was done with it, as `finish_reason` tells; both are null for images, and where nobody
    said."""

    id: int = Field(examples=[15])
    content_type: str = Field(examples=["text"])
    prompt: str = Field(examples=["커피숍을 위한 마케팅 슬로건을 작성해주세요"])
    result: str = Field(examples=["아침을 깨우는 신선한 한 잔, 당신 곁의 커피"])
    model: str | None = Field(examples=["gpt-3.5-turbo"])
    created_at: Timestamp | None = Field(examples=["2026-11-23T15:30:00"])
    finish_reason: str | None = Field(examples=["stop"])
    cut: bool | None = Field(examples=[False])

    model_config = ConfigDict(from_attributes=True)

    @classmethod
    def with_result(cls, content: models.GeneratedContent, result: str) -> Self:
        """Show this row with what its result is now."""
        shown = cls.model_validate(content)
        return shown.model_copy(update={"result": result})


class ContentHistory(BaseModel):
    """`total` counts all that matches, also beyond `limit`."""

    history: list[Content]
    total: int = Field(examples=[1])


# What it cost.


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
    absent where the cost is unknown: then `max_cost` is the most that it can be. `status` is
    pending, completed, failed (nothing came of it) or unknown (it went out and no answer came back:
    it may have been billed). `key_id` is the API key that asked; `settled_by` is who said
    afterwards what it did cost."""

    id: int
    user_id: int | None = None
    key_id: int | None = None
    job_type: str
    model: str
    prompt: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    estimated_cost: Dollars | None = None
    max_cost: Dollars | None = None
    status: str | None = None
    error_message: str | None = None
    attempts: int | None = None
    openai_request_id: str | None = None
    size: str | None = None
    quality: str | None = None
    created_at: Timestamp | None = None
    completed_at: Timestamp | None = None
    settled_by: str | None = None
    settled_at: Timestamp | None = None

    @model_validator(mode="after")
    def _has_one_cost(self) -> Self:
        if self.estimated_cost is not None:
            self.max_cost = None
        return self

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


class JobChange(Request):
    """What a job of unknown cost did cost, in US dollars, and who says so."""

    cost: Annotated[float, Field(ge=0, le=10_000, allow_inf_nan=False)]
    settled_by: Name

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"cost": 0.04, "settled_by": "김민지"}]},
    )


class Asked(BaseModel):
    """What was asked for; `size` and `quality` are an image's, the rest is a text's."""

    prompt: str = Field(examples=["커피숍을 위한 마케팅 슬로건을 작성해주세요"])
    segment_id: int | None = Field(examples=[1])
    tone: str | None = Field(examples=["친근한"])
    keywords: list[str] | None = Field(examples=[["커피", "아침", "신선함"]])
    max_tokens: int | None = Field(None, examples=[100])
    n: int | None = Field(None, examples=[1])
    size: str | None = Field(None, examples=[None])
    quality: str | None = Field(None, examples=[None])
    user_id: int | None = Field(None, examples=[1])

    model_config = ConfigDict(from_attributes=True)

    @field_validator("keywords", mode="before")
    @classmethod
    def _listed(cls, keywords: str | None) -> Any:
        return keywords and json.loads(keywords)


class ContentItem(Content):
    """Everything known of one thing generated; what is not known is null. `request` is what was
    asked for, `job` the call that made it, `cost` its share of the job's in US dollars, `usage` the
    whole job's. `siblings` are the other variants of the same job; `performance` is what was
    reported of it."""

    job_id: int | None = Field(examples=[342])
    revised_prompt: str | None = Field(examples=[None])
    image_expires_at: Timestamp | None = Field(examples=[None])
    size: str | None = Field(None, examples=[None])
    quality: str | None = Field(None, examples=[None])
    usage: Usage | None = None
    cost: Dollars | None = Field(None, examples=[0.0000705])
    request: Asked | None = None
    job: Job | None = None
    siblings: list[Variant] = Field([], examples=[[]])
    performance: Figures | None = None

    @classmethod
    def of(
        cls,
        content: models.GeneratedContent,
        job: models.GenJob | None,
        result: str,
    ) -> Self:
        """Show this row and its job's, with what its result is now."""
        item = cls.model_validate(content)
        item.result = result
        item.request = request = Asked.model_validate(content)
        if job:
            item.job = Job.model_validate(job)
            item.usage = Usage.of(lookups.usage(job))
            item.size = request.size = job.size
            item.quality = request.quality = job.quality
            request.max_tokens, request.n = job.max_tokens, job.n
            request.user_id = job.user_id
        return item


def sibling(content: models.GeneratedContent, text: str) -> Variant:
    """Show this row as a variant of another, with what its text is now."""
    return Variant(
        id=content.id,
        text=text,
        cost=None if content.cost is None else Decimal(str(content.cost)),
        finish_reason=content.finish_reason,
        cut=content.cut,
    )


# Models and their prices.


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
    `tiers` are a text model's prices at OpenAI's other service tiers. `qualities` and `sizes` are
    what an image model takes, `any_size` that it takes others too, and `longest_prompt` is in
    characters."""

    id: str = Field(examples=["gpt-3.5-turbo"])
    kind: models.JobType
    default: bool
    resolves_to: str = Field(examples=["gpt-6-luna"])
    retired_on: date | None
    successor: str | None = Field(examples=["gpt-6-luna"])
    prices: TextPrice | ImageTokenPrice | list[ImagePrice]
    source: str = Field(examples=[pricing.OPENAI])
    checked_on: date | None
    tiers: dict[str, TextPrice] | None = None
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
        own: dict[str, Any] = {
            "id": name,
            "kind": kind,
            "default": default,
            "resolves_to": resolves_to,
        }
        if kind == "text" and (tiers := pricing.tiers(name)):
            own["tiers"] = tiers
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
        shown = []
        for job in history:
            if job.job_type == "image":
                shown.append(job.model_copy(update=none))
            else:
                shown.append(job)
        return shown


# The service itself.


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
