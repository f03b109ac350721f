"""The one door to OpenAI: asks, counts, prices; knows no database and no HTTP status of ours."""

import asyncio
import hashlib
import logging
import math
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import aiohttp
import httpx2
import openai
import tenacity

import models
import pricing
from generation import connection, refusals
from generation import responses as wire
from generation.results import Generation, GenerationError, Usage
from settings import Settings, stop

DEFAULT_BASE_URL = "https://api.openai.com/v1"
GATEWAY_TIMEOUTS = (408, 504, 524)
# Cloudflare's words for an origin that no request has reached: its documentation of 5xx errors.
UNREACHED_ORIGIN = (521, 522, 523, 525, 526)
# The SDK leaves the body of a 200 to us: what comes of one that breaks off is not lost.
READ_HERE: bool = True
GPT_IMAGE_QUALITIES = {"standard": "medium", "hd": "high"}
# What to do about a 401 or a 403 that is not about the key itself, by its code or its words.
ACCESS_ADVICE = {
    "incorrect_hostname": "Set OPENAI_BASE_URL to the host of this key's region.",
    "mismatched_organization": "OPENAI_ORG_ID must name the organization of OPENAI_API_KEY.",
    "mismatched_project": "OPENAI_PROJECT_ID must name the project of OPENAI_API_KEY.",
    "must be verified": "Verify it in your OpenAI account, or name another model.",
    "unsupported_country": "Run this service where OpenAI is available.",
    "model_not_found": "Allow the model in the project's settings, or name another model.",
    "ip_not_authorized": "Allow this machine's address in the project's settings.",
    "insufficient_permissions": "Give the key in OPENAI_API_KEY the permission that is missing.",
}
# What a text's finish_reason means for people.
CUT_BY = {
    "length": "cut off at max_tokens. Ask with a larger max_tokens.",
    "content_filter": "cut off by OpenAI's content filter. Change the prompt.",
    wire.INCOMPLETE: "cut off: OpenAI's answer broke off before its end.",
}
# How long one refusal, which may be a stray one, is taken to hold.
REMEMBER_SECONDS = 300
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 8
MAX_REASON = 500  # characters

log = logging.getLogger("uvicorn.error")


@dataclass(frozen=True)
class Answer:
    """A 200 of OpenAI: its JSON, the model that was asked, at which attempt it came, and OpenAI's
    id of the request."""

    body: Any
    model: str
    attempts: int
    request_id: str | None


@dataclass(frozen=True)
class Endpoint:
    """Where one kind of generation is asked for, how long it may take, all attempts together, and
    the setting that names its default model."""

    path: str
    timeout_seconds: float
    setting: str
    default_model: str


Call = Callable[[], Awaitable[Answer]]


