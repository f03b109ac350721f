"""The rules of the house that a machine can keep."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from settings import Settings
from tests.conftest import EXAMPLE, ROOT, Service

FLOORS = (
    ("settings", "pricing", "models", "korean", "wire"),
    ("alerts", "bounds", "access.caps", "access.keys"),
    ("access.counters",),
    ("database", "generation.group_commit", "generation.bodies", "generation.results"),
    ("generation.responses", "generation.connection", "generation.download", "generation.prompts"),
    ("generation.refusals", "generation.records", "generation.lookups", "analytics.significance"),
    ("generation.corrections",),
    ("fields", "process", "generation.client"),
    ("generation.images", "generation.variants", "analytics.schemas"),
    ("access.schemas",),
    ("access.manage",),
    ("analytics.ingest", "analytics.figures", "generation.ledger", "images"),
    ("generation.schemas",),
    ("schemas", "swagger"),
    ("queries",),
    ("dependencies",),
    ("errors",),
    ("documented", "limits"),
    ("admin", "outcomes"),
    ("main",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
PACKAGES = ("access", "generation", "analytics")
ROOMS = {path.stem: path for path in ROOT.glob("*.py")}
ROOMS |= {
    f"{package}.{path.stem}": path
    for package in PACKAGES
    for path in (ROOT / package).glob("*.py")
    if path.stem != "__init__"
}
READMES = [ROOT / "README.md", ROOT / "README.ko.md"]


def imports(path: Path) -> set[str]:
    """The modules that this file imports: of a package, those that it takes out of it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module in PACKAGES:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_every_room_has_its_floor_and_an_import_only_falls() -> None:
    assert set(ROOMS) == set(FLOOR)
    for room, path in ROOMS.items():
        for imported in imports(path) & set(FLOOR):
            assert FLOOR[imported] < FLOOR[room], f"{room} imports {imported}"


def test_the_packages_import_neither_each_other_nor_fastapi() -> None:
    # Caps are decided where a job is opened: generating may know who may spend.
    others = {
        "access": {"analytics", "generation"},
        "analytics": {"access", "generation"},
        "generation": {"analytics"},
        "": set(),
    }
    for room, path in ROOMS.items():
        package = room.rpartition(".")[0]
        tops = {name.partition(".")[0] for name in imports(path)}
        assert not others[package] & tops, f"{room} imports another package"
        assert not package or "fastapi" not in tops, f"{room} imports fastapi"


def test_no_room_is_longer_than_450_lines_and_no_function_than_40() -> None:
    for room, path in ROOMS.items():
        source = path.read_text()
        assert len(source.splitlines()) <= (400 if room == "main" else 450), room
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                assert lines <= 40, f"{room}.{node.name} has {lines} lines"


def test_no_room_hides_a_module_of_python_or_of_a_library() -> None:
    installed = set(importlib.metadata.packages_distributions())
    assert "dotenv" in installed
    names = {room.partition(".")[0] for room in ROOMS}
    assert not names & (set(sys.stdlib_module_names) | installed)


def test_only_settings_reads_the_environment() -> None:
    for room in ROOMS.keys() - {"settings"}:
        source = ROOMS[room].read_text()
        assert "environ" not in source
        assert "getenv" not in source


