"""The same order of commits without the ledger: two plain short transactions, each in a thread."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import update
from sqlalchemy.orm import Session

import database
import models
import pricing
from bench.bare import Asked
from settings import load

engine = database.make_engine(load())


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
    job_id = await run_in_threadpool(open_job, asked.prompt)
    made = await app.state.openai.chat.completions.create(
        model="gpt-3.5-turbo",
        messages=[{"role": "user", "content": asked.prompt}],
        max_completion_tokens=asked.max_tokens,
    )
    text, usage = made.choices[0].message.content, made.usage
    cost = pricing.text_cost_usd("gpt-3.5-turbo", usage.prompt_tokens, usage.completion_tokens)
    await run_in_threadpool(settle, job_id, asked.prompt, text, float(cost or 0))
    return {"text": text, "model": "gpt-3.5-turbo"}


def open_job(prompt: str) -> int:
    job = models.GenJob(job_type="text", model="gpt-3.5-turbo", prompt=prompt, status="pending")
    with Session(engine) as session:
        session.add(job)
        session.flush()
        job_id = job.id
        session.commit()
    return job_id


def settle(job_id: int, prompt: str, text: str, cost: float) -> None:
    content = models.GeneratedContent(
        content_type="text", prompt=prompt, result=text, model="gpt-3.5-turbo", job_id=job_id
    )
    end = {"status": "completed", "estimated_cost": cost, "completed_at": models.utc_now()}
    with Session(engine) as session:
        session.execute(update(models.GenJob).where(models.GenJob.id == job_id).values(**end))
        session.add(content)
        session.commit()