class Memory:
    """Names of models, each remembered for so many seconds."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def add(self, name: str, seconds: float) -> None:
        self._until[name] = time.monotonic() + seconds

    def __contains__(self, name: str) -> bool:
        return self._until.get(name, 0) > time.monotonic()


def check_defaults(settings: Settings) -> None:
    """End the process where nobody can know what a default model costs."""
    for name, value, model, known in (
        ("TEXT_MODEL", settings.text_model, pricing.text_model, pricing.TEXT_MODELS),
        ("IMAGE_MODEL", settings.image_model, pricing.image_model, pricing.IMAGE_MODELS),
    ):
        if model(value) is None:
            stop(f"{name} is {value}, which has no known price. Set one of {', '.join(known)}.")


class OpenAIClient:
    """OpenAI, or the compatible server at `openai_base_url`. One per process; close it."""

    def __init__(self, api_key: str, settings: Settings) -> None:
        self._api_key = api_key
        self._text = Endpoint(
            "/chat/completions", settings.text_timeout_seconds, "TEXT_MODEL", settings.text_model
        )
        self._image = Endpoint(
            "/images/generations",
            settings.image_timeout_seconds,
            "IMAGE_MODEL",
            settings.image_model,
        )
        self._max_attempts = settings.max_attempts
        self._gone = Memory()
        self._one_only = Memory()
        self._regional = pricing.is_regional(settings.openai_base_url)
        self._openai = openai.AsyncOpenAI(
            api_key=api_key,
            base_url=settings.openai_base_url or DEFAULT_BASE_URL,
            # The SDK's own retries repeat a call that may have been billed.
            max_retries=0,
            # What wire.py can inflate.
            default_headers={"Accept-Encoding": "gzip, deflate"},
            # How long an answer may take is decided in _ask.
            timeout=httpx2.Timeout(None, connect=connection.CONNECT_TIMEOUT_SECONDS),
            http_client=connection.http_client(settings.openai_base_url or DEFAULT_BASE_URL),
        )

    async def close(self) -> None:
        await self._openai.close()

    def living(self, model: str) -> str:
        """The model, or who took over from it, as far as this process knows."""
        return self._living_line(model)[0]

    def _living_line(self, model: str) -> list[str]:
        """Never empty: who is last in a line is never remembered as gone."""
        return [name for name in pricing.line(model) if name not in self._gone]

    async def generate_text(
        self,
        model: str | None,
        messages: list[Any],
        max_tokens: int,
        user_id: int | None = None,
        n: int = 1,
    ) -> Generation:
        """Copy for these messages, in n variants, by the model or the default one. Raises
        GenerationError where not one came, and KeyError for an unpriced model."""
        wanted = model or self._text.default_model
        ends_at = asyncio.get_running_loop().time() + self._text.timeout_seconds

        def asking_for(n: int) -> Call:
            def asked(model: str) -> dict[str, Any]:
                body = {"model": model, "messages": messages, "max_completion_tokens": max_tokens}
                known = pricing.text_model(model)
                if known and known.reasoning_effort:
                    body["reasoning_effort"] = known.reasoning_effort
                return body if n == 1 else {**body, "n": n}

            return lambda: self._ask(self._text, wanted, asked, user_id, ends_at)

        outcomes: list[Answer | GenerationError] = []
        came = 0
        if n == 1 or self.living(wanted) not in self._one_only:
            outcomes = await _outcomes([asking_for(n)])
            came = _understood(outcomes[0], n)
        # Some models refuse n, some servers ignore it: they are asked for one text at a time.
        singly = await _outcomes([asking_for(1)] * (n - came))
        if came == 1:
            for each in singly:
                if isinstance(each, Answer):
                    self._one_only.add(each.model, REMEMBER_SECONDS)
        return self._together(outcomes + singly, n, model)

    def _together(
        self, outcomes: list["Answer | GenerationError"], n: int, model: str | None
    ) -> Generation:
        """The texts of all these calls, and what the calls took; why one is missing, if so."""
        answers = [each for each in outcomes if isinstance(each, Answer)]
        failures = [each for each in outcomes if isinstance(each, GenerationError)]
        failures.sort(key=lambda failure: not failure.unanswered)
        texts, ends = list[str](), list[str | None]()
        why_not = [str(each) for each in failures if not each.n_refused]
        for answer in answers:
            if wire.dig(answer.body, wire.BROKE_OFF):
                why_not.append("OpenAI's answer broke off before its end.")
            choices = wire.choices(answer.body) or [None]
            for choice in choices:
                if (text := wire.choice_text(choice)).strip():
                    texts.append(text)
                    ends.append(wire.finish_reason(choice))
                else:
                    why_not.append(self._without_key(wire.why_empty(answer.body, choice)))
        usages = [wire.text_usage(answer.body) for answer in answers]
        costs = [each.cost_usd for each in failures]
        for answer, usage in zip(answers, usages, strict=True):
            costs.append(self._text_cost_usd(answer, usage) if usage else None)
        outcomes = [*answers, *failures]
        took: dict[str, Any] = {
            "model": outcomes[0].model,
            "cost_usd": None if None in costs else sum(filter(None, costs), Decimal(0)),
            "usage": wire.added_up([usage for usage in usages if usage]),
            "attempts": sum(each.attempts or 0 for each in outcomes),
            "request_id": next((each.request_id for each in outcomes if each.request_id), None),
        }
        if not texts:
            unanswered = any(each.unanswered for each in failures)
            raise GenerationError(why_not[0], unanswered=unanswered, **took)
        warnings = self._handed_over(self._text, model, answers) + _why_cut(ends[:n])
        if missing := max(0, n - len(texts)):
            warnings.insert(0, f"{missing} of the {n} variants came to nothing: {why_not[0]}")
        return Generation(
            texts[0],
            others=tuple(texts[1:n]),
            finish_reasons=tuple(ends[:n]),
            warning=" ".join(warnings) or None,
            **took,
        )

    async def generate_image(
        self,
        model: str | None,
        prompt: str,
        size: str,
        quality: str,
        user_id: int | None = None,
    ) -> Generation:
        """One image for the prompt, by the model or the default one. Raises GenerationError, and
        KeyError for an unpriced model."""

        def asked(model: str) -> dict[str, Any]:
            known = pricing.image_model(model)
            is_gpt_image = known and known.bills_tokens
            own = GPT_IMAGE_QUALITIES.get(quality, quality) if is_gpt_image else quality
            return {"model": model, "prompt": prompt, "size": size, "quality": own, "n": 1}

        answer = await self._ask(self._image, model or self._image.default_model, asked, user_id)
        usage = wire.image_usage(answer.body)
        cost_usd = self._image_cost_usd(answer, usage, quality, size)
        image = wire.image(answer.body)
        given = [wire.dig(image, name) for name in ("url", "b64_json")]
        url, encoded = (each.strip() if isinstance(each, str) else "" for each in given)
        # Some gateways send a data: URL, in either place.
        encoded = encoded or (url if url.startswith("data:") else "")
        encoded = "".join(encoded.rpartition(",")[2].split())
        encoded += "=" * (-len(encoded) % 4)  # which some leave out
        if not (encoded or url.lower().startswith(("http://", "https://"))):
            known = pricing.image_model(answer.model)
            raise GenerationError(
                self._without_key(wire.reason(answer.body) or "OpenAI answered without an image."),
                model=answer.model,
                # Tokens are billed whatever came of them; whether an image is, nobody knows.
                cost_usd=cost_usd if known and known.bills_tokens else None,
                usage=usage,
                attempts=answer.attempts,
                request_id=answer.request_id,
            )
        return Generation(
            f"data:image/png;base64,{encoded}" if encoded else url,
            answer.model,
            cost_usd,
            usage,
            wire.plain_text(wire.dig(image, "revised_prompt")) or None,
            attempts=answer.attempts,
            request_id=answer.request_id,
            warning=" ".join(self._handed_over(self._image, model, [answer])) or None,
        )

    def _text_cost_usd(self, answer: Answer, usage: Usage) -> Decimal | None:
        if not (usage.prompt_tokens and usage.completion_tokens) and wire.has_result(answer.body):
            return None  # a text of no tokens is none
        return pricing.text_cost_usd(
            answer.model,
            usage.prompt_tokens,
            usage.completion_tokens,
            usage.cached_tokens or 0,
            usage.cache_write_tokens or 0,
            reasoning_tokens=usage.reasoning_tokens or 0,
            total_tokens=usage.total_tokens,
            tier=wire.service_tier(answer.body),
            regional=self._regional,
        )

    def _image_cost_usd(
        self, answer: Answer, usage: Usage | None, quality: str, size: str
    ) -> Decimal | None:
        tokens = None
        if usage and (usage.completion_tokens or not wire.has_result(answer.body)):
            tokens = _image_tokens(answer.body, usage)
        if wire.service_tier(answer.body) not in pricing.LIST_TIERS:
            return None  # images are sold at no other
        return pricing.image_cost_usd(answer.model, quality, size, tokens, regional=self._regional)

    def _handed_over(
        self, endpoint: Endpoint, model: str | None, answers: list[Answer]
    ) -> list[str]:
        """Which other model answered in place of the one that was named, or of a default that
        lives: where a default has ended, its successor is what was to be expected."""
        wanted = model or endpoint.default_model
        others = dict.fromkeys(answer.model for answer in answers if answer.model != wanted)
        if not others or (model is None and pricing.has_ended(wanted)):
            return []
        return [
            f"{other} answered in place of {wanted}: {self._openai.base_url.host} said that it has "
            "no such model."
            for other in others
        ]

    async def _ask(
        self,
        endpoint: Endpoint,
        model: str,
        asked: Callable[[str], dict[str, Any]],
        user_id: int | None,
        ends_at: float | None = None,
    ) -> Answer:
        """Send what is asked of the model, or of its successor where the server has it no more,
        until an answer comes, so long as nothing can be billed twice and the one deadline of all
        attempts is not over (`ends_at` in the loop's time). Raises GenerationError."""
        attempts = 0
        seconds = endpoint.timeout_seconds
        ends_at = ends_at or asyncio.get_running_loop().time() + seconds

        async def attempt(model: str) -> Answer:
            nonlocal attempts
            attempts += 1
            request = asked(model)
            if user_id is not None:
                request["safety_identifier"] = _safety_identifier(user_id)
            body, request_id = await self._send(endpoint.path, request)
            return Answer(body, model, attempts, request_id)

        def unanswered(why: str) -> GenerationError:
            why = f"{why}; the call may have been billed."
            return GenerationError(why, model=name, unanswered=True, attempts=attempts)

        names = self._living_line(model)
        name, gone = names[0], list[str]()
        try:
            async with asyncio.timeout_at(ends_at) as deadline:
                for name in names:
                    try:
                        answer: Answer = await self._retrying(deadline)(attempt, name)
                        return answer
                    except GenerationError as error:
                        if not error.model_gone:
                            raise
                        gone.append(name)
            raise GenerationError(
                f"{self._openai.base_url.host} has no model {' and no '.join(names)}. Set "
                f"{endpoint.setting} to one that it has, or name one as model.",
                cost_usd=Decimal(0),
            )
        except TimeoutError as error:
            raise unanswered(f"OpenAI did not answer within {seconds:g} seconds") from error
        except asyncio.CancelledError as error:
            raise unanswered("the server was stopped before OpenAI answered") from error
        except GenerationError as error:
            error.model, error.attempts = name, attempts
            raise
        finally:
            if gone != names:
                self._remember_gone(gone, name)

    def _retrying(self, deadline: asyncio.Timeout) -> tenacity.AsyncRetrying:
        seconds_left = (deadline.when() or 0) - asyncio.get_running_loop().time()
        return tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(_is_retryable),
            wait=_pause_seconds,
            # A pause that would outlast the deadline is not begun: the deadline only ends calls.
            stop=tenacity.stop_after_attempt(self._max_attempts)
            | tenacity.stop_before_delay(seconds_left),
            reraise=True,
        )

    def _remember_gone(self, names: list[str], successor: str) -> None:
        """Ask the successor at once from now on; say so once. Of a model that is to live on, the
        refusal may be a stray one: that is remembered for minutes."""
        for name in names:
            if name not in self._gone:
                self._gone.add(name, math.inf if pricing.has_ended(name) else REMEMBER_SECONDS)
                log.warning(
                    "%s has no model %s: %s is asked in its place. To choose another, set "
                    "TEXT_MODEL or IMAGE_MODEL.",
                    self._openai.base_url.host,
                    name,
                    successor,
                )

    async def _send(self, path: str, asked: dict[str, Any]) -> tuple[Any, str | None]:
        """The JSON of one answer and OpenAI's id of the request. Raises GenerationError, which says
        what this way to fail means for the bill."""
        host = self._openai.base_url.host
        request_id = None
        try:
            # The SDK's methods of each endpoint check their parameters against its types first and
            # build models of the answer: a third of a request's CPU, for what is known here.
            response = await self._openai.post(
                path, body=asked, cast_to=httpx2.Response, stream=READ_HERE
            )
            assert isinstance(response, httpx2.Response)
            request_id = wire.request_id(response)
            return await _read(response, "text" if path == self._text.path else "image"), request_id
        except openai.APIStatusError as error:
            if error.status_code == connection.PROXY_WANTS_PASSWORD:
                why = f"{host} cannot be reached: {connection.why_proxy_refused(error.status_code)}"
                raise GenerationError(why, cost_usd=Decimal(0)) from error
            raise self._refusal(error, asked) from error
        except openai.APIConnectionError as error:
            if unreached := connection.unreached_by(error):
                raise GenerationError(
                    f"{host} cannot be reached: {connection.why_unreached(unreached)}",
                    cost_usd=Decimal(0),
                    retryable=connection.may_pass(unreached),
                ) from error
            raise self._broke_off(None) from error
        except httpx2.HTTPError as error:
            raise self._broke_off(request_id) from error
        except (openai.OpenAIError, aiohttp.ClientError, ValueError) as error:
            why = "OpenAI's answer could not be read; the call may have been billed."
            raise GenerationError(why, unanswered=True, request_id=request_id) from error

    def _broke_off(self, request_id: str | None) -> GenerationError:
        return GenerationError(
            f"the connection to {self._openai.base_url.host} broke off before the answer was "
            "complete; the call may have been billed.",
            unanswered=True,
            request_id=request_id,
        )

    def _refusal(self, error: openai.APIStatusError, asked: dict[str, Any]) -> GenerationError:
        """An error status for people and for the books."""
        status, headers = error.status_code, error.response.headers
        refusal = refusals.read(error.response.content, error.response.charset_encoding)
        # What the provider says itself, it did not bill; a gateway that gave up waiting, or whose
        # origin broke off, cannot know.
        lost = status >= 500 and status not in UNREACHED_ORIGIN and not refusal.is_providers
        unanswered = lost or status in GATEWAY_TIMEOUTS
        n_refused = asked.get("n", 1) > 1 and status in (400, 422) and refusal.is_about_n
        if n_refused and refusal.param == "n":  # in words, it may be a stray one
            self._one_only.add(asked["model"], REMEMBER_SECONDS)
        may_help = status in (409, 429) or status >= 500
        told_not_to = headers.get("x-should-retry", "").lower() == "false"
        why = self._why_refused(status, refusal)
        return GenerationError(
            f"{why.rstrip('.')}; the call may have been billed." if unanswered else why,
            cost_usd=None if unanswered else Decimal(0),
            unanswered=unanswered,
            model_gone=status in (400, 404) and "model_not_found" in refusal.code.split(),
            n_refused=n_refused,
            retryable=may_help and not (unanswered or refusal.is_about_money or told_not_to),
            retry_after_seconds=wire.retry_after_seconds(headers.get("retry-after", "")),
            request_id=wire.request_id(error.response),
        )

    def _why_refused(self, status: int, refusal: refusals.Refusal) -> str:
        """The server's own words, and what to do."""
        if status not in (401, 403):
            return self._without_key(
                f"OpenAI answered {status}: {refusal.reason or 'no reason given'}"
            )
        said = self._without_key(refusal.reason).rstrip(".")
        for cause, advice in ACCESS_ADVICE.items():
            if cause in f"{refusal.code} {refusal.reason}":
                said = said or self._without_key(refusal.code)
                return f"OpenAI denied access ({status}): {said}. {advice}"
        said = said and f" It says: {said}."
        if status == 401:
            return f"OpenAI rejected the API key (401). Check OPENAI_API_KEY.{said}"
        return f"OpenAI denied access (403). Check what the key in OPENAI_API_KEY may use.{said}"

    def _without_key(self, text: str) -> str:
        """A server's words without those that hold the key or a piece of it, cut or masked."""
        key = self._api_key
        # A short one is no secret, but what a server without keys is given.
        secret = len(key) >= 12
        pieces = {key[start : start + 6] for start in range(len(key) - 5)} if secret else set()

        def tells(word: str) -> bool:
            bare = word.strip(".,:;!?'\"`()[]{}<>")
            return (
                bare == key
                or bare.startswith("sk-")
                or "***" in word
                or (secret and bare.endswith(key[-4:]))
                or any(piece in word for piece in pieces)
            )

        words = ("[hidden]" if tells(word) else word for word in text.split())
        return " ".join(words)[:MAX_REASON]


