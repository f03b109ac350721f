"""How much one request may take."""

from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from errors import MAX_BODY_BYTES, too_large


class BodyLimit:
    """413 for a body that says it is too large, or says nothing and turns out to be. The server
    reads no more of a body than it says."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._counting = RequestBodyLimitMiddleware(app, MAX_BODY_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._app
        if scope["type"] == "http":
            announced = dict(scope["headers"]).get(b"content-length")
            if announced is None:
                answer = self._counting
            elif int(announced) > MAX_BODY_BYTES:
                answer = too_large()
        await answer(scope, receive, send)
