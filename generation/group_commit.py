"""Group commit: what many requests want written at once goes into one transaction.

A commit costs the disk a wait, and a thread per request costs the processor more than the writing
itself. So one thread takes whatever has queued up, writes all of it, and commits once; each request
goes on when the transaction that holds its own rows has committed, and not before.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import Connection, Engine, exc

MAX_GROUP = 500
WAIT_SECONDS = 10
# The database is away, or busy: what failed so may work later, and each by itself would fail too.
UNAVAILABLE = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError)

Entry = TypeVar("Entry")


class Waiting(NamedTuple):
    entry: Any
    written: asyncio.Future[Any]


class GroupCommit(Generic[Entry]):
    """Writes entries with `write`, a function that takes a connection inside a transaction and a
    group of entries and returns one result for each, in their order. It keeps its connection from
    group to group, where it is to. Close it at the end."""

    def __init__(
        self,
        engine: Engine,
        write: Callable[[Connection, Sequence[Entry]], Sequence[Any]],
        *,
        keeps_connection: bool = True,
    ) -> None:
        self._engine = engine
        self._keeps_connection = keeps_connection
        self._write = write
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._queue: queue.SimpleQueue[Waiting | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="group-commit", daemon=True)
        self._thread.start()

    async def write(self, entry: Entry) -> Any:
        """Return the entry's result, once it is committed. Raises what the database said of this
        entry, and SQLAlchemy's TimeoutError where it says nothing; then the entry is written no
        more, unless that has begun."""
        written: asyncio.Future[Any] = self._loop.create_future()
        self._queue.put(Waiting(entry, written))
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                return await written
        except TimeoutError:
            silence = f"the database did not answer within {WAIT_SECONDS} seconds"
            raise exc.TimeoutError(silence) from None

    def close(self) -> None:
        """Write what is queued, then end the thread."""
        self._queue.put(None)
        self._thread.join(WAIT_SECONDS)

    def _work(self) -> None:
        last = False
        while not last:
            # Wait for one, then take all that have come meanwhile.
            group = [self._queue.get()]
            while len(group) < MAX_GROUP and not self._queue.empty():
                group.append(self._queue.get())
            last = None in group
            waiting = [each for each in group if each and not each.written.done()]
            # Those whose caller has given up are written no more.
            outcomes = self._commit([each.entry for each in waiting])
            if self._connection and not self._keeps_connection:
                self._connection.close()
                self._connection = None
            self._loop.call_soon_threadsafe(_deliver, waiting, outcomes)
        if self._connection:
            self._connection.close()

    def _commit(self, entries: list[Entry], *, again: bool = False) -> list[Any]:
        """One result, or one exception, for each entry."""
        committing = False
        try:
            # Kept from group to group; after a loss, SQLAlchemy makes a new one.
            self._connection = self._connection or self._engine.connect()
            with self._connection.begin():
                outcomes = list(self._write(self._connection, entries))
                committing = True
            return outcomes
        except Exception as error:
            lost = isinstance(error, exc.DBAPIError) and error.connection_invalidated
            if lost and not committing and not again:
                # The database closed it while it lay idle: nothing of this can have been written.
                return self._commit(entries, again=True)
            if len(entries) <= 1 or lost or isinstance(error, UNAVAILABLE):
                return [error] * len(entries)
        # One bad entry must not fail its neighbours.
        return [outcome for entry in entries for outcome in self._commit([entry])]


def _deliver(waiting: list[Waiting], outcomes: list[Any]) -> None:
    for (_, written), outcome in zip(waiting, outcomes, strict=True):
        if written.done():  # nobody waits any more
            continue
        if isinstance(outcome, Exception):
            written.set_exception(outcome)
        else:
            written.set_result(outcome)
