"""Every cell of the price table, against figures computed by hand."""

from decimal import Decimal

import pytest

import pricing


@pytest.mark.parametrize(
    ("model", "prompt_tokens", "completion_tokens", "cost_usd"),
    [
        ("gpt-3.5-turbo", 1_000, 0, "0.0005"),
        ("gpt-3.5-turbo", 0, 1_000, "0.0015"),
        ("gpt-3.5-turbo", 45, 32, "0.0000705"),
        ("gpt-3.5-turbo", 0, 0, "0"),
        ("gpt-4", 1_000, 0, "0.03"),
        ("gpt-4", 0, 1_000, "0.06"),
        ("gpt-4", 1, 1, "0.00009"),
    ],
)
def test_text(model: str, prompt_tokens: int, completion_tokens: int, cost_usd: str) -> None:
    assert pricing.text_cost_usd(model, prompt_tokens, completion_tokens) == Decimal(cost_usd)


@pytest.mark.parametrize(
    ("quality", "size", "cost_usd"),
    [
        ("standard", "1024x1024", "0.04"),
        ("standard", "1024x1792", "0.08"),
        ("standard", "1792x1024", "0.08"),
        ("hd", "1024x1024", "0.08"),
        ("hd", "1024x1792", "0.12"),
        ("hd", "1792x1024", "0.12"),
    ],
)
def test_images(quality: pricing.Quality, size: pricing.Size, cost_usd: str) -> None:
    assert pricing.image_cost_usd("dall-e-3", quality, size) == Decimal(cost_usd)


def test_what_is_not_in_the_table_has_no_price() -> None:
    with pytest.raises(KeyError):
        pricing.text_cost_usd("gpt-unknown", 1, 1)
    with pytest.raises(KeyError):
        pricing.image_cost_usd("dall-e-unknown", "standard", "1024x1024")
