"""The kinds of fields that requests and answers have: what is refused, and how values are shown."""

import json
import math
import re
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.config import JsonDict
from pydantic_core import InitErrorDetails, PydanticCustomError

import pricing

MAX_PROMPT = 32_000
MAX_CRITERIA_DEPTH = 20
MAX_CRITERIA_LENGTH = 20_000
MAX_FIELDS = 16
MAX_LOC = 100


def storable(text: str) -> str:
    """Refuse what PostgreSQL cannot store or UTF-8 cannot carry."""
    if "\x00" in text:
        raise PydanticCustomError("nul_character", "Text must not contain a NUL character (U+0000)")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError(
            "lone_surrogate", "Text must be valid Unicode, without lone surrogates"
        ) from None
    return text


def _filled(text: str) -> str:
    if not text.strip():
        raise PydanticCustomError("blank", "Text must not be blank")
    return storable(text)


TOO_LONG = PydanticCustomError(
    "too_long", f"Criteria must not be longer than {MAX_CRITERIA_LENGTH} characters as JSON"
)


def _plain_json(criteria: dict[str, Any]) -> dict[str, Any]:
    """Refuse what is no JSON (NaN, Infinity), cannot be stored, is too deep or too long."""
    # A stack instead of recursion: Python's own ends at a thousand levels.
    inside: list[tuple[Any, int]] = [(criteria, 1)]
    values = 0
    while inside:
        value, depth = inside.pop()
        # Each value is a character at least.
        values += len(value) if isinstance(value, dict | list) else 1
        if values > MAX_CRITERIA_LENGTH:
            raise TOO_LONG
        if isinstance(value, dict | list) and depth > MAX_CRITERIA_DEPTH:
            raise PydanticCustomError(
                "too_deep", f"Criteria must not nest deeper than {MAX_CRITERIA_DEPTH} levels"
            )
        if isinstance(value, str):
            storable(value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise PydanticCustomError("not_finite", "Criteria must not contain NaN or Infinity")
        elif isinstance(value, dict):
            inside += [(part, depth + 1) for pair in value.items() for part in pair]
        elif isinstance(value, list):
            inside += [(part, depth + 1) for part in value]
    if len(json.dumps(criteria, ensure_ascii=False)) > MAX_CRITERIA_LENGTH:
        raise TOO_LONG
    return criteria


def _priced(find: Callable[[str], object], names: Collection[str]) -> AfterValidator:
    """Refuse a model without a price: what it costs could only be guessed."""

    def check(model: str) -> str:
        if find(model) is None:
            known = f"{', '.join(names)}; GET /models lists all"
            raise PydanticCustomError(
                "no_price", f"No price is known for this model. Known: {known}"
            )
        return model

    return AfterValidator(check)


def _moment(value: Any) -> datetime:
    """Return an ISO 8601 date and time with any offset, by default UTC, as it is stored: UTC
    without a zone."""
    # A date alone is its first moment.
    try:
        # In an address, a + is read as a space.
        text = value.upper()
        moment = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC).replace(tzinfo=None)
    except (AttributeError, ValueError, OverflowError):
        raise PydanticCustomError(
            "datetime_parsing", "Should be a time in ISO 8601, such as 2026-11-24T18:30:00+09:00"
        ) from None


def _end(value: Any) -> datetime:
    """Return a moment; a date alone is included: its last moment."""
    is_date = isinstance(value, str) and re.fullmatch(r"[0-9]{4}-?[0-9]{2}-?[0-9]{2}", value)
    moment = _moment(value)
    if not is_date:
        return moment
    return min(moment, datetime.max - timedelta(days=1)) + timedelta(days=1)


def invalid(checked: BaseModel, reasons: dict[str, str]) -> ValidationError:
    """Return what is wrong with some fields, once all of them are known."""
    wrong = [
        InitErrorDetails(type=PydanticCustomError("not_taken", reason), loc=(field,), input=None)
        for field, reason in reasons.items()
    ]
    return ValidationError.from_exception_data(type(checked).__name__, wrong)


def _plain_key(key: str) -> str:
    """Return what a header can carry unchanged."""
    if not re.fullmatch("[!-~]+", key):
        raise PydanticCustomError(
            "not_ascii",
            "Should be ASCII letters, digits and signs without spaces, such as a UUID",
        )
    return key


def _whole_second(moment: datetime) -> str:
    return moment.replace(microsecond=0).isoformat()


