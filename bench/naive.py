"""What one writes first: a sync handler that holds its session across the call."""

import os
from collections.abc import Iterator
from decimal import Decimal
from typing import Annotated, Any

import openai
from fastapi import Depends, FastAPI
from pydantic import BaseModel
from sqlalchemy.orm import Session

import database
import models
import pricing
from settings import load

app = FastAPI()
engine = database.make_engine(load())
client = openai.OpenAI(base_url=os.environ["OPENAI_BASE_URL"], max_retries=0)


def get_db() -> Iterator[Session]:
    with Session(engine, expire_on_commit=False) as session:
        yield session


class Asked(BaseModel):
    prompt: str
    max_tokens: int = 150


@app.post("/generate/text")
def generate_text(asked: Asked, db: Annotated[Session, Depends(get_db)]) -> dict[str, Any]:
    job = models.GenJob(
        job_type="text", model="gpt-3.5-turbo", prompt=asked.prompt, status="pending"
    )
    db.add(job)
    db.flush()
    made = client.chat.completions.create(
        model="gpt-3.5-turbo",
        messages=[{"role": "user", "content": asked.prompt}],
        max_completion_tokens=asked.max_tokens,
    )
    text, usage = made.choices[0].message.content or "", made.usage
    cost = Decimal(0)
    if usage:
        cost += pricing.text_cost_usd(job.model, usage.prompt_tokens, usage.completion_tokens) or 0
    job.status, job.estimated_cost, job.completed_at = "completed", float(cost), models.utc_now()
    content = models.GeneratedContent(
        content_type="text", prompt=asked.prompt, result=text, model=job.model
    )
    db.add(content)
    db.commit()
    return {"text": text, "model": job.model, "cost": float(cost)}
