"""Every cell of the price table, against figures computed by hand."""

from decimal import Decimal

import pytest

import pricing

# US dollars per million tokens: input, cached input, output.
TEXT_PRICES = {
    "gpt-3.5-turbo": ("0.5", "0.5", "1.5"),
    "gpt-4": ("30", "30", "60"),
    "gpt-4o": ("2.5", "1.25", "10"),
    "gpt-4o-mini": ("0.15", "0.075", "0.6"),
    "gpt-4.1": ("2", "0.5", "8"),
    "gpt-4.1-mini": ("0.4", "0.1", "1.6"),
    "gpt-5.4": ("2.5", "0.25", "15"),
    "gpt-5.4-mini": ("0.75", "0.075", "4.5"),
    "gpt-5.6-luna": ("0.2", "0.02", "1.2"),
    "gpt-6-luna": ("0.1", "0.01", "0.5"),
    "gpt-6.1-terra": ("1", "0.05", "5"),
    "gpt-6.1-sol": ("2", "0.1", "10"),
    "gpt-6.2-sol": ("2", "0.1", "10"),
}


def test_every_text_model_is_expected_here() -> None:
    assert set(pricing.TEXT_PRICES) == set(TEXT_PRICES)


@pytest.mark.parametrize("model", TEXT_PRICES)
def test_a_million_tokens_of_each_kind(model: str) -> None:
    million = 1_000_000
    assert (
        pricing.text_cost_usd(model, million, 0),
        pricing.text_cost_usd(model, million, 0, million),
        pricing.text_cost_usd(model, 0, million),
    ) == tuple(Decimal(price) for price in TEXT_PRICES[model])


@pytest.mark.parametrize(
    ("model", "prompt_tokens", "completion_tokens", "cached_tokens", "cost_usd"),
    [
        ("gpt-3.5-turbo", 45, 32, 0, "0.0000705"),
        ("gpt-3.5-turbo", 0, 0, 0, "0"),
        ("gpt-4", 1, 1, 0, "0.00009"),
        # 1,500 x 0.15 + 500 x 0.075 + 100 x 0.60, per million
        ("gpt-4o-mini", 2_000, 100, 500, "0.0003225"),
        ("gpt-6-luna", 1_001, 7, 1_000, "0.0000136"),
    ],
)
def test_text(
    model: str, prompt_tokens: int, completion_tokens: int, cached_tokens: int, cost_usd: str
) -> None:
    cost = pricing.text_cost_usd(model, prompt_tokens, completion_tokens, cached_tokens)
    assert cost == Decimal(cost_usd)


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
