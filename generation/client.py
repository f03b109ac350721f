"""The one door to the provider: one request, its attempts and their one deadline, and who is asked
where a model has retired. Knows no database and no HTTP status of ours."""

import asyncio
import hashlib
import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import aiohttp
import httpx2
import openai
import tenacity

import pricing
from generation import connection, refusals, responses
from generation.results import Failure, Job, Response
from settings import Settings, SettingsError

DEFAULT_BASE_URL = "https://api.openai.com/v1"
# The SDK leaves the body of a 200 to us: what comes of one that breaks off is not lost.
READ_HERE: bool = True
# How long one refusal, which may be a stray one, is taken to hold.
REMEMBER_SECONDS = 300
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 8
MAY_BE_BILLED = "the call may have been billed."

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Endpoint:
    """Where one kind of generation is asked for, how long it may take, all attempts together, and
    the setting that names its default model."""

    kind: Literal["text", "image"]
    path: str
    timeout_seconds: float
    setting: str
    default_model: str

    @property
    def ends_at(self) -> float:
        """When what begins now must have ended, in the event loop's time."""
        return asyncio.get_running_loop().time() + self.timeout_seconds


@dataclass(frozen=True)
class Request:
    """What the provider is asked for: `body_for` makes the JSON for a model, which is `model` or
    one of its successors. `ends_at` is in the event loop's time."""

    endpoint: Endpoint
    model: str
    body_for: Callable[[str], dict[str, Any]]
    ends_at: float


@dataclass
class Progress:
    """How far a request has come: which model was asked last, and how often any was."""

    model: str
    attempts: int = 0


