"""Copy: n variants asked for at once, or singly where a model gives one at a time; one result."""

import asyncio
from collections import defaultdict
from decimal import Decimal
from functools import partial
from typing import Any

import models
import pricing
from generation import responses
from generation.client import OpenAIClient, Request, safety_identifier
from generation.prompts import Messages
from generation.results import (
    Bill,
    Failure,
    GenerationError,
    Response,
    TextJob,
    TextResult,
    Usage,
    WrittenText,
)

# What a text's finish_reason means for people.
CUT_BY = {
    "length": "cut off at max_tokens. Ask with a larger max_tokens.",
    "content_filter": "cut off by OpenAI's content filter. Change the prompt.",
    responses.INCOMPLETE: "cut off: OpenAI's answer broke off before its end.",
}


async def generate(client: OpenAIClient, job: TextJob, messages: Messages) -> TextResult:
    """Return the copy that the job asks for. Raises GenerationError where not one variant came, and
    KeyError for a model without a price."""
    # One deadline for all requests of the job, however many they become.
    ends_at = client.text.ends_at
    outcomes: list[Response | Failure] = []
    served = 0
    if job.n == 1 or client.resolve(job.model) not in client.single_choice:
        at_once = Request(client.text, job.model, partial(_body, job, messages, job.n), ends_at)
        outcomes.append(await client.ask(at_once))
        served = _served(outcomes[0], job.n)
    # Some models refuse n, some servers ignore it: they are asked for one text at a time.
    one = Request(client.text, job.model, partial(_body, job, messages, 1), ends_at)
    singly = await _ask_each(client, [one] * (job.n - served))
    if served == 1:
        for response in _responses(singly):
            client.single_choice.add(response.model)
    return _merged(client, job, outcomes + singly)


def _body(job: TextJob, messages: Messages, n: int, model: str) -> dict[str, Any]:
    body = {"model": model, "messages": messages, "max_completion_tokens": job.max_tokens}
    known = pricing.text_model(model)
    if known and known.reasoning_effort:
        body["reasoning_effort"] = known.reasoning_effort
    if n > 1:
        body["n"] = n
    body.update(safety_identifier(job.user_id))
    return body


def _served(outcome: Response | Failure, n: int) -> int:
    """Of n texts asked for in one request, how many the provider took the request for."""
    # Of a response that broke off, all: what is missing may have been billed.
    if isinstance(outcome, Failure):
        # Any other failure is that of all n.
        if outcome.refuses_n:
            return 0
        return n
    if responses.dig(outcome.body, responses.BROKE_OFF):
        return n
    return min(n, len(responses.choices(outcome.body)) or n)


async def _ask_each(client: OpenAIClient, requests: list[Request]) -> list[Response | Failure]:
    """Return what each of the requests comes to when all are sent at once."""
    # Cancelled, it waits for what they come to then: the responses that are there have been paid
    # for.
    outcomes: list[Response | Failure] = []

    async def ask(request: Request) -> None:
        outcomes.append(await client.ask(request))

    try:
        async with asyncio.TaskGroup() as group:
            for request in requests:
                group.create_task(ask(request))
    except asyncio.CancelledError:
        why = "the server was stopped before OpenAI was asked."
        for request in requests[len(outcomes) :]:
            outcomes.append(Failure(why, model=request.model, attempts=0))
    return outcomes


