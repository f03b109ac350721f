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

import fields
import models
import queries
from analytics import schemas
from generation import prompts
from generation.client import OpenAIClient
from generation.ledger import Ledger
from generation.prompts import Messages
from generation.results import ImageResult
from generation.schemas import TextRequest
from settings import Settings


class OpenAINotConfigured(Exception):
    """There is no OPENAI_API_KEY, so nothing can be generated."""


@dataclass(frozen=True)
class Parts:
    """What the service works with from its start to its end. One dependency has all of them: each
    takes as long as a tenth of a small request."""

    settings: Settings
    engine: Engine
    ledger: Ledger
    images: ObjectStore
    openai: OpenAIClient | None

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
# A session for one request; the handler commits.
Database = Annotated[Session, Depends(_session, scope="function")]
# An image's address of today, made when it is read: none is stored. A text is its own.
ImageUrl = Annotated[Callable[[StoredImage], str], Depends(_image_url)]

# Parameters. The examples are what Swagger UI fills in.
FIRST: Any = {"first": {"value": 1}}
EXAMPLES: Any = schemas.METRICS_EXAMPLES
SegmentId = Annotated[fields.Id, Path(openapi_examples=FIRST)]
ContentId = Annotated[fields.Id, Path(openapi_examples=FIRST)]
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


class CheckedRoute(APIRoute):
    """A GET that answers JSON refuses a parameter that it does not know, and one sent twice: a
    filter would be ignored, and the figures look right and be those of everything."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        if self.methods != {"GET"} or self.response_field is None:
            return answer
        elsewhere = params.Path | params.Header | params.Cookie
        known = [
            field.alias
            for field in get_flat_params(self.dependant)
            if not isinstance(field.field_info, elsewhere)
        ]

        async def answer_known(request: Request) -> Response:
            if request.scope["query_string"]:
                sent = [name for name, _ in request.query_params.multi_items()]
                if wrong := _unknown_parameters(sent, known):
                    raise RequestValidationError(wrong)
            return await answer(request)

        return answer_known


def _unknown_parameters(sent: Iterable[str], known: Sequence[str]) -> list[dict[str, Any]]:
    """Return what is wrong with these names in an address: a route does not know them, or each
    counts once."""
    there_are = f"There are: {', '.join(known)}" if known else "This address takes none"
    wrong = []
    for name, times in Counter(sent).items():
        if name not in known:
            reason = f"There is no parameter '{name}' here. {there_are}"
            wrong.append({"loc": ("query", name), "msg": reason, "type": "extra_forbidden"})
        elif times > 1:
            reason = f"Parameter '{name}' should be sent once, and not {times} times"
            wrong.append({"loc": ("query", name), "msg": reason, "type": "repeated"})
    return wrong
