"""The one door to generating: a job's row is committed before its call to the provider and settled
after it, whatever happens to the client, the database or this process meanwhile."""

import asyncio
import contextlib
import json
import logging
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Generic, TypeVar, cast

from anyio.to_thread import run_sync
from sqlalchemy import Engine, exc
from sqlalchemy.orm import Session

import models
from database import said
from generation import records
from generation.group_commit import GroupCommit
from generation.images import KEEP_SECONDS
from generation.records import Opening, Settlement
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
class Completed(Generic[Result]):
    """A completed job, and the ids of what it made, in order; None where the log alone has it."""

    job_id: int
    content_ids: Sequence[int | None]
    result: Result
    is_replayed: bool = False


class Ledger:
    """The jobs of this process. Made in its event loop; `close` waits for them."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._writer = GroupCommit[Opening | Settlement](engine, records.write)
        self._slots_taken = 0
        self._stopping = False
        self._running: set[asyncio.Task[Any]] = set()
        self._calling: set[asyncio.Task[Any]] = set()
        self._reconciling = asyncio.create_task(self._keep_reconciling())

    async def generate(
        self, job: Job, prepare: Callable[[], Awaitable[Call[Result]]]
    ) -> Completed[Result]:
        """Return what the job comes to: admitted, replayed where its idempotency key has been here,
        prepared, opened, called and settled. What `prepare` raises leaves no row. Raises
        NotAccepting, KeyReused, KeyInUse and OutcomeUnknown, JobFailed once the failure is on the
        row, and SQLAlchemyError before anything is spent."""
        # Admit, or refuse at once: whoever waits in line holds a connection.
        with self._slot():
            # Replay before anything is prepared: what is done needs no key and no segment any more.
            if replayed := await self._replay(job):
                return cast(Completed[Result], replayed)
            # Prepare before there is a row: what cannot be asked for is no job.
            call = await prepare()
            # A task of its own: what is paid for settles, though its client may hang up.
            task = asyncio.create_task(self._run(job, call))
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
        row, contents = await run_sync(self._find, job.idempotency_key)
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
        return Completed(row.id, ids, records.result(row, contents), is_replayed=True)

    def _find(
        self, idempotency_key: str
    ) -> tuple[models.GenJob | None, Sequence[models.GeneratedContent]]:
        with Session(self._engine, expire_on_commit=False) as session:
            return records.find(session, idempotency_key)

    async def _run(self, job: Job, call: Call[Result]) -> Completed[Result]:
        opening = Opening(job, self._settled_within(job.job_type))
        while (job_id := await self._writer.write(opening)) is None:
            # Another request took the key just now.
            if replayed := await self._replay(job):
                return cast(Completed[Result], replayed)
        CURRENT_JOB_ID.set(job_id)
        # From here on, no transaction and no connection is held: seconds may pass.
        outcome = await self._make(job, job_id, call)
        settlement = Settlement(job_id, job, outcome, models.utc_now())
        content_ids, unkept = await self._settle(settlement)
        if isinstance(outcome, GenerationError):
            raise JobFailed(job.job_type, outcome, job_id) from outcome
        if unkept:
            # The client gets what was paid for all the same.
            return Completed(job_id, content_ids, replace(outcome, warning=unkept))
        return Completed(job_id, content_ids, outcome)

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

    async def _settle(self, settlement: Settlement) -> tuple[Sequence[int | None], str | None]:
        """Return the ids of the content, and in words where only the log has it."""
        # What was paid for must be beyond loss, and the client gets it: whatever the database says,
        # it is waited for. If that is in vain, the log keeps all, and the row at least the end of
        # its job.
        try:
            return await self._settle_patiently(settlement), None
        except (Exception, asyncio.CancelledError) as error:
            is_stopped = isinstance(error, asyncio.CancelledError)
            why = "the service was stopped" if is_stopped else said(error)
        contents = records.made(settlement)
        lost = {
            "event": "job not settled",
            "error": why,
            "job": {"id": settlement.job_id, **records.ended(settlement)},
            "content": contents,
        }
        line = json.dumps(lost, ensure_ascii=False, default=str)
        log.error(line, extra={"job_id": settlement.job_id})
        unkept = f"The server's log alone has this: the database did not take it ({why})."
        if settlement.message:
            unkept = f"{settlement.message} {unkept}"
        last = replace(settlement, unkept=unkept if contents else None)
        if ids := await self._settle_at_last(last):
            return ids, None
        return [None] * len(contents), unkept

    async def _settle_patiently(self, settlement: Settlement) -> Sequence[int]:
        """Return the ids of the content, as soon as the database takes it. Raises what it said last
        where it does not within SETTLE_SECONDS."""
        refusal: exc.SQLAlchemyError | None = None
        pause_seconds = 0.1
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                while True:
                    try:
                        ids: Sequence[int] = await self._writer.write(settlement)
                        return ids
                    except exc.SQLAlchemyError as error:
                        refusal = error
                    if not settlement.again:
                        why = said(refusal)
                        job_id = settlement.job_id
                        fields = {"job_id": job_id}
                        log.warning("Job %s cannot be settled yet: %s", job_id, why, extra=fields)
                        settlement = replace(settlement, again=True)
                    await asyncio.sleep(pause_seconds * random.uniform(1, 1.5))
                    pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)
        except (TimeoutError, asyncio.CancelledError) as end:
            raise refusal or end from None

    async def _settle_at_last(self, settlement: Settlement) -> Sequence[int]:
        """Return the ids of the content where an earlier try has succeeded after all, else none."""
        with contextlib.suppress(TimeoutError, asyncio.CancelledError):
            async with asyncio.timeout(LAST_SECONDS):
                # Where it cannot even be asked whether an earlier try has succeeded, none has.
                for again in (True, False):
                    with contextlib.suppress(Exception):
                        last = replace(settlement, again=again)
                        ids: Sequence[int] = await self._writer.write(last)
                        return ids
        return []

    def _settled_within(self, job_type: models.JobType) -> timedelta:
        seconds = self._settings.text_timeout_seconds
        if job_type == "image":
            seconds = self._settings.image_timeout_seconds + KEEP_SECONDS
        return timedelta(seconds=seconds + SETTLE_SECONDS + SPARE_SECONDS)

    async def _keep_reconciling(self) -> None:
        longest = max(self._settled_within("text"), self._settled_within("image"))
        while True:
            try:
                if count := await run_sync(records.reconcile, self._engine, longest):
                    log.warning("%s jobs of a process that died are unknown now", count)
            except Exception as error:  # the database is away: the next round may find it
                log.error("Jobs cannot be reconciled now: %s", said(error))
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


def _cancel(tasks: set[asyncio.Task[Any]]) -> None:
    for task in list(tasks):
        task.cancel()
