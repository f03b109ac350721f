"""The app with the pages that show it: Swagger UI and ReDoc, from this service alone."""

from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_redoc_html
from fastapi.responses import HTMLResponse
from fastapi_offline import FastAPIOffline

import korean
from settings import version

DESCRIPTION = (
    "Generates marketing copy and images with OpenAI for target segments, keeps everything it "
    "made, counts every cent it spent, and shows how campaigns did."
    "\n\n타깃 세그먼트에 맞춘 마케팅 문안과 이미지를 OpenAI로 만들고, 만든 것을 모두 보관하며, "
    "쓴 비용을 빠짐없이 기록하고, 캠페인 성과를 보여 줍니다."
)
TAGS = {
    "segments": "Whom copy is written for.",
    "generate": "Copy and images, and what they can cost beforehand.",
    "content": "What was generated.",
    "analytics": "What campaigns did: metrics in, figures out.",
    "models": "What can be asked, and its prices.",
    "costs": "What generation cost.",
    "keys": "Who may do what; ADMIN_KEY opens these.",
    "budgets": "How much may be spent; ADMIN_KEY opens these.",
    "service": "Whether the service works.",
}
SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key of this service, or its ADMIN_KEY.",
    },
    "header": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "The same, where Authorization is taken.",
    },
}


def make_app(lifespan: Any) -> FastAPI:
    """Make an app without routes but for its pages, at /docs and /redoc."""
    app = FastAPIOffline(
        title="Artify Content Backend",
        version=version(),
        description=DESCRIPTION,
        openapi_tags=[{"name": name, "description": text} for name, text in TAGS.items()],
        contact={"name": "The people who run this service"},
        license_info={"name": "MIT", "identifier": "MIT"},
        # Relative to /openapi.json, so right behind a prefix too.
        servers=[{"url": ".", "description": "The service that this description is from"}],
        lifespan=lifespan,
        redoc_url=None,
    )
    app.add_api_route("/redoc", show_redoc, include_in_schema=False)
    # The way that FastAPI's documentation names.
    app.openapi = partial(_openapi, app)  # type: ignore[method-assign]
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Describe the API in both languages; made once, when it is first asked for."""
    if app.openapi_schema is None:
        _add_security(FastAPI.openapi(app), is_open=app.state.settings.admin_key is None)
        korean.add_to(FastAPI.openapi(app))
    return FastAPI.openapi(app)


def _add_security(document: dict[str, Any], *, is_open: bool) -> None:
    """Say which routes take a key: all that answer 401. Without an ADMIN_KEY, they work without
    one too."""
    document["components"]["securitySchemes"] = SCHEMES
    ways: list[dict[str, list[str]]] = [{name: []} for name in SCHEMES]
    if is_open:
        ways.append({})
    for methods in document["paths"].values():
        for operation in methods.values():
            if "401" in operation["responses"]:
                operation["security"] = ways


async def show_redoc(request: Request) -> HTMLResponse:
    """Show ReDoc, whose script would fetch a logo from its maker's CDN."""
    # Behind a prefix, the page is asked for under it.
    root = request.scope["root_path"].rstrip("/")
    page = get_redoc_html(
        openapi_url=f"{root}/openapi.json",
        title=f"{request.app.title} - ReDoc",
        redoc_js_url=f"{root}/static-offline-docs/redoc.standalone.js",
        redoc_favicon_url=f"{root}/static-offline-docs/favicon.png",
        with_google_fonts=False,
    )
    page.headers["Content-Security-Policy"] = "img-src 'self' data:"
    return page
