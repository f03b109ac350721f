"""The Artify Content Backend: the app and its routes; those of campaigns are in outcomes.py, those
of whoever runs the service in admin.py."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

import uvicorn
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from sqlalchemy import delete, exc, select, text, update

import admin
import analytics.figures
import database
import documented
import errors
import fields
import limits
import models
import outcomes
import pricing
import process
import queries
import schemas
import swagger
import wire
from access import keys
from dependencies import (
    Caller,
    CheckedRoute,
    ContentId,
    Database,
    IdempotencyKey,
    ImageUrl,
    Limit,
    Parts,
    SegmentId,
    Service,
    answer_head,
)
from generation import client, images, ledger, lookups, variants
from generation.group_commit import GroupCommit
from generation.results import ImageResult, TextResult
from generation.schemas import (
    MAX_VARIANTS,
    ImageAnswer,
    ImagePreview,
    ImageRequest,
    TextAnswer,
    TextPreview,
    TextRequest,
)
from settings import Settings, load

OTHER_OPEN_FILES = 500
IMAGE_CHUNK_BYTES = 256 * 1024
# An image never changes: whoever has it once need not ask again.
FOR_GOOD = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "X-Content-Type-Options": "nosniff",
}

log = logging.getLogger(__name__)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Bring the tables up to date; keep one ledger, one image store and one OpenAI client per
    process."""
    settings: Settings = app.state.settings
    with process.telling_why():
        store = images.open_store(settings.image_store)
        engine = database.make_engine(settings)
        await run_in_threadpool(database.start, engine)
        openai = None
        if settings.openai_api_key is not None:
            openai = client.OpenAIClient(settings.openai_api_key, settings)
    if openai is None:
        log.warning("OPENAI_API_KEY not set")
    wanted = (1 + MAX_VARIANTS) * settings.max_in_flight + OTHER_OPEN_FILES
    open_files = process.allow_open_files(wanted)
    # Those that generate, and as many that do not, so far as there are files for them.
    most = 2 * settings.max_in_flight + OTHER_OPEN_FILES
    wire.guard(max(100, min(most, open_files - OTHER_OPEN_FILES)))
    checking = asyncio.create_task(images.check(store))
    books = ledger.Ledger(engine, settings)
    process.when_told_to_stop(books.stop, settings.drain_seconds + 3 * ledger.LAST_SECONDS)
    door = keys.Door(engine, settings.admin_key)
    if door.is_open:
        log.warning("ADMIN_KEY not set: whoever reaches this service may spend and read everything")
    # A thread and a transaction for each key that is sent would cost half a request. The database
    # may have one connection left for all else: this one goes back.
    callers = GroupCommit[str](engine, door.find_all, keeps_connection=False)
    if limits.allowed_hosts(settings) is None and settings.public_base_url is None:
        log.warning("Neither ALLOWED_HOSTS nor PUBLIC_BASE_URL is set: any Host is answered")
    app.state.parts = Parts(settings, engine, books, store, openai, door, callers)
    yield
    await run_in_threadpool(callers.close)
    await books.close()
    checking.cancel()
    if openai:
        await openai.close()
    engine.dispose()


router = APIRouter(route_class=CheckedRoute, generate_unique_id_function=lambda route: route.name)


@router.get("/segments", tags=["segments"], responses=documented.GUARDED)
def list_segments(db: Database) -> schemas.SegmentList:
    """List all segments, oldest first."""
    segments = db.scalars(select(models.Segment).order_by(models.Segment.id))
    return schemas.SegmentList(segments=[schemas.Segment.model_validate(row) for row in segments])


@router.post("/segments", tags=["segments"], responses=documented.WRITING)
def create_segment(db: Database, body: schemas.SegmentRequest) -> schemas.Segment:
    """Create a segment; `criteria` is any JSON object."""
    now = models.utc_now()
    segment = models.Segment(**body.columns(), created_at=now, updated_at=now)
    db.add(segment)
    db.commit()
    return schemas.Segment.model_validate(segment)


@router.get("/segments/{segment_id}", tags=["segments"], responses=documented.ONE_SEGMENT)
def get_segment(db: Database, segment_id: SegmentId) -> schemas.Segment:
    """Show one segment."""
    return schemas.Segment.model_validate(queries.segment(db, segment_id))


@router.patch("/segments/{segment_id}", tags=["segments"], responses=documented.CHANGING)
def change_segment(
    db: Database, segment_id: SegmentId, body: schemas.SegmentChange
) -> schemas.Segment:
    """Change what is sent of a segment; the rest stays as it is."""
    if columns := body.columns():
        row = update(models.Segment).where(models.Segment.id == segment_id)
        db.execute(row.values(**columns, updated_at=models.utc_now()))
        db.commit()
    return schemas.Segment.model_validate(queries.segment(db, segment_id))


