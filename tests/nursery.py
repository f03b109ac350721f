"""Starts the service by a fork of a process that has imported what the service imports.

Importing takes four fifths of the time that a start takes. No module but main does anything when it
is imported (a test of the house keeps that): a fork of this process begins as a new one would.
"""

import contextlib
import functools
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LONGEST_MESSAGE = 200_000
# What main imports, and what uvicorn does when it starts.
IMPORTED = (
    "analytics.figures",
    "errors",
    "generation.variants",
    "swagger",
    "uvicorn",
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
)


class Forked:
    """A process that the nursery started, as far as subprocess.Popen is used here."""

    def __init__(self, asking: "Nursery", pid: int) -> None:
        self._asking = asking
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._asking.status_of(self.pid)
        return self.returncode

    def wait(self, timeout: float = 60) -> int:
        deadline = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout)
            time.sleep(0.01)
        return status

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


class Nursery:
    """Ends when this process does: then nobody is on the other side of its socket."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "tests.nursery", str(theirs.fileno())]
        self._process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()])
        theirs.close()

    def start(self, environment: dict[str, str], listener: int, log: int) -> Forked:
        """Run uvicorn on this listening socket, with this environment and no other."""
        message = json.dumps(environment).encode()
        socket.send_fds(self._socket, [message], [listener, log])
        return Forked(self, int(self._socket.recv(LONGEST_MESSAGE)))

    def status_of(self, pid: int) -> int | None:
        """Return the status with which a process ended, as Popen has it; None while it runs."""
        self._socket.send(str(pid).encode())
        status: int | None = json.loads(self._socket.recv(LONGEST_MESSAGE))
        return status


@functools.cache
def nursery() -> Nursery:
    return Nursery()


def serve(requests: socket.socket) -> None:
    """Fork for each environment that is sent, tell how each process fares that is asked for."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, LONGEST_MESSAGE, 2)
        if not message:
            return
        if not descriptors:
            requests.send(json.dumps(_status(int(message))).encode())
            continue
        pid = os.fork()
        if pid == 0:
            requests.close()
            become_uvicorn(json.loads(message), descriptors)
        for each in descriptors:
            os.close(each)
        requests.send(str(pid).encode())


def _status(pid: int) -> int | None:
    ended, status = os.waitpid(pid, os.WNOHANG)
    if not ended:
        return None
    return os.waitstatus_to_exitcode(status)


def become_uvicorn(environment: dict[str, str], descriptors: Sequence[int]) -> None:
    """Do what `python -m uvicorn main:app --fd …` does; ends this process."""
    listener, log = descriptors
    os.dup2(log, sys.stdout.fileno())
    os.dup2(log, sys.stderr.fileno())
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["uvicorn", "main:app", "--fd", str(listener)]
    runpy.run_module("uvicorn", run_name="__main__", alter_sys=True)
    sys.exit()


if __name__ == "__main__":
    for module in IMPORTED:
        with contextlib.suppress(ImportError):  # uvicorn does without some
            importlib.import_module(module)
    serve(socket.socket(fileno=int(sys.argv[1])))
