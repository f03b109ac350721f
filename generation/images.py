"""Images: asked for, then kept and served for good, from a folder or from a bucket of S3, Google
Cloud Storage or Azure."""

import asyncio
import base64
import logging
import os
import re
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

import models
import pricing
from generation import download, responses
from generation.client import OpenAIClient, Request, safety_identifier
from generation.results import (
    CURRENT_JOB_ID,
    Bill,
    GenerationError,
    ImageJob,
    ImageResult,
    Response,
    Usage,
)
from settings import SettingsError

TYPES = {ending: kind for kind, ending in download.ENDINGS.items()}
NAME = re.compile(rf"([0-9a-f]{{32}})\.({'|'.join(TYPES)})")
# The contract's names of qualities, in gpt-image's words.
GPT_IMAGE_QUALITIES = {"standard": "medium", "hd": "high"}
KEEP_SECONDS = 30  # to fetch an image and to store it
# OpenAI's URLs of images live 60 minutes: its images API reference, 2026-11-22.
PROVIDER_URL_LIVES = timedelta(minutes=60)
CLOUD_OPTIONS: Any = {
    # Plain http only where an endpoint of one's own says so, such as AWS_ENDPOINT_URL.
    "client_options": {"connect_timeout": "5s", "timeout": "20s", "allow_http": True},
    "retry_config": {"max_retries": 3, "retry_timeout": timedelta(seconds=15)},
}

log = logging.getLogger(__name__)


class ImageNotFound(Exception):
    """The store has no image of this name."""


class StoreUnavailable(Exception):
    """The store cannot be reached, or does not let us in; `str()` says why."""


def open_store(location: str) -> ObjectStore:
    """Return the folder, which is made, or the bucket of the URL. Raises SettingsError where
    neither can be."""
    try:
        if "://" not in location:
            folder = Path(location).resolve()  # a link may lead to where no folder is yet
            store = LocalStore(prefix=folder, mkdir=True)
            if not os.access(folder, os.W_OK):
                raise PermissionError("this user may not write there")
            return store
        if not location.startswith(("s3://", "gs://", "az://")):
            raise ValueError("it must be a folder, or start with s3://, gs:// or az://")
        return from_url(location, **CLOUD_OPTIONS)
    except (BaseError, OSError, ValueError) as error:
        raise unusable(location, error) from error


def unusable(location: str, error: Exception) -> SettingsError:
    """Say what is wrong with the store; what follows a ? may be a secret."""
    shown = location.partition("?")[0]
    return SettingsError(f"IMAGE_STORE {shown} cannot be used: {download.first_line(error)}.")


async def check(store: ObjectStore) -> None:
    """Log a warning where the store cannot even be asked for an image: better now than when one has
    been paid for."""
    try:
        await read(store, f"{'0' * 32}.png", head=True)
    except ImageNotFound:
        pass
    except StoreUnavailable as error:
        log.warning("IMAGE_STORE does not answer as it should, images may not last: %s", error)


async def generate(client: OpenAIClient, store: ObjectStore, job: ImageJob) -> ImageResult:
    """Ask for one image, and keep it. Raises GenerationError where none came, and KeyError for a
    model without a price."""
    outcome = await client.ask(
        Request(client.image, job.model, partial(_body, job), client.image.ends_at)
    )
    if not isinstance(outcome, Response):
        bill = Bill(outcome.model, outcome.cost_usd, None, outcome.attempts, outcome.request_id)
        raise GenerationError(outcome.reason, bill, is_unanswered=outcome.is_unanswered)
    result = _result(client, job, outcome)
    return await _keep(store, result, job.image_key, client.base_url)


def _body(job: ImageJob, model: str) -> dict[str, Any]:
    quality = job.quality
    known = pricing.image_model(model)
    if known and known.bills_tokens:
        quality = GPT_IMAGE_QUALITIES.get(quality, quality)
    body = {"model": model, "prompt": job.prompt, "size": job.size, "quality": quality, "n": 1}
    body.update(safety_identifier(job.user_id))
    return body


def _result(client: OpenAIClient, job: ImageJob, response: Response) -> ImageResult:
    usage = responses.image_usage(response.body)
    cost_usd = _cost_usd(job, response, usage, client.is_regional)
    bill = Bill(response.model, cost_usd, usage, response.attempts, response.request_id)
    image = responses.image(response.body)
    url = responses.image_url(image)
    if url is None:
        known = pricing.image_model(response.model)
        if not (known and known.bills_tokens):
            # Tokens are billed whatever came of them; whether an image is, nobody knows.
            bill = replace(bill, cost_usd=None)
        why = responses.reason(response.body) or "OpenAI answered without an image."
        raise GenerationError(client.without_key(why), bill)
    return ImageResult(
        bill,
        url,
        responses.plain_text(responses.dig(image, "revised_prompt")) or None,
        warning=" ".join(client.substitutions(client.image, job, [response])) or None,
    )


