"""What routes take: the service's own parts, and parameters that are checked."""

import copy
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from anyio import CapacityLimiter, to_thread
from fastapi import Body, Depends, FastAPI, Header, Path, Query, Request, Response, params
from fastapi.dependencies.utils import get_flat_params
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from obstore.store import ObjectStore
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from starlette.requests import ClientDisconnect

import fields
import models
import pricing
import queries
from access import keys
from access.keys import ADMIN, ANYONE
from analytics import schemas
from generation import prompts
from generation.client import OpenAIClient
from generation.group_commit import GroupCommit
from generation.ledger import Ledger
from generation.prompts import Messages
from generation.results import ImageResult
from generation.schemas import TextRequest
from settings import Settings

# What a route wants of the key it is asked with: one to read, and one to write, by its tag.
NEEDED: dict[str, tuple[str, str]] = {
    "segments": ("read", "generate"),
    "generate": ("generate", "generate"),
    "content": ("read", "generate"),
    "analytics": ("read", "metrics"),
    "models": ("read", "generate"),
    "costs": ("read", "admin"),
    "keys": ("admin", "admin"),
    "budgets": ("admin", "admin"),
}
# Signs that begin or part something: a thousand metrics have fifteen thousand, and what they say
# may have some too.
MAX_PARTS = 300_000
MAX_WRONG_PARAMETERS = 20
# These want none: what the service is, and the images, whose names nobody guesses.
OPEN_TO_ALL = ("/", "/health", "/images/{name}")


class OpenAINotConfigured(Exception):
    """There is no OPENAI_API_KEY, so nothing can be generated."""


@dataclass(frozen=True)
class Parts:
    """What the service works with from its start to its end. One dependency has all of them: each
    takes as long as a tenth of a small request. `callers` tells whose a key is, as `door` knows."""

    settings: Settings
    engine: Engine
    ledger: Ledger
    images: ObjectStore
    openai: OpenAIClient | None
    door: keys.Door
    callers: GroupCommit[str]

    def resolve(self, model: str) -> str:
        """Return the model that is asked now where this one is named."""
        return self.openai.resolve(model) if self.openai else model

    async def messages(self, body: TextRequest) -> Messages:
        """Return the messages for this request. Raises SegmentNotFound."""
        segment = None
        if body.segment_id is not None:
            segment = await to_thread.run_sync(self._segment, body.segment_id)
        return prompts.text_messages(
            body.prompt, tone=body.tone, keywords=body.keywords, segment=segment
        )

    def _segment(self, segment_id: int) -> models.Segment:
        with Session(self.engine, expire_on_commit=False) as session:
            return queries.segment(session, segment_id)

    @property
    def is_regional(self) -> bool:
        """Whether the provider bills for one of its regions."""
        return pricing.is_regional(self.settings.openai_base_url)

    def configured(self) -> OpenAIClient:
        """Return the client. Raises OpenAINotConfigured."""
        if self.openai is None:
            raise OpenAINotConfigured
        return self.openai


async def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


async def _session(request: Request) -> AsyncIterator[Session]:
    parts: Parts = request.app.state.parts
    session = Session(parts.engine, expire_on_commit=False)
    try:
        yield session
    finally:
        if session.in_transaction():
            # Asks the database. Not by a thread of the handlers', all of which may wait for the
            # connection that this gives back.
            await to_thread.run_sync(session.close, limiter=CapacityLimiter(1))


async def _caller(request: Request) -> keys.Caller:
    caller: keys.Caller = request.state.caller
    return caller


StoredImage = models.GeneratedContent | ImageResult


async def _image_url(request: Request) -> Callable[[StoredImage], str]:
    parts: Parts = request.app.state.parts

    def url(image: StoredImage) -> str:
        if not image.image_name:
            return image.result
        base_url = parts.settings.public_base_url or str(request.base_url).rstrip("/")
        return f"{base_url}/images/{image.image_name}"

    return url


# What handlers take.
Service = Annotated[Parts, Depends(_parts)]
# Who asks, let in by CheckedRoute.
Caller = Annotated[keys.Caller, Depends(_caller)]
# A session for one request; the handler commits.
Database = Annotated[Session, Depends(_session, scope="function")]
# An image's address of today, made when it is read: none is stored. A text is its own.
ImageUrl = Annotated[Callable[[StoredImage], str], Depends(_image_url)]