def test_importing_a_module_needs_nothing_and_starts_nothing() -> None:
    """But for main, which makes the app for `uvicorn main:app`."""
    told = f"""
import gc, importlib, logging, signal, threading
from sqlalchemy import Engine
signals = {{number: signal.getsignal(number) for number in signal.Signals}}
for name in {sorted(ROOMS.keys() - {"main"})}:
    importlib.import_module(name)
assert signals == {{number: signal.getsignal(number) for number in signal.Signals}}
assert threading.active_count() == 1
assert not logging.getLogger().handlers
assert not [each for each in gc.get_objects() if isinstance(each, Engine)]
"""
    nothing = {"DATABASE_URL": "mysql://no", "PORT": "http", "OPENAI_BASE_URL": "no"}
    run = subprocess.run(
        [sys.executable, "-c", told], cwd=ROOT, env=nothing, capture_output=True, check=False
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")


def test_the_example_and_both_readmes_name_every_setting() -> None:
    read = {name.upper() for name in Settings.model_fields}
    assert set(EXAMPLE) == read
    for readme in READMES:
        for name in read:
            assert f"`{name}`" in readme.read_text(), f"{readme.name} lacks {name}"


def test_both_readmes_name_every_route_in_the_order_of_main(running_service: Service) -> None:
    routes = [
        f"| `{method.upper()} {path}` |"
        for path, methods in running_service.get("/openapi.json").json()["paths"].items()
        for method in methods
    ]
    for readme in READMES:
        text = readme.read_text()
        places = [text.find(route) for route in routes]
        assert -1 not in places, f"{readme.name} lacks {routes[places.index(-1)]}"
        assert places == sorted(places), f"{readme.name} has another order"


def test_the_version_stands_in_pyproject_alone(running_service: Service) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert running_service.get("/").json()["version"] == version
    assert running_service.get("/openapi.json").json()["info"]["version"] == version
    deployed = [ROOT / name for name in ("Dockerfile", "compose.yaml", "render.yaml")]
    for path in [*deployed, *ROOMS.values()]:
        # An example in /docs is of some version.
        text = re.sub(r"examples=\[.*?\]", "", path.read_text())
        assert f'"{version}"' not in text, path.name


LISTS = ("requirements", "requirements-lint", "requirements-test")


def locked(name: str) -> dict[str, str]:
    """Return the lines of a lock, by the names of what they pin."""
    text = (ROOT / f"{name}.txt").read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    return {re.split(r"[\[=]", line)[0]: line for line in lines}


@pytest.mark.parametrize("name", LISTS)
def test_every_requirement_is_pinned(name: str) -> None:
    pinned = locked(name)
    for line in pinned.values():
        assert re.fullmatch(r"[a-z0-9.-]+(\[\w+\])?==[^#]+ --hash=sha256:[^#/]+", line)
    for line in (ROOT / f"{name}.in").read_text().splitlines():
        if line and not line.startswith(("#", "-")):
            assert re.split(r"[\[;]", line)[0] in pinned, "make lock"


def test_all_environments_have_the_same_versions() -> None:
    service, *others = [locked(name) for name in LISTS]
    for other in others:
        shared = service.keys() & other.keys()
        assert [service[name] for name in shared] == [other[name] for name in shared]


def test_deployment_files_start_the_service_as_the_contract_says() -> None:
    start = "HOST=0.0.0.0 PORT=8000 WORKERS={} python main.py"
    (service,) = yaml.safe_load((ROOT / "render.yaml").read_text())["services"]
    assert service["startCommand"] == start.format(2)
    api = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["api"]
    assert api["environment"]["DATABASE_URL"].startswith("postgresql://")
    # The PORT of .env is this machine's, not the container's.
    assert api["ports"] == [f"127.0.0.1:${{PORT:-8000}}:{api['environment']['PORT']}"]


@pytest.mark.parametrize(("port", "used"), [(None, 8000), ("", 8000), ("9000", 9000)])
def test_the_image_listens_on_port_and_asks_there_for_its_health(
    port: str | None, used: int, tmp_path: Path
) -> None:
    health, command = re.findall(r"^ *CMD (.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    (tmp_path / "python").write_text('#!/bin/sh\necho "$HOST $PORT $WORKERS $@"\n')
    (tmp_path / "python").chmod(0o755)
    given = {"PATH": f"{tmp_path}:/bin:/usr/bin", "HOST": "127.0.0.1"}
    if port is not None:
        given["PORT"] = port

    def said(command: str) -> str:
        run = ["/bin/sh", "-c", command]
        return subprocess.run(run, env=given, capture_output=True, text=True, check=True).stdout

    assert said(command) == f"0.0.0.0 {used} 4 main.py\n"
    assert f"http://127.0.0.1:{used}/health" in said(health)