def _cost_usd(
    job: ImageJob, response: Response, usage: Usage | None, is_regional: bool
) -> Decimal | None:
    if responses.service_tier(response.body) not in pricing.LIST_TIERS:
        return None  # images are sold at no other
    tokens = None
    if usage and (usage.completion_tokens or not responses.has_result(response.body)):
        tokens = _tokens(response.body, usage)
    return pricing.image_cost_usd(
        response.model, job.quality, job.size, tokens, regional=is_regional
    )


def _tokens(body: Any, usage: Usage) -> pricing.ImageTokens:
    """Return what the image took."""
    # No token is free: what the counts leave open, or where they contradict each other, is the
    # dearest that they can mean.
    details = responses.dig(body, "usage", "input_tokens_details")
    images = responses.count(responses.dig(details, "image_tokens")) or 0
    text = responses.count(responses.dig(details, "text_tokens"))
    if text is None:
        text = max(0, usage.prompt_tokens - images)
    images += max(0, usage.prompt_tokens - images - text)
    # All output is billed as image: no model of the table has another price for text.
    details = responses.dig(body, "usage", "output_tokens_details")
    counted = 0
    for name in ("image_tokens", "text_tokens"):
        counted += responses.count(responses.dig(details, name)) or 0
    output = max(usage.completion_tokens, counted, usage.total_tokens - text - images)
    return pricing.ImageTokens(text, images, output, min(usage.cached_tokens or 0, text))


async def _keep(
    store: ObjectStore, result: ImageResult, key: str, base_url: str | None
) -> ImageResult:
    """Return the image under its name in the store, once it is there."""
    # Where that fails, what was paid for is not lost: it stays at the provider's URL, or in a data:
    # URL, and the log says why.
    is_here = result.result.startswith("data:")
    try:
        async with asyncio.timeout(KEEP_SECONDS):
            # The image itself, or where it can be fetched for an hour.
            if is_here:
                image = base64.b64decode(result.result.partition(",")[2])
                media_type = _type_of(image)
            else:
                is_private = await download.is_private(base_url)
                image, media_type = await download.fetch(result.result, is_private)
            # Under the name that its job's row has announced: a sweep can tell whose it is.
            name = f"{key}.{download.ENDINGS[media_type]}"
            await obstore.put_async(store, name, image)
            if isinstance(store, LocalStore) and store.prefix:
                await asyncio.to_thread(_flush, Path(store.prefix) / name)
    except (Exception, asyncio.CancelledError) as error:
        why, job_id = download.first_line(error), CURRENT_JOB_ID.get()
        fields = {"job_id": job_id}
        log.error("Job %s: An image could not be stored: %s", job_id, why, extra=fields)
        if is_here:
            return result
        return replace(result, image_expires_at=models.utc_now() + PROVIDER_URL_LIVES)
    return replace(result, result=name, image_name=name)


async def read(store: ObjectStore, name: str, *, head: bool = False) -> "obstore.GetResult":
    """Return the stored image, to be streamed; with `head`, only what is known of it. Raises
    ImageNotFound and StoreUnavailable."""
    if not NAME.fullmatch(name):
        raise ImageNotFound
    try:
        return await obstore.get_async(store, name, options={"head": head})
    except FileNotFoundError as error:
        raise ImageNotFound from error
    except (BaseError, OSError) as error:
        raise StoreUnavailable(download.first_line(error)) from error


def media_type(name: str) -> str:
    """Return the type of the stored image of this name."""
    return TYPES[name.rpartition(".")[2]]


def sweep(store: ObjectStore, engine: Engine) -> int:
    """Remove the images of this database's jobs that no content refers to and no call in flight may
    yet refer to. How many they were."""
    # An image without a job here is another database's: a job's row is there before its image is.
    # In chunks: a bucket may hold millions, and the names of all need not fit into memory.
    orphans: list[str] = []
    with Session(engine) as session:
        for chunk in obstore.list(store, chunk_size=1000):
            keys = {
                image[1]: meta["path"] for meta in chunk if (image := NAME.fullmatch(meta["path"]))
            }
            job, content = models.GenJob, models.GeneratedContent
            jobs = select(job.image_key, job.status).where(job.image_key.in_(keys))
            statuses = {row.image_key: row.status for row in session.execute(jobs)}
            used = select(content.image_name).where(content.image_name.in_(keys.values()))
            names = set(session.scalars(used))
            orphans += [
                name
                for key, name in keys.items()
                if name not in names and statuses.get(key, "pending") != "pending"
            ]
    for start in range(0, len(orphans), 1000):
        obstore.delete(store, orphans[start : start + 1000])
    return len(orphans)


def _flush(path: Path) -> None:
    """Onto the disk: a power cut must not leave a settled job without its image."""
    # Windows opens no folder.
    paths = [path]
    if os.name == "posix":
        paths.append(path.parent)
    for each in paths:
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _type_of(image: bytes) -> str:
    """By its first bytes; OpenAI sends PNG unless it is asked for something else."""
    if image.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if image.startswith(b"RIFF") and image[8:12] == b"WEBP":
        return "image/webp"
    return "image/png"
