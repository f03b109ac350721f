"""What the environment says, read once at import; the real environment wins over `.env`."""

import multiprocessing
import os
import re
import ssl
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from dotenv import load_dotenv

ROOT = Path(__file__).resolve().parent
# Libraries read these of their own accord: the OpenAI SDK sends the first three with every call.
READ_BY_LIBRARIES = (
    *("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
)
HEADER_LINE = re.compile(r"[\w!#$%&'*+.^`|~-]+:[ -~]*", re.ASCII)


@dataclass(frozen=True)
class Settings:
    """Every setting, one field each; `.env.example` explains them to people."""

    database_url: str = field(repr=False)
    openai_api_key: str | None = field(repr=False)
    openai_base_url: str | None
    text_model: str
    image_model: str
    image_store: str
    public_base_url: str | None
    host: str
    port: int
    text_timeout_seconds: float
    image_timeout_seconds: float
    max_attempts: int
    max_in_flight: int
    drain_seconds: float
    database_pool_size: int
    database_max_overflow: int


def stop(message: str) -> NoReturn:
    """Say in one line why the service cannot start, and end the process with status 1.

    Leaves at once: an exception would reach people as uvicorn's traceback. A worker of
    `uvicorn --workers` ends with uvicorn's own 3, which keeps its parent from starting it again
    for ever.
    """
    print(f"ERROR: {message}", file=sys.stderr, flush=True)
    os._exit(1 if multiprocessing.parent_process() is None else 3)


def _text(name: str) -> str | None:
    """The setting's value; empty means unset."""
    return os.environ.get(name, "").strip() or None


def _number(name: str, default: float, lowest: float, highest: float) -> float:
    """The setting's value within its limits; a whole number where the default is one."""
    value = _text(name) or str(default)
    kind = type(default)
    try:
        number = kind(value)
    except ValueError:
        number = float("nan")
    if not lowest <= number <= highest:
        what = "a whole number" if kind is int else "a number"
        stop(f"{name} must be {what} from {lowest:g} to {highest:g}; it is {value!r}.")
    return number


def _openai_api_key() -> str | None:
    key = _text("OPENAI_API_KEY")
    _check_token("OPENAI_API_KEY", key)
    return key


def _check_token(name: str, value: str | None) -> None:
    if value and not (value.isascii() and value.isprintable() and not set(" '\"") & set(value)):
        stop(f"{name} has spaces or other characters that none has. Copy it again.")


def _address(name: str, example: str) -> str | None:
    """The setting's value, an http(s) address without a slash at its end."""
    url = _text(name)
    try:
        parts = urlsplit(url or "https://host")
        found = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        usable = found and not (parts.query or parts.fragment or " " in parts.geturl())
    except ValueError:
        usable = False
    if not usable:
        stop(f"{name} must look like {example}.")
    return url.rstrip("/") if url else None


def _image_store() -> str:
    """A bucket's URL, or a folder, which is looked for beside this file."""
    place = _text("IMAGE_STORE") or "images"
    return place if "://" in place else str(ROOT / place)


def _take_off_quotes() -> None:
    """Of the quotes around a value, which `docker --env-file` leaves on, make what `.env` makes of
    them. All variables: libraries read theirs themselves, such as AWS_ACCESS_KEY_ID."""
    for name, value in os.environ.items():
        if len(value) > 1 and value[0] in "'\"" and value.find(value[0], 1) == len(value) - 1:
            os.environ[name] = value[1:-1]


def _load_dotenv() -> None:
    dotenv = ROOT / ".env"
    try:
        with dotenv.open(encoding="utf-8-sig") as stream:
            load_dotenv(stream=stream)
    except FileNotFoundError:
        return
    except OSError as error:
        stop(
            f"{dotenv} cannot be read: {error.strerror}. "
            "Make it a file that this user may read, or remove it."
        )
    except ValueError:
        stop(f"{dotenv} is not in UTF-8. Save it again with that encoding.")


def _check_what_libraries_read() -> None:
    """End the process where a library would fail on its own setting, or send it as nonsense."""
    given = {name: _text(name) for name in READ_BY_LIBRARIES}
    for name, value in given.items():
        os.environ.pop(name, None)
        if value:
            os.environ[name] = value
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        _check_token(name, given[name])
    for line in (given["OPENAI_CUSTOM_HEADERS"] or "").splitlines():
        if not HEADER_LINE.fullmatch(line):
            stop("OPENAI_CUSTOM_HEADERS must be lines like Name: value, in ASCII.")
    try:
        if file := given["SSL_CERT_FILE"]:
            ssl.create_default_context(cafile=file)
    except OSError as error:
        reason = "it has no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        stop(f"SSL_CERT_FILE {file} cannot be used: {reason}. Name a PEM file, or leave it empty.")
    if (folders := given["SSL_CERT_DIR"]) and not any(
        map(os.path.isdir, folders.split(os.pathsep))
    ):
        stop(f"SSL_CERT_DIR {folders} is no folder. Name one of certificates, or leave it empty.")


def version() -> str:
    """Return the version of the service, which pyproject.toml alone tells."""
    with (ROOT / "pyproject.toml").open("rb") as stream:
        return str(tomllib.load(stream)["project"]["version"])


def read() -> Settings:
    """The settings of this process. Ends it with a one-line reason where one cannot be used."""
    _take_off_quotes()
    _load_dotenv()
    _check_what_libraries_read()
    return Settings(
        database_url=_text("DATABASE_URL") or "sqlite:///artify.db",
        openai_api_key=_openai_api_key(),
        openai_base_url=_address("OPENAI_BASE_URL", "https://host/v1 or http://localhost:9000/v1"),
        text_model=_text("TEXT_MODEL") or "gpt-3.5-turbo",
        image_model=_text("IMAGE_MODEL") or "dall-e-3",
        image_store=_image_store(),
        public_base_url=_address("PUBLIC_BASE_URL", "https://copy.example.com"),
        host=_text("HOST") or "0.0.0.0",
        port=int(_number("PORT", 8000, 1, 65535)),
        text_timeout_seconds=_number("TEXT_TIMEOUT_SECONDS", 60.0, 0.1, 3600),
        image_timeout_seconds=_number("IMAGE_TIMEOUT_SECONDS", 180.0, 0.1, 3600),
        max_attempts=int(_number("MAX_ATTEMPTS", 3, 1, 10)),
        max_in_flight=int(_number("MAX_IN_FLIGHT", 1000, 1, 100_000)),
        drain_seconds=_number("DRAIN_SECONDS", 30.0, 0, 3600),
        database_pool_size=int(_number("DATABASE_POOL_SIZE", 5, 2, 1000)),
        database_max_overflow=int(_number("DATABASE_MAX_OVERFLOW", 15, 0, 1000)),
    )


def proxy_for(url: str) -> str | None:
    """The proxy that HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY name for this URL, by the
    rules of the OpenAI SDK's HTTP client."""
    from httpx2 import URL  # noqa: PLC0415  (slow, and here alone)
    from httpx2._utils import URLPattern, get_environment_proxies  # noqa: PLC0415

    rules = {URLPattern(pattern): proxy for pattern, proxy in get_environment_proxies().items()}
    return next((rules[rule] for rule in sorted(rules) if rule.matches(URL(url))), None)


settings = read()
