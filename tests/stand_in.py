"""A stand-in for OpenAI: a small OpenAI-compatible server for tests, `make demo` and experiments.

    python -m tests.stand_in --port 9000       # then OPENAI_BASE_URL=http://localhost:9000/v1

Its next answers are told over HTTP, one behaviour for each, in order:

    curl localhost:9000/stand-in/next -H 'Content-Type: application/json' \\
         -d '[{"behavior": "rate_limited", "retry_after": 7}, {"behavior": "slow", "seconds": 2}]'

and `GET /stand-in/requests` tells what it was asked. Any behaviour takes `times` and `seconds` (to
wait first); "rate_limited" and "server_error" take `retry_after`, the latter a `status`; "ok" takes
a `usage`, a `service_tier`, a `text`, a list of `texts` and of their `finish_reasons`, or the `url`
of an image to answer with, and "verbatim" a `status`, a `body` (or one in `base64`) and `headers`;
"dropped" takes what it sends of a `body`. Models of ONE_ONLY refuse n > 1, as OpenAI's thinking do.
`PUT /stand-in/signed` tells it the targets under /signed/, to the byte, that have an image (null)
or a redirect to a location.
"cut" is max_tokens used up before any text; a text that was cut off is "ok" with the finish_reasons
["length"]. With --today it refuses the models that OpenAI has shut down, otherwise it serves them.
"""

import argparse
import asyncio
import base64
import contextlib
import functools
import hashlib
import itertools
import json
import socket
import struct
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

TEXT_MODELS = (
    *("gpt-3.5-turbo", "gpt-4", "gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini"),
    *("gpt-5-mini", "gpt-5.2", "gpt-5.4", "gpt-5.4-mini", "gpt-5.6-luna", "o3"),
    *("gpt-6-luna", "gpt-6.1-terra", "gpt-6.1-sol", "gpt-6.2-sol"),
)
MODELS_THAT_REASON = {  # and the least effort each takes
    "gpt-5.4": "none",
    "gpt-5.4-mini": "none",
    "gpt-5.6-luna": "none",
    "gpt-6-luna": "none",
    "gpt-6.1-terra": "none",
    "gpt-6.1-sol": "low",
    "gpt-6.2-sol": "low",
}
ONE_ONLY = ("gpt-6.1-sol", "gpt-6.2-sol", "o3")
IMAGE_MODELS = ("dall-e-3",)
TOKEN_IMAGE_MODELS = (
    *("gpt-image-1.5", "gpt-image-2", "gpt-image-2.5-flare", "gpt-image-2.5-sunburst"),
    *("gpt-image-2.5-flare-2026-09-08", "gpt-image-2.6-flare", "gpt-image-2.6-sunburst"),
)
MODELS = (*TEXT_MODELS, *IMAGE_MODELS, *TOKEN_IMAGE_MODELS)
# Shut down by 2026-11-22, and the status they are refused with.
RETIRED = {"gpt-3.5-turbo": 404, "gpt-4": 404, "dall-e-3": 404}
# Of gpt-image-2.5 at 1024x1024.
OUTPUT_TOKENS = {"low": 196, "medium": 439, "high": 1756, "auto": 1756, "xhigh": 3122, "max": 7024}


