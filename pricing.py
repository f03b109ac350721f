"""The models: what each costs, what it takes and until when it lives; US dollars as Decimal.

Lifetimes and successors: OpenAI's deprecations page. The retired models cost here what OpenAI
charged for them, by the owner's table; where that is silent (dall-e-3 "hd" at the two larger
sizes), by OpenAI's page as it last was. Text models that are not in the table are priced by
genai-prices; images by this table alone.
"""

import importlib.metadata
import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import ROUND_DOWN, Decimal
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

import genai_prices
from openai.types import ChatModel

CHECKED_ON = date(2026, 11, 22)
OWNER = "the owner's price table"
OPENAI = "https://developers.openai.com/api/docs/pricing"
GENAI_PRICES = f"genai-prices {importlib.metadata.version('genai-prices')}"


@dataclass(frozen=True)
class TokenPrice:
    """US dollars per million tokens; what has no price of its own is billed as input."""

    input_usd: Decimal
    output_usd: Decimal
    cached_input_usd: Decimal | None = None
    cache_write_usd: Decimal | None = None

    def times(self, factor: Decimal) -> "TokenPrice":
        """At another tier or in a region that has a factor of its own."""
        cached, write = self.cached_input_usd, self.cache_write_usd
        return TokenPrice(
            self.input_usd * factor,
            self.output_usd * factor,
            None if cached is None else cached * factor,
            None if write is None else write * factor,
        )


@dataclass(frozen=True)
class ImageTokenPrice:
    """US dollars per million tokens."""

    text_input_usd: Decimal
    cached_text_input_usd: Decimal
    image_input_usd: Decimal
    image_output_usd: Decimal


@dataclass(frozen=True)
class ImageTokens:
    """What one image took; of the text's tokens, some were in OpenAI's cache."""

    text_input: int
    image_input: int
    output: int
    cached_text_input: int = 0


SMALLEST_SHARE_USD = Decimal("1e-10")
# US dollars per image, by (quality, size).
ImagePrice = dict[tuple[str, str], Decimal]


@dataclass(frozen=True)
class TextModel:
    """`reasoning_effort` is the least that the model takes; None: it knows no such parameter."""

    price: TokenPrice
    reasoning_effort: Literal["none", "low"] | None = None
    retired_on: date | None = None
    successor: str | None = None
    source: str = OPENAI
    checked_on: date | None = CHECKED_ON


@dataclass(frozen=True)
class ImageModel:
    """What it takes: one of the qualities, and one of the sizes or, where `any_size`, any WxH that
    `takes_size` allows."""

    price: ImageTokenPrice | ImagePrice
    qualities: tuple[str, ...]
    sizes: tuple[str, ...]
    any_size: bool = False
    is_regional: bool = True  # a region of OpenAI's costs more
    longest_prompt: int = 32_000  # characters: openai 3.54, ImageGenerateParams
    retired_on: date | None = None
    successor: str | None = None
    source: str = OPENAI
    checked_on: date = CHECKED_ON

    @property
    def bills_tokens(self) -> bool:
        return isinstance(self.price, ImageTokenPrice)


def _tokens(row: str) -> TokenPrice:
    """Read a row of OpenAI's page: input, cached input, output and cache writes; - is none."""
    given, cached, made, written = row.split()
    return TokenPrice(Decimal(given), Decimal(made), _price(cached), _price(written))


def _price(cell: str) -> Decimal | None:
    return None if cell == "-" else Decimal(cell)


