"""Images that last: how they are stored and fetched, GET /images/{name}, and the sweep."""

import asyncio
import base64
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from moto.server import ThreadedMotoServer
from sqlalchemy import delete

import models
from generation import download
from tests.conftest import CAFE, EXAMPLE, ROOT, Service, StandIn, running, wait_until

PNG = b"\x89PNG\r\n\x1a\n"


def odd(stand_in: StandIn, kind: str) -> str:
    return f"{stand_in.client.base_url}/odd/{kind}"


def test_an_image_is_served_to_be_cached_for_good(service: Service) -> None:
    url = service.image().json()["image_url"]
    response = service.client.get(url)
    assert response.status_code == 200
    assert response.content.startswith(PNG)
    headers = response.headers
    assert headers["content-type"] == "image/png"
    assert headers["content-length"] == str(len(response.content))
    assert headers["cache-control"] == "public, max-age=31536000, immutable"
    assert headers["x-content-type-options"] == "nosniff"
    etag = headers["etag"]

    head = service.client.head(url)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-length", "cache-control", "etag"):
        assert head.headers[name] == headers[name]

    for known in (etag, f'"other", W/{etag}', "*"):
        unchanged = service.client.get(url, headers={"If-None-Match": known})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        assert unchanged.headers["etag"] == etag
        assert unchanged.headers["cache-control"] == headers["cache-control"]
    assert service.client.get(url, headers={"If-None-Match": '"other"'}).content.startswith(PNG)


def test_no_address_of_the_service_is_stored_and_every_reader_gets_todays(service: Service) -> None:
    called = {"Host": "evil.example", "Idempotency-Key": "one"}
    made = service.client.post("/generate/image", json=CAFE, headers=called).json()
    for table in (models.GenJob, models.GeneratedContent):
        (row,) = service.rows(table)
        assert not [name for name, value in row.items() if "evil.example" in str(value)]
    (content,) = service.rows(models.GeneratedContent)
    assert content["result"] == content["image_name"]
    # Made before only names were stored, and by the same job.
    before = "http://evil.example/images/" + content["image_name"]
    service.insert(models.GeneratedContent, {**content, "id": made["id"] + 10, "result": before})
    metrics = [
        {"metric_name": "clicks", "metric_value": 1, "content_id": row["id"]}
        for row in service.rows(models.GeneratedContent)
    ]
    assert service.post("/analytics/metrics", metrics).json()["accepted"] == 2

    url = f"{service.url}/images/{content['image_name']}"
    item = service.get(f"/content/{made['id']}").json()
    compared = service.get(f"/analytics/content/{made['id']}/variants").json()["variants"]
    assert [
        service.image(key="one").json()["image_url"],
        item["result"],
        *(each["text"] for each in item["siblings"]),
        *(each["result"] for each in service.get("/content/history").json()["history"]),
        *(each["result"] for each in service.get("/analytics/content").json()["content"]),
        *(each["result"] for each in compared),
    ] == [url] * 9
    assert service.client.get(url).content.startswith(PNG)


@pytest.mark.parametrize(
    "name",
    [
        f"{'0' * 32}.png",
        f"{'0' * 32}",
        f"{'0' * 32}.svg",
        f"{'0' * 32}.png%00",
        f"{'0' * 32}.png%0A",
        "artify.db",
        "..%2Fmain.py",
        "%2Fetc%2Fpasswd",
        "%ED%A0%80",
        " ",
    ],
)
def test_what_is_no_image_is_404(service: Service, name: str) -> None:
    for condition in ({}, {"If-None-Match": "*"}, {"If-None-Match": f'"{name}"'}):
        response = service.client.get(f"/images/{name}", headers=condition)
        assert response.status_code == 404
        assert response.json() in ({"detail": "Image not found"}, {"detail": "Not Found"})
    assert service.client.head(f"/images/{name}").status_code == 404


@pytest.mark.parametrize(
    ("kind", "ending", "media_type"),
    [
        ("webp", "webp", "image/webp"),
        ("redirected", "webp", "image/webp"),
        ("busy_once", "jpg", "image/jpeg"),
        ("cut_once", "jpg", "image/jpeg"),
    ],
)
def test_an_image_is_fetched_from_where_openai_put_it(
    service: Service, stand_in: StandIn, kind: str, ending: str, media_type: str
) -> None:
    stand_in.will("ok", url=odd(stand_in, kind))
    answer = service.image().json()
    assert answer["image_url"].startswith(f"{service.url}/images/")
    assert answer["image_url"].endswith(f".{ending}")
    assert service.client.get(answer["image_url"]).headers["content-type"] == media_type


