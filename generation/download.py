"""Fetching an image from where the provider says that it is, and from nowhere else."""

import asyncio
import ipaddress
import socket
import string
from urllib.parse import quote, urljoin, urlsplit

import aiohttp
import tenacity
import yarl

ENDINGS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
MAX_IMAGE_BYTES = 50_000_000
MAX_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
FETCH_ATTEMPTS = 3


class NotAnImage(Exception):
    """What the URL leads to is no image this service fetches and stores; `str()` says why."""


class BusyUpstream(Exception):
    """The server of the image answered 5xx."""


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(
        (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, BusyUpstream)
    ),
    stop=tenacity.stop_after_attempt(FETCH_ATTEMPTS),
    wait=tenacity.wait_exponential_jitter(multiplier=0.2, max=2, jitter=0.2),
    reraise=True,
)
async def fetch(url: str, private_allowed: bool) -> tuple[bytes, str]:
    """Return the image at the URL and its type. Raises aiohttp.ClientError, BusyUpstream, and
    NotAnImage for anything but an image of a type and a size that this service stores."""
    # The one place where every connection passes, after any redirect and whatever its name says.
    connector = aiohttp.TCPConnector(socket_factory=None if private_allowed else _public_socket)
    async with aiohttp.ClientSession(connector=connector) as session:
        # Redirects are followed here, so that each address is checked.
        address = _as_given(url)
        for _ in range(1 + MAX_REDIRECTS):
            async with session.get(address, allow_redirects=False) as response:
                location = response.headers.get("Location")
                if response.status not in REDIRECTS or not location:
                    return await _image(response)
                address = _as_given(location, relative_to=str(address))
    raise NotAnImage(f"it was redirected more than {MAX_REDIRECTS} times")


def _as_given(url: str, relative_to: str = "") -> yarl.URL:
    """Return the URL with its path and query to the byte: they may be signed. Raises NotAnImage
    where it is no URL of the web."""
    # Only what no request can carry is escaped, such as a space.
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
    # Counted while it comes: a length that is announced may be a lie.
    image = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        image += chunk
        if len(image) > MAX_IMAGE_BYTES:
            raise NotAnImage(f"it is larger than {MAX_IMAGE_BYTES} bytes")
    return bytes(image), kind


def _public_socket(address: aiohttp.AddrInfoType) -> socket.socket:
    """Return a socket for this address. Raises NotAnImage for one that is not on the public
    internet."""
    family, kind, protocol, _, endpoint = address
    if not is_public(str(endpoint[0])):
        raise NotAnImage(f"{endpoint[0]} is a private address")
    return socket.socket(family, kind, protocol)


async def is_private(base_url: str | None) -> bool:
    """Tell whether OPENAI_BASE_URL leads into our own network: then its images may be there too."""
    host = urlsplit(base_url or "").hostname
    if host is None:
        return False
    found = await asyncio.get_running_loop().getaddrinfo(host, None)
    return not all(is_public(str(endpoint[0])) for *_, endpoint in found)


def is_public(host: str) -> bool:
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        translated = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF) if address in NAT64 else None
        address = address.ipv4_mapped or address.sixtofour or translated or address
    private = address.is_multicast or getattr(address, "is_site_local", False)
    return address.is_global and not private


def first_line(error: BaseException) -> str:
    """Say why, without the URL that some of aiohttp's errors hold: it may be signed."""
    if isinstance(error, aiohttp.InvalidURL | aiohttp.ClientResponseError):
        return type(error).__name__
    return str(error).partition("\n")[0].rstrip(". ") or type(error).__name__
