"""The figures: what campaigns did, and which content did it."""

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import (
    CTE,
    ColumnElement,
    DateTime,
    Dialect,
    Float,
    Label,
    Numeric,
    Row,
    Select,
    SQLColumnExpression,
    String,
    Subquery,
    TypeDecorator,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    true,
)
from sqlalchemy.orm import Session

import models
import pricing
from analytics import schemas, significance


class SQLiteTime(TypeDecorator[datetime]):
    """A time to compare with SQLite's, which are texts: '2026-11-01 00:00:00' where its own
    CURRENT_TIMESTAMP made them, '2026-11-01 00:00:00.000000' where SQLAlchemy did. A text without
    a fraction of zeros is behind all earlier ones, and never behind either of these two."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str:
        return str(value)


METRIC, CONTENT, SEGMENT = models.Metric, models.GeneratedContent, models.Segment
TIME = DateTime().with_variant(SQLiteTime(), "sqlite")
# PostgreSQL adds decimals up exactly, in whatever order; of a value, it keeps 15 digits.
EXACT = Numeric(asdecimal=False)
PER_CONTENT = (METRIC.content_id,)
PER_CAMPAIGN = (METRIC.project_id, METRIC.campaign_id, METRIC.content_id)
# Each rate's hits and trials.
RATES = {
    "ctr": ("clicks", "impressions"),
    "conversion_rate": ("conversions", "clicks"),
    "conversion_rate_per_impression": ("conversions", "impressions"),
}
# What each of these costs is divided by.
COSTS_PER = {"cost_per_click": "clicks", "cost_per_conversion": "conversions"}
COSTS = (
    func.sum(cast(CONTENT.cost, EXACT)).label("generation_cost"),
    func.count().label("content_count"),
    (func.count() - func.count(CONTENT.cost)).label("unknown_costs"),
)

# Where an image is seen, which depends on the request.
AddressOf = Callable[[models.GeneratedContent], str]
# What tells rows from each other: columns, as the API names them.
Keys = dict[str, SQLColumnExpression[Any]]
Shown = TypeVar("Shown", bound=schemas.Figures)


class Totals(NamedTuple):
    """What was reported, added up."""

    impressions: float = 0.0
    clicks: float = 0.0
    conversions: float = 0.0

    @classmethod
    def of(cls, row: Row[Any]) -> "Totals":
        return cls(_count(row.impressions), _count(row.clicks), _count(row.conversions))


def overview(session: Session, wanted: schemas.MetricFilter) -> schemas.Overview:
    """Sum up the metrics, with their rates in percent. A campaign is a pair of project and campaign
    that has reported anything; what names no campaign is its project's one campaign."""
    sums = _sums(wanted, PER_CAMPAIGN)
    measured = sums.c.content_id.is_not(None)
    totals = select(
        *_totals(sums),
        func.sum(sums.c.clicks).filter(measured).label("measured_clicks"),
        func.sum(sums.c.conversions).filter(measured).label("measured_conversions"),
    ).subquery()
    pairs = select(sums.c.project_id, sums.c.campaign_id).where(_names_a_campaign(sums)).distinct()
    number = func.count().label("total_campaigns")
    # Counts and sums in one round trip: three subqueries of one row each.
    campaigns = select(number).select_from(pairs.subquery()).subquery()
    costs = select(*COSTS).where(CONTENT.id.in_(select(sums.c.content_id))).subquery()
    row = session.execute(select(totals.join(campaigns, true()).join(costs, true()))).one()
    impressions, clicks, conversions = Totals.of(row)
    cost_usd = _dollars(row.generation_cost)
    return schemas.Overview(
        total_campaigns=row.total_campaigns,
        total_impressions=impressions,
        total_clicks=clicks,
        total_conversions=conversions,
        avg_ctr=_percent(clicks, impressions),
        avg_conversion_rate=_percent(conversions, clicks),
        conversion_rate_per_impression=_percent(conversions, impressions),
        generation_cost=cost_usd,
        cost_per_click=_cost_per(cost_usd, _count(row.measured_clicks)),
        cost_per_conversion=_cost_per(cost_usd, _count(row.measured_conversions)),
        content_count=row.content_count,
        unknown_costs=row.unknown_costs,
    )


