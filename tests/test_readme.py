"""The curl examples of both READMEs, executed as they stand."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import models
from tests.conftest import ROOT, Service, StandIn

BLOCK = re.compile(r"```bash\n(.*?)```", re.DOTALL)
BASH = shutil.which("bash")


def curl_examples(readme: Path) -> list[str]:
    blocks: list[str] = BLOCK.findall(readme.read_text())
    return [block for block in blocks if "http://localhost:8000/" in block and "curl" in block]


@pytest.mark.skipif(not (BASH and shutil.which("curl")), reason="no bash or no curl here")
@pytest.mark.parametrize("name", ["README.md", "README.ko.md"])
def test_the_curl_examples_work(service: Service, stand_in: StandIn, name: str) -> None:
    examples = curl_examples(ROOT / name)
    assert len(examples) == 4
    # A failing status must fail the example.
    script = 'set -e\ncurl() { command curl --fail-with-body "$@"; echo; }\n' + "\n".join(examples)
    done = subprocess.run(
        [str(BASH), "-c", script.replace("http://localhost:8000", service.url)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"message":"Segment deleted successfully"' in done.stdout
    assert len(stand_in.asked) == 3, "the request sent twice is made once"
    assert [job["status"] for job in service.rows(models.GenJob)] == ["completed"] * 3
    assert service.rows(models.Segment) == []
