"""What one call costs: a dated table and pure functions, US dollars as Decimal.

Checked on 2026-11-22. Text and dall-e-3: the owner's price table, which is what OpenAI charged for
these models; dall-e-3 "hd" at the two larger sizes, where that table is silent: OpenAI's pricing
page.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Size = Literal["1024x1024", "1024x1792", "1792x1024"]
Quality = Literal["standard", "hd"]


@dataclass(frozen=True)
class TokenPrice:
    """US dollars per 1,000 tokens."""

    input_usd: Decimal
    output_usd: Decimal


TEXT_PRICES = {
    "gpt-3.5-turbo": TokenPrice(Decimal("0.0005"), Decimal("0.0015")),
    "gpt-4": TokenPrice(Decimal("0.03"), Decimal("0.06")),
}

# US dollars per image, by (quality, size).
IMAGE_PRICES: dict[str, dict[tuple[Quality, Size], Decimal]] = {
    "dall-e-3": {
        ("standard", "1024x1024"): Decimal("0.040"),
        ("standard", "1024x1792"): Decimal("0.080"),
        ("standard", "1792x1024"): Decimal("0.080"),
        ("hd", "1024x1024"): Decimal("0.080"),
        ("hd", "1024x1792"): Decimal("0.120"),
        ("hd", "1792x1024"): Decimal("0.120"),
    },
}


def text_cost_usd(model: str, prompt_tokens: int, completion_tokens: int) -> Decimal:
    """The price of one completion. KeyError for a model that is not in the table."""
    price = TEXT_PRICES[model]
    return (price.input_usd * prompt_tokens + price.output_usd * completion_tokens) / 1000


def image_cost_usd(model: str, quality: Quality, size: Size) -> Decimal:
    """The price of one image. KeyError for what is not in the table."""
    return IMAGE_PRICES[model][quality, size]
