"""The routes of what campaigns did: metrics in, figures out."""

from typing import Annotated

from fastapi import APIRouter, Query

import analytics.figures
import analytics.ingest
import analytics.schemas
import documented
import errors
import queries
from dependencies import Caller, CheckedRoute, ContentId, Database, ImageUrl, Metrics
from generation import lookups

router = APIRouter(route_class=CheckedRoute, generate_unique_id_function=lambda route: route.name)


@router.post("/analytics/metrics", tags=["analytics"], responses=documented.REPORTING)
def add_metrics(db: Database, reported: Metrics) -> analytics.schemas.MetricsAdded:
    """Report what campaigns did: one metric, or a list, of which each good one is stored."""
    added = analytics.ingest.add(db, reported.metrics)
    db.commit()
    if reported.alone and added.refused:
        raise added.refused[0]
    refused = {index: [errors.REFUSED_METRICS[type(why)]] for index, why in added.refused.items()}
    return analytics.schemas.MetricsAdded(
        accepted=added.accepted,
        duplicates=added.duplicates,
        errors=[
            analytics.schemas.MetricError(index=index, detail=detail)
            for index, detail in sorted((reported.errors | refused).items())
        ],
        not_counted=sorted(added.names - set(analytics.schemas.COUNTED)),
    )


@router.get("/analytics/overview", tags=["analytics"], responses=documented.reading("project_id"))
def get_analytics_overview(
    db: Database, wanted: Annotated[analytics.schemas.MetricFilter, Query()]
) -> analytics.schemas.Overview:
    """Sum up how campaigns did together, and what their content cost."""
    return analytics.figures.overview(db, wanted)


@router.get(
    "/analytics/content",
    tags=["analytics"],
    responses=documented.reading("project_id"),
    response_model_exclude_unset=True,
)
def list_content_figures(
    image_url: ImageUrl,
    db: Database,
    caller: Caller,
    wanted: Annotated[analytics.schemas.ContentQuery, Query()],
) -> analytics.schemas.ContentPage | analytics.schemas.GroupPage:
    """Show what each content that was measured did and cost, or all of a segment, tone, model or
    campaign together. A user's key is shown that user's content, and all groups."""
    if wanted.group_by:
        return analytics.figures.groups(db, wanted)
    return analytics.figures.content(db, wanted, image_url, caller.user_id)


@router.get(
    "/analytics/content/{content_id}/variants",
    tags=["analytics"],
    responses=documented.ONE_CONTENT,
)
def compare_variants(
    image_url: ImageUrl,
    db: Database,
    caller: Caller,
    content_id: ContentId,
    wanted: Annotated[analytics.schemas.VariantQuery, Query()],
) -> analytics.schemas.VariantComparison:
    """Show the variants of one generation side by side, and the one that leads beyond chance."""
    variants = lookups.variants(db, queries.content(db, content_id, caller.user_id))
    return analytics.figures.compare(db, variants, wanted, image_url)
