"""GET /models."""

from tests.conftest import Service, StandIn


def test_every_model_that_may_be_named_is_listed_with_its_prices_and_its_lifetime(
    service: Service, stand_in: StandIn
) -> None:
    listed = {model["id"]: model for model in service.get("/models").json()["models"]}

    assert listed["gpt-3.5-turbo"] == {
        "id": "gpt-3.5-turbo",
        "kind": "text",
        "default": True,
        "resolves_to": "gpt-3.5-turbo",
        "retired_on": "2026-10-23",
        "successor": "gpt-6-luna",
        "prices": {
            "input_usd": 0.5,
            "cached_input_usd": None,
            "cache_write_usd": None,
            "output_usd": 1.5,
        },
        "source": "the owner's price table",
        "checked_on": "2026-11-22",
    }
    assert listed["gpt-6-luna"]["prices"]["cache_write_usd"] == 0.125
    assert listed["gpt-6-luna"]["source"].startswith("https://")
    assert listed["gpt-6-luna"]["tiers"]["priority"] == {
        "input_usd": 0.2,
        "cached_input_usd": 0.02,
        "cache_write_usd": 0.25,
        "output_usd": 1.0,
    }
    assert listed["gpt-4o"]["tiers"].keys() == {"priority"}
    assert listed["gpt-5.2"]["prices"]["input_usd"] == 1.75
    assert listed["gpt-5.2"]["source"].startswith("genai-prices ")

    dall_e = listed["dall-e-3"]
    assert (dall_e["kind"], dall_e["default"]) == ("image", True)
    assert (dall_e["retired_on"], dall_e["successor"]) == ("2026-05-12", "gpt-image-2.5-flare")
    assert dall_e["prices"][3] == {"quality": "hd", "size": "1024x1024", "image_usd": 0.08}
    assert len(dall_e["prices"]) == 6
    assert dall_e["qualities"] == ["standard", "hd"]
    assert dall_e["sizes"] == ["1024x1024", "1024x1792", "1792x1024"]
    assert (dall_e["any_size"], dall_e["longest_prompt"]) == (False, 4_000)

    flare = listed["gpt-image-2.5-flare"]
    assert flare["prices"] == {
        "text_input_usd": 5.0,
        "cached_text_input_usd": 1.25,
        "image_input_usd": 8.0,
        "image_output_usd": 30.0,
    }
    assert flare["any_size"] is True
    assert [name for name, model in listed.items() if model["default"]] == [
        "gpt-3.5-turbo",
        "dall-e-3",
    ]
    assert stand_in.asked == []


def test_every_model_listed_may_be_named(service: Service, stand_in: StandIn) -> None:
    """Whether the server has it, or its successor, is another matter."""
    there = {model["id"] for model in stand_in.client.get("/v1/models").json()["data"]}
    for model in service.get("/models").json()["models"]:
        answer = service.post(f"/generate/{model['kind']}", {"prompt": "p", "model": model["id"]})
        if there & {model["id"], model["successor"]}:
            assert answer.status_code == 200, answer.text
        else:
            assert f"has no model {model['id']}" in answer.json()["detail"]
