"""The stand-in for OpenAI, met by the real SDK."""

import base64
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import openai
import pytest

from tests.conftest import KEY, ROOT, StandIn

HELLO = [{"role": "user", "content": "안녕하세요"}]


@pytest.fixture
def sdk(stand_in: StandIn) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=stand_in.url, api_key=KEY, max_retries=0) as sdk:
        yield sdk


def chat(sdk: openai.OpenAI, model: str = "gpt-3.5-turbo") -> openai.types.chat.ChatCompletion:
    return sdk.chat.completions.create(model=model, messages=HELLO)  # type: ignore[arg-type]


def test_it_serves_models_text_and_both_kinds_of_images(sdk: openai.OpenAI) -> None:
    models = {model.id for model in sdk.models.list()}
    assert models >= {"gpt-3.5-turbo", "gpt-4", "gpt-6-luna", "dall-e-3", "gpt-image-2"}

    completion = chat(sdk)
    assert completion.choices[0].message.content == "[stand-in, not OpenAI] 안녕하세요"
    assert completion.usage
    assert completion.usage.total_tokens > 0

    by_url = sdk.images.generate(model="dall-e-3", prompt="아침")
    assert by_url.data
    assert by_url.data[0].url
    assert by_url.usage is None
    by_bytes = sdk.images.generate(model="gpt-image-2", prompt="아침", size="1536x1024")
    assert by_bytes.data
    assert by_bytes.data[0].b64_json
    picture = base64.b64decode(by_bytes.data[0].b64_json)
    assert picture.startswith(b"\x89PNG")
    assert (int.from_bytes(picture[16:20]), int.from_bytes(picture[20:24])) == (1536, 1024)
    assert by_bytes.data[0].revised_prompt is None
    assert by_bytes.usage
    assert by_bytes.usage.output_tokens == 1756
    with pytest.raises(openai.BadRequestError, match="quality"):
        sdk.images.generate(model="gpt-image-2", prompt="아침", quality="hd")


def test_it_refuses_what_it_is_told_is_retired(sdk: openai.OpenAI, stand_in: StandIn) -> None:
    stand_in.retire(**{"gpt-4": 400})
    with pytest.raises(openai.BadRequestError) as refused:
        chat(sdk, model="gpt-4")
    assert refused.value.code == "model_not_found"
    assert "gpt-4" not in {model.id for model in sdk.models.list()}
    stand_in.forget()
    assert chat(sdk, model="gpt-4").usage


def test_it_fails_as_openai_does(sdk: openai.OpenAI, stand_in: StandIn) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        chat(sdk, model="gpt-unknown")
    assert unknown.value.code == "model_not_found"

    stand_in.will("rate_limited", retry_after=7)
    with pytest.raises(openai.RateLimitError) as limited:
        chat(sdk)
    assert limited.value.response.headers["retry-after"] == "7"

    for behavior, error in (
        ("unauthorized", openai.AuthenticationError),
        ("server_error", openai.InternalServerError),
        ("blocked", openai.BadRequestError),
        ("dropped", openai.APIConnectionError),
    ):
        stand_in.will(behavior)
        with pytest.raises(error):
            chat(sdk)


def test_it_waits_counts_and_remembers_as_told(sdk: openai.OpenAI, stand_in: StandIn) -> None:
    stand_in.will("slow", seconds=0.2)
    stand_in.will("no_usage", times=2)
    began = time.monotonic()
    assert chat(sdk).usage
    assert time.monotonic() - began >= 0.2
    assert [chat(sdk).usage for _ in range(2)] == [None, None]
    assert chat(sdk).usage
    assert [each["body"]["messages"] for each in stand_in.asked] == [HELLO] * 4
    refused = stand_in.client.post("/stand-in/next", json={"behavior": "dance"})
    assert refused.status_code == 400
    assert "rate_limited" in refused.json()["error"]


def test_it_starts_and_stops_by_hand() -> None:
    command = [sys.executable, "-m", "tests.stand_in", "--port", "0"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout
        url = process.stdout.readline().strip().partition("OPENAI_BASE_URL=")[2]
        with openai.OpenAI(base_url=url, api_key=KEY) as sdk:
            assert chat(sdk).usage
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == ""
