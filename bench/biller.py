"""An OpenAI that bills: it refuses, is slow, or hangs up, and knows what each request it accepted
cost, down to the last token that the request allows."""

import asyncio
import random
from collections import defaultdict
from decimal import Decimal
from typing import Any

from aiohttp import web

import bounds
import pricing

RETIRED = ("gpt-3.5-turbo", "gpt-image-1.5")
REFUSES_N, IGNORES_N = ("gpt-5.4", "gpt-6.1-sol"), ("gpt-4o-mini",)
SLOW_SECONDS = 8  # longer than anyone waits
ONE_PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)


class Biller:
    """`billed_usd` is by prompt, however often it was asked. Calm, it answers all and bills the
    most."""

    def __init__(self) -> None:
        self.billed_usd: defaultdict[str, Decimal] = defaultdict(Decimal)
        self.is_calm = False

    async def text(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        model, n = asked["model"], asked.get("n", 1)
        if n > 1 and model in REFUSES_N:
            return _refusal(400, "Unsupported value: 'n'.", param="n", code="unsupported_value")
        if refusal := self._refusal(model):
            return refusal
        texts = 1 if model in IGNORES_N else n
        # A byte is a token at most, and the template has 4 for each message and 3 for the whole.
        sent = [4 + len(message["content"].encode()) for message in asked["messages"]]
        prompt = self._some(3 + sum(sent))
        cached, written = self._cached(prompt)
        completion = self._some(asked["max_completion_tokens"] * texts)
        has_priority = pricing.tier_price(model, "priority") is not None
        tier = "priority" if has_priority and (self.is_calm or random.random() < 0.3) else "default"
        usd = pricing.text_cost_usd(model, prompt, completion, cached, written, tier=tier)
        assert usd is not None
        what = {"content": None, "refusal": "No."} if self._is(0.03) else {"content": "좋은 아침"}
        answer = {
            "choices": [{"message": what, "finish_reason": "stop"}] * texts,
            "service_tier": tier,
            "usage": {
                "prompt_tokens": prompt,
                "completion_tokens": completion,
                "total_tokens": prompt + completion,
                "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
                "completion_tokens_details": {"reasoning_tokens": random.randint(0, completion)},
            },
        }
        return await self._answer(request, asked["messages"][-1]["content"], usd, answer)

    async def image(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        model, quality, size = asked["model"], asked["quality"], asked["size"]
        if refusal := self._refusal(model):
            return refusal
        answer: dict[str, Any] = {"data": [{"b64_json": ONE_PIXEL}]}
        tokens = None
        most = bounds.output_tokens(model, quality, size)
        if most:
            tokens = pricing.ImageTokens(
                self._some(7 + len(asked["prompt"].encode())), 0, self._some(most)
            )
            answer["usage"] = {
                "input_tokens": tokens.text_input,
                "output_tokens": tokens.output,
                "total_tokens": tokens.text_input + tokens.output,
            }
        usd = pricing.image_cost_usd(model, quality, size, tokens)
        assert usd is not None
        return await self._answer(request, asked["prompt"], usd, answer)

    def _refusal(self, model: str) -> web.Response | None:
        """What is not billed."""
        if model in RETIRED:
            return _refusal(404, f"The model {model} does not exist", code="model_not_found")
        if self._is(0.06):
            return _refusal(429, "Rate limit", {"retry-after": "0.1"})
        if self._is(0.06):
            return _refusal(500, "Oh no")
        return None

    async def _answer(
        self, request: web.Request, prompt: str, usd: Decimal, answer: dict[str, Any]
    ) -> web.StreamResponse:
        """Accepted: it is billed, whatever comes of it."""
        self.billed_usd[prompt] += usd
        if self.is_calm:
            return web.json_response(answer)
        await asyncio.sleep(random.expovariate(2))
        if self._is(0.03):
            await asyncio.sleep(SLOW_SECONDS)
        if self._is(0.03):
            return web.Response(status=502, text="<html>Bad gateway</html>")
        if self._is(0.03) and request.transport:
            request.transport.close()
        return web.json_response(answer)

    def _is(self, chance: float) -> bool:
        return not self.is_calm and random.random() < chance

    def _some(self, most: int) -> int:
        """Tokens, one at least, and now and then the most."""
        return most if self.is_calm or random.random() < 0.1 else random.randint(1, most)

    def _cached(self, prompt: int) -> tuple[int, int]:
        """How many tokens of a prompt were in the cache, and how many were written to it."""
        if self.is_calm:
            return 0, prompt
        cached = random.choice((0, random.randint(0, prompt)))
        return cached, random.choice((0, prompt - cached))


def _refusal(
    status: int, message: str, headers: dict[str, str] | None = None, **more: str
) -> web.Response:
    error = {"error": {"message": message, **more}}
    return web.json_response(error, status=status, headers=headers)