class Dropped(Response):
    """An answer that breaks off: the connection closes long before the promised length."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = (self.media_type or "application/json").encode()
        headers = [(b"content-type", kind), (b"content-length", b"100000")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        raise ConnectionAbortedError("told to drop the connection")


def _error(
    status: int, code: str, message: str, retry_after: Any = None, param: str | None = None
) -> Response:
    body = {"message": message, "type": code, "param": param, "code": code}
    headers = {"x-request-id": "req_refused"}
    if retry_after is not None:
        headers["retry-after"] = str(retry_after)
    return JSONResponse({"error": body}, status_code=status, headers=headers)


def _unauthorized(request: Request, told: dict[str, Any]) -> Response:
    key = request.headers.get("authorization", "").removeprefix("Bearer ")
    said = f"Incorrect API key provided: {key[:8]}****{key[-4:]}. You can find yours as {key}."
    return _error(401, "invalid_api_key", said)


def _echoed_key(request: Request, told: dict[str, Any]) -> Response:
    key = request.headers.get("authorization", "").removeprefix("Bearer ")
    return _error(
        400, "invalid_request", f"Bad key {key}, also {key[8:20]}, {key[:3]}***{key[-4:]}"
    )


def _rate_limited(request: Request, told: dict[str, Any]) -> Response:
    return _error(429, "rate_limit_exceeded", "Rate limit reached", told.get("retry_after", 1))


def _out_of_money(request: Request, told: dict[str, Any]) -> Response:
    return _error(429, "insufficient_quota", "You exceeded your current quota")


def _server_error(request: Request, told: dict[str, Any]) -> Response:
    said = "The server had an error while processing your request"
    return _error(told.get("status", 500), "server_error", said, told.get("retry_after"))


def _blocked(request: Request, told: dict[str, Any]) -> Response:
    code = "content_policy_violation"
    return _error(400, code, "Your request was rejected by our safety system")


def _broken_json(request: Request, told: dict[str, Any]) -> Response:
    headers = {"x-request-id": "req_broken"}
    return Response('{"id": "chatcmpl-1", "choices": [{"mess', 200, headers, "application/json")


def _not_json(request: Request, told: dict[str, Any]) -> Response:
    return Response("<html>a proxy's page</html>", media_type="text/html")


def _wrong_shape(request: Request, told: dict[str, Any]) -> Response:
    return JSONResponse({"choices": "none", "data": "none"})


def _verbatim(request: Request, told: dict[str, Any]) -> Response:
    body = base64.b64decode(told["base64"]) if "base64" in told else told["body"]
    headers = {"content-type": "application/json", **told.get("headers", {})}
    return Response(body, told.get("status", 200), headers)


def _dropped(request: Request, told: dict[str, Any]) -> Response:
    return Dropped(told.get("body", '{"id": "'))


# Behaviours that replace the answer.
FAULTS: dict[str, Callable[[Request, dict[str, Any]], Response]] = {
    "unauthorized": _unauthorized,
    "echoed_key": _echoed_key,
    "rate_limited": _rate_limited,
    "out_of_money": _out_of_money,
    "server_error": _server_error,
    "blocked": _blocked,
    "broken_json": _broken_json,
    "not_json": _not_json,
    "wrong_shape": _wrong_shape,
    "dropped": _dropped,
    "verbatim": _verbatim,
}
# Behaviours that change the answer: "slow" waits `seconds`; of "refused" and "empty" the first text
# is none, of "cut" for want of max_tokens; "n_ignored" sends one text, whatever n is; "no_usage"
# counts nothing; "b64_json" sends the image itself.
CHANGES = (
    *("ok", "slow", "refused", "empty", "cut", "n_ignored", "no_choices", "no_usage"),
    *("no_data", "b64_json"),
)


def _wrong_parameter(body: dict[str, Any]) -> Response | None:
    """The 400 of OpenAI for what this model does not take."""
    model = body["model"]
    wrong: list[str] = []
    if model in TOKEN_IMAGE_MODELS:
        wrong = [name for name in ("response_format", "style") if name in body]
        if body.get("quality", "auto") not in OUTPUT_TOKENS:
            wrong.append("quality")
    elif model in MODELS_THAT_REASON:
        effort = body.get("reasoning_effort", "medium")
        if effort == "none" and MODELS_THAT_REASON[model] != "none":
            wrong.append("reasoning_effort")
        if effort != "none":
            wrong += [name for name in ("temperature", "top_p") if name in body]
        if "max_tokens" in body:
            wrong.append("max_tokens")
    elif "reasoning_effort" in body:
        wrong.append("reasoning_effort")
    if model in ONE_ONLY and body.get("n", 1) > 1:
        wrong.append("n")
    if not wrong:
        return None
    said = f"Unsupported parameter: '{wrong[0]}' with {model}"
    return _error(400, "unsupported_parameter", said, param=wrong[0])


class StandIn:
    """The server, with its own memory of what it was told and asked."""

    def __init__(self, today: bool = False) -> None:
        self.retired_at_first = RETIRED if today else {}
        self.retired = dict(self.retired_at_first)
        self.coming: deque[dict[str, Any]] = deque()
        self.asked: list[dict[str, Any]] = []
        self.images: dict[str, bytes] = {}
        self.signed: dict[str, str | None] = {}
        self.numbers = itertools.count(1)

    async def behave(self, request: Request) -> tuple[Any, dict[str, Any], Response | None]:
        """What was asked, what was told to do now, and the answer if that replaces it."""
        body = json.loads(await request.body())
        headers = dict(request.headers)
        self.asked.append({"path": request.url.path, "headers": headers, "body": body})
        told = self.coming.popleft() if self.coming else {"behavior": "ok"}
        await asyncio.sleep(float(told.get("seconds", 0)))
        model = body.get("model")
        replaced = None
        if not headers.get("authorization", "").startswith("Bearer "):
            replaced = _error(401, "invalid_api_key", "You didn't provide an API key.")
        elif model not in MODELS or model in self.retired:
            status = self.retired.get(model, 404)
            replaced = _error(status, "model_not_found", f"The model `{model}` does not exist.")
        elif replaced := _wrong_parameter(body):
            pass
        elif fault := FAULTS.get(told["behavior"]):
            replaced = fault(request, told)
        return body, told, replaced

    async def chat_completions(self, request: Request) -> Response:
        body, told, replaced = await self.behave(request)
        if replaced:
            return replaced
        behavior = told["behavior"]
        prompt = body["messages"][-1]["content"]
        n = 1 if behavior == "n_ignored" else body.get("n", 1)
        texts = [f"[stand-in, not OpenAI] {prompt}"]
        texts += [f"{texts[0]} ({number})" for number in range(2, n + 1)]
        texts = told.get("texts", [told["text"]] if "text" in told else texts)
        messages = [{"role": "assistant", "refusal": None, "content": each} for each in texts]
        if behavior == "refused":
            messages[0] |= {"content": None, "refusal": "I can't help with that."}
        elif behavior in ("empty", "cut"):
            messages[0]["content"] = ""
        finish_reason = "length" if behavior == "cut" else "stop"
        finish_reasons = told.get("finish_reasons", [finish_reason] * len(messages))
        prompt_tokens = sum(len(each["content"]) for each in body["messages"]) // 3 + 4
        completion_tokens = sum(len(each["content"] or "") + 1 for each in messages)
        counted = {
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": prompt_tokens + completion_tokens,
        }
        number = next(self.numbers)
        answer: dict[str, Any] = {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": 1_790_000_000,
            "model": f"{body['model']}-0125",
            "choices": [
                {"index": index, "message": message, "finish_reason": finish_reason}
                for index, (message, finish_reason) in enumerate(
                    zip(messages, finish_reasons, strict=True)
                )
            ],
            "usage": told.get("usage", counted),
            "service_tier": told.get("service_tier", "default"),
        }
        if behavior == "no_choices":
            answer["choices"] = []
        elif behavior == "no_usage":
            del answer["usage"]
        return JSONResponse(answer, headers={"x-request-id": f"req_{number}"})

    async def images_generations(self, request: Request) -> Response:
        body, told, replaced = await self.behave(request)
        if replaced:
            return replaced
        number = next(self.numbers)
        by_tokens = body["model"] in TOKEN_IMAGE_MODELS
        picture = _png(body["prompt"], body.get("size", "1024x1024"))
        image: dict[str, Any] = {}
        if "url" in told:
            image["url"] = told["url"]
        elif by_tokens or "b64_json" in (told["behavior"], body.get("response_format")):
            image["b64_json"] = base64.b64encode(picture).decode()
        else:
            self.images[f"{number}.png"] = picture
            image["url"] = str(request.url_for("image", name=f"{number}.png"))
        answer: dict[str, Any] = {"created": 1_790_000_000, "data": [image]}
        if by_tokens:
            text_tokens = len(body["prompt"])
            output_tokens = OUTPUT_TOKENS[body.get("quality", "auto")]
            answer["usage"] = {
                "input_tokens": text_tokens,
                "input_tokens_details": {"text_tokens": text_tokens, "image_tokens": 0},
                "output_tokens": output_tokens,
                "total_tokens": text_tokens + output_tokens,
            }
        else:
            image["revised_prompt"] = f"[stand-in, not OpenAI] {body['prompt']}"
        if "usage" in told:
            answer["usage"] = told["usage"]
        if told["behavior"] == "no_data":
            answer["data"] = []
        elif told["behavior"] == "no_usage":
            answer.pop("usage", None)
        return JSONResponse(answer, headers={"x-request-id": f"req_{number}"})

    async def models(self, request: Request) -> Response:
        data = [
            {"id": name, "object": "model", "owned_by": "stand-in", "shutdown_date": None}
            for name in MODELS
            if name not in self.retired
        ]
        return JSONResponse({"object": "list", "data": data})

    async def image(self, request: Request) -> Response:
        picture = self.images.get(request.path_params["name"])
        return Response(picture, 200 if picture else 404, media_type="image/png")

    async def odd_image(self, request: Request) -> Response:
        """What may lie at an image's URL instead of an image."""
        kind = request.path_params["kind"]
        if kind in ("busy_once", "cut_once") and not self.images.pop(kind, None):
            self.images[kind] = b"was asked for"
            busy = Response(status_code=503)
            return (
                busy if kind == "busy_once" else Dropped(b"\xff\xd8\xff", media_type="image/jpeg")
            )
        if kind == "redirected":
            return RedirectResponse(request.url_for("odd_image", kind="webp"))
        if kind == "circle":
            return RedirectResponse(request.url)
        picture = _png("odd", "16x16")
        if kind == "huge":
            chunks = (picture.ljust(1_000_000) for _ in range(60))
            return StreamingResponse(chunks, media_type="image/png")
        return Response(picture, 404 if kind == "gone" else 200, media_type=ODD_TYPES.get(kind))

    async def signed_image(self, request: Request) -> Response:
        """An image, or a redirect, where what is asked for is to the byte what was signed."""
        target = request.scope["raw_path"] + b"?" + request.scope["query_string"]
        asked = target.removesuffix(b"?").decode()
        if asked not in self.signed:
            return Response(status_code=403)
        location = self.signed[asked]
        if location is None:
            return Response(_png("signed", "16x16"), media_type="image/png")
        redirect = Response(status_code=302)
        redirect.raw_headers.append((b"location", location.encode()))
        return redirect

    async def sign(self, request: Request) -> Response:
        self.signed |= await request.json()
        return JSONResponse(self.signed)

    async def retire(self, request: Request) -> Response:
        self.retired = await request.json()
        return JSONResponse(self.retired)

    async def tell(self, request: Request) -> Response:
        told = await request.json()
        for each in told if isinstance(told, list) else [told]:
            if each.get("behavior") not in (*FAULTS, *CHANGES):
                known = ", ".join((*FAULTS, *CHANGES))
                return JSONResponse({"error": f"behavior must be one of {known}"}, 400)
            self.coming.extend([each] * each.get("times", 1))
        return JSONResponse({"coming": list(self.coming)})

    async def remembered(self, request: Request) -> Response:
        return JSONResponse(self.asked)

    async def forget(self, request: Request) -> Response:
        self.coming.clear()
        self.asked.clear()
        self.signed.clear()
        self.retired = dict(self.retired_at_first)
        return JSONResponse({})

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/chat/completions", self.chat_completions, methods=["POST"]),
                Route("/v1/images/generations", self.images_generations, methods=["POST"]),
                Route("/v1/models", self.models),
                Route("/images/{name}", self.image, name="image"),
                Route("/odd/{kind}", self.odd_image, name="odd_image"),
                Route("/signed/{name:path}", self.signed_image),
                Route("/stand-in/signed", self.sign, methods=["PUT"]),
                Route("/stand-in/retired", self.retire, methods=["PUT"]),
                Route("/stand-in/next", self.tell, methods=["POST"]),
                Route("/stand-in/requests", self.remembered, methods=["GET"]),
                Route("/stand-in/requests", self.forget, methods=["DELETE"]),
            ]
        )


