"""The floor: FastAPI and the OpenAI SDK on aiohttp, and no record of anything."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
from fastapi import FastAPI
from pydantic import BaseModel


class Asked(BaseModel):
    prompt: str
    max_tokens: int = 150


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.openai = openai.AsyncOpenAI(
        base_url=os.environ["OPENAI_BASE_URL"], http_client=openai.DefaultAioHttpClient()
    )
    yield
    await app.state.openai.close()


app = FastAPI(lifespan=lifespan)


@app.post("/generate/text")
async def generate_text(asked: Asked) -> dict[str, Any]:
    made = await app.state.openai.chat.completions.create(
        model="gpt-3.5-turbo",
        messages=[{"role": "user", "content": asked.prompt}],
        max_completion_tokens=asked.max_tokens,
    )
    return {"text": made.choices[0].message.content, "model": "gpt-3.5-turbo"}
