"""The settings of the service: the environment, and `.env`, which the environment wins over."""

import functools
import os
import re
import ssl
import tomllib
import zoneinfo
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from dotenv import load_dotenv
from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

ROOT = Path(__file__).resolve().parent
# Libraries read these of their own accord: the OpenAI SDK sends the first three with every call.
READ_BY_LIBRARIES = (
    "OPENAI_ORG_ID",
    "OPENAI_PROJECT_ID",
    "OPENAI_CUSTOM_HEADERS",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)
NO_TOKEN = "has spaces or other characters that none has. Copy it again."
HEADER_LINE = re.compile(r"[\w!#$%&'*+.^`|~-]+:[ -~]*", re.ASCII)


class SettingsError(Exception):
    """The service cannot start with these settings; `str()` says in one line why."""


def _is_token(value: str) -> bool:
    return value.isascii() and value.isprintable() and not set(" '\"") & set(value)


def _token(value: str) -> str:
    if not _is_token(value):
        raise ValueError(NO_TOKEN)
    return value


def _address(example: str, *, has_query: bool = False) -> AfterValidator:
    """Take an http(s) address, without a slash at its end."""

    def check(url: str) -> str:
        try:
            parts = urlsplit(url)
            found = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
            usable = found and not (parts.fragment or " " in parts.geturl())
            usable = usable and (has_query or not parts.query)
        except ValueError:
            usable = False
        if not usable:
            raise ValueError(f"must look like {example}.")
        return url.rstrip("/")

    return AfterValidator(check)


def _location(location: str) -> str:
    """Return a bucket's URL, or a folder, which is looked for beside this file."""
    return location if "://" in location else str(ROOT / location)


def time_zone(name: str) -> str:
    """Take the IANA name of a time zone. Raises ValueError."""
    if name not in _time_zones():
        raise ValueError("must be a time zone such as Asia/Seoul, America/New_York or UTC.")
    return name


@functools.cache
def _time_zones() -> set[str]:
    return zoneinfo.available_timezones()


def _host_names(names: str) -> str:
    """Take names with commas between them, without http:// or a path."""
    if not re.fullmatch(r"[\w.:\[\]-]+( *, *[\w.:\[\]-]+)*", names):
        raise ValueError("must be names such as copy.example.com, with commas between them.")
    return names


Token = Annotated[str, AfterValidator(_token)]
HostNames = Annotated[str, AfterValidator(_host_names)]
OpenAIAddress = Annotated[str, _address("https://host/v1 or http://localhost:9000/v1")]
StoreLocation = Annotated[str, AfterValidator(_location)]
PublicAddress = Annotated[str, _address("https://copy.example.com")]
WebhookAddress = Annotated[str, _address("https://hooks.slack.com/services/…", has_query=True)]
TimeZone = Annotated[str, AfterValidator(time_zone)]
Seconds = Annotated[float, Field(ge=0.1, le=3600)]


