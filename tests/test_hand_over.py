"""Models that the server has no more hand over to their successors."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import models
import pricing
from generation import client as client_module
from generation import variants
from generation.client import OpenAIClient
from generation.results import GenerationError, TextJob, TextResult
from settings import Settings
from tests.conftest import KEY, NewDatabase, Service, StandIn, running

LUNA, FLARE = "gpt-6-luna", "gpt-image-2.5-flare"
HELLO = [{"role": "user", "content": "안녕하세요"}]
Call = Callable[[OpenAIClient], Coroutine[Any, Any, Any]]


def ask(stand_in: StandIn, call: Call, **others: Any) -> Any:
    """What the call returns of a client before the stand-in, with these settings."""

    async def run() -> Any:
        own = Settings().model_copy(update={"openai_base_url": stand_in.url, **others})
        client = OpenAIClient(KEY, own)
        try:
            return await call(client)
        finally:
            await client.close()

    return asyncio.run(run())


async def write(client: OpenAIClient, model: str | None, n: int = 1) -> TextResult:
    wanted = model or client.text.default_model
    job = TextJob(model=wanted, named_model=model, prompt="", max_tokens=100, n=n, user_id=7)
    return await variants.generate(client, job, HELLO)


def text(model: str) -> Call:
    return lambda client: write(client, model)


def asked_models(stand_in: StandIn) -> list[str]:
    return [asked["body"]["model"] for asked in stand_in.asked]


def test_the_contracts_defaults_work_where_openai_has_shut_them_down(
    new_database: NewDatabase, stand_in: StandIn
) -> None:
    stand_in.retire(**{"gpt-3.5-turbo": 404, "dall-e-3": 400})
    with running(new_database(), OPENAI_BASE_URL=stand_in.url) as service:
        usage = {"prompt_tokens": 45, "completion_tokens": 32, "total_tokens": 77}
        stand_in.will("ok")  # for the call that is refused
        stand_in.will("ok", usage=usage)
        first = service.text()
        assert '"cost":0.0000205' in first.text
        image = service.image().json()
        for answer, model in ((first.json(), LUNA), (image, FLARE)):
            assert answer["model"] == model
        assert image["cost"] == 0.013275
        assert service.client.get(image["image_url"]).is_success

        text_job, image_job = service.rows(models.GenJob)
        assert (text_job["model"], text_job["estimated_cost"]) == (LUNA, 0.0000205)
        assert (image_job["model"], image_job["estimated_cost"]) == (FLARE, 0.013275)
        assert [job["attempts"] for job in (text_job, image_job)] == [2, 2]
        contents = service.rows(models.GeneratedContent)
        assert [content["model"] for content in contents] == [LUNA, FLARE]
        assert set(service.get("/costs/summary").json()["cost_by_model"]) == {LUNA, FLARE}

        refused, answered = stand_in.asked[:2]
        assert refused["body"]["model"] == "gpt-3.5-turbo"
        assert "reasoning_effort" not in refused["body"]
        assert answered["body"] == {**refused["body"], "model": LUNA, "reasoning_effort": "none"}
        assert [asked["body"].get("quality") for asked in stand_in.asked[2:]] == [
            "standard",
            "medium",
        ]
        assert_only_the_first_call_pays(service, stand_in)


def assert_only_the_first_call_pays(service: Service, stand_in: StandIn) -> None:
    stand_in.client.delete("/stand-in/requests")  # now it would serve the old models again
    assert service.text().json()["model"] == LUNA
    assert service.image(key="one").json()["model"] == FLARE
    assert service.image(key="one").json()["model"] == FLARE
    assert service.text(model="gpt-4").json()["model"] == "gpt-4"
    assert asked_models(stand_in) == [LUNA, FLARE, "gpt-4"]
    for model, successor in (("gpt-3.5-turbo", LUNA), ("dall-e-3", FLARE)):
        warning = f"has no model {model}: {successor} is asked in its place"
        assert service.log.read_text().count(warning) == 1
    listed = {each["id"]: each for each in service.get("/models").json()["models"]}
    assert listed["gpt-3.5-turbo"]["resolves_to"] == LUNA
    assert listed["dall-e-3"]["resolves_to"] == FLARE
    assert listed["gpt-4"]["resolves_to"] == "gpt-4"


def test_where_all_are_gone_the_error_names_the_setting(tmp_path: Path, stand_in: StandIn) -> None:
    stand_in.retire(**dict.fromkeys(("gpt-3.5-turbo", LUNA, "dall-e-3", FLARE, "o3"), 404))
    with running(f"sqlite:///{tmp_path}/a.db", OPENAI_BASE_URL=stand_in.url) as service:
        for _ in range(2):
            response = service.text()
            assert response.status_code == 500
            assert response.json()["detail"] == (
                f"Failed to generate text: 127.0.0.1 has no model gpt-3.5-turbo and no {LUNA}. "
                "Set TEXT_MODEL to one that it has, or name one as model."
            )
        assert "IMAGE_MODEL" in service.image().json()["detail"]
        assert "has no model o3. Set TEXT_MODEL" in service.text(model="o3").json()["detail"]
        booked = [(job["status"], job["estimated_cost"]) for job in service.rows(models.GenJob)]
        assert booked == [("failed", 0)] * 4
        stand_in.retire(**{"gpt-3.5-turbo": 404})
        assert service.text().json()["model"] == LUNA, "nothing was given up for good"


def test_another_default_is_asked_from_the_start(tmp_path: Path, stand_in: StandIn) -> None:
    with running(
        f"sqlite:///{tmp_path}/a.db",
        OPENAI_BASE_URL=stand_in.url,
        TEXT_MODEL="gpt-5.4-mini",
        IMAGE_MODEL="gpt-image-2",
    ) as service:
        assert service.text().json()["model"] == "gpt-5.4-mini"
        assert service.image(quality="low", size="1536x864").json()["model"] == "gpt-image-2"
        assert asked_models(stand_in) == ["gpt-5.4-mini", "gpt-image-2"]
        defaults = [
            each["id"] for each in service.get("/models").json()["models"] if each["default"]
        ]
        assert defaults == ["gpt-5.4-mini", "gpt-image-2"]


@pytest.mark.parametrize(
    ("setting", "value"), [("TEXT_MODEL", "gpt-unheard-of"), ("IMAGE_MODEL", "gpt-4")]
)
def test_a_default_without_a_price_stops_the_start(
    tmp_path: Path, setting: str, value: str
) -> None:
    environment: dict[str, Any] = {setting: value}
    with running(f"sqlite:///{tmp_path}/a.db", ready=False, **environment) as service:
        assert service.process.wait(timeout=30) == 1
        (line,) = service.log.read_text().splitlines()[-1:]
        assert line.startswith(f"ERROR: {setting} is {value}, which has no known price. Set one of")


@pytest.mark.parametrize(
    ("model", "successor", "named", "warned"),
    [
        ("gpt-3.5-turbo", LUNA, False, False),
        ("gpt-3.5-turbo", LUNA, True, True),
        ("gpt-4o", LUNA, False, True),  # as TEXT_MODEL, and alive until 2027
        ("gpt-4o", LUNA, True, True),
    ],
)
def test_an_answer_by_another_model_than_the_one_named_says_so(
    stand_in: StandIn, model: str, successor: str, named: bool, warned: bool
) -> None:
    stand_in.retire(**{model: 404})

    async def twice(client: OpenAIClient) -> list[str | None]:
        name = model if named else None
        made = [await write(client, name, n=2) for _ in range(2)]
        assert {each.bill.model for each in made} == {successor}
        return [each.warning for each in made]

    first, second = ask(stand_in, twice, text_model=model)
    assert first == second, "also where the successor is asked at once"
    expected = f"{LUNA} answered in place of {model}: 127.0.0.1 said that it has no such model."
    assert first == (expected if warned else None)
    assert asked_models(stand_in) == [model, successor, successor]


def test_the_answer_and_the_books_tell_of_another_model(tmp_path: Path, stand_in: StandIn) -> None:
    stand_in.retire(**{"gpt-4o": 404, "dall-e-3": 404})
    with running(f"sqlite:///{tmp_path}/a.db", OPENAI_BASE_URL=stand_in.url) as service:
        text_warning = service.text(model="gpt-4o", key="a").json()["warning"]
        image = service.image(model="dall-e-3", key="b")
        assert "in place of gpt-4o" in text_warning
        assert image.json()["warning"].startswith(f"{FLARE} answered in place of dall-e-3: ")
        assert service.image().json()["warning"] is None, "a default that has ended needs none"
        jobs = service.rows(models.GenJob)
        assert [job["error_message"] for job in jobs] == [
            text_warning,
            image.json()["warning"],
            None,
        ]
        assert service.image(model="dall-e-3", key="b").text == image.text


def test_a_stray_refusal_of_a_model_that_lives_is_forgotten(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "REMEMBER_SECONDS", 0.2)
    stray = '{"error": {"message": "no such model", "code": "model_not_found"}}'

    async def until_asked_again(client: OpenAIClient) -> None:
        for model in ("gpt-4o", "gpt-4"):  # lives until 2027; ended in 2026
            stand_in.will("verbatim", status=404, body=stray)
            await write(client, model)
            assert client.resolve(model) != model
        deadline = asyncio.get_running_loop().time() + 30
        while client.resolve("gpt-4o") != "gpt-4o":
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.02)
        made = await write(client, "gpt-4o")
        assert (made.bill.model, made.warning) == ("gpt-4o", None)
        assert client.resolve("gpt-4") != "gpt-4", "what has ended is remembered for good"

    ask(stand_in, until_asked_again)


def test_a_chain_of_successors_is_followed_and_a_loop_ends(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, successor in (("gpt-4", "gpt-4o"), ("gpt-4o", LUNA), (LUNA, "gpt-4")):
        row = replace(pricing.TEXT_MODELS[name], successor=successor)
        monkeypatch.setitem(pricing.TEXT_MODELS, name, row)

    stand_in.retire(**{"gpt-4": 404, "gpt-4o": 400})

    async def twice(client: OpenAIClient) -> list[TextResult]:
        return [await write(client, "gpt-4") for _ in range(2)]

    first, second = ask(stand_in, twice)
    assert (first.bill.model, first.bill.attempts) == (LUNA, 3)
    assert (second.bill.model, second.bill.attempts) == (LUNA, 1)
    assert asked_models(stand_in) == ["gpt-4", "gpt-4o", LUNA, LUNA]

    stand_in.forget()
    stand_in.retire(**dict.fromkeys(("gpt-4", "gpt-4o", LUNA), 404))
    with pytest.raises(GenerationError, match="no model gpt-4 and no gpt-4o and no gpt-6-luna"):
        ask(stand_in, text("gpt-4"))
    assert asked_models(stand_in) == ["gpt-4", "gpt-4o", LUNA]


def test_what_the_successor_costs_all_the_same_is_booked_on_it(stand_in: StandIn) -> None:
    stand_in.retire(**{"gpt-3.5-turbo": 404})
    stand_in.will("ok")
    stand_in.will("cut", usage={"prompt_tokens": 10, "completion_tokens": 100})

    async def twice(client: OpenAIClient) -> GenerationError:
        with pytest.raises(GenerationError) as failed:
            await write(client, "gpt-3.5-turbo")
        assert client.resolve("gpt-3.5-turbo") == LUNA
        await write(client, "gpt-3.5-turbo")
        return failed.value

    failed = ask(stand_in, twice)
    assert (failed.bill.model, failed.bill.cost_usd) == (LUNA, Decimal("0.000051"))
    assert asked_models(stand_in) == ["gpt-3.5-turbo", LUNA, LUNA], "remembered all the same"


@pytest.mark.parametrize("model", ["gpt-6-luna", "gpt-6.1-terra", "gpt-6.1-sol", "gpt-4o", "gpt-4"])
def test_each_model_gets_the_parameters_it_takes(stand_in: StandIn, model: str) -> None:
    """The stand-in refuses what OpenAI refuses."""
    efforts = {"gpt-6-luna": "none", "gpt-6.1-terra": "none", "gpt-6.1-sol": "low"}
    assert ask(stand_in, text(model)).bill.model == model
    (asked,) = stand_in.asked
    assert asked["body"].get("reasoning_effort") == efforts.get(model)
    assert asked["body"]["max_completion_tokens"] == 100
    assert not {"temperature", "top_p", "max_tokens"} & asked["body"].keys()


@pytest.mark.parametrize(
    ("status", "code"), [(403, "model_not_found"), (404, "not_found"), (400, "invalid_value")]
)
def test_only_a_missing_model_hands_over(stand_in: StandIn, status: int, code: str) -> None:
    body = f'{{"error": {{"message": "no", "code": "{code}"}}}}'
    stand_in.will("verbatim", status=status, body=body)
    with pytest.raises(GenerationError):
        ask(stand_in, text("gpt-3.5-turbo"))
    assert asked_models(stand_in) == ["gpt-3.5-turbo"]


def test_a_prompt_is_the_same_for_the_successor(stand_in: StandIn) -> None:
    stand_in.retire(**{"gpt-3.5-turbo": 404})
    ask(stand_in, text("gpt-3.5-turbo"))
    first, second = (asked["body"] for asked in stand_in.asked)
    assert first["safety_identifier"] == second["safety_identifier"]
    assert first["messages"] == second["messages"] == HELLO
