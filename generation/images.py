"""Where generated images live and how they are reached for good: in a folder, or in a bucket of S3,
Google Cloud Storage or Azure."""

import asyncio
import base64
import logging
import os
import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url
from sqlalchemy import select

import database
import models
from generation import download
from generation.results import Generation
from settings import settings, stop

TYPES = {ending: kind for kind, ending in download.ENDINGS.items()}
NAME = re.compile(rf"([0-9a-f]{{32}})\.({'|'.join(TYPES)})")
KEEP_SECONDS = 30  # to fetch an image and to store it
# OpenAI's URLs of images live 60 minutes: its images API reference, 2026-11-22.
UPSTREAM_URL_LIVES = timedelta(minutes=60)
CLOUD_OPTIONS: Any = {
    # Plain http only where an endpoint of one's own says so, such as AWS_ENDPOINT_URL.
    "client_options": {"connect_timeout": "5s", "timeout": "20s", "allow_http": True},
    "retry_config": {"max_retries": 3, "retry_timeout": timedelta(seconds=15)},
}

log = logging.getLogger("uvicorn.error")


class ImageNotFound(Exception):
    """The store has no image of this name."""


class StoreUnavailable(Exception):
    """The store cannot be reached, or does not let us in; `str()` says why."""


def open_store(place: str) -> ObjectStore:
    """The folder, which is made, or the bucket of the URL. Ends the process with a one-line reason
    where neither can be."""
    try:
        if "://" not in place:
            folder = Path(place).resolve()  # a link may lead to where no folder is yet
            store = LocalStore(prefix=folder, mkdir=True)
            if not os.access(folder, os.W_OK):
                raise PermissionError("this user may not write there")
            return store
        if not place.startswith(("s3://", "gs://", "az://")):
            raise ValueError("it must be a folder, or start with s3://, gs:// or az://")
        return from_url(place, **CLOUD_OPTIONS)
    except (BaseError, OSError, ValueError) as error:
        # What follows a ? may be a secret.
        stop(f"IMAGE_STORE {place.partition('?')[0]} cannot be used: {download.first_line(error)}.")


async def check(store: ObjectStore) -> None:
    """Log a warning where the store cannot even be asked for an image: better now than when one has
    been paid for."""
    try:
        await read(store, f"{'0' * 32}.png", head=True)
    except ImageNotFound:
        pass
    except StoreUnavailable as error:
        log.warning("IMAGE_STORE does not answer as it should, images may not last: %s", error)


async def keep(store: ObjectStore, made: Generation, key: str) -> Generation:
    """The image under its name in the store, once it is there. Where that fails, what was paid for
    is not lost: it stays at the upstream's URL, or in a data: URL, and the log says why."""
    try:
        async with asyncio.timeout(KEEP_SECONDS):
            if made.result.startswith("data:"):
                image = base64.b64decode(made.result.partition(",")[2])
                kind = _kind(image)
            else:
                image, kind = await download.fetch(
                    made.result, await download.is_private(settings.openai_base_url)
                )
            name = f"{key}.{download.ENDINGS[kind]}"
            await obstore.put_async(store, name, image)
            if isinstance(store, LocalStore) and store.prefix:
                await asyncio.to_thread(_flush, Path(store.prefix) / name)
    except (Exception, asyncio.CancelledError) as error:
        log.error("An image could not be stored: %s", download.first_line(error))
        if made.result.startswith("data:"):
            return made
        return replace(made, image_expires_at=models.utc_now() + UPSTREAM_URL_LIVES)
    return replace(made, result=name, image_name=name)


async def read(store: ObjectStore, name: str, *, head: bool = False) -> "obstore.GetResult":
    """The stored image, to be streamed; with `head`, only what is known of it. Raises ImageNotFound
    and StoreUnavailable."""
    if not NAME.fullmatch(name):
        raise ImageNotFound
    try:
        return await obstore.get_async(store, name, options={"head": head})
    except FileNotFoundError as error:
        raise ImageNotFound from error
    except (BaseError, OSError) as error:
        raise StoreUnavailable(download.first_line(error)) from error


def media_type(name: str) -> str:
    """The type of the stored image of this name."""
    return TYPES[name.rpartition(".")[2]]


def sweep(store: ObjectStore) -> int:
    """Remove the images of this database's jobs that no content refers to and no call in flight may
    yet refer to. How many they were. An image without a job here is another database's: a job's row
    is there before its image is."""
    orphans: list[str] = []
    with database.SessionLocal() as session:
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
    for each in (path, path.parent) if os.name == "posix" else (path,):
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _kind(image: bytes) -> str:
    """By its first bytes; OpenAI sends PNG unless it is asked for something else."""
    if image.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if image.startswith(b"RIFF") and image[8:12] == b"WEBP":
        return "image/webp"
    return "image/png"
