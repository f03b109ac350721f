"""Where generated images live and how they are reached for good: in a folder, or in a bucket of S3,
Google Cloud Storage or Azure."""

import asyncio
import base64
import ipaddress
import logging
import os
import re
import socket
import string
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

import aiohttp
import obstore
import tenacity
import yarl
from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, from_url
from sqlalchemy import select

import database
import models
from generation.client import Generation
from settings import settings, stop

ENDINGS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
TYPES = {ending: kind for kind, ending in ENDINGS.items()}
NAME = re.compile(rf"([0-9a-f]{{32}})\.({'|'.join(TYPES)})")
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
MAX_IMAGE_BYTES = 50_000_000
MAX_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
KEEP_SECONDS = 30  # to fetch an image and to store it
FETCH_ATTEMPTS = 3
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


class NotAnImage(Exception):
    """What the URL leads to is no image this service fetches and stores; `str()` says why."""


class BusyUpstream(Exception):
    """The server of the image answered 5xx."""


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
        stop(f"IMAGE_STORE {place.partition('?')[0]} cannot be used: {first_line(error)}.")


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
                image, kind = await fetch(made.result, await _upstream_is_private())
            name = f"{key}.{ENDINGS[kind]}"
            await obstore.put_async(store, name, image)
            if isinstance(store, LocalStore) and store.prefix:
                await asyncio.to_thread(_flush, Path(store.prefix) / name)
    except (Exception, asyncio.CancelledError) as error:
        log.error("An image could not be stored: %s", first_line(error))
        if made.result.startswith("data:"):
            return made
        return replace(made, image_expires_at=models.utc_now() + UPSTREAM_URL_LIVES)
    return replace(made, result=name, image_name=name)


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(
        (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, BusyUpstream)
    ),
    stop=tenacity.stop_after_attempt(FETCH_ATTEMPTS),
    wait=tenacity.wait_exponential_jitter(multiplier=0.2, max=2, jitter=0.2),
    reraise=True,
)
async def fetch(url: str, private_allowed: bool) -> tuple[bytes, str]:
    """The image at the URL and its type. Raises aiohttp.ClientError, BusyUpstream, and NotAnImage
    for anything but an image of a type and a size that this service stores."""
    # The one place where every connection passes, after any redirect and whatever its name says.
    connector = aiohttp.TCPConnector(socket_factory=None if private_allowed else _public_socket)
    async with aiohttp.ClientSession(connector=connector) as session:
        address = _as_given(url)
        for _ in range(1 + MAX_REDIRECTS):
            async with session.get(address, allow_redirects=False) as response:
                location = response.headers.get("Location")
                if response.status not in REDIRECTS or not location:
                    return await _image(response)
                address = _as_given(location, relative_to=str(address))
    raise NotAnImage(f"it was redirected more than {MAX_REDIRECTS} times")


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
        raise StoreUnavailable(first_line(error)) from error


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


def _as_given(url: str, relative_to: str = "") -> yarl.URL:
    """The URL with its path and query to the byte: they may be signed. Only what no request can
    carry is escaped, such as a space. Raises NotAnImage where it is no URL of the web."""
    try:
        parts = urlsplit(url)
        if not (parts.scheme and parts.netloc):
            parts = urlsplit(urljoin(relative_to, url))
        if parts.scheme not in ("http", "https"):
            raise ValueError(parts.scheme)
        path, query = (
            quote(part, safe=string.punctuation, errors="surrogateescape")
            for part in (parts.path, parts.query)
        )
        authority = yarl.URL(f"{parts.scheme}://{parts.netloc}").raw_authority
        return yarl.URL.build(
            scheme=parts.scheme, authority=authority, path=path, query_string=query, encoded=True
        )
    except ValueError as error:
        raise NotAnImage("its address cannot be used") from error


async def _image(response: aiohttp.ClientResponse) -> tuple[bytes, str]:
    if response.status >= 500:
        raise BusyUpstream(f"{response.url.host} answered {response.status}")
    if response.status != 200:
        raise NotAnImage(f"{response.url.host} answered {response.status}")
    if (kind := response.content_type) not in ENDINGS:
        raise NotAnImage(f"it is {kind}, not one of {', '.join(ENDINGS)}")
    image = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        image += chunk
        if len(image) > MAX_IMAGE_BYTES:
            raise NotAnImage(f"it is larger than {MAX_IMAGE_BYTES} bytes")
    return bytes(image), kind


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


def _public_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """A socket for this address. Raises NotAnImage for one that is not on the public internet."""
    family, kind, protocol, _, endpoint = address
    if not _is_public(str(endpoint[0])):
        raise NotAnImage(f"{endpoint[0]} is a private address")
    return socket.socket(family, kind, protocol)


async def _upstream_is_private() -> bool:
    """Whether OPENAI_BASE_URL leads into our own network: then its images may be there too."""
    host = urlsplit(settings.openai_base_url or "").hostname
    if host is None:
        return False
    found = await asyncio.get_running_loop().getaddrinfo(host, None)
    return not all(_is_public(str(endpoint[0])) for *_, endpoint in found)


def _is_public(host: str) -> bool:
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        translated = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF) if address in NAT64 else None
        address = address.ipv4_mapped or address.sixtofour or translated or address
    private = address.is_multicast or getattr(address, "is_site_local", False)
    return address.is_global and not private


def first_line(error: BaseException) -> str:
    """Why, without the URL that some of aiohttp's errors hold: it may be signed."""
    if isinstance(error, aiohttp.InvalidURL | aiohttp.ClientResponseError):
        return type(error).__name__
    return str(error).partition("\n")[0].rstrip(". ") or type(error).__name__
