"""The curl examples of both READMEs and of docs/, executed as they stand."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import models
from tests.conftest import ROOT, Service, StandIn

BLOCK = re.compile(r"```bash\n(.*?)```", re.DOTALL)
BASH = shutil.which("bash")


def curl_examples(readme: Path, docs: Path) -> list[str]:
    pages = [readme, *sorted(docs.glob("*.md"))]
    blocks: list[str] = BLOCK.findall("\n".join(page.read_text() for page in pages))
    return [block for block in blocks if "http://localhost:8000/" in block and "curl" in block]


@pytest.mark.skipif(not (BASH and shutil.which("curl")), reason="no bash or no curl here")
@pytest.mark.parametrize(("readme", "docs"), [("README.md", "docs"), ("README.ko.md", "docs/ko")])
def test_the_curl_examples_work(
    service: Service, stand_in: StandIn, readme: str, docs: str
) -> None:
    examples = curl_examples(ROOT / readme, ROOT / docs)
    assert len(examples) == 6
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
    answers = [json.loads(line) for line in done.stdout.splitlines() if line]
    (text,) = [
        answer for answer in answers if len(answer.get("variants", [])) == 5 and "cost" in answer
    ]
    (preview,) = [answer for answer in answers if "max_cost" in answer]
    assert 0 < text["cost"] <= preview["max_cost"]
    metrics = [answer for answer in answers if "accepted" in answer]
    assert [each["accepted"] for each in metrics] == [3] * 5
    (compared,) = [answer for answer in answers if "leader" in answer]
    assert compared["leader"] == 3
    (listed,) = [answer["content"] for answer in answers if "next_cursor" in answer]
    assert [each["content_id"] for each in listed] == [3, 2, 1, 5, 4], "the cheapest first"
    (overview,) = [answer for answer in answers if "total_campaigns" in answer]
    assert overview["total_conversions"] == 131
    assert overview["generation_cost"] == text["cost"]
    assert overview["cost_per_conversion"] == pytest.approx(text["cost"] / 131)
    assert service.rows(models.Segment) == []
    its_day = {"start": "2026-11-23T00:00:00+09:00", "end": "2026-11-24T00:00:00+09:00"}
    assert service.get("/analytics/overview", **its_day).json()["total_conversions"] == 131
    for row in service.rows(models.Metric):
        key = f"2026-11-23/{row['campaign_id']}/{row['content_id']}/{row['metric_name']}"
        assert row["event_id"] == key