END_OF_GPT_3_5 = date(2026, 10, 23)
END_OF_GPT_4 = date(2027, 1, 14)
TEXT_MODELS = {
    "gpt-3.5-turbo": TextModel(_tokens("0.50 - 1.50 -"), None, END_OF_GPT_3_5, "gpt-6-luna", OWNER),
    "gpt-4": TextModel(_tokens("30 - 60 -"), None, END_OF_GPT_3_5, "gpt-6.1-terra", OWNER),
    "gpt-4o": TextModel(_tokens("2.50 1.25 10 -"), None, END_OF_GPT_4, "gpt-6-luna"),
    "gpt-4o-mini": TextModel(_tokens("0.15 0.075 0.60 -"), None, END_OF_GPT_4, "gpt-6-luna"),
    "gpt-4.1": TextModel(_tokens("2.00 0.50 8 -"), None, END_OF_GPT_4, "gpt-6-luna"),
    "gpt-4.1-mini": TextModel(_tokens("0.40 0.10 1.60 -"), None, END_OF_GPT_4, "gpt-6-luna"),
    "gpt-5.4": TextModel(_tokens("2.50 0.25 15 -"), "none"),
    "gpt-5.4-mini": TextModel(_tokens("0.75 0.075 4.50 -"), "none"),
    "gpt-5.6-luna": TextModel(_tokens("0.20 0.02 1.20 0.25"), "none"),
    "gpt-6-luna": TextModel(_tokens("0.10 0.01 0.50 0.125"), "none"),
    "gpt-6.1-terra": TextModel(_tokens("1.00 0.05 5.00 1.25"), "none"),
    "gpt-6.1-sol": TextModel(_tokens("2.00 0.10 10.00 2.50"), "low"),
    "gpt-6.2-sol": TextModel(_tokens("2.00 0.10 10.00 2.50"), "low"),
}
# Of models that genai-prices prices: their ends, and the successors of what is gone.
ENDS: dict[str, tuple[date, str | None]] = {
    "gpt-4-turbo": (END_OF_GPT_3_5, "gpt-6.1-terra"),
    "gpt-4.1-nano": (END_OF_GPT_3_5, "gpt-6-luna"),
    "gpt-5": (date(2026, 12, 11), None),
    "gpt-5-mini": (date(2026, 12, 11), None),
    "gpt-5-nano": (date(2026, 12, 11), None),
    "gpt-5.1": (date(2027, 4, 1), None),
    "gpt-5.4-nano": (date(2027, 4, 1), None),
}

# How OpenAI bills otherwise than its list: by the `service_tier` of the answer ("default" is the
# list), and by the host. A tier that a model has no price for is not guessed.
# Sources: https://openai.com/api-fast-mode and OpenAI's pages of its prices and models, 2026-11-25.
Tier = Literal["flex", "priority"]
LIST_TIERS = ("", "auto", "default", "standard")
TIER_NAMES: dict[str, Tier] = {"flex": "flex", "priority": "priority", "fast": "priority"}
TIERS: dict[str, dict[Tier, TokenPrice]] = {
    "gpt-4o": {"priority": _tokens("4.25 2.125 17 -")},
    "gpt-4o-2024-05-13": {"priority": _tokens("8.75 - 26.25 -")},
    "gpt-4o-mini": {"priority": _tokens("0.25 0.125 1 -")},
    "gpt-4.1": {"priority": _tokens("3.50 0.875 14 -")},
    "gpt-4.1-mini": {"priority": _tokens("0.70 0.175 2.80 -")},
    "gpt-4.1-nano": {"priority": _tokens("0.20 0.05 0.80 -")},
    "o3": {"priority": _tokens("3.50 0.875 14 -"), "flex": _tokens("1 0.25 4 -")},
    "o4-mini": {"priority": _tokens("2 0.50 8 -"), "flex": _tokens("0.55 0.138 2.20 -")},
    "gpt-5": {"priority": _tokens("2.50 0.25 20 -"), "flex": _tokens("0.625 0.0625 5 -")},
    "gpt-5-mini": {"priority": _tokens("0.45 0.045 3.60 -"), "flex": _tokens("0.125 0.0125 1 -")},
    "gpt-5-nano": {"flex": _tokens("0.025 0.0025 0.20 -")},
    "gpt-5.1": {"priority": _tokens("2.50 0.25 20 -"), "flex": _tokens("0.625 0.0625 5 -")},
    "gpt-5.2": {"priority": _tokens("3.50 0.35 28 -"), "flex": _tokens("0.875 0.0875 7 -")},
    "gpt-5.4": {"priority": _tokens("5 0.50 30 -"), "flex": _tokens("1.25 0.13 7.50 -")},
    "gpt-5.4-mini": {"priority": _tokens("1.50 0.15 9 -"), "flex": _tokens("0.375 0.0375 2.25 -")},
    "gpt-5.4-nano": {"flex": _tokens("0.10 0.01 0.625 -")},
    "gpt-5.5": {"priority": _tokens("12.50 1.25 75 -"), "flex": _tokens("2.50 0.25 15 -")},
}
# From GPT-5.6 on, each model's page says: flex half of the list, fast mode (priority) twice.
FACTORS: dict[Tier, Decimal] = {"flex": Decimal("0.5"), "priority": Decimal(2)}
FACTORS_FROM = (5, 6)
WITHOUT_FLEX = ("gpt-6.2-sol",)
# Hosts such as eu.api.openai.com process in their region, which costs a tenth more for models
# released from 2026-03-05 on; the first were GPT-5.4 and gpt-image-2.
REGIONAL_HOST = re.compile(r"[a-z]{2}\.api\.openai\.com")
REGIONAL_FACTOR = Decimal("1.1")
REGIONAL_FROM = (5, 4)

