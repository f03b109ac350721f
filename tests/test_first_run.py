"""The first run of the tests on a machine, as root: PostgreSQL's system user is not there yet."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

USER = "pgserver"
NAMESPACE = ("unshare", "--mount", "--propagation", "private")
# One for each process, and none that starts the service.
TESTS = (
    "tests/test_schema.py::test_the_migrations_leave_what_the_models_declare[postgresql]",
    "tests/test_ledger.py::test_a_settlement_written_twice_stands_once[postgresql]",
    "tests/test_ledger.py::test_a_late_settlement_corrects_what_was_held_for_dead[postgresql]",
)


def may_mount() -> bool:
    """Whether this is root in a place where it may mount; containers often forbid it."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return False
    mount = (*NAMESPACE, "mount", "--bind", "/etc", "/etc")
    return subprocess.run(mount, capture_output=True, check=False).returncode == 0


@pytest.fixture
def etc(tmp_path: Path) -> Iterator[Path]:
    """A copy of /etc that does not know the user."""
    copy = tmp_path / "etc"
    subprocess.run(["cp", "-a", "/etc", copy], check=True)
    files = [copy / name for name in ("passwd", "group", "shadow", "gshadow")]
    subprocess.run(["sed", "-i", f"/^{USER}:/d", *files], check=True)
    yield copy
    shutil.rmtree(copy)  # there are secrets in it


@pytest.mark.skipif(not may_mount(), reason="needs root and unshare")
def test_it_passes(etc: Path, tmp_path: Path) -> None:
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    # Plugins that these tests do not use take most of the time to start.
    outside["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    command = [sys.executable, "-m", "pytest", "-p", "xdist", "-p", "no:cacheprovider", *TESTS]
    command += ["-n", "3", "--dist", "worksteal", f"--basetemp={tmp_path / 'tests'}"]
    # Only the new namespace sees the copy in the place of /etc.
    bind = 'mount --bind "$0" /etc && exec "$@"'
    run = subprocess.run(
        [*NAMESPACE, "sh", "-c", bind, etc, *command],
        cwd=ROOT,
        env={**outside, "TEST_DATABASE_URL": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"\n{USER}:" in (etc / "passwd").read_text(), "it was not there, and was made"
