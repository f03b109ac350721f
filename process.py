"""What this process asks of the operating system: its address, its open files, its log, how it
ends."""

import asyncio
import contextlib
import errno
import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from settings import SettingsError

log = logging.getLogger(__name__)


def log_to_stderr() -> None:
    """Let what the service logs, and the warnings of libraries, be lines on standard error."""
    logging.basicConfig(format="%(levelname)s: %(message)s")


@contextlib.contextmanager
def telling_why() -> Iterator[None]:
    """End the process with status 1, and one line that says why, where it cannot start."""
    # Leaves at once: an exception would reach people as uvicorn's traceback. A worker of
    # `uvicorn --workers` ends with uvicorn's own 3, which keeps its parent from starting it again
    # for ever.
    try:
        yield
    except SettingsError as error:
        log.error("%s", error)
        is_worker = multiprocessing.parent_process() is not None
        os._exit(3 if is_worker else 1)


def check_address(host: str, port: int) -> None:
    """Refuse an address that cannot be listened on, as where something else does already. Raises
    SettingsError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.create_server((host, port), family=family).close()
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        advice = "Check HOST: 0.0.0.0 listens everywhere, 127.0.0.1 on this machine alone."
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            advice = "Stop what uses that port, or set another PORT."
        raise SettingsError(f"Cannot listen on {host}:{port}: {reason}. {advice}") from error


def allow_open_files(wanted: int) -> int:
    """Allow this process as many open files as it may need, so far as the system lets it; return
    how many it may have."""
    # A generation in flight takes its client's connection and the provider's, of which variants may
    # take one each; the usual limit is 1024, and ends in errors that blame the network.
    if sys.platform == "win32":
        return wanted
    import resource  # noqa: PLC0415  (Windows has none)

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < possible:
        with contextlib.suppress(ValueError, OSError):  # macOS may allow fewer than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return wanted if allowed == resource.RLIM_INFINITY else allowed


def when_told_to_stop(stop: Callable[[], None], at_most_seconds: float) -> None:
    """Call `stop` in this event loop as soon as a signal asks the process to end: uvicorn tells the
    lifespan only after the last answer has been sent. After so many seconds, wait for no client."""
    if threading.current_thread() is not threading.main_thread():
        return
    # Uvicorn's own handlers stay in charge of the server; ours come first.
    loop = asyncio.get_running_loop()

    def begin() -> None:
        stop()
        # For a client that neither reads nor goes, uvicorn waits until a second Ctrl-C.
        loop.call_later(at_most_seconds, signal.raise_signal, signal.SIGINT)

    for number in (signal.SIGINT, signal.SIGTERM):
        uvicorns = signal.getsignal(number)

        def on_signal(number: int, frame: Any, uvicorns: Any = uvicorns) -> None:
            loop.call_soon_threadsafe(begin)
            if callable(uvicorns):
                uvicorns(number, frame)

        signal.signal(number, on_signal)


def end_with_status_0() -> None:
    """Being told to stop is no failure. Once uvicorn has stopped, it ends the process by the signal
    it got, unless that was handled before uvicorn came."""
    here = threading.current_thread() is threading.main_thread()
    if here and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