GPT_IMAGE = ImageTokenPrice(Decimal("5.00"), Decimal("1.25"), Decimal("8.00"), Decimal("30.00"))
# standard and hd are the contract's names: gpt-image is asked for medium and high instead.
GPT_IMAGE_QUALITIES = ("standard", "hd", "low", "medium", "high", "auto")
FINER_QUALITIES = (*GPT_IMAGE_QUALITIES, "xhigh", "max")
CONTRACT_SIZES = ("1024x1024", "1024x1792", "1792x1024")
GPT_IMAGE_SIZES = ("1024x1024", "1536x1024", "1024x1536", "auto")
ALL_SIZES = (*CONTRACT_SIZES, "1536x1024", "1024x1536", "auto")

IMAGE_MODELS = {
    "dall-e-3": ImageModel(
        {
            ("standard", "1024x1024"): Decimal("0.040"),
            ("standard", "1024x1792"): Decimal("0.080"),
            ("standard", "1792x1024"): Decimal("0.080"),
            ("hd", "1024x1024"): Decimal("0.080"),
            ("hd", "1024x1792"): Decimal("0.120"),
            ("hd", "1792x1024"): Decimal("0.120"),
        },
        ("standard", "hd"),
        CONTRACT_SIZES,
        is_regional=False,
        longest_prompt=4_000,  # OpenAI's images API reference, 2026-11-22
        retired_on=date(2026, 5, 12),
        successor="gpt-image-2.5-flare",
        source=OWNER,
    ),
    "gpt-image-1.5": ImageModel(
        replace(GPT_IMAGE, image_output_usd=Decimal("32.00")),
        GPT_IMAGE_QUALITIES,
        GPT_IMAGE_SIZES,
        is_regional=False,
        retired_on=date(2026, 12, 1),
        successor="gpt-image-2.5-flare",
    ),
    "gpt-image-2": ImageModel(GPT_IMAGE, GPT_IMAGE_QUALITIES, ALL_SIZES, any_size=True),
    "gpt-image-2.5-flare": ImageModel(GPT_IMAGE, FINER_QUALITIES, ALL_SIZES, any_size=True),
    "gpt-image-2.5-sunburst": ImageModel(GPT_IMAGE, FINER_QUALITIES, ALL_SIZES, any_size=True),
    "gpt-image-2.6-flare": ImageModel(GPT_IMAGE, FINER_QUALITIES, ALL_SIZES),
    "gpt-image-2.6-sunburst": ImageModel(GPT_IMAGE, FINER_QUALITIES, ALL_SIZES),
}


def text_model(name: str) -> TextModel | None:
    """Return the text model of this name, dated or not; None where no price is known."""
    if name in TEXT_MODELS:
        return TEXT_MODELS[name]
    model = TEXT_MODELS.get(undated(name))
    price = _genai_price(name)
    if price is None:
        return model
    row = model or TextModel(price)
    retired_on, successor = ENDS.get(name, (None, row.successor))
    effort = row.reasoning_effort
    return TextModel(price, effort, retired_on, successor, GENAI_PRICES, checked_on=None)


