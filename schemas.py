"""What the API accepts and returns; the examples are what Swagger UI shows and sends."""

import base64
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal, Self

from fastapi import Body
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

import models
import pricing
from fields import (
    MAX_CRITERIA_DEPTH,
    WHOLE,
    CampaignId,
    Count,
    Criteria,
    Description,
    Dollars,
    End,
    Id,
    ImageModel,
    Keyword,
    Moment,
    Name,
    PastMoment,
    Prompt,
    TextModel,
    Timestamp,
    Tone,
    UserId,
    invalid,
    storable,
)
from settings import settings

MAX_VARIANTS = 10
MAX_METRICS = 1_000
# So that sums of whole numbers are exact to the unit: a double holds them up to 9 * 10^15.
MAX_METRIC_VALUE = 1e12
COUNTED = ("impressions", "clicks", "conversions")


class Request(BaseModel):
    """What a client sends: "100" is no number and true is no id."""

    model_config = ConfigDict(strict=True)


class TextRequest(Request):
    prompt: Prompt
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

    def details(self) -> dict[str, Any]:
        """What a job keeps of it, beside the prompt, the model and the user."""
        return {
            "n": self.n,
            "max_tokens": self.max_tokens,
            "segment_id": self.segment_id,
            "tone": self.tone or None,
            "keywords": self.keywords or None,
        }


def fingerprint(asked: Request) -> str:
    """A hash that only the same request has, however its JSON is written. Fields at their default
    are left out of it, so that fields to come change nothing."""
    said = f"{type(asked).__name__} {asked.model_dump_json(exclude_defaults=True)}"
    return hashlib.sha256(said.encode()).hexdigest()


class InvalidField(BaseModel):
    """Where the request is wrong, and why."""

    loc: list[str | int] = Field(examples=[["body", "prompt"]])
    msg: str = Field(examples=["Text must not be blank"])
    type: str = Field(examples=["blank"])