class Memory:
    """Names of models, each remembered for so many seconds."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def add(self, name: str, seconds: float | None = None) -> None:
        self._until[name] = time.monotonic() + (seconds or REMEMBER_SECONDS)

    def __contains__(self, name: str) -> bool:
        return self._until.get(name, 0) > time.monotonic()


def check(settings: Settings) -> None:
    """Refuse a default model whose cost nobody can know, and a proxy that cannot be used. Raises
    SettingsError."""
    for name, value, model, known in (
        ("TEXT_MODEL", settings.text_model, pricing.text_model, pricing.TEXT_MODELS),
        ("IMAGE_MODEL", settings.image_model, pricing.image_model, pricing.IMAGE_MODELS),
    ):
        if model(value) is None:
            raise SettingsError(
                f"{name} is {value}, which has no known price. Set one of {', '.join(known)}."
            )
    if settings.openai_api_key:
        connection.proxy(settings.openai_base_url or DEFAULT_BASE_URL)


class OpenAIClient:
    """OpenAI, or the compatible server at `openai_base_url`. One per process; close it."""

    def __init__(self, api_key: str, settings: Settings) -> None:
        base_url = settings.openai_base_url or DEFAULT_BASE_URL
        # None: OpenAI itself.
        self.base_url = settings.openai_base_url
        self.text = Endpoint(
            "text",
            "/chat/completions",
            settings.text_timeout_seconds,
            "TEXT_MODEL",
            settings.text_model,
        )
        self.image = Endpoint(
            "image",
            "/images/generations",
            settings.image_timeout_seconds,
            "IMAGE_MODEL",
            settings.image_model,
        )
        self.is_regional = pricing.is_regional(base_url)
        # Models that take no n above 1.
        self.single_choice = Memory()
        self._retired = Memory()
        self._api_key = api_key
        self._max_attempts = settings.max_attempts
        self._openai = openai.AsyncOpenAI(
            api_key=api_key,
            base_url=base_url,
            # The SDK's own retries repeat a call that may have been billed.
            max_retries=0,
            # What bodies.py can inflate.
            default_headers={"Accept-Encoding": "gzip, deflate"},
            # How long a response may take is decided in ask.
            timeout=httpx2.Timeout(None, connect=connection.CONNECT_TIMEOUT_SECONDS),
            http_client=connection.http_client(base_url),
        )

    async def close(self) -> None:
        await self._openai.close()

    def resolve(self, model: str) -> str:
        """Return the model, or who took over from it, as far as this process knows."""
        return self._succession(model)[0]

    def _succession(self, model: str) -> list[str]:
        """Never empty: who is last in a succession is never remembered as retired."""
        return [name for name in pricing.succession(model) if name not in self._retired]

    def without_key(self, text: str) -> str:
        """Return the provider's words without those that hold the key or a piece of it."""
        return refusals.without_key(text, self._api_key)

    def substitutions(
        self, endpoint: Endpoint, job: Job, answered: Iterable[Response]
    ) -> list[str]:
        """Say which other model worked in place of the one that was named, or of a default that has
        not ended: where one has, its successor is what was to be expected."""
        wanted = job.named_model or endpoint.default_model
        others = dict.fromkeys(each.model for each in answered if each.model != wanted)
        if not others or (job.named_model is None and pricing.has_ended(wanted)):
            return []
        return [
            f"{other} answered in place of {wanted}: {self._host} said that it has no such model."
            for other in others
        ]

    async def ask(self, request: Request) -> Response | Failure:
        """Return the response of the model, or of its successor where the provider lacks it; else
        why there is none. Asks again so long as nothing can be billed twice and the one deadline of
        all attempts is not over."""
        progress = Progress(request.model)
        outcome: Response | Failure
        try:
            async with asyncio.timeout_at(request.ends_at):
                outcome = await self._ask_in_succession(request, progress)
        except TimeoutError:
            # The deadline ends calls alone, never a pause: something was on its way.
            seconds = request.endpoint.timeout_seconds
            why = f"OpenAI did not answer within {seconds:g} seconds; {MAY_BE_BILLED}"
            outcome = Failure(why, is_unanswered=True)
        except asyncio.CancelledError:
            # The ledger stops waiting; the job settles as unknown.
            why = f"the server was stopped before OpenAI answered; {MAY_BE_BILLED}"
            outcome = Failure(why, is_unanswered=True)
        return replace(outcome, model=progress.model, attempts=progress.attempts)

    async def _ask_in_succession(self, request: Request, progress: Progress) -> Response | Failure:
        names = self._succession(request.model)
        missing: list[str] = []
        try:
            for name in names:
                progress.model = name
                outcome = await self._ask_until_final(request, progress)
                if not (isinstance(outcome, Failure) and outcome.lacks_model):
                    return outcome
                missing.append(name)
        finally:
            if missing != names:
                self._remember_retired(missing, progress.model)
        return Failure(
            f"{self._host} has no model {' and no '.join(names)}. Set "
            f"{request.endpoint.setting} to one that it has, or name one as model."
        )

    async def _ask_until_final(self, request: Request, progress: Progress) -> Response | Failure:
        """Return what the last attempt came to."""

        async def attempt() -> Response | Failure:
            progress.attempts += 1
            return await self._send(request.endpoint, request.body_for(progress.model))

        seconds_left = request.ends_at - asyncio.get_running_loop().time()
        attempting = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_result(_is_retryable),
            wait=_pause_seconds,
            # A pause that would outlast the deadline is not begun: the deadline only ends calls.
            stop=tenacity.stop_after_attempt(self._max_attempts)
            | tenacity.stop_before_delay(seconds_left),
            retry_error_callback=_last_outcome,
        )
        outcome: Response | Failure = await attempting(attempt)
        return outcome

    def _remember_retired(self, names: list[str], successor: str) -> None:
        """Ask the successor at once from now on; say so once."""
        # Of a model that is to live on, the refusal may be a stray one: that is remembered for
        # minutes.
        for name in names:
            if name not in self._retired:
                self._retired.add(name, math.inf if pricing.has_ended(name) else REMEMBER_SECONDS)
                log.warning(
                    "%s has no model %s: %s is asked in its place. To choose another, set "
                    "TEXT_MODEL or IMAGE_MODEL.",
                    self._host,
                    name,
                    successor,
                )

    async def _send(self, endpoint: Endpoint, body: dict[str, Any]) -> Response | Failure:
        """One attempt; of one that fails, what this way to fail means for the bill."""
        request_id = None
        try:
            # The SDK's methods of each endpoint check their parameters against its types first and
            # build models of the response: a third of a request's CPU, for what is known here.
            response = await self._openai.post(
                endpoint.path, body=body, cast_to=httpx2.Response, stream=READ_HERE
            )
            assert isinstance(response, httpx2.Response)
            request_id = responses.request_id(response)
            return Response(await _read(response, endpoint.kind), request_id)
        except openai.APIStatusError as error:
            # A response that says no.
            return self._refused(error.response, body)
        except openai.APIConnectionError as error:
            # No response: whether the request went out decides about the bill.
            return self._disconnected(error)
        except httpx2.HTTPError:
            # A response that ends early, with nothing in it yet.
            return self._broken_off(request_id)
        except (openai.OpenAIError, aiohttp.ClientError, ValueError):
            why = f"OpenAI's answer could not be read; {MAY_BE_BILLED}"
            return Failure(why, is_unanswered=True, request_id=request_id)

    def _refused(self, response: httpx2.Response, body: dict[str, Any]) -> Failure:
        if response.status_code == connection.PROXY_WANTS_PASSWORD:
            why = connection.why_proxy_refused(response.status_code)
            return Failure(f"{self._host} cannot be reached: {why}")
        failure = refusals.failure(response, body.get("n", 1), self._api_key)
        if failure.names_n:
            self.single_choice.add(body["model"])
        return failure

    def _disconnected(self, error: openai.APIConnectionError) -> Failure:
        cause = connection.unreached_by(error)
        if cause is None:
            return self._broken_off(None)
        why = f"{self._host} cannot be reached: {connection.why_unreached(cause)}"
        return Failure(why, is_retryable=connection.may_pass(cause))

    def _broken_off(self, request_id: str | None) -> Failure:
        why = (
            f"the connection to {self._host} broke off before the answer was complete; "
            f"{MAY_BE_BILLED}"
        )
        return Failure(why, is_unanswered=True, request_id=request_id)

    @property
    def _host(self) -> str:
        return self._openai.base_url.host


