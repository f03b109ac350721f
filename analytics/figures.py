"""The figures: what campaigns did, and which content did it."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    DateTime,
    Dialect,
    Float,
    Integer,
    Numeric,
    String,
    Subquery,
    TypeDecorator,
    case,
    cast,
    func,
    literal,
    literal_column,
    or_,
    select,
    true,
)
from sqlalchemy.orm import Session

import models
import pricing
from analytics import schemas, significance

METRIC, CONTENT, SEGMENT = models.Metric, models.GeneratedContent, models.Segment
# PostgreSQL adds decimals up exactly, in whatever order; of a value, it keeps 15 digits.
EXACT = Numeric(asdecimal=False)


class SQLiteTime(TypeDecorator[datetime]):
    """A time to compare with SQLite's, which are texts: '2026-11-01 00:00:00' where its own
    CURRENT_TIMESTAMP made them, '2026-11-01 00:00:00.000000' where SQLAlchemy did. A text without
    a fraction of zeros is behind all earlier ones, and never behind either of these two."""

    impl = String
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str:
        return str(value)


TIME = DateTime().with_variant(SQLiteTime(), "sqlite")
# Each rate's hits and trials.
RATES = {
    "ctr": ("clicks", "impressions"),
    "conversion_rate": ("conversions", "clicks"),
    "conversion_rate_per_impression": ("conversions", "impressions"),
}
COSTS = (
    func.sum(cast(CONTENT.cost, EXACT)).label("generation_cost"),
    func.count().label("content_count"),
    (func.count() - func.count(CONTENT.cost)).label("unknown_costs"),
)


def overview(session: Session, wanted: schemas.MetricFilter) -> dict[str, Any]:
    """Sums over the metrics, and their rates in percent. A campaign is a pair of project and
    campaign that has reported anything; what names no campaign is its project's one campaign."""
    sums = _sums(wanted, METRIC.project_id, METRIC.campaign_id, METRIC.content_id)
    measured = sums.c.content_id.is_not(None)
    totals = select(
        *(func.sum(sums.c[name]).label(name) for name in schemas.COUNTED),
        *(
            func.sum(sums.c[name]).filter(measured).label(f"measured_{name}")
            for name in ("clicks", "conversions")
        ),
    ).subquery()
    pairs = select(sums.c.project_id, sums.c.campaign_id).where(_names_a_campaign(sums)).distinct()
    campaigns = (
        select(func.count().label("total_campaigns")).select_from(pairs.subquery()).subquery()
    )
    costs = select(*COSTS).where(CONTENT.id.in_(select(sums.c.content_id))).subquery()
    together = totals.join(campaigns, true()).join(costs, true())
    row = session.execute(select(together)).one()
    impressions, clicks, conversions = (_count(getattr(row, name)) for name in schemas.COUNTED)
    return {
        "total_campaigns": row.total_campaigns,
        "total_impressions": impressions,
        "total_clicks": clicks,
        "total_conversions": conversions,
        "avg_ctr": _percent(clicks, impressions),
        "avg_conversion_rate": _percent(conversions, clicks),
        "conversion_rate_per_impression": _percent(conversions, impressions),
        **_costs_per(row.generation_cost, row.measured_clicks, row.measured_conversions),
        "content_count": row.content_count,
        "unknown_costs": row.unknown_costs,
    }


def content(session: Session, wanted: schemas.ContentQuery) -> tuple[list[dict[str, Any]], Any]:
    """The figures of each content that was measured, or of each group of them, and the cursor of
    the next page, None on the last one."""
    by_campaign = wanted.group_by == "campaign"
    also = (METRIC.project_id, METRIC.campaign_id) if by_campaign else ()
    sums = _sums(wanted, METRIC.content_id, *also)
    keys = _keys(wanted.group_by, sums)
    query = (
        select(*keys, *(func.sum(sums.c[name]).label(name) for name in schemas.COUNTED), *COSTS)
        .join(CONTENT, CONTENT.id == sums.c.content_id)
        .group_by(*keys)
    )
    if by_campaign:
        query = query.where(_names_a_campaign(sums))
    if wanted.segment_id is not None:
        query = query.where(CONTENT.segment_id == wanted.segment_id)
    each = query.subquery()
    rows = session.execute(_page(each, [each.c[key.name] for key in keys], wanted)).all()
    cursor = None
    if len(rows) > wanted.limit:
        rows = rows[: wanted.limit]
        cursor = wanted.next_cursor()
    listed = [
        {key.name: row._mapping[key.name] or None for key in keys}
        | _figures(row, row.generation_cost)
        | {"content_count": row.content_count, "unknown_costs": row.unknown_costs}
        for row in rows
    ]
    if wanted.group_by == "segment":
        ids = [row["segment_id"] for row in listed]
        segments = session.scalars(select(SEGMENT).where(SEGMENT.id.in_(ids)))
        names = {segment.id: segment.name for segment in segments}
        listed = [row | {"segment_name": names.get(row["segment_id"])} for row in listed]
    elif wanted.group_by is None:
        ids = [row["content_id"] for row in listed]
        contents = session.scalars(select(CONTENT).where(CONTENT.id.in_(ids)))
        by_id = {content.id: content for content in contents}
        listed = [row | {"content": by_id[row["content_id"]]} for row in listed]
    return listed, cursor


