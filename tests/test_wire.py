"""What one client may take of the wire: the others are served all the same."""

import contextlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.conftest import COFFEE, NewDatabase, Service, StandIn, running, wait_until

HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextlib.contextmanager
def connection(service: Service) -> Iterator[socket.socket]:
    parts = urlsplit(service.url)
    assert parts.hostname
    assert parts.port
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as client:
        yield client


def memory_mb(service: Service) -> float:
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def is_closed(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(65_536) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_who_asks_on_and_reads_nothing_is_cut_off_and_takes_no_memory(service: Service) -> None:
    before = memory_mb(service)
    with connection(service) as client:
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 22_000_000:
                sent += client.send(HEALTH * 10_000)
        assert sent < 22_000_000
    assert service.get("/health").is_success
    assert memory_mb(service) - before < 50


@pytest.mark.parametrize("begin", [b"GET /", b"GET / HTTP/1.1\r\nX-Long: ", b"GET / HTTP/1.1\r\n"])
def test_a_head_that_is_too_long_is_431_at_once(service: Service, begin: bytes) -> None:
    filling = b"a: b\r\n" * 1_000 if begin.endswith(b"\n") else b"a" * 10_000
    with connection(service) as client:
        client.sendall(begin)
        with contextlib.suppress(OSError):
            for _ in range(1_000):
                client.sendall(filling)
        answer = b""
        with contextlib.suppress(OSError):
            answer = client.recv(1_000)
        # Where it was still sending, the answer may be lost with the connection.
        assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
    assert service.get("/health").is_success


def test_a_long_head_that_is_allowed_is_read(service: Service) -> None:
    assert service.client.get("/health", headers={"X-Long": "a" * 60_000}).is_success
    response = service.client.get("/health", headers={"X-Long": "a" * 70_000})
    assert response.status_code == 431
    assert "65536 bytes" in response.json()["detail"]


def test_requests_in_one_piece_are_answered_in_their_order(service: Service) -> None:
    body = b'{"name": "\xeb\xb4\x84"}'
    post = b"POST /segments HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    chunked = post + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    counted = post + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    last = HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with connection(service) as client:
        client.sendall(HEALTH + counted + chunked + counted + last)
        received = b""
        while part := client.recv(65_536):
            received += part
    answers = received.split(b"HTTP/1.1 200 OK")[1:]
    assert [b'"id"' in answer for answer in answers] == [False, True, True, True, False]


def test_a_body_may_come_byte_by_byte(service: Service, stand_in: StandIn) -> None:
    request = service.client.build_request("POST", "/generate/text", json=COFFEE)
    head = b"".join(b"%b: %b\r\n" % pair for pair in request.headers.raw)
    sent = b"POST /generate/text HTTP/1.1\r\n" + head + b"\r\n" + request.content
    with connection(service) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in sent:
            client.send(bytes([byte]))
        assert client.recv(1_000).startswith(b"HTTP/1.1 200 OK")


def test_idle_connections_make_room_and_half_a_request_does_not_stay(
    new_database: NewDatabase, stand_in: StandIn
) -> None:
    with (
        running(new_database(), MAX_IN_FLIGHT=1, OPENAI_BASE_URL=stand_in.url) as service,
        contextlib.ExitStack() as stack,
    ):
        began = time.monotonic()
        half = stack.enter_context(connection(service))
        half.sendall(HEALTH[:20])
        idle = [stack.enter_context(connection(service)) for _ in range(600)]
        assert service.get("/health").is_success, "whoever comes last is let in"
        wait_until(lambda: sum(map(is_closed, idle)) >= 90, "the first to make room")
        assert not is_closed(half), "it has a request"
        said = "connections were closed to make room for others"
        wait_until(lambda: said in service.log.read_text(), "the log to say so")
        wait_until(lambda: is_closed(half), "half a request to end")
        assert time.monotonic() - began > 5
        assert service.log.read_text().count(said) <= 2
        assert service.text().is_success
