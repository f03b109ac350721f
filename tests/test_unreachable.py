"""What keeps the service from OpenAI is said, with what to do, and costs nothing."""

import asyncio
import contextlib
import http.server
import ipaddress
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from generation import connection, variants
from generation.client import OpenAIClient
from generation.results import GenerationError, TextJob
from settings import Settings
from tests.conftest import EXAMPLE, KEY, ROOT, Service, StandIn, running, telling_why
from tests.test_database import fails_to_start

# The SDK's transport still uses them.
pytestmark = [
    pytest.mark.filterwarnings("ignore:BasicAuth is deprecated"),
    pytest.mark.filterwarnings("ignore:The 'proxy_auth' parameter is deprecated"),
]
PROXIES = [f"{name}_PROXY" for name in ("HTTP", "HTTPS", "ALL", "NO")]
COPY = json.dumps(
    {
        "choices": [{"message": {"role": "assistant", "content": "좋은 아침"}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
).encode()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def certificate(folder: Path, address: str = "127.0.0.1", starts: int = -9, ends: int = 9) -> str:
    """A file with a self-signed certificate for the address, and its key; valid from and to so many
    days from now."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, address)])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now + timedelta(days=starts))
        .not_valid_after(now + timedelta(days=ends))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file = folder / "server.pem"
    file.write_bytes(signed.public_bytes(pem) + key.private_bytes(pem, *private))
    return str(file)


class Quiet(http.server.ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that refuses a certificate goes."""


@contextlib.contextmanager
def listening(
    status: int = 200, certificate: str = "", authorization: str | None = None
) -> Iterator[str]:
    """The host and port of a server, with TLS if it has a certificate, or of a proxy, that answers
    with this status who comes with this Proxy-Authorization, and all others with 407."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            welcome = self.headers["Proxy-Authorization"] == authorization
            self.send_response(status if welcome else 407)
            self.send_header("Content-Length", str(len(COPY)))
            self.end_headers()
            self.wfile.write(COPY)

        do_CONNECT = do_POST  # noqa: N815  (named by http.server)

        def log_message(self, *_: Any) -> None:
            pass

    server = Quiet(("127.0.0.1", 0), Handler)
    if certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
        # The handler's thread shakes hands, so that a refusal does not end the server's.
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def ask(url: str) -> str:
    """The text that comes of it."""

    async def run() -> str:
        client = OpenAIClient(
            KEY, Settings().model_copy(update={"openai_base_url": url, "max_attempts": 2})
        )
        try:
            job = TextJob(model="gpt-4", prompt="안녕", max_tokens=9)
            hello = [{"role": "user", "content": "안녕"}]
            return (await variants.generate(client, job, hello)).texts[0].text
        finally:
            await client.close()

    return asyncio.run(run())


def failure(url: str, attempts: int = 1) -> str:
    """Why nothing came of it, after so many of two attempts."""
    with pytest.raises(GenerationError) as failed:
        ask(url)
    assert failed.value.bill.cost_usd == 0
    assert not failed.value.is_unanswered
    assert failed.value.bill.attempts == attempts
    assert "geheim" not in str(failed.value)
    host, said, why = str(failed.value).partition(" cannot be reached: ")
    assert (host, said) == ("127.0.0.1", " cannot be reached: ")
    return why


@pytest.mark.parametrize(
    ("made", "trusted", "why"),
    [
        ({}, False, "the certificate of 127.0.0.1 is not trusted (self-signed certificate). "),
        ({"ends": -1}, True, "the certificate of 127.0.0.1 has expired. Ask those who run it"),
        ({"starts": 1}, True, "the certificate of 127.0.0.1 is not valid yet. Check this machine"),
        ({"address": "127.0.0.2"}, True, "the certificate of 127.0.0.1 is for another name. "),
    ],
)
def test_what_is_wrong_with_a_certificate_is_said_and_asked_once(
    made: dict[str, Any],
    trusted: bool,
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = certificate(tmp_path, **made)
    if trusted:
        monkeypatch.setenv("SSL_CERT_FILE", file)
    with listening(certificate=file) as server:
        assert failure(f"https://{server}/v1").startswith(why)


def test_ssl_cert_file_makes_a_ca_of_ones_own_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", certificate(tmp_path))
    with listening(certificate=os.environ["SSL_CERT_FILE"]) as server:
        assert ask(f"https://{server}/v1") == "좋은 아침"


@pytest.mark.parametrize(
    ("scheme", "status", "attempts", "why"),
    [
        ("https", 407, 1, "the proxy wants a user and a password (407). Set HTTPS_PROXY="),
        ("http", 407, 1, "the proxy wants a user and a password (407). Set HTTPS_PROXY="),
        ("https", 403, 1, "the proxy refused the connection (403). "),
        ("https", 502, 2, "the proxy refused the connection (502). "),
    ],
)
def test_what_a_proxy_says_is_said(
    scheme: str, status: int, attempts: int, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    authorization = aiohttp.encode_basic_auth("me", "geheim")
    with listening(status, authorization=authorization) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"http://me:geheim@{proxy}")
        assert failure(f"{scheme}://127.0.0.1:9/v1", attempts).startswith(why)


def test_a_proxy_gets_its_user_and_password(monkeypatch: pytest.MonkeyPatch) -> None:
    with listening(authorization=aiohttp.encode_basic_auth("me", "p@1")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:p%401@{proxy}")
        assert ask("http://127.0.0.1:9/v1") == "좋은 아침"


def test_who_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert failure("http://127.0.0.1:9/v1", 2).startswith("Connection refused at 127.0.0.1:9. ")
    with listening() as server:
        why = failure(f"https://{server}/v1", 2)
    assert why.startswith(f"{server} does not speak TLS as it should ([SSL: ")
    monkeypatch.setenv("HTTPS_PROXY", "http://me:geheim@127.0.0.1:9")
    why = failure("https://127.0.0.1:443/v1", 2)
    assert why.startswith("Connection refused at the proxy 127.0.0.1:9. ")
    # Without a name server the answer may be long in coming.
    nowhere: Any = SimpleNamespace(host="nowhere.invalid", port=443)
    unknown = aiohttp.ClientConnectorDNSError(nowhere, OSError())
    why = connection.why_unreached(unknown)
    assert why.startswith("no address of nowhere.invalid is known. Check the network")


def test_a_certificate_nobody_trusts_is_booked_as_failed_at_no_cost(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    with (
        listening(certificate=certificate(tmp_path)) as server,
        running(url, OPENAI_BASE_URL=f"https://{server}/v1", NO_PROXY="*") as service,
    ):
        response = service.text()
        assert response.status_code == 500
        assert "is not trusted (self-signed certificate)" in response.json()["detail"]
        job = service.job()
        assert (job["status"], job["attempts"], job["estimated_cost"]) == ("failed", 1, 0)


def test_a_proxy_that_nobody_here_can_speak_to_is_refused_at_the_start(tmp_path: Path) -> None:
    proxy = "socks5://me:geheim@127.0.0.1:1080"
    line = fails_to_start(f"sqlite:///{tmp_path}/a.db", ALL_PROXY=proxy)
    assert line == (
        "ERROR: The proxy for api.openai.com cannot be used: HTTPS_PROXY, HTTP_PROXY or ALL_PROXY "
        "must look like http://user:password@host:port; SOCKS is not supported. "
        "NO_PROXY=api.openai.com does without a proxy."
    )


@pytest.mark.parametrize(
    ("name", "proxy"),
    [
        ("HTTPS_PROXY", "socks5h://geheim:1080"),
        ("https_proxy", "SOCKS4://geheim:1080"),
        ("ALL_PROXY", "http://geheim:port"),
        ("HTTPS_PROXY", "http://me:비밀geheim@127.0.0.1:8080"),
    ],
)
def test_so_is_every_other_that_would_fail_at_each_call(name: str, proxy: str) -> None:
    made = "from generation.client import OpenAIClient; OpenAIClient('k', settings.load())"
    run = subprocess.run(
        [sys.executable, *telling_why(made)],
        cwd=ROOT,
        env={**os.environ, **EXAMPLE, name: proxy},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert run.stderr.startswith("ERROR: The proxy for api.openai.com cannot be used: ")
    assert len(run.stderr.splitlines()) == 1
    assert "geheim" not in run.stderr


@pytest.mark.parametrize(
    "environment",
    [
        # What GNOME sets for a company's proxy, and one for other servers.
        {"all_proxy": "socks://127.0.0.1:9/", "no_proxy": "localhost,127.0.0.0/8,::1"},
        {"HTTPS_PROXY": "socks5://127.0.0.1:9"},
        {"ALL_PROXY": "socks4://127.0.0.1:9", "NO_PROXY": "*"},
    ],
)
def test_a_proxy_for_other_servers_is_no_obstacle(
    environment: dict[str, str], stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert ask(stand_in.url).startswith("[stand-in")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_prompt_is_sent_nowhere_else(service: Service, stand_in: StandIn, status: int) -> None:
    leads_to = {"location": f"{stand_in.url}/chat/completions?geheim=1"}
    stand_in.will("verbatim", status=status, body="{}", headers=leads_to)
    response = service.text()
    assert response.status_code == 500
    detail = response.json()["detail"]
    assert f"OPENAI_BASE_URL leads elsewhere ({status}), to 127.0.0.1" in detail
    assert "geheim" not in detail
    assert len(stand_in.asked) == 1
    job = service.job()
    assert (job["status"], job["estimated_cost"], job["attempts"]) == ("failed", 0, 1)