async def _read(response: httpx2.Response, kind: Literal["text", "image"]) -> Any:
    """The body of a 200. Of one that breaks off, by itself or because nobody waits for it any
    longer, the result it holds all the same; raises what broke it off where there is none."""
    received, broke_off = bytearray(), None
    try:
        async for chunk in response.aiter_raw():
            received += chunk
    except (httpx2.HTTPError, asyncio.CancelledError) as error:
        broke_off = error
    finally:
        await response.aclose()
    is_deflate = "deflate" in response.headers.get("content-encoding", "")
    try:
        body = wire.read_result(
            bytes(received), response.charset_encoding, kind, is_deflate=is_deflate
        )
    except ValueError as error:
        raise broke_off or error from None
    if broke_off is None:
        return body
    if not wire.has_result(body):
        raise broke_off
    return {**body, wire.BROKE_OFF: True}


async def _outcomes(calls: list[Call]) -> list[Answer | GenerationError]:
    """What each of the calls comes to when all are made at once. Cancelled, it waits for what they
    say to that: the answers that are there have been paid for."""
    outcomes: list[Answer | GenerationError] = []

    async def make(call: Call) -> None:
        try:
            outcomes.append(await call())
        except GenerationError as error:
            outcomes.append(error)

    if len(calls) == 1:
        await make(calls[0])
        return outcomes
    try:
        async with asyncio.TaskGroup() as group:
            for call in calls:
                group.create_task(make(call))
    except asyncio.CancelledError:
        stopped = "the server was stopped before OpenAI was asked."
        unmade = len(calls) - len(outcomes)
        outcomes += [GenerationError(stopped, cost_usd=Decimal(0)) for _ in range(unmade)]
    return outcomes