def safety_identifier(user_id: int | None) -> dict[str, str]:
    """Who a request is for, as OpenAI wants it: hashed, and always the same."""
    if user_id is None:
        return {}
    hashed = hashlib.sha256(f"artify user {user_id}".encode()).hexdigest()
    return {"safety_identifier": hashed}


async def _read(response: httpx2.Response, kind: Literal["text", "image"]) -> Any:
    """Return the body of a 200."""
    # Of one that breaks off, by itself or because nobody waits for it any longer, the result it
    # holds all the same; raises what broke it off where there is none.
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
        body = responses.read_result(
            bytes(received), response.charset_encoding, kind, is_deflate=is_deflate
        )
    except ValueError as error:
        raise broke_off or error from None
    if broke_off is None:
        return body
    if not responses.has_result(body):
        raise broke_off
    return {**body, responses.BROKE_OFF: True}


def _is_retryable(outcome: Response | Failure) -> bool:
    return isinstance(outcome, Failure) and outcome.is_retryable


def _last_outcome(state: tenacity.RetryCallState) -> Any:
    return state.outcome and state.outcome.result()


_growing_pause_seconds = tenacity.wait_exponential_jitter(
    multiplier=FIRST_PAUSE_SECONDS, max=LONGEST_PAUSE_SECONDS, jitter=FIRST_PAUSE_SECONDS
)


def _pause_seconds(state: tenacity.RetryCallState) -> float:
    """As long as the provider asked for; by default a little longer each time."""
    failure = _last_outcome(state)
    if isinstance(failure, Failure) and failure.retry_after_seconds is not None:
        return failure.retry_after_seconds
    return _growing_pause_seconds(state)
