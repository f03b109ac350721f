"""What one call costs: a dated table and pure functions, US dollars as Decimal.

Checked on 2026-11-22 against OpenAI's pricing page. gpt-3.5-turbo, gpt-4 and dall-e-3 are retired
there: their prices are the owner's table, which is what OpenAI charged for them; dall-e-3 "hd" at
the two larger sizes, where that table is silent: OpenAI's page as it last was.
"""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

Size = Literal["1024x1024", "1024x1792", "1792x1024"]
Quality = Literal["standard", "hd"]

TEXT_MODEL = "gpt-3.5-turbo"
IMAGE_MODEL = "dall-e-3"


@dataclass(frozen=True)
class TokenPrice:
    """US dollars per million tokens; cached input is billed as input where it has no price."""

    input_usd: Decimal
    output_usd: Decimal
    cached_input_usd: Decimal | None = None


def _price(input_usd: str, cached_input_usd: str | None, output_usd: str) -> TokenPrice:
    cached = None if cached_input_usd is None else Decimal(cached_input_usd)
    return TokenPrice(Decimal(input_usd), Decimal(output_usd), cached)


TEXT_PRICES = {
    "gpt-3.5-turbo": _price("0.50", None, "1.50"),
    "gpt-4": _price("30", None, "60"),
    "gpt-4o": _price("2.50", "1.25", "10"),
    "gpt-4o-mini": _price("0.15", "0.075", "0.60"),
    "gpt-4.1": _price("2.00", "0.50", "8"),
    "gpt-4.1-mini": _price("0.40", "0.10", "1.60"),
    "gpt-5.4": _price("2.50", "0.25", "15"),
    "gpt-5.4-mini": _price("0.75", "0.075", "4.50"),
    "gpt-5.6-luna": _price("0.20", "0.02", "1.20"),
    "gpt-6-luna": _price("0.10", "0.01", "0.50"),
    "gpt-6.1-terra": _price("1.00", "0.05", "5.00"),
    "gpt-6.1-sol": _price("2.00", "0.10", "10.00"),
    "gpt-6.2-sol": _price("2.00", "0.10", "10.00"),
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


def text_cost_usd(
    model: str, prompt_tokens: int, completion_tokens: int, cached_tokens: int = 0
) -> Decimal:
    """The price of one completion; `cached_tokens` are those of the prompt that OpenAI had in its
    cache. KeyError for a model that is not in the table."""
    price = TEXT_PRICES[model]
    cached_usd = price.input_usd if price.cached_input_usd is None else price.cached_input_usd
    return (
        price.input_usd * (prompt_tokens - cached_tokens)
        + cached_usd * cached_tokens
        + price.output_usd * completion_tokens
    ) / 1_000_000


def image_cost_usd(model: str, quality: Quality, size: Size) -> Decimal:
    """The price of one image. KeyError for what is not in the table."""
    return IMAGE_PRICES[model][quality, size]
