"""What the environment says, read once at import; the real environment wins over `.env`."""

import multiprocessing
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from dotenv import load_dotenv

ROOT = Path(__file__).resolve().parent


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
    if key and not (key.isascii() and key.isprintable() and " " not in key):
        stop("OPENAI_API_KEY has spaces or other characters no key has. Copy it again.")
    return key


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


def read() -> Settings:
    """The settings of this process. Ends it with a one-line reason where one cannot be used."""
    try:
        load_dotenv(ROOT / ".env", encoding="utf-8-sig")
    except UnicodeDecodeError:
        stop(f"{ROOT / '.env'} is not in UTF-8. Save it again with that encoding.")
    return Settings(
        database_url=_text("DATABASE_URL") or f"sqlite:///{ROOT / 'artify.db'}",
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


settings = read()
