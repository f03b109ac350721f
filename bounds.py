"""The most that a generation can cost, known before it is asked for: a cap holds it until then.

Whoever may answer is counted, the whole succession of a model, and the dearest way to bill it.
"""

import math
import re
from decimal import Decimal
from functools import lru_cache

import pricing
from pricing import ImageTokens

MILLION = 1_000_000
SQUARE = 1024 * 1024
# Of the sizes that "auto" may choose, the largest is half as large again as 1024x1024.
LARGEST_AUTO = Decimal("1.5")


def _by_quality(low: int, medium: int, high: int, *finer: int) -> dict[str, int]:
    """Name what the qualities take, also by the contract's words."""
    tokens = {"low": low, "medium": medium, "high": high, "standard": medium, "hd": high}
    tokens.update(zip(("xhigh", "max"), finer, strict=False))
    tokens["auto"] = max(tokens.values())
    return tokens


# The tokens of one image of 1024x1024. Sources, 2026-11-25: OpenAI's images guide (gpt-image-1.5)
# and its cost calculator as developers report it (gpt-image-2 and later). The 2.6 models are said
# to take three to four times what 2.5 takes.
OUTPUT_TOKENS = {
    "gpt-image-1.5": _by_quality(272, 1056, 4160),
    "gpt-image-2": _by_quality(196, 1756, 7024),
    "gpt-image-2.5-flare": _by_quality(196, 439, 1756, 3122, 7024),
    "gpt-image-2.5-sunburst": _by_quality(196, 439, 1756, 3122, 7024),
    "gpt-image-2.6-flare": _by_quality(784, 1756, 7024, 12_488, 28_096),
    "gpt-image-2.6-sunburst": _by_quality(784, 1756, 7024, 12_488, 28_096),
}


def text_cost_usd(
    model: str, prompt_tokens: int, completion_tokens: int, *, regional: bool = False
) -> Decimal:
    """Return the most that so many tokens can cost, whatever the cache does, at whichever tier and
    by whichever model of the succession they are answered. KeyError for a model without a price."""
    costs = [
        (input_usd * prompt_tokens + output_usd * completion_tokens) / MILLION
        for input_usd, output_usd in _text_rates(model, regional)
    ]
    return max(costs)


@lru_cache(maxsize=1000)
def _text_rates(model: str, regional: bool) -> list[tuple[Decimal, Decimal]]:
    """Return US dollars per million tokens in and out, of each who may answer at each tier."""
    rates = []
    for name in pricing.succession(model):
        for tier in ("", "priority"):
            read = pricing.text_cost_usd(name, MILLION, 0, tier=tier, regional=regional)
            written = pricing.text_cost_usd(
                name, MILLION, 0, 0, MILLION, tier=tier, regional=regional
            )
            made = pricing.text_cost_usd(name, 0, MILLION, tier=tier, regional=regional)
            if read is not None and written is not None and made is not None:
                rates.append((max(read, written), made))
    return rates


def image_cost_usd(
    model: str, quality: str, size: str, prompt_tokens: int, *, regional: bool = False
) -> Decimal | None:
    """Return the most that one image can cost, None where no bound is known. KeyError for a model
    without a price."""
    costs: list[Decimal] = []
    for name in pricing.succession(model):
        row = pricing.image_model(name)
        output = output_tokens(name, quality, size)
        if output is None and (row is None or row.bills_tokens):
            return None
        tokens = ImageTokens(prompt_tokens, 0, output or 0)
        cost = pricing.image_cost_usd(name, quality, size, tokens, regional=regional)
        if cost is None:
            return None
        costs.append(cost)
    return max(costs)


def most_output_tokens(model: str, quality: str, size: str) -> int | None:
    """Return the most tokens that one image takes, whoever of the succession draws it; None where
    none of them bills tokens, or no bound is known."""
    tokens = [output_tokens(name, quality, size) for name in pricing.succession(model)]
    return max((each for each in tokens if each is not None), default=None)


def output_tokens(model: str, quality: str, size: str) -> int | None:
    """Return the most tokens that one image takes; None where the model bills none, or no bound is
    known."""
    # No size is known to take more for its area than 1024x1024, and none to take less than a
    # smaller one would need: 1536x1024 and 3584x2048 take 0.8 and 1.8 times as many (reported of
    # gpt-image-2's calculator, 2026-04-22), all of gpt-image-1.5 just as many for their area.
    by_quality = OUTPUT_TOKENS.get(model) or OUTPUT_TOKENS.get(pricing.undated(model), {})
    at_square = by_quality.get(quality)
    if at_square is None:
        return None
    sides = re.fullmatch(r"([0-9]+)x([0-9]+)", size)
    area = Decimal(int(sides[1]) * int(sides[2])) / SQUARE if sides else LARGEST_AUTO
    return math.ceil(at_square * max(Decimal(1), area))
