"""An OpenAI that answers at once, or after the seconds last PUT to /delay/{seconds}."""

import asyncio
import json
from typing import Any

from starlette.types import Receive, Scope, Send

ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "gpt-3.5-turbo-0125",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "아침을 깨우는 신선한 한 잔"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 45, "completion_tokens": 32, "total_tokens": 77},
    },
    ensure_ascii=False,
).encode()
HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-length", str(len(ANSWER)).encode()),
    (b"x-request-id", b"req_bench"),
]
state: dict[str, Any] = {"delay_seconds": 0.0}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    if scope["path"].startswith("/delay/"):
        state["delay_seconds"] = float(scope["path"].removeprefix("/delay/"))
    elif state["delay_seconds"]:
        await asyncio.sleep(state["delay_seconds"])
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})