# What is behind /signed/, and how it is asked for where that cannot be sent as it stands.
SIGNED = [
    ("a.png?sp=r&sig=x%2Fy%2Bz%3D%3D&se=2026-11-25T10%3A00%3A00Z", None),
    ("a.png?sig=x/y+z==&se=2026-11-25T10:00:00Z", None),
    ("a.png?sig=%2f%2b%7e~%7E%41A", None),
    ("a%2Fb%20c/../%2E%2E/./d.png?sig=1", None),
    ("a.png?name=it's|a;b,c(d)!*$@[e]{f}^`\"<g>\\", None),
    ("a.png?sig=100%&again=%zz", None),
    ("a.png?&&sig=&=1&&", None),
    ("a.png?sig=%EC%BB%A4%ED%94%BC", None),
    ("a.png??sig=?/", None),
    ("a.png", None),
    ("a.png?sig=1#sig=%2F", "a.png?sig=1"),
    ("커피 잔.png?이름=커피 한 잔", f"{quote('커피 잔.png')}?{quote('이름=커피 한 잔', safe='=')}"),
]


@pytest.mark.parametrize(("given", "sent"), SIGNED)
def test_a_signed_address_is_fetched_to_the_byte(
    stand_in: StandIn, given: str, sent: str | None
) -> None:
    base_url = stand_in.client.base_url
    signed = f"/signed/{sent or given}"
    addresses = [
        f"{base_url}/signed/{given}",
        f"http://me:p%2Fw@{base_url.netloc.decode()}{signed}",
    ]
    for number, location in enumerate((addresses[0], f"/signed/{given}")):
        stand_in.sign(**{f"/signed/{number}%2F?sig=%2F": location})
        addresses.append(f"{base_url}/signed/{number}%2F?sig=%2F")
    stand_in.sign(**{signed: None})
    # Of a relative address, dots are the way, and not sent.
    for address in addresses[:-1] if "/../" in given else addresses:
        image, kind = asyncio.run(download.fetch(address, private_allowed=True))
        assert (image[:8], kind) == (PNG, "image/png")


def test_a_signed_address_of_openais_becomes_an_image_that_lasts(
    service: Service, stand_in: StandIn
) -> None:
    stand_in.sign(**{"/signed/a.png?sig=x%2Fy%2Bz%3D": None})
    stand_in.will("ok", url=f"{stand_in.client.base_url}/signed/a.png?sig=x%2Fy%2Bz%3D")
    url = service.image().json()["image_url"]
    assert url.startswith(f"{service.url}/images/")
    assert service.client.get(url).content.startswith(PNG)


@pytest.mark.parametrize(
    "location",
    [
        "ftp://127.0.0.1/a.png",
        "file:///etc/passwd",
        "http://[::1/",
        "http://a:b:c/",
        "javascript:1",
    ],
)
def test_a_redirect_to_what_is_no_address_leads_nowhere(stand_in: StandIn, location: str) -> None:
    stand_in.sign(**{"/signed/a": location})
    with pytest.raises(download.NotAnImage, match="its address cannot be used"):
        asyncio.run(download.fetch(f"{stand_in.client.base_url}/signed/a", private_allowed=True))


@pytest.mark.parametrize(
    ("first_bytes", "media_type"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\x00\x00\x00\x00WEBP", "image/webp"),
        (b"anything else", "image/png"),
    ],
)
def test_the_bytes_tell_the_type(
    service: Service, stand_in: StandIn, first_bytes: bytes, media_type: str
) -> None:
    image = base64.b64encode(first_bytes + b"...").decode()
    stand_in.will("verbatim", body=f'{{"data": [{{"b64_json": "{image}"}}]}}')
    response = service.client.get(service.image().json()["image_url"])
    assert response.content == first_bytes + b"..."
    assert response.headers["content-type"] == media_type