def _merged(client: OpenAIClient, job: TextJob, outcomes: list[Response | Failure]) -> TextResult:
    """Return the texts of all these requests with the one bill; why one is missing, if so."""
    answered = _responses(outcomes)
    failures = [each for each in outcomes if isinstance(each, Failure)]
    # What may have been billed is the reason that people need most.
    failures.sort(key=lambda failure: not failure.is_unanswered)
    texts: list[WrittenText] = []
    why_missing = [each.reason for each in failures if not each.refuses_n]
    for response in answered:
        texts += _texts(response)
        why_missing += _why_missing(client, response)
    bill = _bill(client, answered, failures)
    if not texts:
        is_unanswered = any(each.is_unanswered for each in failures)
        raise GenerationError(why_missing[0], bill, is_unanswered=is_unanswered)
    # A server may send more than were asked for.
    kept = tuple(texts[: job.n])
    warnings = []
    if len(kept) < job.n:
        missing = job.n - len(kept)
        warnings.append(f"{missing} of the {job.n} variants came to nothing: {why_missing[0]}")
    warnings += client.substitutions(client.text, job, answered)
    warnings += _why_cut(kept)
    return TextResult(bill, kept, " ".join(warnings) or None)


def _responses(outcomes: list[Response | Failure]) -> list[Response]:
    return [each for each in outcomes if isinstance(each, Response)]


def _texts(response: Response) -> list[WrittenText]:
    texts = []
    for choice in responses.choices(response.body):
        if (text := responses.choice_text(choice)).strip():
            texts.append(WrittenText(text, responses.finish_reason(choice)))
    return texts


def _why_missing(client: OpenAIClient, response: Response) -> list[str]:
    """Say why the response, or a choice of it, holds no text."""
    reasons = []
    if responses.dig(response.body, responses.BROKE_OFF):
        reasons.append("OpenAI's answer broke off before its end.")
    for choice in responses.choices(response.body) or [None]:
        if not responses.choice_text(choice).strip():
            reasons.append(client.without_key(responses.why_empty(response.body, choice)))
    return reasons


def _bill(client: OpenAIClient, answered: list[Response], failures: list[Failure]) -> Bill:
    """Return what all the requests took together; nobody knows a sum of which a part is not
    known."""
    outcomes: list[Response | Failure] = [*answered, *failures]
    usages: list[Usage] = []
    cost_usd: Decimal | None = Decimal(0)
    for outcome in outcomes:
        if isinstance(outcome, Failure):
            part_usd = outcome.cost_usd
        elif usage := responses.text_usage(outcome.body):
            usages.append(usage)
            part_usd = _cost_usd(outcome, usage, client.is_regional)
        else:
            part_usd = None
        if cost_usd is None or part_usd is None:
            cost_usd = None
        else:
            cost_usd += part_usd
    return Bill(
        outcomes[0].model,
        cost_usd,
        responses.added_up(usages),
        sum(each.attempts for each in outcomes),
        next((each.request_id for each in outcomes if each.request_id), None),
    )


def _cost_usd(response: Response, usage: Usage, is_regional: bool) -> Decimal | None:
    has_counts = usage.prompt_tokens and usage.completion_tokens
    if not has_counts and responses.has_result(response.body):
        return None  # a text of no tokens is none
    return pricing.text_cost_usd(
        response.model,
        usage.prompt_tokens,
        usage.completion_tokens,
        usage.cached_tokens or 0,
        usage.cache_write_tokens or 0,
        reasoning_tokens=usage.reasoning_tokens or 0,
        total_tokens=usage.total_tokens,
        tier=responses.service_tier(response.body),
        regional=is_regional,
    )


def _why_cut(texts: tuple[WrittenText, ...]) -> list[str]:
    """Say which of the texts are not whole and what to do, a sentence or two for each reason."""
    numbers: defaultdict[str, list[str]] = defaultdict(list)
    for number, text in enumerate(texts, 1):
        if text.finish_reason and models.is_cut(text.finish_reason):
            numbers[text.finish_reason].append(str(number))
    warnings = []
    for finish_reason, cut in numbers.items():
        which = "The text was" if len(texts) == 1 else _which(cut)
        why = CUT_BY.get(finish_reason, f"cut off (finish_reason {finish_reason}).")
        warnings.append(f"{which} {why}")
    return warnings


def _which(numbers: list[str]) -> str:
    if len(numbers) == 1:
        return f"Variant {numbers[0]} was"
    return f"Variants {', '.join(numbers[:-1])} and {numbers[-1]} were"