def content(
    session: Session,
    wanted: schemas.ContentQuery,
    address_of: AddressOf,
    user_id: int | None = None,
) -> schemas.ContentPage:
    """Return a page of the figures of each content that was measured, or of this user's."""
    only = None
    if user_id is not None:
        jobs = select(models.GenJob.id).where(models.GenJob.user_id == user_id)
        only = select(CONTENT.id).where(CONTENT.job_id.in_(jobs))
    sums = _sums(wanted, PER_CONTENT, only)
    rows, next_cursor = _page(session, wanted, sums, _keys(None, sums))
    ids = [row.content_id for row in rows]
    contents = session.scalars(select(CONTENT).where(CONTENT.id.in_(ids)))
    by_id = {each.id: each for each in contents}
    page = schemas.ContentPage(content=[], next_cursor=next_cursor)
    for row in rows:
        measured = by_id[row.content_id]
        figures = _of_content(schemas.ContentFigures, measured, Totals.of(row), address_of)
        page.content.append(figures)
    return page


def groups(session: Session, wanted: schemas.ContentQuery) -> schemas.GroupPage:
    """Return a page of the figures of each segment, tone, model or campaign: of all its content
    that was measured."""
    sums = _sums(wanted, PER_CAMPAIGN if wanted.group_by == "campaign" else PER_CONTENT)
    keys = _keys(wanted.group_by, sums)
    rows, next_cursor = _page(session, wanted, sums, keys)
    page = schemas.GroupPage(groups=[], next_cursor=next_cursor)
    for row in rows:
        group = {name: getattr(row, name) for name in keys}
        figures = _figures(
            schemas.GroupFigures,
            Totals.of(row),
            row.generation_cost,
            content_count=row.content_count,
            unknown_costs=row.unknown_costs,
            **group,
        )
        page.groups.append(figures)
    return page


def performance(session: Session, content: models.GeneratedContent) -> schemas.Figures:
    """Return the figures of this content, over all that was ever reported of it."""
    (totals,) = _totals_of(session, [content], schemas.MetricFilter())
    return _figures(schemas.Figures, totals, content.cost)


def compare(
    session: Session,
    variants: Sequence[models.GeneratedContent],
    wanted: schemas.VariantQuery,
    address_of: AddressOf,
) -> schemas.VariantComparison:
    """Compare the figures of these, and tell which leads by the rate that is wanted."""
    totals = _totals_of(session, variants, wanted)
    hits, trials = RATES[wanted.by]
    counts = [(getattr(each, hits), getattr(each, trials)) for each in totals]
    compared = significance.compare(counts)
    comparison = schemas.VariantComparison(by=wanted.by, leader=None, variants=[])
    if compared.leader is not None:
        comparison.leader = variants[compared.leader].id
    for index, variant in enumerate(variants):
        figures = _of_content(
            schemas.VariantFigures,
            variant,
            totals[index],
            address_of,
            enough_data=compared.enough[index],
            p_value=compared.p_values[index],
            p_value_holm=compared.adjusted[index],
        )
        comparison.variants.append(figures)
    return comparison


def _sums(
    wanted: schemas.MetricFilter,
    per: Sequence[SQLColumnExpression[Any]],
    only: Sequence[int] | Select[int] | None = None,
) -> CTE:
    """Return impressions, clicks and conversions per these columns, of the metrics that are wanted,
    or of those on this content alone."""
    query = select(*per, *map(_reported, schemas.COUNTED)).group_by(*per)
    if only is not None:
        query = query.where(METRIC.content_id.in_(only))
    if wanted.project_id is not None:
        query = query.where(METRIC.project_id == wanted.project_id)
    if wanted.campaign_id is not None:
        query = query.where(METRIC.campaign_id == wanted.campaign_id)
    if wanted.start is not None:
        query = query.where(METRIC.timestamp >= literal(wanted.start, TIME))
    if wanted.end is not None:
        query = query.where(METRIC.timestamp < literal(wanted.end, TIME))
    return query.cte("sums")


def _reported(name: str) -> ColumnElement[Any]:
    """Return the sum of what was reported under this name, or under its singular."""
    is_reported = METRIC.metric_name.in_((name, name.removesuffix("s")))
    value = cast(METRIC.metric_value, EXACT)
    return func.coalesce(func.sum(value).filter(is_reported), 0).label(name)


def _totals(sums: CTE) -> list[SQLColumnExpression[Any]]:
    return [func.sum(sums.c[name]).label(name) for name in schemas.COUNTED]


def _names_a_campaign(sums: CTE) -> ColumnElement[bool]:
    return or_(sums.c.project_id.is_not(None), sums.c.campaign_id.is_not(None))


def _totals_of(
    session: Session, contents: Sequence[models.GeneratedContent], wanted: schemas.MetricFilter
) -> list[Totals]:
    """Return what was reported of each of these."""
    sums = _sums(wanted, PER_CONTENT, only=[content.id for content in contents])
    totals = {row.content_id: Totals.of(row) for row in session.execute(select(sums))}
    return [totals.get(content.id, Totals()) for content in contents]


