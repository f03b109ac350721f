"""Starting the service and the demo as the README says, and why they would not start."""

import contextlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import COFFEE, EXAMPLE, IMAGES, KEY, ROOT, StandIn, telling_why, wait_until

READING = telling_why("settings.load()")


def free_port() -> int:
    """A port below those that the system gives to anyone who connects."""
    while True:
        port = random.randint(15_000, 30_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


@contextlib.contextmanager
def started(
    *command: str, folder: Path = ROOT, **environment: Any
) -> Iterator[subprocess.Popen[str]]:
    """A Python program of the project with these settings and no others."""
    outside = {name: value for name, value in os.environ.items() if name not in EXAMPLE}
    if folder == ROOT:  # a developer's own .env has no say
        outside |= EXAMPLE
    environment = {"IMAGE_STORE": IMAGES, **environment}
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env={**outside, **{name: str(value) for name, value in environment.items()}},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health").is_success
    except httpx.TransportError:
        return False


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project in a folder of its own, where a test may write a .env."""
    folder = tmp_path / "x@y" / "a?b=c" / "a clone with 100%41 #odd 이름"
    ignored = shutil.ignore_patterns(".*", "tests", "*.db*", "__pycache__")
    shutil.copytree(ROOT, folder, ignore=ignored)
    return folder


def test_main_serves_on_host_and_port_of_dotenv_and_the_environment_wins(copy: Path) -> None:
    port = free_port()
    dotenv = f"HOST=127.0.0.1\nPORT={port}\nOPENAI_API_KEY={KEY}\nDATABASE_URL=mysql://no\n"
    # Some editors put a byte order mark first.
    (copy / ".env").write_text(dotenv, encoding="utf-8-sig")
    with started("main.py", folder=copy, DATABASE_URL="") as process:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: healthy(url), "main.py to serve")
        assert httpx.get(url).json()["openai_configured"] is True
        assert (copy / "artify.db").exists(), "without DATABASE_URL everything is in a SQLite file"
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=30)[0]
    assert "Traceback" not in output
    assert KEY not in output


def test_main_serves_by_as_many_workers_as_are_set_and_being_stopped_is_no_failure(
    tmp_path: Path,
) -> None:
    port = free_port()
    url = f"sqlite:///{tmp_path}/a.db"
    with started("main.py", HOST="127.0.0.1", PORT=port, WORKERS=2, DATABASE_URL=url) as process:
        wait_until(lambda: healthy(f"http://127.0.0.1:{port}"), "main.py to serve")
        process.terminate()
        output = process.communicate(timeout=30)[0]
        assert process.returncode == 0
    assert len(set(re.findall(r"Started server process \[([0-9]+)\]", output))) == 2


@pytest.mark.parametrize(
    ("setting", "value"),
    [("TEXT_MODEL", "gpt-0"), ("DATABASE_URL", "postgresql://a:b@127.0.0.1:1/c"), ("PORT", "x")],
)
def test_main_fails_with_status_1_whatever_the_number_of_its_workers(
    setting: str, value: str
) -> None:
    given: dict[str, Any] = {"PORT": free_port(), "WORKERS": 2, setting: value}
    with started("main.py", **given) as process:
        output = process.communicate(timeout=30)[0]
        assert process.returncode == 1
    (line,) = output.splitlines()
    assert line.startswith("ERROR: ")


def test_a_dotenv_in_another_encoding_is_said_in_one_line(copy: Path) -> None:
    (copy / ".env").write_text("HOST=127.0.0.1  # 내 컴퓨터\n", encoding="cp949")
    with started("main.py", folder=copy) as process:
        (line,) = process.communicate(timeout=30)[0].splitlines()
        assert process.returncode == 1
    assert line.endswith(".env is not in UTF-8. Save it again with that encoding.")


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_dotenv_that_cannot_be_read_is_said_in_one_line(copy: Path, kind: str) -> None:
    dotenv = copy / ".env"
    if kind == "folder":  # Docker makes one where it mounts a file that is not there
        dotenv.mkdir()
    elif os.geteuid():
        dotenv.touch(mode=0)
    else:  # to root, nothing is denied
        dotenv.symlink_to("/proc/self/mem")
    with started(*READING, folder=copy) as process:
        (line,) = process.communicate(timeout=30)[0].splitlines()
        assert process.returncode == 1
    assert line.startswith(f"ERROR: {dotenv} cannot be read: ")


def test_quotes_are_no_part_of_a_value_and_an_empty_one_is_none(
    tmp_path: Path, stand_in: StandIn
) -> None:
    """`docker --env-file` hands quotes on, and the OpenAI SDK sends what is empty."""
    given = {
        "DATABASE_URL": f"sqlite:///{tmp_path}/a.db",
        "OPENAI_API_KEY": KEY,
        "OPENAI_BASE_URL": stand_in.url,
        "OPENAI_PROJECT_ID": "proj_1",
        "OPENAI_CUSTOM_HEADERS": "X-Team: 5",
        "SSL_CERT_DIR": "",
        "TEXT_MODEL": "gpt-4",
    }
    quoted: dict[str, Any] = {name: f"'{value}'" for name, value in given.items()}
    port = free_port()
    at: dict[str, Any] = {
        "HOST": '"127.0.0.1"',
        "PORT": f'"{port}"',
        "OPENAI_ORG_ID": "",
        "SSL_CERT_FILE": " ",
    }
    with started("main.py", **quoted, **at):
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: healthy(url), "main.py to serve")
        assert httpx.post(f"{url}/generate/text", json=COFFEE).is_success
    (asked,) = stand_in.asked
    assert asked["body"]["model"] == "gpt-4"
    headers = asked["headers"]
    assert headers["authorization"] == f"Bearer {KEY}"
    assert (headers["openai-project"], headers["x-team"]) == ("proj_1", "5")
    assert "openai-organization" not in headers


def test_a_taken_port_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        at: dict[str, Any] = {"HOST": "127.0.0.1", "PORT": port}
        for command in (["main.py"], ["-m", "tests.demo"]):
            with started(*command, DATABASE_URL=f"sqlite:///{tmp_path}/a.db", **at) as process:
                output = process.communicate(timeout=30)[0]
                assert process.returncode == 1
            assert output.splitlines() == [
                f"ERROR: Cannot listen on 127.0.0.1:{port}: Address already in use. "
                "Stop what uses that port, or set another PORT."
            ]


@pytest.mark.parametrize(
    ("setting", "value", "reason"),
    [
        ("PORT", "http", "PORT must be a whole number from 1 to 65535; it is 'http'."),
        ("PORT", "70000", "PORT must be a whole number from 1 to 65535; it is '70000'."),
        ("PORT", "80.5", "PORT must be a whole number from 1 to 65535; it is '80.5'."),
        ("HOST", "256.0.0.1", "Cannot listen on 256.0.0.1:8000: "),
        ("TEXT_TIMEOUT_SECONDS", "0", "TEXT_TIMEOUT_SECONDS must be a number from 0.1"),
        ("OPENAI_BASE_URL", "localhost:9000", "OPENAI_BASE_URL must look like https://"),
        ("OPENAI_BASE_URL", "http://[", "OPENAI_BASE_URL must look like https://"),
        ("OPENAI_BASE_URL", "http://a:9x/v1", "OPENAI_BASE_URL must look like https://"),
        ("OPENAI_BASE_URL", "ftp://me:geheim@a", "OPENAI_BASE_URL must look like https://"),
        ("OPENAI_API_KEY", "sk-geheim 비밀", "OPENAI_API_KEY has spaces"),
        ("OPENAI_API_KEY", '"sk-geheim', "OPENAI_API_KEY has spaces or other characters"),
        ("OPENAI_ORG_ID", "org-geheim\nX: 1", "OPENAI_ORG_ID has spaces or other characters"),
        ("OPENAI_PROJECT_ID", "프로젝트", "OPENAI_PROJECT_ID has spaces or other characters"),
        ("OPENAI_CUSTOM_HEADERS", "X-Team: 마케팅", "OPENAI_CUSTOM_HEADERS must be lines like"),
        ("OPENAI_CUSTOM_HEADERS", "X Team: geheim", "OPENAI_CUSTOM_HEADERS must be lines like"),
        ("OPENAI_CUSTOM_HEADERS", "geheim", "OPENAI_CUSTOM_HEADERS must be lines like"),
        ("SSL_CERT_FILE", "/no/ca.pem", "SSL_CERT_FILE /no/ca.pem cannot be used: No such file"),
        ("SSL_CERT_FILE", "/", "SSL_CERT_FILE / cannot be used: Is a directory."),
        ("SSL_CERT_FILE", __file__, f"SSL_CERT_FILE {__file__} cannot be used: it has no cert"),
        ("SSL_CERT_DIR", "/no/certs", "SSL_CERT_DIR /no/certs is no folder."),
        ("PUBLIC_BASE_URL", "copy.example.com", "PUBLIC_BASE_URL must look like https://"),
        ("PUBLIC_BASE_URL", "https://copy.example.com/?a=b", "PUBLIC_BASE_URL must look like"),
        ("ADMIN_KEY", "geheim 비밀", "ADMIN_KEY has spaces or other characters"),
        ("SERVICE_BUDGET_USD", "$50", "SERVICE_BUDGET_USD must be a number from 0 to 1000000;"),
        ("SERVICE_BUDGET_USD", "-1", "SERVICE_BUDGET_USD must be a number from 0 to 1000000;"),
        ("SERVICE_BUDGET_USD", "nan", "SERVICE_BUDGET_USD must be a number from 0 to 1000000;"),
        ("SERVICE_BUDGET_PERIOD", "year", "SERVICE_BUDGET_PERIOD must be one of day, week, month"),
        ("SERVICE_BUDGET_TIME_ZONE", "Seoul", "SERVICE_BUDGET_TIME_ZONE must be a time zone such"),
        ("ALERT_WEBHOOK_URL", "hooks.slack.com/geheim", "ALERT_WEBHOOK_URL must look like https"),
    ],
)
def test_a_setting_that_cannot_be_used_is_said_in_one_line(
    setting: str, value: str, reason: str
) -> None:
    given: dict[str, Any] = {setting: value}
    # Reading all but the address takes a tenth of the time to start.
    command = ("main.py",) if setting == "HOST" else READING
    with started(*command, **given) as process:
        output = process.communicate(timeout=30)[0]
        assert process.returncode == 1
    (line,) = output.splitlines()
    assert line.startswith(f"ERROR: {reason}")
    assert "geheim" not in line


def test_the_demo_walks_through_the_service_and_goes_on_serving() -> None:
    port = free_port()
    at: dict[str, Any] = {"HOST": "127.0.0.1", "PORT": port}
    with started("-m", "tests.demo", **at) as process:
        assert process.stdout
        printed = ""
        while "Look at the image: " not in printed:
            line = process.stdout.readline()
            assert line, f"the demo ended:\n{printed}"
            printed += line
        url = f"http://localhost:{port}"
        assert f"{url}/docs" in printed
        for part in ("POST /segments", "POST /generate/text", "POST /generate/image", "cost $0."):
            assert part in printed
        assert "[stand-in, not OpenAI] 커피숍을 위한" in printed
        assert re.search(r'"event_id": "2026-11-23/\d+/\d+/impressions"', printed)
        assert httpx.get(f"{url}/docs").is_success
        image = httpx.get(printed.rpartition("Look at the image: ")[2].strip())
        assert image.content.startswith(b"\x89PNG")
        assert printed.count("gpt-6-luna") > 0, "the models of today"
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=30)[0]
        assert process.returncode == 0
    assert "Stopped." in rest
    assert "Traceback" not in printed + rest