# Parameters. The examples are what Swagger UI fills in.
FIRST: Any = {"first": {"value": 1}}
EXAMPLES: Any = schemas.METRICS_EXAMPLES
SegmentId = Annotated[fields.Id, Path(openapi_examples=FIRST)]
ContentId = Annotated[fields.Id, Path(openapi_examples=FIRST)]
KeyId = Annotated[fields.Id, Path(openapi_examples=FIRST)]
# The cap of the settings, whose id is 0, can be looked at and not changed.
BudgetId = Annotated[int, Path(ge=0, le=2_147_483_647, openapi_examples=FIRST), fields.WHOLE]
AnyBudgetId = Annotated[int, Path(ge=0, le=2_147_483_647), fields.WHOLE]
Limit = Annotated[int, Query(ge=1, le=1000), fields.WHOLE]
Metrics = Annotated[schemas.Metrics, Body(openapi_examples=EXAMPLES)]
IdempotencyKey = Annotated[
    fields.Key | None,
    Header(
        alias="Idempotency-Key",
        description="A key of your own, such as a UUID: however often the same request is sent "
        "with it, one generation is made and paid for, and each gets its answer.",
    ),
]


def answer_head(app: FastAPI) -> None:
    """Answer HEAD as GET is; the server leaves the body out. /docs shows GET alone."""
    for route in list(app.routes):
        if isinstance(route, APIRoute) and route.methods == {"GET"}:
            head = copy.copy(route)
            head.methods, head.include_in_schema = {"HEAD"}, False
            app.routes.append(head)


def needed(route: APIRoute) -> str | None:
    """Return the scope that opens this route, "admin" for ADMIN_KEY alone; None: it is open."""
    if route.path in OPEN_TO_ALL:
        return None
    reading, writing = NEEDED[str(route.tags[0])]
    return reading if route.methods == {"GET"} else writing


class CheckedRoute(APIRoute):
    """A route that looks at the key first of all, before it reads the body. A GET that answers JSON
    refuses a parameter that it does not know, and one sent twice: a filter would be ignored, and
    the figures look right and be those of everything."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        scope = needed(self)
        known: list[str] | None = None
        if self.methods == {"GET"} and self.response_field is not None:
            elsewhere = params.Path | params.Header | params.Cookie
            known = [
                field.alias
                for field in get_flat_params(self.dependant)
                if not isinstance(field.field_info, elsewhere)
            ]

        async def answer_checked(request: Request) -> Response:
            if scope:
                request.state.caller = await _let_in(request, scope)
            if self.body_field:
                await _check_parts(request)
            if known is not None and request.scope["query_string"]:
                sent = [name for name, _ in request.query_params.multi_items()]
                if wrong := _unknown_parameters(sent, known):
                    raise RequestValidationError(wrong)
            return await answer(request)

        return answer_checked


async def _check_parts(request: Request) -> None:
    """Refuse JSON of more parts than any request has: reading them takes its time in one piece."""
    if int(request.headers.get("content-length", MAX_PARTS + 1)) <= MAX_PARTS:
        return
    try:
        body = await request.body()
    except ClientDisconnect:
        return  # whoever reads on will find that out
    if len(body) > MAX_PARTS and sum(body.count(sign) for sign in b"[{,:") > MAX_PARTS:
        reason = f"JSON cannot be read that has more than {MAX_PARTS} parts"
        raise RequestValidationError([{"loc": ("body",), "msg": reason, "type": "too_many_parts"}])


async def _let_in(request: Request, scope: str) -> keys.Caller:
    """Return who asks. Raises KeyMissing, KeyInvalid and KeyTooNarrow."""
    parts: Parts = request.app.state.parts
    if parts.door.is_open:
        if scope == "admin":
            raise keys.KeyTooNarrow("This takes the ADMIN_KEY, and none is set: set it in .env")
        return ANYONE
    key = _sent_key(request)
    if parts.door.is_admins(key):
        return ADMIN
    caller: keys.Caller = await parts.callers.write(key)
    if caller.key_id is not None and not caller.is_noted:
        await to_thread.run_sync(parts.door.note_use, caller.key_id)
    if scope not in caller.scopes:
        opens = ", ".join(caller.scopes)
        wanted = "the ADMIN_KEY" if scope == "admin" else f"a key with the scope {scope}"
        raise keys.KeyTooNarrow(f"This takes {wanted}; this key has: {opens}")
    return caller


def _sent_key(request: Request) -> str:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":  # a proxy in front may have its own
        key = request.headers.get("x-api-key", "")
    if not key.strip():
        raise keys.KeyMissing
    return key.strip()


def _unknown_parameters(sent: Iterable[str], known: Sequence[str]) -> list[dict[str, Any]]:
    """Return what is wrong with these names in an address: a route does not know them, or each
    counts once."""
    there_are = f"There are: {', '.join(known)}" if known else "This address takes none"
    wrong = []
    for name, times in Counter(sent).items():
        if name not in known:
            reason = f"There is no parameter '{name[: fields.MAX_LOC]}' here. {there_are}"
            wrong.append({"loc": ("query", name), "msg": reason, "type": "extra_forbidden"})
        elif times > 1:
            reason = f"Parameter '{name}' should be sent once, and not {times} times"
            wrong.append({"loc": ("query", name), "msg": reason, "type": "repeated"})
        if len(wrong) > MAX_WRONG_PARAMETERS:
            break
    return wrong