def _keys(group_by: schemas.GroupBy | None, sums: CTE) -> Keys:
    """Return what tells the rows of a page from each other."""
    if group_by is None:
        return {"content_id": CONTENT.id}
    if group_by == "segment":
        return {"segment_id": CONTENT.segment_id, "segment_name": SEGMENT.name}
    if group_by == "campaign":
        return {"project_id": sums.c.project_id, "campaign_id": sums.c.campaign_id}
    if group_by == "tone":
        return {"tone": CONTENT.tone}
    return {"model": CONTENT.model}


def _page(
    session: Session, wanted: schemas.ContentQuery, sums: CTE, keys: Keys
) -> tuple[Sequence[Row[Any]], str | None]:
    """Return the page's rows, one for each of the keys, and the cursor of the next page."""
    columns: list[Label[Any]] = [column.label(name) for name, column in keys.items()]
    query = (
        select(*columns, *_totals(sums), *COSTS)
        .select_from(sums)
        .join(CONTENT, CONTENT.id == sums.c.content_id)
        .group_by(*columns)
    )
    if wanted.group_by == "segment":
        query = query.outerjoin(SEGMENT, SEGMENT.id == CONTENT.segment_id)
    if wanted.group_by == "campaign":
        query = query.where(_names_a_campaign(sums))
    if wanted.segment_id is not None:
        query = query.where(CONTENT.segment_id == wanted.segment_id)
    each = query.subquery()
    value = cast(_sortable(each, wanted.sort), Float)
    ordered = {"desc": value.desc(), "asc": value.asc()}[wanted.order]
    # SQLite has NULL before everything, and PostgreSQL behind it.
    alike = [each.c[name].nulls_first() for name in keys]
    listed = select(each).order_by(value.is_(None), ordered, *alike)
    # One more than the limit tells that there is a next page.
    rows = session.execute(listed.offset(wanted.offset()).limit(wanted.limit + 1)).all()
    if len(rows) <= wanted.limit:
        return rows, None
    return rows[: wanted.limit], wanted.next_cursor()


def _sortable(each: Subquery, sort: schemas.Sort) -> ColumnElement[Any]:
    columns = each.c
    if sort in RATES:
        hits, trials = RATES[sort]
        return case((columns[trials] > 0, columns[hits] / columns[trials]), else_=0)
    if sort in COSTS_PER:
        count = columns[COSTS_PER[sort]]
        return case((count > 0, columns.generation_cost / count))
    return columns[sort]


def _of_content(
    kind: type[Shown],
    content: models.GeneratedContent,
    totals: Totals,
    address_of: AddressOf,
    **own: Any,
) -> Shown:
    """Return the figures of this content, with what it is."""
    return _figures(
        kind,
        totals,
        content.cost,
        content_id=content.id,
        job_id=content.job_id,
        content_type=content.content_type,
        result=address_of(content),
        model=content.model,
        segment_id=content.segment_id,
        tone=content.tone,
        finish_reason=content.finish_reason,
        cut=content.cut,
        **own,
    )


def _figures(kind: type[Shown], totals: Totals, cost: float | None, **own: Any) -> Shown:
    """Return figures of this kind, which has some fields of its own."""
    impressions, clicks, conversions = totals
    cost_usd = _dollars(cost)
    return kind(
        impressions=impressions,
        clicks=clicks,
        conversions=conversions,
        ctr=_percent(clicks, impressions),
        ctr_interval=_interval(clicks, impressions),
        conversion_rate=_percent(conversions, clicks),
        conversion_rate_interval=_interval(conversions, clicks),
        conversion_rate_per_impression=_percent(conversions, impressions),
        conversion_rate_per_impression_interval=_interval(conversions, impressions),
        generation_cost=cost_usd,
        cost_per_click=_cost_per(cost_usd, clicks),
        cost_per_conversion=_cost_per(cost_usd, conversions),
        **own,
    )


def _count(summed: float | None) -> float:
    """Return a sum of stored floats without their noise."""
    return round(float(summed or 0), 9)


def _percent(hits: float, trials: float) -> float:
    if trials <= 0:
        return 0.0
    return hits * 100 / trials


def _interval(hits: float, trials: float) -> tuple[float, float] | None:
    """Return the interval of a rate, in percent."""
    interval = significance.wilson_interval(hits, trials)
    if interval is None:
        return None
    low, high = interval
    return low * 100, high * 100


def _dollars(cost: float | None) -> Decimal | None:
    if cost is None:
        return None
    return pricing.dollars(cost)


def _cost_per(cost_usd: Decimal | None, count: float) -> Decimal | None:
    """Return what each of so many cost; None where nobody knows it, or nothing came of it."""
    if cost_usd is None or count <= 0:
        return None
    return cost_usd / Decimal(count)
