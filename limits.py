"""Whom the service answers, how large a request may be, and what browsers may do with an answer."""

from collections.abc import Collection
from urllib.parse import urlsplit

from fastapi.responses import JSONResponse
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from errors import MAX_BODY_BYTES, too_large
from settings import Settings

LOOPBACK = ("localhost", "127.0.0.1", "::1")
READING = ("GET", "HEAD", "OPTIONS")
# Whoever asks by an address alone, such as the health check of a balancer, learns nothing here.
FOR_ANY_HOST = "/health"
FRAMES = "frame-ancestors 'none'"
SAFER = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
}


def allowed_hosts(settings: Settings) -> Collection[str] | None:
    """Return the names that the service answers to; None: to any."""
    named = [name.strip().lower() for name in (settings.allowed_hosts or "").split(",")]
    hosts = [name for name in named if name]
    if not hosts and settings.host in LOOPBACK:
        hosts = list(LOOPBACK)
    if hosts and settings.public_base_url:
        hosts.append(_name(urlsplit(settings.public_base_url).netloc))
    return hosts or None


def _name(netloc: str) -> str:
    """Return the host's name without its port."""
    try:
        return urlsplit(f"//{netloc}").hostname or ""
    except ValueError:
        return ""


class Guard:
    """421 for a name that is not the service's: a page whose name was rebound to this machine would
    spend its key. 403 for what another site's page sends to write or to spend. 413 for a body that
    says it is too large, or says nothing and turns out to be: the server reads no more of a body
    than it says. No page may frame an answer."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._counting = RequestBodyLimitMiddleware(app, MAX_BODY_BYTES)
        self._hosts = allowed_hosts(settings)
        self._own = urlsplit(settings.public_base_url or "").netloc.lower()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safer(message: Message) -> None:
            if message["type"] == "http.response.start":
                _make_safer(MutableHeaders(scope=message))
            await send(message)

        headers = Headers(scope=scope)
        answer = self._refusal(scope, headers) or self._app
        if answer is self._app:
            announced = headers.get("content-length")
            if announced is None:
                answer = self._counting
            elif int(announced) > MAX_BODY_BYTES:
                answer = too_large()
        await answer(scope, receive, send_safer)

    def _refusal(self, scope: Scope, headers: Headers) -> ASGIApp | None:
        host = headers.get("host", "").lower()
        if self._hosts and scope["path"] != FOR_ANY_HOST and _name(host) not in self._hosts:
            return _json(421, "This service does not answer to this name. See ALLOWED_HOSTS.")
        origin = headers.get("origin")
        if origin is None or scope["method"] in READING:
            return None
        if urlsplit(origin.lower()).netloc in {host, self._own} - {""}:
            return None
        return _json(403, "A page of another site may not do this. See PUBLIC_BASE_URL.")


def _json(status: int, detail: str) -> JSONResponse:
    return JSONResponse({"detail": detail}, status_code=status)


def _make_safer(headers: MutableHeaders) -> None:
    for name, value in SAFER.items():
        headers.setdefault(name, value)
    policy = headers.get("Content-Security-Policy")
    headers["Content-Security-Policy"] = f"{policy}; {FRAMES}" if policy else FRAMES