class Usage(BaseModel):
    """An image's tokens are its input (prompt) and output (completion)."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    model_config = ConfigDict(from_attributes=True)


class Variant(BaseModel):
    """One of the texts of a generation, and its share of the cost in US dollars."""

    id: int | None
    text: str
    cost: Dollars | None


class TextAnswer(BaseModel):
    """`variants` are all texts, the first of them is also `text`; `warning` says why they are fewer
    than `n`. `id` is that of /content/history, `job_id` that of /costs/history; `id` is null where
    the database went away meanwhile and only the server's log has the text. `cost` (US dollars, of
    all variants together) is null where OpenAI did not report all tokens; `usage` is what it
    reported."""

    success: bool = True
    id: int | None
    job_id: int
    text: str
    variants: list[Variant]
    usage: Usage | None
    cost: Dollars | None
    model: str
    warning: str | None

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "success": True,
                    "id": 15,
                    "job_id": 342,
                    "text": "아침을 깨우는 신선한 한 잔, 당신 곁의 커피",
                    "variants": [
                        {
                            "id": 15,
                            "text": "아침을 깨우는 신선한 한 잔, 당신 곁의 커피",
                            "cost": 0.0000705,
                        }
                    ],
                    "usage": {"prompt_tokens": 45, "completion_tokens": 32, "total_tokens": 77},
                    "cost": 0.0000705,
                    "model": "gpt-3.5-turbo",
                    "warning": None,
                }
            ]
        }
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


class ImageRequest(Request):
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
            raise invalid(
                self,
                {
                    field: f"{name} does not take this {field}. It takes: {values}{more}"
                    for field, values in takes.items()
                },
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


class SegmentColumns(Request):
    """What of a segment can be sent."""

    def columns(self) -> dict[str, Any]:
        """What was sent, as it is stored: criteria as text."""
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


def _counted(name: str) -> str:
    """What is counted means the same in the singular and in capitals."""
    plain = name.strip().lower()
    return next((each for each in COUNTED if plain in (each, each.removesuffix("s"))), name)


ONE_METRIC: JsonDict = {
    "metric_name": "clicks",
    "metric_value": 1,
    "project_id": 1,
    "campaign_id": 7,
    "content_id": 1,
    "event_id": "click 4711",
}


class Metric(Request):
    """A reported figure. A campaign is a pair of `project_id` and `campaign_id`, numbers of your
    own. With an `event_id` it can be sent again safely: it counts once in its project. A field of
    another name is refused: what it was meant for would be lost."""

    metric_name: Annotated[
        Name,
        AfterValidator(_counted),
        Field(description="impressions, clicks, conversions, or another name of your own."),
    ]
    metric_value: Annotated[
        float,
        Field(
            ge=-MAX_METRIC_VALUE,
            le=MAX_METRIC_VALUE,
            allow_inf_nan=False,
            description="Negative only to correct what was reported before.",
        ),
    ]
    project_id: Id | None = None
    campaign_id: CampaignId | None = None
    content_id: Annotated[Id | None, Field(description="The text or image it was seen on.")] = None
    timestamp: Annotated[
        PastMoment | None,
        Field(description="ISO 8601 with any offset; now, if left out."),
    ] = None
    event_id: Annotated[Name | None, Field(description="Your own id of what happened.")] = None

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [ONE_METRIC]})


METRICS = TypeAdapter(list[Metric])


@dataclass(frozen=True)
class Reported:
    """The metrics of one request by their place in it, and what is wrong with the others. `alone`:
    it is one metric, and not a list."""

    metrics: dict[int, Metric]
    errors: dict[int, list[Any]]
    alone: bool = False


def _reported(body: Any) -> Reported:
    """One metric must be right; of a list, each by itself."""
    if not isinstance(body, list):
        return Reported({0: Metric.model_validate(body)}, {}, alone=True)
    if len(body) > MAX_METRICS:
        raise PydanticCustomError("too_long", f"List should have at most {MAX_METRICS} metrics")
    errors: dict[int, list[Any]] = {}
    try:
        return Reported(dict(enumerate(METRICS.validate_python(body))), errors)
    except ValidationError as error:
        for wrong in error.errors(include_url=False, include_input=False):
            place, *loc = wrong["loc"]
            reason = "Should be an object" if wrong["type"] == "model_type" else wrong["msg"]
            detail = {"loc": loc, "msg": reason, "type": wrong["type"]}
            errors.setdefault(int(place), []).append(detail)
    good = {place: each for place, each in enumerate(body) if place not in errors}
    return Reported({place: Metric.model_validate(each) for place, each in good.items()}, errors)


# The variants that the example of /generate/text makes on an empty database, in one campaign.
FIVE_VARIANTS = [
    {
        "metric_name": name,
        "metric_value": value,
        "project_id": 1,
        "campaign_id": 7,
        "content_id": content_id,
        "event_id": f"2026-11-24 {name} {content_id}",
    }
    for content_id, counts in enumerate(
        ((9800, 294, 24), (10100, 313, 25), (9900, 455, 41), (10200, 285, 19), (10000, 301, 22)), 1
    )
    for name, value in zip(COUNTED, counts, strict=True)
]
# What arrives is Reported; /docs shows what is sent.
Metrics = Annotated[
    Any,
    PlainValidator(
        _reported,
        json_schema_input_type=Metric | Annotated[list[Metric], Field(max_length=MAX_METRICS)],
    ),
    Body(
        openapi_examples={
            "five variants": {"value": FIVE_VARIANTS},
            "one metric": {"value": ONE_METRIC},
        }
    ),
]


class MetricError(BaseModel):
    """What is wrong with the metric at this place of the list, as of a request by itself."""

    index: int = Field(examples=[3])
    detail: list[InvalidField]


class MetricsAdded(BaseModel):
    """Of the metrics sent, so many are new, and so many had been sent before with the same values;
    all others are among the errors. `not_counted` are the names that no figure counts."""

    accepted: int = Field(examples=[999])
    duplicates: int = Field(examples=[0])
    errors: list[MetricError] = Field(examples=[[]])
    not_counted: list[str] = Field(examples=[[]])


class MetricFilter(BaseModel):
    """Which metrics count. A parameter of another name is refused: the figures would look right,
    and be those of everything."""

    project_id: Annotated[Id | None, Field(description="Of this project alone.")] = None
    campaign_id: Annotated[CampaignId | None, Field(description="Of this campaign alone.")] = None
    start: Annotated[
        Moment | None, Field(description="From then on: ISO 8601, in UTC unless it has an offset.")
    ] = None
    end: Annotated[
        End | None, Field(description="Until before then; a date alone is included.")
    ] = None

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="after")
    def _is_a_period(self) -> Self:
        if self.start and self.end and self.start >= self.end:
            raise invalid(self, {"end": "Should be later than start"})
        return self


class Overview(BaseModel):
    """Sums of the metrics; `avg_ctr` (clicks / impressions), `avg_conversion_rate` (conversions /
    clicks) and `conversion_rate_per_impression` are in percent, 0.0 where the divisor is 0. Of the
    content that was measured, `generation_cost` is what it cost to generate in US dollars, and
    the costs per click and conversion are of its own clicks and conversions; null where there are
    none. `unknown_costs` counts the content whose cost is not known: it adds nothing."""

    total_campaigns: int = Field(examples=[25])
    total_impressions: Count = Field(examples=[150000])
    total_clicks: Count = Field(examples=[7500])
    total_conversions: Count = Field(examples=[450])
    avg_ctr: float = Field(examples=[5.0])
    avg_conversion_rate: float = Field(examples=[6.0])
    conversion_rate_per_impression: float = Field(examples=[0.3])
    generation_cost: Dollars | None = Field(examples=[0.0045])
    cost_per_click: Dollars | None = Field(examples=[0.0000006])
    cost_per_conversion: Dollars | None = Field(examples=[0.00001])
    content_count: int = Field(examples=[64])
    unknown_costs: int = Field(examples=[0])


Interval = Annotated[
    tuple[float, float] | None,
    Field(description="From, to: the 95 % Wilson interval, in percent. Null where it has none."),
]


class Figures(BaseModel):
    """What was reported of some content, its rates in percent (0.0 where the divisor is 0) with
    their 95 % Wilson intervals, and what it cost in US dollars (null where nobody knows, or there
    is nothing to divide it by)."""

    impressions: Count = Field(examples=[10000])
    clicks: Count = Field(examples=[450])
    conversions: Count = Field(examples=[36])
    ctr: float = Field(examples=[4.5])
    ctr_interval: Interval = Field(examples=[[4.11, 4.92]])
    conversion_rate: float = Field(examples=[8.0])
    conversion_rate_interval: Interval = Field(examples=[[5.83, 10.88]])
    conversion_rate_per_impression: float = Field(examples=[0.36])
    conversion_rate_per_impression_interval: Interval = Field(examples=[[0.26, 0.5]])
    generation_cost: Dollars | None = Field(examples=[0.0000141])
    cost_per_click: Dollars | None = Field(examples=[0.0000000313])
    cost_per_conversion: Dollars | None = Field(examples=[0.000000392])


class MeasuredContent(BaseModel):
    content_id: int = Field(examples=[15])
    job_id: int | None = Field(examples=[342])
    content_type: str = Field(examples=["text"])
    result: str = Field(examples=["아침을 깨우는 신선한 한 잔, 당신 곁의 커피"])
    model: str | None = Field(examples=["gpt-3.5-turbo"])
    segment_id: int | None = Field(examples=[1])
    tone: str | None = Field(examples=["친근한"])


class ContentFigures(Figures, MeasuredContent):
    """One text or image; for an image, `result` is its URL."""


class Group(BaseModel):
    segment_id: int | None = None
    segment_name: str | None = None
    tone: str | None = None
    model: str | None = None
    project_id: int | None = None
    campaign_id: int | None = None


class GroupFigures(Figures, Group):
    """The content of one segment, tone, model or campaign that was measured, added up. A segment
    has no name any more once it is deleted. `unknown_costs` counts the content whose cost is not
    known: it adds nothing."""

    content_count: int = Field(examples=[5])
    unknown_costs: int = Field(examples=[0])


GroupBy = Literal["segment", "tone", "model", "campaign"]
Rate = Literal["ctr", "conversion_rate", "conversion_rate_per_impression"]
Sort = Literal[
    "impressions",
    "clicks",
    "conversions",
    "ctr",
    "conversion_rate",
    "conversion_rate_per_impression",
    "generation_cost",
    "cost_per_click",
    "cost_per_conversion",
]


class VariantQuery(MetricFilter):
    by: Annotated[Rate, Field(description="The rate to lead by.")] = "ctr"


class ContentQuery(MetricFilter):
    """Which content is listed, in which order, and from where."""

    segment_id: Annotated[Id | None, Field(description="Written for this segment alone.")] = None
    group_by: Annotated[
        GroupBy | None,
        Field(description="Instead of each content, each segment, tone, model or campaign."),
    ] = None
    sort: Annotated[Sort, Field(description="By what they are ordered.")] = "impressions"
    order: Annotated[
        Literal["desc", "asc"], Field(description="The largest first, or the smallest.")
    ] = "desc"
    limit: Annotated[int, Field(ge=1, le=1000, description="The rows of a page."), WHOLE] = 50
    cursor: Annotated[
        str | None,
        Field(max_length=2000, description="`next_cursor` of the page before, all else unchanged."),
    ] = None

    @model_validator(mode="after")
    def _goes_on(self) -> Self:
        if self.cursor is not None and self.after is None:
            raise invalid(self, {"cursor": "Should be the next_cursor of the same query"})
        return self

    @property
    def after(self) -> tuple[float | None, list[Any]] | None:
        """Where the page before ended: the value it was sorted by, and the keys of its last row."""
        try:
            told = json.loads(base64.b64decode(self.cursor or "", b"-_", validate=True))
            query, value, keys = told
            storable("".join(key for key in keys if isinstance(key, str)))
            finite = value is None or (type(value) is float and math.isfinite(value))
            known = query == self._identity() and [type(key) for key in keys] == self._keys()
            stored = all(0 <= key < 2**63 for key in keys if isinstance(key, int))
        except (ValueError, TypeError, RecursionError):
            return None
        return (value, keys) if finite and known and stored else None

    def cursor_after(self, value: float | None, keys: list[Any]) -> str:
        """The cursor of the page that follows the row with this value and these keys."""
        told = json.dumps([self._identity(), value, keys], ensure_ascii=False)
        return base64.urlsafe_b64encode(told.encode()).decode()

    def _identity(self) -> list[str | None]:
        return [self.group_by, self.sort, self.order]

    def _keys(self) -> list[type]:
        if self.group_by == "campaign":
            return [int, int]
        return [str] if self.group_by in ("tone", "model") else [int]


class ContentPage(BaseModel):
    """`next_cursor` is null on the last page."""

    content: list[ContentFigures]
    next_cursor: str | None = Field(examples=[None])


class GroupPage(BaseModel):
    """The same by group."""

    groups: list[GroupFigures]
    next_cursor: str | None = Field(examples=[None])


class VariantFigures(ContentFigures):
    """`p_value` says how likely chance alone makes a difference as large as that to the variant in
    front (two-proportion z-test), `p_value_holm` the same adjusted for their number (Holm). Null
    for the variant in front, and where there is nothing to compare. While `enough_data` is false,
    its numbers are too small for the test, and it takes no part."""

    enough_data: bool = Field(examples=[True])
    p_value: float | None = Field(examples=[0.0021])
    p_value_holm: float | None = Field(examples=[0.0084])


class VariantComparison(BaseModel):
    """The variants of one generation. `leader` is the id of the one whose rate is above that of
    each other one with enough data beyond chance (all `p_value_holm` below 0.05); null while there
    is none."""

    by: Rate
    leader: int | None = Field(examples=[15])
    variants: list[VariantFigures]


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


class Asked(BaseModel):
    """What was asked for; `size` and `quality` are an image's, the rest is a text's."""

    prompt: str
    segment_id: int | None
    tone: str | None
    keywords: list[str] | None
    max_tokens: int | None = None
    n: int | None = None
    size: str | None = None
    quality: str | None = None
    user_id: int | None = None

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

    job_id: int | None
    revised_prompt: str | None
    image_expires_at: Timestamp | None
    size: str | None = None
    quality: str | None = None
    usage: Usage | None = None
    cost: Dollars | None = None
    request: Asked | None = None
    job: Job | None = None
    siblings: list[Variant] = []
    performance: Figures | None = None

    @classmethod
    def of(
        cls,
        content: models.GeneratedContent,
        job: models.GenJob | None,
        variants: Sequence[models.GeneratedContent],
        figures: dict[str, Any],
    ) -> Self:
        item = cls.model_validate(content)
        item.request = Asked.model_validate(content)
        item.performance = Figures.model_validate(figures)
        item.siblings = [
            Variant.model_validate({"id": each.id, "text": each.result, "cost": each.cost})
            for each in variants
            if each.id != content.id
        ]
        if job:
            item.job = Job.model_validate(job)
            item.size, item.quality = job.size, job.quality
            asked = {name: getattr(job, name) for name in ("max_tokens", "n", "size", "quality")}
            item.request = item.request.model_copy(update={**asked, "user_id": job.user_id})
        return item


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