def _names_a_campaign(sums: CTE) -> ColumnElement[bool]:
    return or_(sums.c.project_id.is_not(None), sums.c.campaign_id.is_not(None))


def _keys(group_by: schemas.GroupBy | None, sums: CTE) -> list[Any]:
    """What tells the rows of a report from each other. Never NULL, which PostgreSQL sorts behind
    everything and SQLite before it."""
    zero, blank = literal_column("0", Integer), literal_column("''", String)
    if group_by is None:
        return [CONTENT.id.label("content_id")]
    if group_by == "segment":
        return [func.coalesce(CONTENT.segment_id, zero).label("segment_id")]
    if group_by == "campaign":
        pair = (sums.c.project_id, sums.c.campaign_id)
        return [func.coalesce(each, zero).label(each.name) for each in pair]
    column = CONTENT.tone if group_by == "tone" else CONTENT.model
    return [func.coalesce(column, blank).label(group_by)]


def _page(each: Subquery, keys: list[Any], wanted: schemas.ContentQuery) -> Any:
    """The rows in the order asked for, those without a value last, from the page's first on; one
    more than the limit tells that there are more."""
    value = cast(_sortable(each, wanted.sort), Float)
    ordered = value.desc() if wanted.order == "desc" else value.asc()
    query = select(each).order_by(value.is_(None), ordered, *keys)
    return query.offset(wanted.offset()).limit(wanted.limit + 1)


def _sortable(each: Subquery, sort: schemas.Sort) -> ColumnElement[Any]:
    columns = each.c
    if sort in RATES:
        hits, trials = (columns[name] for name in RATES[sort])
        return case((trials > 0, hits / trials), else_=0)
    if sort in ("cost_per_click", "cost_per_conversion"):
        count = columns.clicks if sort == "cost_per_click" else columns.conversions
        return case((count > 0, columns.generation_cost / count))
    return columns[sort]


def performance(
    session: Session, contents: Sequence[models.GeneratedContent], wanted: schemas.MetricFilter
) -> list[dict[str, Any]]:
    """The figures of each of these."""
    sums = _sums(wanted, METRIC.content_id, only=[content.id for content in contents])
    rows = {row.content_id: row for row in session.execute(select(sums))}
    return [_figures(rows.get(each.id), each.cost) for each in contents]


def compare(
    session: Session,
    variants: Sequence[models.GeneratedContent],
    wanted: schemas.VariantQuery,
) -> dict[str, Any]:
    """The figures of each of these, and which of them leads by the rate that is asked for."""
    figures = performance(session, variants, wanted)
    hits, trials = RATES[wanted.by]
    compared = significance.compare([(each[hits], each[trials]) for each in figures])
    told = zip(figures, compared.enough, compared.p_values, compared.adjusted, strict=True)
    return {
        "by": wanted.by,
        "leader": None if compared.leader is None else variants[compared.leader].id,
        "variants": [
            each | {"enough_data": enough, "p_value": p, "p_value_holm": p_holm}
            for each, enough, p, p_holm in told
        ],
    }


def _sums(wanted: schemas.MetricFilter, *per: Any, only: Sequence[int] | None = None) -> CTE:
    """Impressions, clicks and conversions per these columns, of the metrics that are wanted, or of
    those on this content alone."""
    value = cast(METRIC.metric_value, EXACT)
    sums = [
        func.coalesce(
            func.sum(value).filter(METRIC.metric_name.in_((name, name.removesuffix("s")))), 0
        ).label(name)
        for name in schemas.COUNTED
    ]
    query = select(*per, *sums).group_by(*per)
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


def _figures(row: Any, cost: float | None) -> dict[str, Any]:
    """What schemas.Figures shows of a row with the sums; without one, nothing was reported."""
    figures: dict[str, Any] = {name: _count(getattr(row, name, 0)) for name in schemas.COUNTED}
    for rate, (hits, trials) in RATES.items():
        interval = significance.wilson_interval(figures[hits], figures[trials])
        figures[rate] = _percent(figures[hits], figures[trials])
        figures[f"{rate}_interval"] = interval and (interval[0] * 100, interval[1] * 100)
    return figures | _costs_per(cost, figures["clicks"], figures["conversions"])


def _costs_per(
    cost: float | None, clicks: float | None, conversions: float | None
) -> dict[str, Decimal | None]:
    """The cost of generation in US dollars, and per click and conversion; None where nobody knows
    it, or nothing came of it."""
    cost_usd = None if cost is None else pricing.dollars(cost)

    def per(count: float) -> Decimal | None:
        return None if cost_usd is None or count <= 0 else cost_usd / Decimal(count)

    return {
        "generation_cost": cost_usd,
        "cost_per_click": per(_count(clicks)),
        "cost_per_conversion": per(_count(conversions)),
    }


def _count(summed: float | None) -> float:
    """A sum of stored floats without their noise."""
    return round(float(summed or 0), 9)


def _percent(hits: float, trials: float) -> float:
    return hits * 100 / trials if trials > 0 else 0.0