def _understood(outcome: Answer | GenerationError, n: int) -> int:
    """Of n texts asked for in one call, how many the server took the call for. Of an answer that
    broke off, all: what is missing may have been billed."""
    if isinstance(outcome, GenerationError):
        return 0 if outcome.n_refused else n
    if wire.dig(outcome.body, wire.BROKE_OFF):
        return n
    return min(n, len(wire.choices(outcome.body)) or n)


def _why_cut(finish_reasons: list[str | None]) -> list[str]:
    """Which of the texts are not whole and what to do, a sentence or two for each reason."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for place, finish_reason in enumerate(finish_reasons, 1):
        if finish_reason and models.is_cut(finish_reason):
            places[finish_reason].append(str(place))
    warnings = []
    for finish_reason, numbers in places.items():
        *before, last = numbers
        which = f"Variants {', '.join(before)} and {last} were" if before else f"Variant {last} was"
        which = "The text was" if len(finish_reasons) == 1 else which
        why = CUT_BY.get(finish_reason, f"cut off (finish_reason {finish_reason}).")
        warnings.append(f"{which} {why}")
    return warnings


def _image_tokens(body: Any, usage: Usage) -> pricing.ImageTokens:
    """What the image took. No token is free: what the counts leave open, or where they contradict
    each other, is the dearest that they can mean."""
    details = wire.dig(body, "usage", "input_tokens_details")
    images = wire.count(wire.dig(details, "image_tokens")) or 0
    told = wire.count(wire.dig(details, "text_tokens"))
    text = max(0, usage.prompt_tokens - images) if told is None else told
    images += max(0, usage.prompt_tokens - images - text)
    # All output is billed as image: no model of the table has another price for text.
    details = wire.dig(body, "usage", "output_tokens_details")
    parts = [wire.count(wire.dig(details, name)) or 0 for name in ("image_tokens", "text_tokens")]
    made = max(usage.completion_tokens, sum(parts), usage.total_tokens - text - images)
    return pricing.ImageTokens(text, images, made, min(usage.cached_tokens or 0, text))


def _safety_identifier(user_id: int) -> str:
    """Who it is for, as OpenAI wants it: hashed, and always the same."""
    return hashlib.sha256(f"artify user {user_id}".encode()).hexdigest()


def _is_retryable(error: BaseException) -> bool:
    return isinstance(error, GenerationError) and error.retryable


_growing_pause_seconds = tenacity.wait_exponential_jitter(
    multiplier=FIRST_PAUSE_SECONDS, max=LONGEST_PAUSE_SECONDS, jitter=FIRST_PAUSE_SECONDS
)


def _pause_seconds(state: tenacity.RetryCallState) -> float:
    """As long as the server asked for; by default a little longer each time."""
    error = state.outcome and state.outcome.exception()
    asked = error.retry_after_seconds if isinstance(error, GenerationError) else None
    return _growing_pause_seconds(state) if asked is None else asked
