"""Both READMEs and docs/: their curl examples run, their links lead on, their languages agree."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import models
from tests.conftest import ROOT, NewDatabase, Service, StandIn, running

BLOCK = re.compile(r"```bash\n(.*?)```", re.DOTALL)
FENCED = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
BASH = shutil.which("bash")
ADMIN_KEY = "admin-5c1e8d2f7a90b346"
# The service that needs no key has none of these: `"$ADMIN_KEY"`, `"$key"`.
WANTS_KEY = "Authorization: Bearer $"
in_a_shell = pytest.mark.skipif(not (BASH and shutil.which("curl")), reason="no bash or curl here")


def curl_examples(readme: Path, docs: Path) -> list[str]:
    pages = [readme, *sorted(docs.glob("*.md"))]
    blocks: list[str] = BLOCK.findall("\n".join(page.read_text() for page in pages))
    return [block for block in blocks if "http://localhost:8000/" in block and "curl" in block]


def run(script: str, service: Service, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BASH), "-c", "set -e\n" + script.replace("http://localhost:8000", service.url)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def headings(page: Path) -> list[tuple[str, str]]:
    """The level and the words of each, in order."""
    found: list[tuple[str, str]] = HEADING.findall(FENCED.sub("", page.read_text()))
    return found


def anchors(page: Path) -> list[str]:
    """What a link names each heading by, as GitHub makes it of the words."""
    return [re.sub(r"[^\w -]", "", words.lower()).replace(" ", "-") for _, words in headings(page)]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_link_between_the_pages_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / (path or page.name)
        assert target.is_file(), link
        if anchor:
            assert anchor in anchors(target), link


def test_both_languages_have_the_same_pages_with_the_same_headings() -> None:
    names = {page.name for page in ROOT.glob("docs/*.md")}
    assert names == {page.name for page in ROOT.glob("docs/ko/*.md")}
    pairs = [(ROOT / "docs" / name, ROOT / "docs/ko" / name) for name in names]
    pairs.append((ROOT / "README.md", ROOT / "README.ko.md"))
    for english, korean in pairs:
        levels = [level for level, _ in headings(english)]
        assert levels == [level for level, _ in headings(korean)], english.name


@pytest.mark.parametrize("name", ["README.md", "README.ko.md"])
def test_a_readme_is_read_at_one_sitting(name: str) -> None:
    assert len((ROOT / name).read_text().splitlines()) <= 200


@in_a_shell
@pytest.mark.parametrize(("readme", "docs"), [("README.md", "docs"), ("README.ko.md", "docs/ko")])
def test_the_curl_examples_work(
    service: Service, stand_in: StandIn, readme: str, docs: str
) -> None:
    found = curl_examples(ROOT / readme, ROOT / docs)
    examples = [block for block in found if WANTS_KEY not in block]
    assert len(examples) == 6
    # A failing status must fail the example.
    failing = 'curl() { command curl --fail-with-body "$@"; echo; }\n'
    done = run(failing + "\n".join(examples), service)
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


@in_a_shell
@pytest.mark.parametrize(("readme", "docs"), [("README.md", "docs"), ("README.ko.md", "docs/ko")])
def test_the_curl_examples_of_keys_work(
    new_database: NewDatabase, stand_in: StandIn, readme: str, docs: str
) -> None:
    found = curl_examples(ROOT / readme, ROOT / docs)
    examples = [block for block in found if WANTS_KEY in block]
    assert len(examples) == 2
    with running(new_database(), OPENAI_BASE_URL=stand_in.url, ADMIN_KEY=ADMIN_KEY) as service:
        done = run("\n".join(examples), service, ADMIN_KEY=ADMIN_KEY)
        assert done.returncode == 0, done.stdout + done.stderr
        key, text, refused, budgets = [line for line in done.stdout.splitlines() if line]
        (row,) = service.rows(models.ApiKey)
        assert key.startswith(row["prefix"])
        left = json.loads(text)["budget_remaining"]
        assert left == pytest.approx(0.002 - json.loads(text)["cost"])
        amount = re.match(r"This request could cost (\$[0-9.]+),", json.loads(refused)["detail"])
        assert amount
        assert amount[1] in (ROOT / docs / "keys-and-caps.md").read_text()
        (budget,) = json.loads(budgets)["budgets"]
        assert (budget["left"], budget["held"]) == (left, 0)
        assert service.job()["status"] == "completed"
