"""The one door to generating: a job's row is committed before its call to the provider and settled
after it, whatever happens to the client, the database or this process meanwhile."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any, Generic, TypeVar, cast

from anyio.to_thread import run_sync
from sqlalchemy import Engine, exc
from sqlalchemy.orm import Session

import alerts
import models
from access import caps, counters
from access.caps import CapReached
from access.keys import RateReached
from database import message_of
from generation import lookups, records
from generation.group_commit import GroupCommit
from generation.images import KEEP_SECONDS
from generation.records import Opened, Opening, Settled, Settlement
from generation.results import CURRENT_JOB_ID, Bill, GenerationError, ImageResult, Job, TextResult
from settings import Settings

# The time budget of a job, in seconds from the commit of its row:
#
#     | call                        | settle            |                | reconcile
#     | TEXT_TIMEOUT_SECONDS, or    | SETTLE_SECONDS,   | SPARE_SECONDS  | every RECONCILE_SECONDS,
#     | IMAGE_TIMEOUT_SECONDS and   | whatever the      |                | any process marks it as
#     | images.KEEP_SECONDS         | database says     |            expires_at  unknown
#
# and of a process that is told to stop, from then on:
#
#     | drain                       | settle                    | give up
#     | DRAIN_SECONDS: the calls go | LAST_SECONDS: what is not | LAST_SECONDS: what the database
#     | on, no other is admitted    | answered is unknown       | does not take goes to the log
SETTLE_SECONDS = 30
SPARE_SECONDS = 10
LAST_SECONDS = 2
RECONCILE_SECONDS = 3
LONGEST_PAUSE_SECONDS = 2  # between two tries to settle

Result = TypeVar("Result", TextResult, ImageResult)
Call = Callable[[], Awaitable[Result]]

log = logging.getLogger(__name__)


class JobFailed(Exception):
    """The job came to nothing, `is_replayed`: once before; `str()` says why, for people."""

    def __init__(
        self,
        job_type: models.JobType,
        reason: object,
        job_id: int,
        *,
        is_replayed: bool = False,
    ) -> None:
        super().__init__(f"Failed to generate {job_type}: {reason}")
        self.job_id = job_id
        self.is_replayed = is_replayed


class NotAccepting(Exception):
    """This process takes no more generations at the moment; `str()` says why."""


class KeyReused(Exception):
    """The idempotency key belongs to another request."""


class KeyInUse(Exception):
    """The request that first had this idempotency key still runs."""


class OutcomeUnknown(Exception):
    """Nobody knows what the request with this idempotency key came to; `str()` says more."""


@dataclass(frozen=True)
class Prepared(Generic[Result]):
    """A call that can be made, and the most that it can cost; None where nobody knows."""

    call: Call[Result]
    max_cost_usd: Decimal | None


@dataclass(frozen=True)
class Completed(Generic[Result]):
    """A completed job, and the ids of what it made, in order; None where the log alone has it.
    `left_usd` is the least that a cap which bears on it has left."""

    job_id: int
    content_ids: Sequence[int | None]
    result: Result
    left_usd: Decimal | None = None
    is_replayed: bool = False


class Ledger:
    """The jobs of this process. Made in its event loop; `close` waits for them."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._cap = caps.of_settings(settings)
        write = partial(records.write, own=self._cap)
        self._writer = GroupCommit[Opening | Settlement](engine, write)
        self._loop = asyncio.get_running_loop()
        self._slots_taken = 0
        self._stopping = False
        self._running: set[asyncio.Task[Any]] = set()
        self._calling: set[asyncio.Task[Any]] = set()
        self._alerting: set[asyncio.Task[Any]] = set()
        self._reconciling = asyncio.create_task(self._keep_reconciling())

    async def generate(
        self, job: Job, prepare: Callable[[], Awaitable[Prepared[Result]]]
    ) -> Completed[Result]:
        """Return what the job comes to: admitted, replayed where its idempotency key has been here,
        prepared, opened, called and settled. What `prepare` raises leaves no row. Raises
        NotAccepting, KeyReused, KeyInUse and OutcomeUnknown, JobFailed once the failure is on the
        row, and, before anything is spent, CapReached, RateReached, KeyInvalid and
        SQLAlchemyError."""
        # Admit, or refuse at once: whoever waits in line holds a connection.
        with self._slot():
            # Replay before anything is prepared: what is done needs no key and no segment any more.
            if replayed := await self._replay(job):
                return cast(Completed[Result], replayed)
            # Prepare before there is a row: what cannot be asked for is no job.
            prepared = await prepare()
            # A task of its own: what is paid for settles, though its client may hang up.
            task = asyncio.create_task(self._run(job, prepared))
            self._running.add(task)
            task.add_done_callback(self._running.discard)
            return await asyncio.shield(task)

    @contextlib.contextmanager
    def _slot(self) -> Iterator[None]:
        """Admit one of MAX_IN_FLIGHT. Raises NotAccepting."""
        if self._stopping:
            raise NotAccepting("This server is being stopped.")
        if self._slots_taken >= self._settings.max_in_flight:
            raise NotAccepting(f"{self._slots_taken} generations are running already.")
        self._slots_taken += 1
        try:
            yield
        finally:
            self._slots_taken -= 1

    async def _replay(self, job: Job) -> Completed[Any] | None:
        """Return what the request came to that first had this idempotency key. None where there is
        none, or it has released the key and may run again."""
        if job.idempotency_key is None:
            return None
        row, contents, left_usd = await run_sync(self._find, job)
        if row is None:
            return None
        if row.request_hash != job.request_hash:
            raise KeyReused
        if row.idempotency_key is None:
            return None
        if row.status == "pending":
            raise KeyInUse
        if row.status == "unknown" or (row.status == "completed" and not contents):
            raise OutcomeUnknown(f"{row.error_message} It is job {row.id} of /costs/history.")
        if not contents:
            raise JobFailed(job.job_type, row.error_message, row.id, is_replayed=True)
        ids = [content.id for content in contents]
        result = lookups.result(row, contents)
        return Completed(row.id, ids, result, left_usd, is_replayed=True)

    def _find(
        self, job: Job
    ) -> tuple[models.GenJob | None, Sequence[models.GeneratedContent], Decimal | None]:
        assert job.idempotency_key
        with Session(self._engine, expire_on_commit=False) as session:
            row, contents = lookups.find(session, job.key_id, job.idempotency_key)
            left_usd = None
            if contents:
                charge = records.charge(job, models.utc_now())
                left_usd = counters.left_usd(session.connection(), self._cap, charge)
            return row, contents, left_usd

    async def _run(self, job: Job, prepared: Prepared[Result]) -> Completed[Result]:
        opened = await self._open(job, prepared)
        if isinstance(opened, Completed):
            return cast(Completed[Result], opened)
        job_id = opened.job_id
        CURRENT_JOB_ID.set(job_id)
        # From here on, no transaction and no connection is held: seconds may pass.
        outcome = await self._make(job, job_id, prepared.call)
        settlement = Settlement(opened, outcome, models.utc_now())
        settled, unkept = await self._settle(settlement)
        self.alert(settled.alerts)
        if isinstance(outcome, GenerationError):
            raise JobFailed(job.job_type, outcome, job_id) from outcome
        if unkept:
            # The client gets what was paid for all the same.
            outcome = replace(outcome, warning=unkept)
            return Completed(job_id, [None] * settlement.size, outcome)
        return Completed(job_id, settled.content_ids, outcome, settled.left_usd)

    async def _open(self, job: Job, prepared: Prepared[Any]) -> Opened | Completed[Any]:
        """Return the new row, or what another request came to that took the idempotency key just
        now."""
        opening = Opening(job, prepared.max_cost_usd, self._settled_within(job.job_type))
        while True:
            try:
                opened: Opened | None = await self._writer.write(opening)
            except (CapReached, RateReached) as refusal:
                if isinstance(refusal, CapReached):
                    self.alert(refusal.alerts)
                if replayed := await self._replay(job):
                    return replayed
                raise
            if opened:
                return opened
            if replayed := await self._replay(job):
                return replayed

    def alert(self, texts: Sequence[str]) -> None:
        """Tell people of the caps, in the log and at ALERT_WEBHOOK_URL; wait for neither. From any
        thread."""
        for alert in texts:
            log.warning("%s", alert)
        if texts and self._settings.alert_webhook_url:
            self._loop.call_soon_threadsafe(self._send, self._settings.alert_webhook_url, texts)

    def _send(self, url: str, texts: Sequence[str]) -> None:
        task = asyncio.create_task(alerts.send(url, texts))
        self._alerting.add(task)
        task.add_done_callback(self._alerting.discard)

    async def _make(self, job: Job, job_id: int, call: Call[Result]) -> Result | GenerationError:
        """Make the call, until it ends or the drain time is over."""
        task = asyncio.current_task()
        assert task
        self._calling.add(task)
        try:
            return await call()
        except GenerationError as error:
            return error
        except Exception as error:
            log.exception("Job %s", job_id, extra={"job_id": job_id})
            reason = f"unexpected {type(error).__name__}; the call may have been billed."
            return GenerationError(reason, Bill(job.model, None), is_unanswered=True)
        finally:
            self._calling.discard(task)

    async def _settle(self, settlement: Settlement) -> tuple[Settled, str | None]:
        """Return what came of it, and in words where only the log has the content."""
        # What was paid for must be beyond loss, and the client gets it: whatever the database says,
        # it is waited for. If that is in vain, the log keeps all, and the row at least the end of
        # its job.
        try:
            return await self._settle_patiently(settlement), None
        except (Exception, asyncio.CancelledError) as error:
            is_stopped = isinstance(error, asyncio.CancelledError)
            why = "the service was stopped" if is_stopped else message_of(error)
        log.error(records.line(settlement, why), extra={"job_id": settlement.job_id})
        unkept = f"The server's log alone has this: the database did not take it ({why})."
        if settlement.message:
            unkept = f"{settlement.message} {unkept}"
        last = replace(settlement, unkept=unkept if settlement.size else None)
        settled = await self._settle_at_last(last)
        return settled, None if settled.content_ids else unkept

    async def _settle_patiently(self, settlement: Settlement) -> Settled:
        """Return what came of it, as soon as the database takes it. Raises what it said last where
        it does not within SETTLE_SECONDS."""
        refusal: exc.SQLAlchemyError | None = None
        pause_seconds = 0.1
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                while True:
                    try:
                        settled: Settled = await self._writer.write(settlement)
                        return settled
                    except exc.SQLAlchemyError as error:
                        refusal = error
                    if not settlement.again:
                        why = message_of(refusal)
                        job_id = settlement.job_id
                        fields = {"job_id": job_id}
                        log.warning("Job %s cannot be settled yet: %s", job_id, why, extra=fields)
                        settlement = replace(settlement, again=True)
                    await asyncio.sleep(pause_seconds * random.uniform(1, 1.5))
                    pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
        except (TimeoutError, asyncio.CancelledError) as end:
            raise refusal or end from None

    async def _settle_at_last(self, settlement: Settlement) -> Settled:
        """Return the ids of the content where an earlier try has succeeded after all, else none."""
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(LAST_SECONDS):
                # Where it cannot even be asked whether an earlier try has succeeded, none has.
                for again in (True, False):
                    with contextlib.suppress(Exception):
                        last = replace(settlement, again=again)
                        settled: Settled = await self._writer.write(last)
                        return settled
        return Settled([])

    def _settled_within(self, job_type: models.JobType) -> timedelta:
        seconds = self._settings.text_timeout_seconds
        if job_type == "image":
            seconds = self._settings.image_timeout_seconds + KEEP_SECONDS
        return timedelta(seconds=seconds + SETTLE_SECONDS + SPARE_SECONDS)

    async def _keep_reconciling(self) -> None:
        longest = max(self._settled_within("text"), self._settled_within("image"))
        while True:
            try:
                done = await run_sync(records.reconcile, self._engine, self._cap, longest)
                if done.count:
                    log.warning("%s jobs of a process that died are unknown now", done.count)
                self.alert(done.alerts)
            except Exception as error:  # the database is away: the next round may find it
                log.error("Jobs cannot be reconciled now: %s", message_of(error))
            await asyncio.sleep(RECONCILE_SECONDS)

    def stop(self) -> None:
        """Take no new work. After DRAIN_SECONDS, settle as unknown what the provider has not
        answered; what cannot be settled even then, leave to the log."""
        if not self._stopping:
            self._stopping = True
            loop = asyncio.get_running_loop()
            drain_seconds = self._settings.drain_seconds
            loop.call_later(drain_seconds, _cancel, self._calling)
            loop.call_later(drain_seconds + LAST_SECONDS, _cancel, self._running)

    async def close(self) -> None:
        """Wait until everything is settled."""
        self.stop()
        while self._running:
            await asyncio.wait(self._running)
        # Only now: what has just been settled may have been queued until then.
        self._reconciling.cancel()
        await run_sync(self._writer.close)
        await asyncio.sleep(0)  # for the last alert to be on its way
        if self._alerting:
            await asyncio.wait(self._alerting, timeout=LAST_SECONDS)


def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    for task in list(tasks):
        task.cancel()