ODD_TYPES = {
    "html": "text/html",
    "svg": "image/svg+xml",
    "untyped": "application/octet-stream",
    "webp": "image/webp",
    "busy_once": "image/jpeg",
    "cut_once": "image/jpeg",
    "gone": "image/png",
}


@functools.cache
def _png(prompt: str, size: str) -> bytes:
    """A real picture of the size asked for: a gradient in a colour of its prompt's own."""
    width, height = (int(side) for side in ("64x64" if size == "auto" else size).split("x"))
    red, green, blue = hashlib.sha256(prompt.encode()).digest()[:3]
    rows = b"".join(
        b"\x00" + bytes((red, green * y // height, blue * (height - y) // height)) * width
        for y in range(height)
    )

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def config(*, today: bool = False, **options: Any) -> uvicorn.Config:
    """How uvicorn serves it; a dropped connection is meant, so its traceback stays out. At the end
    it waits for nobody who was told to be slow."""
    options = {
        "log_level": "critical",
        "access_log": False,
        "timeout_graceful_shutdown": 0,
        **options,
    }
    return uvicorn.Config(StandIn(today).app(), **options)


@contextlib.contextmanager
def serving(*, today: bool = False, **options: Any) -> Iterator[str]:
    """The address of a stand-in that runs in a thread of this process."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(config(today=today, **options))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"Behaviours: {', '.join((*FAULTS, *CHANGES))}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--today", action="store_true", help="refuse what OpenAI has shut down")
    at = parser.parse_args()
    try:
        listening = socket.create_server((at.host, at.port))
    except OSError as error:
        parser.exit(1, f"Cannot listen on {at.host}:{at.port}: {error.strerror}\n")
    host, port = listening.getsockname()
    print(f"A stand-in for OpenAI: OPENAI_BASE_URL=http://{host}:{port}/v1", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config(today=at.today)).run(sockets=[listening])