class Settings(BaseSettings):
    """Every setting, one field each; `.env.example` explains them to people."""

    # Where things are kept, and what is asked.
    database_url: Annotated[str, Field(repr=False)] = "sqlite:///artify.db"
    openai_api_key: Annotated[Token | None, Field(repr=False)] = None
    openai_base_url: OpenAIAddress | None = None
    text_model: str = "gpt-3.5-turbo"
    image_model: str = "dall-e-3"
    image_store: StoreLocation = "images"
    public_base_url: PublicAddress | None = None
    # Who may spend, and how much.
    allowed_hosts: HostNames | None = None
    admin_key: Annotated[Token | None, Field(repr=False)] = None
    service_budget_usd: Annotated[Decimal | None, Field(ge=0, le=1_000_000)] = None
    service_budget_period: Literal["day", "week", "month", "total"] = "month"
    service_budget_time_zone: TimeZone = "UTC"
    alert_webhook_url: Annotated[WebhookAddress | None, Field(repr=False)] = None
    # How python main.py serves.
    host: str = "0.0.0.0"
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    workers: Annotated[int, Field(ge=1, le=64)] = 1
    # How long, how often and how many at once.
    text_timeout_seconds: Seconds = 60
    image_timeout_seconds: Seconds = 180
    max_attempts: Annotated[int, Field(ge=1, le=10)] = 3
    max_in_flight: Annotated[int, Field(ge=1, le=100_000)] = 1000
    drain_seconds: Annotated[float, Field(ge=0, le=3600)] = 30
    database_pool_size: Annotated[int, Field(ge=2, le=1000)] = 5
    database_max_overflow: Annotated[int, Field(ge=0, le=1000)] = 15

    model_config = SettingsConfigDict(
        alias_generator=str.upper,
        case_sensitive=True,
        frozen=True,
        str_strip_whitespace=True,
        validate_default=True,
        hide_input_in_errors=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _empty_means_default(cls, given: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in given.items() if value.strip()}


def load() -> Settings:
    """Read the settings of this process. Raises SettingsError."""
    # In this order: the real environment wins over .env, and libraries read what is left of both.
    _take_off_quotes()
    _load_dotenv()
    _check_what_libraries_read()
    try:
        return Settings()
    except ValidationError as error:
        # Without the error itself, which may hold a secret.
        raise SettingsError(_reason(error.errors()[0])) from None


def _reason(error: ErrorDetails) -> str:
    name = str(error["loc"][0])
    if error["type"] == "value_error":
        return f"{name} {error['ctx']['error']}"
    field = Settings.model_fields[name.lower()]
    if error["type"] == "literal_error":
        return f"{name} must be one of {', '.join(get_args(field.annotation))}."
    lowest, highest = field.metadata
    what = "a whole number" if field.annotation is int else "a number"
    value = str(error["input"]).strip()
    return f"{name} must be {what} from {lowest.ge:.9g} to {highest.le:.9g}; it is {value!r}."


def _take_off_quotes() -> None:
    """Of the quotes around a value, which `docker --env-file` leaves on, make what `.env` makes of
    them."""
    # All variables: libraries read theirs themselves, such as AWS_ACCESS_KEY_ID.
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
        raise SettingsError(
            f"{dotenv} cannot be read: {error.strerror}. "
            "Make it a file that this user may read, or remove it."
        ) from error
    except ValueError:
        reason = f"{dotenv} is not in UTF-8. Save it again with that encoding."
        raise SettingsError(reason) from None


def _check_what_libraries_read() -> None:
    """Refuse what a library would fail on, or send as nonsense; empty means unset to none of them.
    Raises SettingsError."""
    given = {name: os.environ.pop(name, "").strip() for name in READ_BY_LIBRARIES}
    os.environ.update({name: value for name, value in given.items() if value})
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        if given[name] and not _is_token(given[name]):
            raise SettingsError(f"{name} {NO_TOKEN}")
    for line in given["OPENAI_CUSTOM_HEADERS"].splitlines():
        if not HEADER_LINE.fullmatch(line):
            raise SettingsError("OPENAI_CUSTOM_HEADERS must be lines like Name: value, in ASCII.")
    try:
        if file := given["SSL_CERT_FILE"]:
            ssl.create_default_context(cafile=file)
    except OSError as error:
        reason = "it has no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingsError(
            f"SSL_CERT_FILE {file} cannot be used: {reason}. Name a PEM file, or leave it empty."
        ) from error
    folders = given["SSL_CERT_DIR"]
    if folders and not any(os.path.isdir(folder) for folder in folders.split(os.pathsep)):
        raise SettingsError(
            f"SSL_CERT_DIR {folders} is no folder. Name one of certificates, or leave it empty."
        )


def version() -> str:
    """Return the version of the service, which pyproject.toml alone tells."""
    with (ROOT / "pyproject.toml").open("rb") as stream:
        return str(tomllib.load(stream)["project"]["version"])


def proxy_for(url: str) -> str | None:
    """Return the proxy that HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY name for this URL, by
    the rules of the OpenAI SDK's HTTP client."""
    from httpx2 import URL  # noqa: PLC0415  (slow, and here alone)
    from httpx2._utils import URLPattern, get_environment_proxies  # noqa: PLC0415

    rules = {URLPattern(pattern): proxy for pattern, proxy in get_environment_proxies().items()}
    return next((rules[rule] for rule in sorted(rules) if rule.matches(URL(url))), None)