# Without an example: nothing is to be deleted by pressing "Execute" in Swagger UI alone.
@router.delete("/segments/{segment_id}", tags=["segments"], responses=documented.ONE_SEGMENT)
def delete_segment(db: Database, segment_id: fields.Id) -> schemas.Message:
    """Delete a segment. What was generated for it stays, and so do its figures."""
    deleted = db.scalar(
        delete(models.Segment).where(models.Segment.id == segment_id).returning(models.Segment.id)
    )
    db.commit()
    if deleted is None:
        raise queries.SegmentNotFound
    return schemas.Message(message="Segment deleted successfully")


@router.post("/generate/text/preview", tags=["generate"], responses=documented.PREVIEWING)
async def preview_text(service: Service, body: TextRequest) -> TextPreview:
    """Show what would be sent to OpenAI for this text, and the most it can cost; nothing is spent
    or stored."""
    model = service.resolve(body.model or service.settings.text_model)
    messages = await service.messages(body)
    return TextPreview.of(body, messages, model, regional=service.is_regional)


@router.post("/generate/text", tags=["generate"], responses=documented.GENERATING_TEXT)
async def generate_text(
    service: Service,
    caller: Caller,
    response: Response,
    body: TextRequest,
    idempotency_key: IdempotencyKey = None,
) -> TextAnswer:
    """Generate marketing copy in the language of the prompt, for a segment if one is named: `n`
    variants, which are one job with one bill."""
    model = service.resolve(body.model or service.settings.text_model)
    job = body.job(model, caller, idempotency_key)

    async def prepare() -> ledger.Prepared[TextResult]:
        messages = await service.messages(body)
        openai = service.configured()
        most = TextPreview.of(body, messages, model, regional=service.is_regional).max_cost
        body.check_cost(most)
        return ledger.Prepared(partial(variants.generate, openai, job, messages), most)

    completed = await service.ledger.generate(job, prepare)
    if completed.is_replayed:
        response.headers.update(errors.REPLAYED)
    return TextAnswer.of(completed)


@router.post("/generate/image/preview", tags=["generate"], responses=documented.PREVIEWING_IMAGE)
async def preview_image(service: Service, body: ImageRequest) -> ImagePreview:
    """Show what this image can cost at most; nothing is spent or stored."""
    body.check(service.settings.image_model)
    model = service.resolve(body.model or service.settings.image_model)
    return ImagePreview.of(body, model, regional=service.is_regional)


@router.post("/generate/image", tags=["generate"], responses=documented.GENERATING_IMAGE)
async def generate_image(
    service: Service,
    caller: Caller,
    response: Response,
    image_url: ImageUrl,
    body: ImageRequest,
    idempotency_key: IdempotencyKey = None,
) -> ImageAnswer:
    """Generate one image; it is kept, and `image_url` opens it for good."""
    body.check(service.settings.image_model)
    model = service.resolve(body.model or service.settings.image_model)
    job = body.job(model, caller, idempotency_key)

    async def prepare() -> ledger.Prepared[ImageResult]:
        openai = service.configured()
        most = ImagePreview.of(body, model, regional=service.is_regional).max_cost
        body.check_cost(most)
        return ledger.Prepared(partial(images.generate, openai, service.images, job), most)

    completed = await service.ledger.generate(job, prepare)
    if completed.is_replayed:
        response.headers.update(errors.REPLAYED)
    return ImageAnswer.of(completed, image_url(completed.result), job.size)


@router.get("/content/history", tags=["content"], responses=documented.reading("limit"))
def list_content_history(
    image_url: ImageUrl,
    db: Database,
    caller: Caller,
    limit: Limit = 50,
    content_type: models.JobType | None = None,
) -> schemas.ContentHistory:
    """List what was generated, newest first."""
    rows, total = queries.newest_content(db, caller.user_id, limit, content_type)
    history = [schemas.Content.with_result(row, image_url(row)) for row in rows]
    return schemas.ContentHistory(history=history, total=total)


@router.get("/content/{content_id}", tags=["content"], responses=documented.ONE_CONTENT)
def get_content(
    image_url: ImageUrl, db: Database, caller: Caller, content_id: ContentId
) -> schemas.ContentItem:
    """Show everything known of one content: its request, its cost, what it did."""
    content = queries.content(db, content_id, caller.user_id)
    job = db.get(models.GenJob, content.job_id) if content.job_id else None
    item = schemas.ContentItem.of(content, job, image_url(content))
    item.performance = analytics.figures.performance(db, content)
    for variant in lookups.variants(db, content):
        if variant.id != content.id:
            item.siblings.append(schemas.sibling(variant, image_url(variant)))
    return item


