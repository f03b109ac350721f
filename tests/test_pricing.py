"""Every cell of the price table, against figures computed by hand."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import bounds
import pricing
from tests import price_tables
from tests.conftest import ROOT

# US dollars per million tokens: input, cached input, cache writes, output.
TEXT_PRICES = {
    "gpt-3.5-turbo": ("0.5", "0.5", "0.5", "1.5"),
    "gpt-4": ("30", "30", "30", "60"),
    "gpt-4o": ("2.5", "1.25", "2.5", "10"),
    "gpt-4o-mini": ("0.15", "0.075", "0.15", "0.6"),
    "gpt-4.1": ("2", "0.5", "2", "8"),
    "gpt-4.1-mini": ("0.4", "0.1", "0.4", "1.6"),
    "gpt-5.4": ("2.5", "0.25", "2.5", "15"),
    "gpt-5.4-mini": ("0.75", "0.075", "0.75", "4.5"),
    "gpt-5.6-luna": ("0.2", "0.02", "0.25", "1.2"),
    "gpt-6-luna": ("0.1", "0.01", "0.125", "0.5"),
    "gpt-6.1-terra": ("1", "0.05", "1.25", "5"),
    "gpt-6.1-sol": ("2", "0.1", "2.5", "10"),
    "gpt-6.2-sol": ("2", "0.1", "2.5", "10"),
}
# US dollars per million tokens: text in, cached text in, image in, out.
IMAGE_TOKEN_PRICES = {
    "gpt-image-1.5": ("5", "1.25", "8", "32"),
    "gpt-image-2": ("5", "1.25", "8", "30"),
    "gpt-image-2.5-flare": ("5", "1.25", "8", "30"),
    "gpt-image-2.5-sunburst": ("5", "1.25", "8", "30"),
    "gpt-image-2.6-flare": ("5", "1.25", "8", "30"),
    "gpt-image-2.6-sunburst": ("5", "1.25", "8", "30"),
}
IMAGE_PRICES = {
    ("standard", "1024x1024"): "0.04",
    ("standard", "1024x1792"): "0.08",
    ("standard", "1792x1024"): "0.08",
    ("hd", "1024x1024"): "0.08",
    ("hd", "1024x1792"): "0.12",
    ("hd", "1792x1024"): "0.12",
}
LIFETIMES = {
    "gpt-3.5-turbo": (date(2026, 10, 23), "gpt-6-luna"),
    "gpt-4": (date(2026, 10, 23), "gpt-6.1-terra"),
    "gpt-4o": (date(2027, 1, 14), "gpt-6-luna"),
    "gpt-4o-mini": (date(2027, 1, 14), "gpt-6-luna"),
    "gpt-4.1": (date(2027, 1, 14), "gpt-6-luna"),
    "gpt-4.1-mini": (date(2027, 1, 14), "gpt-6-luna"),
    "dall-e-3": (date(2026, 5, 12), "gpt-image-2.5-flare"),
    "gpt-image-1.5": (date(2026, 12, 1), "gpt-image-2.5-flare"),
}
MILLION = 1_000_000


def test_every_model_of_the_table_is_expected_here() -> None:
    assert set(pricing.TEXT_MODELS) == set(TEXT_PRICES)
    assert set(pricing.IMAGE_MODELS) == {"dall-e-3", *IMAGE_TOKEN_PRICES}
    assert set(pricing.IMAGE_MODELS["dall-e-3"].price) == set(IMAGE_PRICES)  # type: ignore[arg-type]


def test_every_row_says_where_it_is_from_and_how_long_it_lives() -> None:
    rows = pricing.TEXT_MODELS | pricing.IMAGE_MODELS
    for name, row in rows.items():
        assert (row.retired_on, row.successor) == LIFETIMES.get(name, (None, None))
        contracts = name in ("gpt-3.5-turbo", "gpt-4", "dall-e-3")
        assert row.source == (pricing.OWNER if contracts else pricing.OPENAI)
        assert row.successor is None or row.successor in rows


@pytest.mark.parametrize(("docs", "words"), [("docs", "checked on {}"), ("docs/ko", "{} 확인")])
def test_the_docs_say_when_every_row_was_checked(docs: str, words: str) -> None:
    text = (ROOT / docs / "models-and-prices.md").read_text()
    for row in (pricing.TEXT_MODELS | pricing.IMAGE_MODELS).values():
        assert words.format(row.checked_on) in text


@pytest.mark.parametrize("page", price_tables.PAGES)
def test_the_docs_show_the_prices_of_the_code(page: Path) -> None:
    text = page.read_text()
    assert text == price_tables.rendered(text), "renew: .venv/bin/python -m tests.price_tables"


@pytest.mark.parametrize("model", TEXT_PRICES)
def test_a_million_tokens_of_each_kind(model: str) -> None:
    assert (
        pricing.text_cost_usd(model, MILLION, 0),
        pricing.text_cost_usd(model, MILLION, 0, MILLION),
        pricing.text_cost_usd(model, MILLION, 0, 0, MILLION),
        pricing.text_cost_usd(model, 0, MILLION),
    ) == tuple(Decimal(price) for price in TEXT_PRICES[model])


@pytest.mark.parametrize(
    ("model", "prompt", "completion", "cached", "written", "cost_usd"),
    [
        ("gpt-3.5-turbo", 45, 32, 0, 0, "0.0000705"),
        ("gpt-3.5-turbo", 0, 0, 0, 0, "0"),
        ("gpt-4", 1, 1, 0, 0, "0.00009"),
        # 1,500 x 0.15 + 500 x 0.075 + 100 x 0.60, per million
        ("gpt-4o-mini", 2_000, 100, 500, 0, "0.0003225"),
        ("gpt-6-luna", 45, 32, 0, 0, "0.0000205"),
        ("gpt-6-luna", 1_001, 7, 1_000, 0, "0.0000136"),
        # 100 x 1 + 200 x 0.05 + 700 x 1.25 + 10 x 5, per million
        ("gpt-6.1-terra", 1_000, 10, 200, 700, "0.001035"),
    ],
)
def test_text(
    model: str, prompt: int, completion: int, cached: int, written: int, cost_usd: str
) -> None:
    cost = pricing.text_cost_usd(model, prompt, completion, cached, written)
    assert cost == Decimal(cost_usd)


@pytest.mark.parametrize(("quality", "size"), IMAGE_PRICES)
def test_one_image(quality: str, size: str) -> None:
    cost = pricing.image_cost_usd("dall-e-3", quality, size)
    assert cost == Decimal(IMAGE_PRICES[quality, size])
    tokens = pricing.ImageTokens(10, 0, 4_000)
    assert pricing.image_cost_usd("dall-e-3", quality, size, tokens) == cost


@pytest.mark.parametrize("model", IMAGE_TOKEN_PRICES)
def test_a_million_tokens_of_each_kind_of_an_image(model: str) -> None:
    tokens = (
        pricing.ImageTokens(MILLION, 0, 0),
        pricing.ImageTokens(MILLION, 0, 0, MILLION),
        pricing.ImageTokens(0, MILLION, 0),
        pricing.ImageTokens(0, 0, MILLION),
    )
    assert [pricing.image_cost_usd(model, "high", "auto", each) for each in tokens] == [
        Decimal(price) for price in IMAGE_TOKEN_PRICES[model]
    ]
    assert pricing.image_cost_usd(model, "high", "auto") is None


def test_an_image_by_its_tokens() -> None:
    # 30 x 5 + 10 x 1.25 + 5 x 8 + 439 x 30, per million
    tokens = pricing.ImageTokens(40, 5, 439, 10)
    cost = pricing.image_cost_usd("gpt-image-2.5-flare", "medium", "1024x1024", tokens)
    assert cost == Decimal("0.0133725")


def test_what_has_no_price_is_refused() -> None:
    for model in (
        "gpt-unknown",
        "GPT-4",
        "gpt-image-2",
        "dall-e-3",
        "tts-1",
        "whisper-1",
        "gpt-4o-search-preview",
        "",
    ):
        assert pricing.text_model(model) is None
        with pytest.raises(KeyError):
            pricing.text_cost_usd(model, 1, 1)
    for model in ("dall-e-unknown", "gpt-4", "gpt-image-1", ""):
        assert pricing.image_model(model) is None
        with pytest.raises(KeyError):
            pricing.image_cost_usd(model, "standard", "1024x1024")


def test_genai_prices_knows_what_the_table_does_not() -> None:
    # 1.75 in, 0.175 cached and 14 out, per million
    assert pricing.text_cost_usd("gpt-5.2", 1_000, 100, 400) == Decimal("0.00252")
    # A prompt that is long, but not as long as those that cost twice as much.
    assert pricing.text_cost_usd("gpt-5.5", 200_000, 0) == Decimal("1")
    assert pricing.text_cost_usd("gpt-4-turbo", 1_000, 1_000) == Decimal("0.04")
    row = pricing.text_model("gpt-5.2")
    assert row
    assert row.source.startswith("genai-prices ")
    assert row.checked_on is None, "nobody did"


def test_what_the_sdk_names_knows_its_end_too() -> None:
    turbo, gpt_5 = pricing.text_model("gpt-4-turbo"), pricing.text_model("gpt-5")
    assert turbo
    assert (turbo.retired_on, turbo.successor) == (date(2026, 10, 23), "gpt-6.1-terra")
    assert gpt_5
    assert (gpt_5.retired_on, gpt_5.successor) == (date(2026, 12, 11), None)


def test_a_dated_snapshot_costs_what_its_own_price_is_or_its_models() -> None:
    assert pricing.text_cost_usd("gpt-4o-2024-05-13", 1_000, 0) == Decimal("0.005")
    assert pricing.text_cost_usd("gpt-4o-2024-08-06", 1_000, 0) == Decimal("0.0025")
    assert pricing.text_cost_usd("gpt-6.2-sol-2026-11-11", 1_000, 0) == Decimal("0.002")
    flare = pricing.image_model("gpt-image-2.5-flare-2026-09-08")
    assert flare == pricing.IMAGE_MODELS["gpt-image-2.5-flare"]


def test_all_text_models_are_listed_with_the_default_first() -> None:
    listed = pricing.text_models("gpt-4o-2024-05-13")
    assert next(iter(listed)) == "gpt-4o-2024-05-13"
    assert set(listed) > {*TEXT_PRICES, "gpt-5.2", "gpt-6-astra", "o3"}
    assert not [name for name in listed if "image" in name]


def test_a_line_of_successors_ends_even_where_the_table_has_a_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert pricing.succession("gpt-3.5-turbo") == ("gpt-3.5-turbo", "gpt-6-luna")
    assert pricing.succession("gpt-4-0613") == ("gpt-4-0613", "gpt-6.1-terra")
    assert pricing.succession("dall-e-3") == ("dall-e-3", "gpt-image-2.5-flare")
    assert pricing.succession("gpt-6-luna") == ("gpt-6-luna",)
    luna = pricing.TEXT_MODELS["gpt-6-luna"]
    monkeypatch.setitem(pricing.TEXT_MODELS, "gpt-6-luna", replace(luna, successor="gpt-4"))
    terra = replace(pricing.TEXT_MODELS["gpt-6.1-terra"], successor="gpt-6-luna")
    monkeypatch.setitem(pricing.TEXT_MODELS, "gpt-6.1-terra", terra)
    assert pricing.succession("gpt-4") == ("gpt-4", "gpt-6.1-terra", "gpt-6-luna")
    assert pricing.succession("gpt-6-luna") == ("gpt-6-luna", "gpt-4", "gpt-6.1-terra")


@pytest.mark.parametrize(
    ("model", "size", "taken"),
    [
        ("dall-e-3", "1792x1024", True),
        ("dall-e-3", "1536x1024", False),
        ("dall-e-3", "auto", False),
        ("gpt-image-1.5", "1536x1024", True),
        ("gpt-image-1.5", "1792x1024", False),
        ("gpt-image-2", "1024x1792", True),
        ("gpt-image-2", "auto", True),
        ("gpt-image-2.5-flare", "1536x864", True),
        ("gpt-image-2.5-flare", "3840x2160", True),
        ("gpt-image-2.5-flare", "3840x2176", False),
        ("gpt-image-2.5-flare", "1536x512", True),
        ("gpt-image-2.5-flare", "1552x512", False),
        ("gpt-image-2.5-flare", "1000x1000", False),
        ("gpt-image-2.5-flare", "0x0", False),
        ("gpt-image-2.5-flare", "1024x1024\n", False),
        ("gpt-image-2.6-flare", "1792x1024", True),
        ("gpt-image-2.6-flare", "1536x864", False),
    ],
)
def test_sizes(model: str, size: str, taken: bool) -> None:
    assert pricing.takes_size(pricing.IMAGE_MODELS[model], size) is taken


def test_shares_add_up_exactly() -> None:
    for cost in ("0", "0.0000705", "0.01", "1e-10", "0.000000000123456789", "12.3"):
        for count in range(1, 11):
            shares = pricing.shares_usd(Decimal(cost), count)
            assert sum(share for share in shares if share is not None) == Decimal(cost)
            assert len(shares) == count
    assert pricing.shares_usd(Decimal("0.0001"), 3) == [
        Decimal("0.0000333334"),
        Decimal("0.0000333333"),
        Decimal("0.0000333333"),
    ]
    assert pricing.shares_usd(None, 2) == [None, None]


@pytest.mark.parametrize(
    ("model", "usd"),
    [
        ("gpt-6-luna", "0.00035"),  # 1000 x 0.125 + 100 x 0.5, per million, twice in fast mode
        ("gpt-6.1-terra", "0.0035"),
        ("gpt-3.5-turbo", "0.00065"),  # dearer than its successor
        ("gpt-4", "0.036"),
    ],
)
def test_the_largest_cost_is_that_of_the_dearest_of_the_line(model: str, usd: str) -> None:
    assert bounds.text_cost_usd(model, 1000, 100) == Decimal(usd)
    with pytest.raises(KeyError):
        bounds.text_cost_usd("gpt-unheard-of", 1, 1)


@pytest.mark.parametrize(
    ("model", "tier", "cost_usd"),
    [
        # A thousand tokens in, a hundred of them cached, and a thousand out.
        ("gpt-4o", "default", "0.012375"),
        ("gpt-4o", "auto", "0.012375"),
        ("gpt-4o", "priority", "0.0210375"),
        ("gpt-4o", "flex", None),
        ("gpt-4o-2024-11-20", "priority", "0.0210375"),
        ("gpt-4o-2024-05-13", "priority", "0.035"),
        ("gpt-5-mini", "flex", "0.00111375"),
        ("gpt-5-mini-2025-08-07", "flex", "0.00111375"),
        ("gpt-5-mini", "priority", "0.0040095"),
        ("gpt-5-nano", "priority", None),
        ("gpt-5.4", "flex", "0.008638"),
        ("gpt-5.4-pro", "priority", None),
        ("gpt-6-luna", "default", "0.000591"),
        ("gpt-6-luna", "flex", "0.0002955"),
        ("gpt-6-luna", "priority", "0.001182"),
        ("gpt-6-luna", "fast", "0.001182"),
        ("gpt-5.6-terra", "priority", "0.02764"),
        ("gpt-6.2-sol", "priority", "0.02362"),
        ("gpt-6.2-sol", "flex", None),
        ("gpt-3.5-turbo", "priority", None),
        ("gpt-6-luna", "scale", None),
        ("gpt-6-luna", "ultrafast", None),
        ("gpt-6-luna", "Priority", None),
    ],
)
def test_each_tier_has_its_price_or_none(model: str, tier: str, cost_usd: str | None) -> None:
    cost = pricing.text_cost_usd(model, 1_000, 1_000, 100, tier=tier)
    assert cost == (None if cost_usd is None else Decimal(cost_usd))


def test_a_priority_answer_is_booked_as_it_is_billed() -> None:
    assert pricing.text_cost_usd("gpt-4o", 1_000, 1_000, tier="priority") == Decimal("0.02125")


@pytest.mark.parametrize(
    ("base_url", "regional"),
    [
        ("https://eu.api.openai.com/v1", True),
        ("https://US.api.openai.com/v1", True),
        ("https://kr.api.openai.com", True),
        ("https://api.openai.com/v1", False),
        (None, False),
        ("https://eu.api.openai.com.evil.example/v1", False),
        ("http://localhost:9000/eu.api.openai.com", False),
    ],
)
def test_a_region_is_known_by_its_host(base_url: str | None, regional: bool) -> None:
    assert pricing.is_regional(base_url) is regional


@pytest.mark.parametrize(
    ("model", "factor"),
    [
        *(("gpt-3.5-turbo", "1"), ("gpt-4o", "1"), ("o3", "1"), ("gpt-5.2", "1")),
        *(("gpt-5.4", "1.1"), ("gpt-5.4-mini-2026-03-17", "1.1"), ("gpt-6.1-terra", "1.1")),
    ],
)
def test_a_region_costs_a_tenth_more_for_newer_models(model: str, factor: str) -> None:
    at_list = pricing.text_cost_usd(model, 1_000, 1_000, 100)
    assert at_list
    assert pricing.text_cost_usd(model, 1_000, 1_000, 100, regional=True) == at_list * Decimal(
        factor
    )


def test_a_region_costs_more_for_newer_image_models() -> None:
    tokens = pricing.ImageTokens(10, 0, 1_000)
    for model, factor in {"gpt-image-2.5-flare": "1.1", "gpt-image-1.5": "1"}.items():
        at_list = pricing.image_cost_usd(model, "high", "auto", tokens)
        assert at_list
        regional = pricing.image_cost_usd(model, "high", "auto", tokens, regional=True)
        assert regional == at_list * Decimal(factor)
    assert pricing.image_cost_usd("dall-e-3", "hd", "1024x1024", regional=True) == Decimal("0.08")


@pytest.mark.parametrize(
    ("counts", "cost_usd"),
    [
        # gpt-6.1-terra: 1.00 in, 0.05 cached, 1.25 written, 5.00 out, per million.
        ({"total_tokens": 1_100}, "0.0015"),
        ({"total_tokens": 1}, "0.0015"),
        ({"total_tokens": 1_300}, "0.0025"),  # 200 uncounted, at the dearest
        ({"reasoning_tokens": 60}, "0.0015"),  # part of the output
        ({"reasoning_tokens": 300, "total_tokens": 1_400}, "0.003"),  # counted apart
        ({"cached_tokens": 1_000}, "0.00055"),
        ({"cached_tokens": 3_000, "total_tokens": 4_100}, "0.0055"),  # counted apart
        ({"cached_tokens": 600, "cache_write_tokens": 600}, "0.00325"),
    ],
)
def test_no_token_is_free_whatever_contradicts_itself(
    counts: dict[str, Any], cost_usd: str
) -> None:
    cost = pricing.text_cost_usd("gpt-6.1-terra", 1_000, 100, **counts)
    assert cost == Decimal(cost_usd)