def image_model(name: str) -> ImageModel | None:
    """Return the image model of this name, dated or not; None where no price is known."""
    return IMAGE_MODELS.get(name) or IMAGE_MODELS.get(undated(name))


def text_models(default: str) -> dict[str, TextModel]:
    """Return the default, the table, and what else the SDK lists and genai-prices knows."""
    names = dict.fromkeys((default, *TEXT_MODELS, *get_args(ChatModel)))
    return {name: model for name in names if (model := text_model(name))}


def image_models(default: str) -> dict[str, ImageModel]:
    """Return the default and the table."""
    names = dict.fromkeys((default, *IMAGE_MODELS))
    return {name: model for name in names if (model := image_model(name))}


def succession(name: str) -> tuple[str, ...]:
    """Return the model and those that take over from it, in order."""
    # Each is there once: a loop in the table ends.
    names = [name]
    while model := text_model(names[-1]) or image_model(names[-1]):
        if model.successor is None or model.successor in names:
            break
        names.append(model.successor)
    return tuple(names)


def has_ended(name: str) -> bool:
    """Tell whether OpenAI has shut the model down by today."""
    model = text_model(name) or image_model(name)
    if model is None or model.retired_on is None:
        return False
    return model.retired_on <= datetime.now(UTC).date()


def takes_size(model: ImageModel, size: str) -> bool:
    """Tell whether the model draws this size."""
    # Any size means: both sides divisible by 16, between 1:3 and 3:1, at most 3840x2160 pixels
    # (openai 3.54, ImageGenerateParams).
    if size in model.sizes:
        return True
    sides = re.fullmatch(r"([1-9][0-9]{1,3})x([1-9][0-9]{1,3})", size)
    if not (model.any_size and sides):
        return False
    short, long = sorted(int(side) for side in sides.groups())
    fits = long <= 3 * short and long <= 3840 and short * long <= 3840 * 2160
    return short % 16 == long % 16 == 0 and fits


def is_regional(base_url: str | None) -> bool:
    """Tell whether it is one of OpenAI's hosts that process in their region."""
    return REGIONAL_HOST.fullmatch(urlsplit(base_url or "").hostname or "") is not None


def tier_price(name: str, tier: str = "") -> TokenPrice | None:
    """Return what the model costs at this `service_tier`; None where it has no price there.
    KeyError for a model without any."""
    row = text_model(name)
    if row is None:
        raise KeyError(name)
    if tier in LIST_TIERS:
        return row.price
    kind = TIER_NAMES.get(tier)
    if kind is None:
        return None
    plain = undated(name)
    own = TIERS.get(name)
    # A snapshot has the tiers of its model where it has its price.
    if own is None and (model := text_model(plain)) and model.price == row.price:
        own = TIERS.get(plain)
    if own is not None:
        return own.get(kind)
    if _version(name) < FACTORS_FROM or (kind == "flex" and plain in WITHOUT_FLEX):
        return None
    return row.price.times(FACTORS[kind])


def tiers(name: str) -> dict[Tier, TokenPrice]:
    """Return what the text model costs at each tier but the list, where it has one."""
    priced = [(tier, tier_price(name, tier)) for tier in FACTORS]
    return {tier: price for tier, price in priced if price}


