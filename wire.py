"""What a connection may take: how long the head of a request may be, how long each part of it may
last, how much may be asked before an answer is read, and how many connections there may be.

uvicorn bounds none of these. People start it as they like (`uvicorn main:app`), so it is not told
by an option, but where it makes its connections.
"""

import asyncio
import logging
import math
from collections import Counter
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 64 * 1024
END_OF_HEAD = b"\r\n\r\n"
# Parsed at once: of a head whose end has not come, and of a body.
HEAD_SLICE_BYTES, BODY_SLICE_BYTES = 512, 64 * 1024
HEAD_SECONDS = 10  # from the connection, or the first byte, to the end of the headers
BODY_SECONDS = 60  # from there to the end of the body
# Of an answer that the client does not take as it comes: so much of it must go in that time, and
# so much of all of them may wait in this process.
STALLED_SECONDS, LEAST_BYTES = 20, 16 * 1024
MAX_UNSENT_BYTES = 64 * 1024 * 1024
TOLD_EVERY_SECONDS = 10
DETAIL = b'{"detail":"The request line and headers are longer than 65536 bytes."}'
TOO_LONG = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: application/json\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(DETAIL), DETAIL)
)

log = logging.getLogger(__name__)


class Connections:
    """The connections of this process, no more than `most`. Whoever comes is let in: the one that
    has waited longest for a request makes room."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._all: set[Guarded] = set()
        self._idle: dict[Guarded, None] = {}  # the oldest first
        self._unsent: set[Guarded] = set()
        self._closed: Counter[str] = Counter()

    def add(self, connection: "Guarded") -> None:
        self._all.add(connection)
        self.rest(connection)
        if len(self._all) > self._most:
            self.close(next(iter(self._idle)), "to make room for others")

    def remove(self, connection: "Guarded") -> None:
        self._all.discard(connection)
        self._idle.pop(connection, None)
        self._unsent.discard(connection)

    def rest(self, connection: "Guarded") -> None:
        """Note that this one waits for a request."""
        self._idle[connection] = None

    def work(self, connection: "Guarded") -> None:
        """Note that this one has a request."""
        self._idle.pop(connection, None)

    def hold_back(self, connection: "Guarded") -> None:
        """Note that this one does not take its answer as it comes."""
        self._unsent.add(connection)
        if sum(each.unsent_bytes for each in self._unsent) > MAX_UNSENT_BYTES:
            fullest = max(self._unsent, key=lambda each: each.unsent_bytes)
            self.close(fullest, "that did not take their answers, which filled the memory")

    def let_go(self, connection: "Guarded") -> None:
        self._unsent.discard(connection)

    def close(self, connection: "Guarded", why: str) -> None:
        """Close a connection at once; say why."""
        connection.transport.abort()
        self.remove(connection)
        self.count(why)

    def count(self, why: str) -> None:
        """Say why a connection was closed, once for many."""
        if not self._closed:
            asyncio.get_running_loop().call_later(TOLD_EVERY_SECONDS, self._tell)
        self._closed[why] += 1

    def _tell(self) -> None:
        for why, count in self._closed.items():
            log.warning("%s connections were closed %s", count, why)
        self._closed.clear()


class Guarded(HttpToolsProtocol):
    """A connection of uvicorn's that is held to these limits."""

    others: ClassVar[Connections]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self._unparsed = bytearray()
        self._is_in_head, self._head_bytes = True, 0
        self._body_left: float = 0  # none: a head is next
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._read_within(HEAD_SECONDS, "that sent no whole request head")
        self.others.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.others.remove(self)
        self._read_in_time()
        self._write_in_time()
        self._unparsed.clear()
        super().connection_lost(exc)

    # What is read: never more than one request, until it is answered.

    def data_received(self, data: bytes) -> None:
        self._unparsed += data
        self._parse()

    def _parse(self) -> None:
        while self._unparsed and not self.transport.is_closing():
            if self._body_left == 0 and self._is_answering:
                # Asked before the answer was there: it waits, and is not much.
                self.flow.pause_reading()
                if len(self._unparsed) > MAX_HEAD_BYTES:
                    self.others.close(self, "that asked on and read no answer")
                return
            part = bytes(self._unparsed[: self._next_slice()])
            del self._unparsed[: len(part)]
            self._body_left = max(0, self._body_left - len(part))
            super().data_received(part)
            self._head_bytes += len(part)
            if self._is_in_head and self._head_bytes > MAX_HEAD_BYTES:
                self.transport.write(TOO_LONG)
                self.transport.close()
                self.others.count("whose request head was too long")

    def _next_slice(self) -> int:
        """Return how many bytes are of one request for sure, or are few."""
        if self._body_left == math.inf:
            return HEAD_SLICE_BYTES
        if self._body_left:
            return int(min(self._body_left, BODY_SLICE_BYTES))
        end = self._unparsed.find(END_OF_HEAD)
        if end < 0:
            return HEAD_SLICE_BYTES
        # One byte too many is never the end.
        left = MAX_HEAD_BYTES - (self._head_bytes if self._is_in_head else 0)
        return min(end + len(END_OF_HEAD), left + 1)

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head, self._head_bytes = True, 0
        self.others.work(self)
        self._read_within(HEAD_SECONDS, "that sent no whole request head")

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        self._is_in_head = False
        self._read_within(BODY_SECONDS, "that sent no whole request body")
        for name, value in self.headers:
            if name == b"content-length":
                self._body_left = int(value)
            elif name == b"transfer-encoding":
                self._body_left = math.inf

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._body_left = self._head_bytes = 0
        self._read_in_time()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._unparsed:
            self.others.rest(self)
        self._parse()

    # How long it takes.

    def _read_within(self, seconds: float, why: str) -> None:
        self._read_in_time()
        self._reading = self.loop.call_later(seconds, self.others.close, self, why)

    def _read_in_time(self) -> None:
        if self._reading:
            self._reading.cancel()
            self._reading = None

    @property
    def unsent_bytes(self) -> int:
        return self.transport.get_write_buffer_size()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_in_time()
        self._check_writing_later()
        self.others.hold_back(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._write_in_time()
        self.others.let_go(self)

    def _check_writing_later(self) -> None:
        unsent = self.unsent_bytes
        self._writing = self.loop.call_later(STALLED_SECONDS, self._check_writing, unsent)

    def _check_writing(self, unsent_bytes: int) -> None:
        if unsent_bytes - self.unsent_bytes < LEAST_BYTES:
            self.others.close(self, "that did not take their answer")
        else:
            self._check_writing_later()

    def _write_in_time(self) -> None:
        if self._writing:
            self._writing.cancel()
            self._writing = None


def guard(most: int) -> None:
    """Hold the connections that uvicorn makes from now on to these limits, and to `most` of
    them."""
    Guarded.others = Connections(most)

    def make(_cls: type[HttpToolsProtocol], *_: object, **__: object) -> Guarded:
        return object.__new__(Guarded)

    HttpToolsProtocol.__new__ = make  # type: ignore[method-assign, assignment]