def _whole_number(value: Any) -> Any:
    """Take a whole number, however it is written."""
    # JSON has one kind of number: 100.0 is the integer 100.
    # In an address, only digits count: Python would take 1_0 for 10.
    if isinstance(value, str) and not re.fullmatch(r"-?[0-9]+", value):
        raise PydanticCustomError("int_parsing", "Should be a whole number")
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _count(value: float) -> int | float:
    return int(value) if value.is_integer() else value


# What readers of /openapi.json are told of these checks. A pattern that refuses blanks too would
# take tools that generate data from it too long.
STORABLE: JsonDict = {"pattern": r"^[^\u0000]*$"}
FILLED: JsonDict = {"minLength": 1, **STORABLE}

WHOLE = BeforeValidator(_whole_number)
Id = Annotated[int, Field(ge=1, le=2_147_483_647), WHOLE]
CampaignId = Annotated[int, Field(ge=1, le=9_223_372_036_854_775_807), WHOLE]
Tone = Annotated[
    str,
    Field(max_length=100, json_schema_extra=STORABLE),
    AfterValidator(storable),
    AfterValidator(str.strip),
]
Name = Annotated[str, Field(max_length=255, json_schema_extra=FILLED), AfterValidator(_filled)]
Prompt = Annotated[
    str, Field(max_length=MAX_PROMPT, json_schema_extra=FILLED), AfterValidator(_filled)
]
Description = Annotated[
    str, Field(max_length=10_000, json_schema_extra=STORABLE), AfterValidator(storable)
]
Keyword = Annotated[str, Field(max_length=100, json_schema_extra=FILLED), AfterValidator(_filled)]
ModelName = Annotated[str, Field(max_length=100, pattern="^[!-~]*$")]
TextModel = Annotated[ModelName, _priced(pricing.text_model, pricing.TEXT_MODELS)]
ImageModel = Annotated[ModelName, _priced(pricing.image_model, pricing.IMAGE_MODELS)]
UserId = Annotated[
    Id | None,
    Field(description="Who it is for: the cost is booked on this user, whom OpenAI sees hashed."),
]
MaxCost = Annotated[
    Annotated[float, Field(gt=0, allow_inf_nan=False)] | None,
    Field(description="In US dollars: what could cost more is refused, and nothing is spent."),
]
Key = Annotated[
    str,
    Field(max_length=255, json_schema_extra={"pattern": "^[!-~]+$"}),
    AfterValidator(_plain_key),
]
Criteria = Annotated[dict[str, Any], AfterValidator(_plain_json)]
Timestamp = Annotated[
    datetime, PlainSerializer(_whole_second), Field(examples=["2026-11-23T15:30:00"])
]
MOMENT: JsonDict = {"type": "string", "format": "date-time"}
Moment = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema(MOMENT)]
End = Annotated[datetime, BeforeValidator(_end), WithJsonSchema(MOMENT)]
# A whole number is a number too; said as a choice of both, generated clients make two types of it.
Count = Annotated[
    float, PlainSerializer(_count), WithJsonSchema({"type": "number"}, mode="serialization")
]
Dollars = Annotated[Decimal, PlainSerializer(float)]


class Request(BaseModel):
    """What a client sends: "100" is no number and true is no id."""

    model_config = ConfigDict(strict=True)

    @model_validator(mode="before")
    @classmethod
    def _has_few_fields(cls, sent: Any) -> Any:
        # Each that is not known may be an error of its own: a million of them take seconds.
        if isinstance(sent, dict) and len(sent) > MAX_FIELDS:
            raise PydanticCustomError("too_many_fields", f"At most {MAX_FIELDS} fields may be sent")
        return sent


def shown_loc(loc: Iterable[str | int]) -> list[str | int]:
    """Return where something is wrong, as it can be sent back: what a client wrote may be long."""
    shown: list[str | int] = []
    for part in loc:
        if isinstance(part, str):
            text = part if len(part) <= MAX_LOC else f"{part[:MAX_LOC]}…"
            shown.append(text.encode(errors="replace").decode())
        else:
            shown.append(part)
    return shown


class InvalidField(BaseModel):
    """Where the request is wrong, and why."""

    loc: list[str | int] = Field(examples=[["body", "prompt"]])
    msg: str = Field(examples=["Text must not be blank"])
    type: str = Field(examples=["blank"])