# Slow, and the same on every database.
@pytest.mark.parametrize("new_database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("kind", ["html", "svg", "untyped", "gone", "circle", "huge", "nowhere"])
def test_what_cannot_be_fetched_stays_at_openais_url_for_its_hour(
    service: Service, stand_in: StandIn, kind: str
) -> None:
    nowhere = "http://127.0.0.1:1/a.png"
    url = nowhere if kind == "nowhere" else f"{odd(stand_in, kind)}?sig=secret"
    stand_in.will("ok", url=url)
    said_before = service.log.read_text().count("An image could not be stored: ")
    response = service.image(key=kind)
    assert response.status_code == 200
    answer = response.json()
    assert (answer["image_url"], answer["cost"]) == (url, 0.04)
    expires = datetime.fromisoformat(answer["image_expires_at"])
    left = expires - datetime.now(UTC).replace(tzinfo=None)
    assert timedelta(minutes=55) < left <= timedelta(minutes=60)

    assert service.image(key=kind).json() == answer
    assert service.get("/content/history").json()["history"][0]["result"] == url
    item = service.get(f"/content/{answer['id']}").json()
    assert item["image_expires_at"] == answer["image_expires_at"]
    assert service.job()["status"] == "completed"
    said = service.log.read_text().count("An image could not be stored: ")
    assert said == said_before + 1
    assert "sig=secret" not in service.log.read_text()


@pytest.mark.parametrize(
    ("image", "stored"),
    [
        ('"url": "data:image/png;base64,iVBORw=="', True),
        ('"b64_json": "data:image/png;base64,iVBORw=="', True),
        ('"b64_json": " iVBO\\nRw== "', True),
        ('"b64_json": "   "', False),
        ('"url": "javascript:alert(1)"', False),
        ('"url": "ftp://127.0.0.1/a.png"', False),
        ('"url": "/a.png"', False),
        ('"url": ["http://127.0.0.1/a.png"]', False),
    ],
)
def test_images_in_odd_answers(
    service: Service, stand_in: StandIn, image: str, stored: bool
) -> None:
    stand_in.will("verbatim", body=f'{{"data": [{{{image}}}]}}')
    response = service.image()
    if stored:
        url = response.json()["image_url"]
        assert service.client.get(url).content == b"\x89PNG"
    else:
        assert "OpenAI answered without an image." in response.json()["detail"]
        assert service.job()["estimated_cost"] is None


def test_a_bucket_that_cannot_be_reached_is_said_at_the_start(tmp_path: Path) -> None:
    own: dict[str, Any] = {
        "IMAGE_STORE": "s3://pictures",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
    }
    with running(f"sqlite:///{tmp_path}/a.db", **own) as service:
        warning = "IMAGE_STORE does not answer as it should, images may not last: "
        wait_until(lambda: warning in service.log.read_text(), "the warning")


def test_images_open_after_a_restart_under_todays_address(
    tmp_path: Path, stand_in: StandIn
) -> None:
    database_url = f"sqlite:///{tmp_path}/a.db"
    (tmp_path / "link").symlink_to(tmp_path / "not there yet")
    own: dict[str, Any] = {
        "OPENAI_BASE_URL": stand_in.url,
        "IMAGE_STORE": tmp_path / "link" / "pictures",
    }
    with running(database_url, **own) as service:
        first = service.image(key="one").json()
        name = first["image_url"].removeprefix(f"{service.url}/images/")
        assert (tmp_path / "not there yet" / "pictures" / name).is_file()
    with running(database_url, PUBLIC_BASE_URL="https://copy.example.com/api/", **own) as service:
        assert service.get(f"/images/{name}").content.startswith(PNG)
        lasting = f"https://copy.example.com/api/images/{name}"
        assert service.image(key="one").json() == {**first, "image_url": lasting}
        assert service.get("/content/history").json()["history"][0]["result"] == lasting
        assert service.get("/content/1").json()["result"] == lasting
        new = service.image().json()["image_url"]
        assert new.startswith("https://copy.example.com/api/images/")


def test_an_image_that_cannot_be_stored_is_not_lost(tmp_path: Path, stand_in: StandIn) -> None:
    folder = tmp_path / "pictures"
    with running(
        f"sqlite:///{tmp_path}/a.db", OPENAI_BASE_URL=stand_in.url, IMAGE_STORE=folder
    ) as service:
        shutil.rmtree(folder)
        folder.write_text("no folder any more")
        stand_in.will("b64_json")
        as_bytes = service.image(key="one")
        kind, _, data = as_bytes.json()["image_url"].partition(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(data).startswith(PNG)
        assert as_bytes.json()["image_expires_at"] is None
        assert service.image(key="one").json() == as_bytes.json()

        by_url = service.image().json()
        assert by_url["image_url"].startswith(f"{stand_in.client.base_url}/images/")
        assert by_url["image_expires_at"]

        response = service.get(f"/images/{'0' * 32}.png")
        assert response.status_code == 503
        assert "image store" in response.json()["detail"]
        assert response.headers["Retry-After"]
        assert data not in service.log.read_text()


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3-compatible server with the bucket `pictures`."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    httpx.put(f"{url}/pictures").raise_for_status()
    yield url
    server.stop()


def test_a_bucket_is_used_as_a_folder_is(tmp_path: Path, stand_in: StandIn, s3: str) -> None:
    own: dict[str, Any] = {
        "OPENAI_BASE_URL": stand_in.url,
        "IMAGE_STORE": "s3://pictures/of/artify",
        "AWS_ENDPOINT_URL": s3,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
    }
    with running(f"sqlite:///{tmp_path}/a.db", **own) as service:
        url = service.image().json()["image_url"]
        response = service.client.get(url)
        assert response.content.startswith(PNG)
        assert response.headers["content-length"] == str(len(response.content))
        assert service.client.head(url).headers["etag"] == response.headers["etag"]
        condition = {"If-None-Match": response.headers["etag"]}
        assert service.client.get(url, headers=condition).status_code == 304
        assert service.get(f"/images/{'0' * 32}.png").status_code == 404
        assert "could not be stored" not in service.log.read_text()

        service.insert(models.GenJob, job_row("unknown", "a" * 32))
        response = service.client.get(url)
        assert sweep(service, **own) == (0, "Removed 0 images that no content refers to")
        with service.engine.begin() as connection:
            connection.execute(delete(models.GeneratedContent))
        assert sweep(service, **own) == (0, "Removed 1 images that no content refers to")
        assert service.client.get(url).status_code == 404


def job_row(status: str, image_key: str) -> dict[str, Any]:
    row = {"job_type": "image", "model": "dall-e-3", "prompt": "p", "status": status}
    # A pending row that is due would be reconciled meanwhile.
    later = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)
    return {**row, "image_key": image_key, "expires_at": later}


def sweep(service: Service, **environment: Any) -> tuple[int, str]:
    """Run the sweep on the service's database and store: its status, and what it says."""
    given = {
        "DATABASE_URL": service.database_url,
        "IMAGE_STORE": service.image_store,
        **environment,
    }
    done = subprocess.run(
        [sys.executable, "-m", "images", "--sweep"],
        cwd=ROOT,
        env={**os.environ, **EXAMPLE, **{name: str(value) for name, value in given.items()}},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).partition(" from ")[0].strip()


def test_the_sweep_removes_what_nothing_refers_to(service: Service) -> None:
    folder = Path(service.image_store)
    for old in folder.iterdir():  # of other tests
        old.unlink()
    kept = folder / service.image().json()["image_url"].rpartition("/")[2]
    crashed, pending, another = (f"{secrets.token_hex(16)}" for _ in range(3))
    service.insert(models.GenJob, job_row("unknown", crashed), job_row("pending", pending))
    for key in (crashed, pending, another):
        (folder / f"{key}.png").write_bytes(PNG)
    (folder / "my holidays.png").write_bytes(PNG)

    assert sweep(service) == (0, "Removed 1 images that no content refers to")
    left = {path.name for path in folder.iterdir()}
    # What this database never heard of is another's, or a person's.
    assert left == {kept.name, f"{pending}.png", f"{another}.png", "my holidays.png"}
    for name in (f"{pending}.png", f"{another}.png", "my holidays.png"):
        (folder / name).unlink()


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("ftp://pictures", "it must be a folder, or start with s3://, gs:// or az://"),
        ("/dev/null/pictures", "Not a directory"),
    ],
)
def test_a_store_that_cannot_be_stops_the_start(tmp_path: Path, place: str, reason: str) -> None:
    with running(f"sqlite:///{tmp_path}/a.db", ready=False, IMAGE_STORE=place) as service:
        assert service.process.wait(timeout=30) == 1
        (line,) = service.log.read_text().splitlines()[-1:]
        assert line.startswith(f"ERROR: IMAGE_STORE {place} cannot be used: ")
        assert reason in line


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "0.0.0.0"])
def test_a_public_upstream_leads_to_no_private_address(stand_in: StandIn, host: str) -> None:
    """Every connection is checked, so every redirect is."""
    url = f"http://{host}:{stand_in.client.base_url.port}/odd/webp"
    with pytest.raises(download.NotAnImage, match="is a private address"):
        asyncio.run(download.fetch(url, private_allowed=False))


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2001:4860:4860::8888", True),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::a00:1", False),
        ("64:ff9b::808:808", True),
        ("2002:a00:1::1", False),
        ("fec0::1", False),
    ],
)
def test_private_addresses(address: str, public: bool) -> None:
    assert download.is_public(address) is public