def text_cost_usd(
    model: str,
    prompt_tokens: int,
    completion_tokens: int,
    cached_tokens: int = 0,
    cache_write_tokens: int = 0,
    *,
    reasoning_tokens: int = 0,
    total_tokens: int = 0,
    tier: str = "",
    regional: bool = False,
) -> Decimal | None:
    """Return the price of one completion at this tier, None where the tier has none; of the
    prompt's tokens, some were in OpenAI's cache and some were written to it, and of the
    completion's, some were thoughts. KeyError for a model without a price."""
    # No token is free: where the counts contradict each other, the price is the most that they can
    # mean.
    price = tier_price(model, tier)
    if price is None:
        return None
    if regional and _version(model) >= REGIONAL_FROM:
        price = price.times(REGIONAL_FACTOR)
    cached_usd = price.input_usd if price.cached_input_usd is None else price.cached_input_usd
    write_usd = price.input_usd if price.cache_write_usd is None else price.cache_write_usd
    dearest_input_usd = max(price.input_usd, write_usd)
    fresh_tokens = prompt_tokens - cached_tokens - cache_write_tokens
    cost = price.input_usd * fresh_tokens
    cost += cached_usd * cached_tokens + write_usd * cache_write_tokens
    # Some servers count the cache's tokens apart from the prompt's.
    if fresh_tokens < 0:
        prompt_tokens += cached_tokens + cache_write_tokens
        cost = dearest_input_usd * prompt_tokens
    # And some the thoughts.
    if reasoning_tokens > completion_tokens:
        completion_tokens += reasoning_tokens
    cost += price.output_usd * completion_tokens
    uncounted_tokens = max(0, total_tokens - prompt_tokens - completion_tokens)
    cost += max(dearest_input_usd, price.output_usd) * uncounted_tokens
    return cost / 1_000_000


def shares_usd(cost_usd: Decimal | None, count: int) -> list[Decimal | None]:
    """Return the cost of one call shared out over what it brought, to a ten-billionth of a
    dollar."""
    # The first takes what is left over: the shares add up exactly.
    if cost_usd is None:
        return [None] * count
    share = (cost_usd / count).quantize(SMALLEST_SHARE_USD, ROUND_DOWN)
    return [cost_usd - share * (count - 1), *[share] * (count - 1)]


def dollars(summed: float | None) -> Decimal:
    """Return a sum of stored floats without their noise: to a ten-billionth of a dollar."""
    return round(Decimal(summed or 0), 10)


def image_cost_usd(
    model: str,
    quality: str,
    size: str,
    tokens: ImageTokens | None = None,
    *,
    regional: bool = False,
) -> Decimal | None:
    """Return the price of one image: by quality and size where the model bills images, else by its
    tokens, and None where those are not known. KeyError for a model without a price."""
    row = image_model(model)
    if row is None:
        raise KeyError(model)
    price = row.price
    if isinstance(price, dict):
        return price[quality, size]
    if tokens is None:
        return None
    cost = (
        price.text_input_usd * (tokens.text_input - tokens.cached_text_input)
        + price.cached_text_input_usd * tokens.cached_text_input
        + price.image_input_usd * tokens.image_input
        + price.image_output_usd * tokens.output
    ) / 1_000_000
    return cost * REGIONAL_FACTOR if regional and row.is_regional else cost


def _version(name: str) -> tuple[int, int]:
    """GPT's, such as (5, 4); (0, 0) of any other model."""
    found = re.match(r"gpt-([0-9])(?:\.([0-9]+))?(?![0-9])", name)
    if found is None:
        return (0, 0)
    return (int(found[1]), int(found[2] or 0))


def undated(name: str) -> str:
    """Return the model's name without the date of a snapshot: gpt-4o-2024-08-06, gpt-4-0613."""
    return re.sub(r"-([0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{4})$", "", name)


def _genai_price(name: str) -> TokenPrice | None:
    """OpenAI's price of a text model by genai-prices; None for an unknown one, and for those that
    bill more than text."""
    if name != name.lower():  # genai-prices would take it, OpenAI would not
        return None
    try:
        no_usage = genai_prices.Usage()
        known = genai_prices.calc_price(no_usage, name, provider_id="openai").model_price
    except LookupError:
        return None
    prices = {kind: _base(price) for kind, price in vars(known).items() if price is not None}
    bills_more = "search" in name or any("audio" in kind or "image" in kind for kind in prices)
    if bills_more or not ("input_mtok" in prices and "output_mtok" in prices):
        return None
    return TokenPrice(
        prices["input_mtok"],
        prices["output_mtok"],
        prices.get("cache_read_mtok"),
        prices.get("cache_write_mtok"),
    )


def _base(price: Any) -> Decimal:
    """Without the tiers for prompts of more than 272,000 tokens, which no request here reaches."""
    return Decimal(getattr(price, "base", price))
