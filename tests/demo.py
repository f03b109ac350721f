"""`make demo`: the whole service without an OpenAI key, on SQLite, before a stand-in that has the
models OpenAI has today."""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import uvicorn

import process
from settings import load
from tests import stand_in

ROOT = Path(__file__).resolve().parent.parent
DATABASE, IMAGES = ROOT / "artify-demo.db", ROOT / "artify-demo-images"
SEGMENT = {
    "name": "출근길 직장인",
    "description": "아침에 커피를 찾는 20-40대 직장인",
    "criteria": {"age_range": "20-40", "time": "07:00-09:00"},
}

LONGEST = 45  # lines of one request or answer
# Impressions, clicks and conversions of each variant.
CAMPAIGN = (
    *((9800, 294, 24), (10100, 313, 25), (9900, 455, 41)),
    *((10200, 285, 19), (10000, 301, 22)),
)


def show(client: httpx2.Client, title: str, method: str, path: str, body: Any = None) -> Any:
    """Send one request; print it and its answer. Returns the answer."""
    response = client.request(method, path, json=body)
    print(f"\n{title}\n\n  {method} {path}")
    answer = response.json()
    for sign, value in ((">", body), ("<", answer)):
        if value is not None:
            lines = json.dumps(value, ensure_ascii=False, indent=2).splitlines()
            if len(lines) > LONGEST:
                lines[LONGEST:] = [f"… ({len(lines) - LONGEST} more lines)"]
            print(*(f"  {sign} {line}" for line in lines), sep="\n")
    response.raise_for_status()
    return answer


def walk(url: str) -> None:
    """Wait for the service, then go from a segment to what a conversion of its copy cost."""
    with httpx2.Client(base_url=url, timeout=60) as client:
        while not answers(client):
            time.sleep(0.05)
        segment = show(client, "1. A segment to write for", "POST", "/segments", SEGMENT)
        copy = {
            "prompt": "커피숍을 위한 마케팅 슬로건을 작성해주세요",
            "segment_id": segment["id"],
            "tone": "친근한",
            "keywords": ["커피", "아침", "신선함"],
            "max_tokens": 100,
            "n": 5,
        }
        text = show(client, "2. Five variants for it", "POST", "/generate/text", copy)
        picture = {"prompt": "따뜻한 아침 햇살이 드는 아늑한 커피숍, 수채화"}
        image = show(client, "3. An image", "POST", "/generate/image", picture)
        ids = [variant["id"] for variant in text["variants"]]
        reported = [
            {
                "metric_name": name,
                "metric_value": value,
                "project_id": 1,
                "campaign_id": text["job_id"],
                "content_id": content_id,
                "timestamp": "2026-11-23T00:00:00+09:00",
                "event_id": f"2026-11-23/{text['job_id']}/{content_id}/{name}",
            }
            for content_id, counts in zip(ids, CAMPAIGN, strict=True)
            for name, value in zip(("impressions", "clicks", "conversions"), counts, strict=True)
        ]
        show(client, "4. What a campaign did with them", "POST", "/analytics/metrics", reported)
        variants = f"/analytics/content/{ids[0]}/variants"
        leader = show(client, "5. Which of them leads", "GET", variants)["leader"]
        overview = f"/analytics/overview?campaign_id={text['job_id']}"
        did = show(client, "6. What the campaign did and cost", "GET", overview)
        costs = show(client, "7. What all of it cost", "GET", "/costs/summary")
    print(
        f"\nThe variants cost ${text['cost']:.7f}, this image ${image['cost']:.7f}; "
        f"all jobs of this demo so far ${costs['total_cost']:.7f}."
        f"\nVariant {leader} leads beyond chance. Each conversion cost "
        f"${did['cost_per_conversion']:.9f} of copy."
        "\n(Priced as if OpenAI had answered. The stand-in did: nothing is billed.)"
        f"\n\nServing on until Ctrl-C. Try everything yourself: {url}/docs"
        f"\n(To forget this demo: rm -r artify-demo*)"
        f"\n\nLook at the image: {image['image_url']}",
        flush=True,
    )


def answers(client: httpx2.Client) -> bool:
    try:
        return client.get("/health").is_success
    except httpx2.TransportError:
        return False


def demo() -> None:
    # Nobody is slow here, and a cut would be logged as an error.
    with stand_in.serving(today=True, timeout_graceful_shutdown=None) as openai_url:
        os.environ["DATABASE_URL"] = f"sqlite:///{DATABASE}"
        os.environ["IMAGE_STORE"] = str(IMAGES)
        os.environ["OPENAI_API_KEY"] = "sk-demo"
        os.environ["OPENAI_BASE_URL"] = f"{openai_url}/v1"
        os.environ.setdefault("HOST", "127.0.0.1")  # a demo is not for the whole network
        for name in ("ADMIN_KEY", "SERVICE_BUDGET_USD", "ALERT_WEBHOOK_URL"):
            os.environ[name] = ""  # those of .env are for real
        os.environ["NO_PROXY"] = "localhost,127.0.0.1"
        process.log_to_stderr()
        with process.telling_why():
            settings = load()
            process.check_address(settings.host, settings.port)
        # Only now: it reads the environment.
        import main  # noqa: PLC0415

        host, port = settings.host, settings.port
        here = ("0.0.0.0", "127.0.0.1", "::")
        name = "localhost" if host in here else f"[{host}]" if ":" in host else host
        url = f"http://{name}:{port}"
        print(f"A stand-in for OpenAI answers at {openai_url}; no key is needed.", flush=True)
        threading.Thread(target=walk, args=[url], daemon=True).start()
        uvicorn.run(main.app, host=host, port=port, log_level="warning")
    print("\nStopped.")


if __name__ == "__main__":
    demo()