@router.get(
    "/images/{name}",
    tags=["content"],
    responses=documented.ONE_IMAGE,
    openapi_extra=documented.IMAGE_NAME,
    response_class=Response,
)
async def get_image(service: Service, request: Request) -> Response:
    """Open an image that was generated, for as long as it is stored."""
    name = request.path_params["name"]
    etag = f'"{name}"'
    sent = request.headers.get("if-none-match", "")
    known = {tag.strip().removeprefix("W/") for tag in sent.split(",")}
    unchanged = not known.isdisjoint((etag, "*"))
    head = unchanged or request.method == "HEAD"
    image = await images.read(service.images, name, head=head)
    headers = {**FOR_GOOD, "ETag": etag}
    if unchanged:
        return Response(status_code=304, headers=headers)
    headers["Content-Length"] = str(image.meta["size"])
    kind = images.media_type(name)
    if head:
        return Response(headers=headers, media_type=kind)
    return StreamingResponse(image.stream(IMAGE_CHUNK_BYTES), headers=headers, media_type=kind)


@router.get(
    "/models", tags=["models"], responses=documented.GUARDED, response_model_exclude_unset=True
)
def list_models(service: Service) -> schemas.ModelList:
    """List the models that may be named: prices, lifetimes, and who is asked now in their place."""
    defaults = (service.settings.text_model, service.settings.image_model)
    listed = pricing.text_models(defaults[0]) | pricing.image_models(defaults[1])
    models = [
        schemas.Model.of(name, model, name in defaults, service.resolve(name))
        for name, model in listed.items()
    ]
    return schemas.ModelList(models=models)


@router.get("/costs/summary", tags=["costs"], responses=documented.reading("user_id"))
def get_costs_summary(
    db: Database, caller: Caller, user_id: fields.Id | None = None
) -> schemas.CostsSummary:
    """Sum up what generation cost, over all users or one."""
    return queries.costs_summary(db, caller.user(user_id))


@router.get(
    "/costs/history",
    tags=["costs"],
    responses=documented.reading("limit"),
    response_model_exclude_none=True,
)
def list_costs_history(
    db: Database,
    caller: Caller,
    limit: Limit = 50,
    user_id: fields.Id | None = None,
    job_type: models.JobType | None = None,
) -> schemas.CostsHistory:
    """List every call to OpenAI and its cost, newest first."""
    rows, total = queries.newest_jobs(db, caller.user(user_id), limit, job_type)
    history = [schemas.Job.model_validate(row) for row in rows]
    return schemas.CostsHistory(history=history, total=total)


# Last of all.
service_router = APIRouter(route_class=CheckedRoute, generate_unique_id_function=lambda r: r.name)


@service_router.get("/", tags=["service"])
def get_service_status(service: Service, db: Database, request: Request) -> schemas.ServiceStatus:
    """Show what this service is, and whether it can do its work."""
    try:
        db.execute(text("SELECT 1"))
        connected = True
    except exc.SQLAlchemyError:
        connected = False
    return schemas.ServiceStatus(
        service=request.app.title,
        version=request.app.version,
        status="healthy" if connected else "degraded",
        openai_configured=service.settings.openai_api_key is not None,
        database="connected" if connected else "disconnected",
    )


@service_router.get("/health", tags=["service"])
async def check_health() -> schemas.Health:
    """Tell whether this process answers; asks nothing of the database."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return schemas.Health(status="healthy", timestamp=now)


def create_app(settings: Settings) -> FastAPI:
    """Make the service, which starts with its lifespan. Raises SettingsError."""
    client.check(settings)
    app = swagger.make_app(lifespan)
    app.state.settings = settings
    # Not included: that would look for each address twice.
    for each in (router, outcomes.router, admin.router, service_router):
        app.router.routes += each.routes
    errors.install(app)
    app.add_middleware(limits.Guard, settings)
    answer_head(app)
    return app


def serve(settings: Settings) -> None:
    """Serve at HOST and PORT, by WORKERS processes, until told to stop. Raises SettingsError."""
    process.check_address(settings.host, settings.port)
    app: FastAPI | str = create_app(settings)
    if settings.workers > 1:
        # What would end every worker ends this process, before there are any.
        images.open_store(settings.image_store)
        database.start(database.make_engine(settings))
        app = "main:app"  # each makes its own
    uvicorn.run(app, host=settings.host, port=settings.port, workers=settings.workers)


process.log_to_stderr()
if __name__ != "__mp_main__":  # as which a worker sees what started it
    process.end_with_status_0()
    with process.telling_why():
        if __name__ == "__main__":
            serve(load())
        else:
            app = create_app(load())
