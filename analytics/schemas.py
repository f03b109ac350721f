"""What /analytics accepts and returns; the examples are what Swagger UI shows and sends."""

import base64
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

import models
from fields import (
    WHOLE,
    CampaignId,
    Count,
    Dollars,
    End,
    Id,
    InvalidField,
    Moment,
    Name,
    Request,
    invalid,
    shown_loc,
)

MAX_METRICS = 1_000
MAX_ERRORS = 5  # of one metric of a list
# So that sums of whole numbers are exact to the unit: a double holds them up to 9 * 10^15.
MAX_METRIC_VALUE = 1e12
COUNTED = ("impressions", "clicks", "conversions")


def _counted(name: str) -> str:
    """Return the name in the plural and in small letters, where it is one that is counted."""
    plain = name.strip().lower()
    return next((each for each in COUNTED if plain in (each, each.removesuffix("s"))), name)


def _not_far_ahead(moment: datetime) -> datetime:
    if moment > models.utc_now() + timedelta(days=1):
        raise PydanticCustomError(
            "in_the_future", "The time must not be more than a day in the future"
        )
    return moment


# Metrics in.

ONE_METRIC: JsonDict = {
    "metric_name": "clicks",
    "metric_value": 1,
    "project_id": 1,
    "campaign_id": 7,
    "content_id": 1,
    "timestamp": "2026-11-23T18:30:00+09:00",
    "event_id": "2026-11-23/7/1/clicks/4711",
}


class Metric(Request):
    """A reported figure. A campaign is a pair of `project_id` and `campaign_id`, numbers of your
    own. With an `event_id` it can be sent again safely: it counts once in its project. A correction
    is the difference, with the `timestamp` of what it corrects and an `event_id` of its own. A
    field of another name is refused: what it was meant for would be lost."""

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
        Annotated[Moment, AfterValidator(_not_far_ahead)] | None,
        Field(description="Of what is reported: ISO 8601 with any offset; now, if left out."),
    ] = None
    event_id: Annotated[
        Name | None,
        Field(
            description="Your own id of what happened: all that tells its row from others, such as "
            "day/campaign/content/metric."
        ),
    ] = None

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [ONE_METRIC]})


METRICS = TypeAdapter(list[Metric])


@dataclass(frozen=True)
class Reported:
    """The metrics of one request by their index in it, and what is wrong with the others. `alone`:
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
    try:
        return Reported(dict(enumerate(METRICS.validate_python(body))), {})
    except ValidationError:
        return _each(body)


def _each(body: list[Any]) -> Reported:
    """Take each metric by itself, and of each that is wrong the first errors."""
    good: dict[int, Metric] = {}
    errors: dict[int, list[Any]] = {}
    for index, sent in enumerate(body):
        try:
            good[index] = Metric.model_validate(sent)
        except ValidationError as error:
            details = errors[index] = []
            for wrong in error.errors(include_url=False, include_input=False)[:MAX_ERRORS]:
                reason = "Should be an object" if wrong["type"] == "model_type" else wrong["msg"]
                loc = shown_loc(wrong["loc"])
                details.append({"loc": loc, "msg": reason, "type": wrong["type"]})
    return Reported(good, errors)


# The variants that the example of /generate/text makes on an empty database, in one campaign.
FIVE_VARIANTS = [
    {
        "metric_name": name,
        "metric_value": value,
        "project_id": 1,
        "campaign_id": 7,
        "content_id": content_id,
        "timestamp": "2026-11-23T00:00:00+09:00",
        "event_id": f"2026-11-23/7/{content_id}/{name}",
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
]
METRICS_EXAMPLES = {
    "five variants": {"value": FIVE_VARIANTS},
    "one metric": {"value": ONE_METRIC},
}


class MetricError(BaseModel):
    """What is wrong with the metric at this index of the list, as of a request by itself."""

    index: int = Field(examples=[3])
    detail: list[InvalidField]


class MetricsAdded(BaseModel):
    """Of the metrics sent, so many are new, and so many had been sent before with the same values;
    all others are among the errors, though the status of a list is 200. `not_counted` are the names
    that no figure counts."""

    accepted: int = Field(examples=[999])
    duplicates: int = Field(examples=[0])
    errors: list[MetricError] = Field(examples=[[]])
    not_counted: list[str] = Field(examples=[[]])


# Figures out.


class MetricFilter(BaseModel):
    """Which metrics count."""

    project_id: Annotated[Id | None, Field(description="Of this project alone.")] = None
    campaign_id: Annotated[CampaignId | None, Field(description="Of this campaign alone.")] = None
    start: Annotated[
        Moment | None, Field(description="From then on: ISO 8601, in UTC unless it has an offset.")
    ] = None
    end: Annotated[
        End | None, Field(description="Until before then; a date alone is included.")
    ] = None

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
    finish_reason: str | None = Field(examples=["stop"])
    cut: bool | None = Field(examples=[False])


class ContentFigures(Figures, MeasuredContent):
    """One text or image; for an image, `result` is its URL. A text is `cut` where it ended before
    its model was done with it."""


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


Order = Literal["desc", "asc"]


class VariantQuery(MetricFilter):
    by: Annotated[Rate, Field(description="The rate to lead by.")] = "ctr"


class Position(Request):
    """Where a page begins, and in which order: what a cursor holds."""

    group_by: GroupBy | None
    sort: Sort
    order: Order
    offset: Annotated[int, Field(ge=1, le=2_147_483_647)]


class ContentQuery(MetricFilter):
    """Which content is listed, in which order, and from where."""

    segment_id: Annotated[Id | None, Field(description="Written for this segment alone.")] = None
    group_by: Annotated[
        GroupBy | None,
        Field(description="Instead of each content, each segment, tone, model or campaign."),
    ] = None
    sort: Annotated[Sort, Field(description="By what they are ordered.")] = "impressions"
    order: Annotated[Order, Field(description="The largest first, or the smallest.")] = "desc"
    limit: Annotated[int, Field(ge=1, le=1000, description="The rows of a page."), WHOLE] = 50
    cursor: Annotated[
        str | None,
        Field(max_length=2000, description="`next_cursor` of the page before, all else unchanged."),
    ] = None

    @model_validator(mode="after")
    def _goes_on(self) -> Self:
        try:
            self.offset()
        except ValueError:
            reason = "Should be the next_cursor of the same query"
            raise invalid(self, {"cursor": reason}) from None
        return self

    def offset(self) -> int:
        """Return how many rows the pages before had. ValueError where the cursor is of no page of
        this query."""
        if self.cursor is None:
            return 0
        position = Position.model_validate_json(base64.b64decode(self.cursor, b"-_", validate=True))
        if position != self._position(position.offset):
            raise ValueError
        return position.offset

    def next_cursor(self) -> str:
        """Return the cursor of the page after this one."""
        position = self._position(self.offset() + self.limit)
        return base64.urlsafe_b64encode(position.model_dump_json().encode()).decode()

    def _position(self, offset: int) -> Position:
        return Position(group_by=self.group_by, sort=self.sort, order=self.order, offset=offset)


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
    this variant was seen too seldom for the test: it takes no part, and changes nothing for the
    others."""

    enough_data: bool = Field(examples=[True])
    p_value: float | None = Field(examples=[0.0021])
    p_value_holm: float | None = Field(examples=[0.0084])


class VariantComparison(BaseModel):
    """The variants of one generation. `leader` is the id of the one whose rate is above that of
    each other one with enough data beyond chance (all `p_value_holm` below 0.05); null while there
    is none, and where a rate is above 100 %."""

    by: Rate
    leader: int | None = Field(examples=[15])
    variants: list[VariantFigures]
