"""The most that a generation can cost: by hand, and never below what it does cost."""

from decimal import Decimal
from itertools import product

import pytest

import bounds
import pricing

IMAGES = [
    # Model, quality, size, tokens of the image, US dollars with 100 tokens of prompt.
    ("dall-e-3", "standard", "1024x1024", None, "0.040"),
    ("dall-e-3", "hd", "1792x1024", None, "0.120"),
    ("gpt-image-1.5", "high", "1024x1536", 6240, "0.20018"),
    ("gpt-image-2", "low", "1024x1024", 196, "0.00638"),
    ("gpt-image-2.5-flare", "standard", "1024x1024", 439, "0.01367"),
    ("gpt-image-2.5-flare", "medium", "512x512", 439, "0.01367"),
    ("gpt-image-2.5-flare", "max", "1024x1024", 7024, "0.21122"),
    ("gpt-image-2.5-flare-2026-09-08", "max", "3840x2160", 55_561, "1.66733"),
    ("gpt-image-2.5-sunburst", "auto", "auto", 10_536, "0.31658"),
    ("gpt-image-2.6-flare", "low", "1024x1024", 784, "0.02402"),
]


@pytest.mark.parametrize(("model", "quality", "size", "tokens", "usd"), IMAGES)
def test_the_most_that_an_image_can_cost(
    model: str, quality: str, size: str, tokens: int | None, usd: str
) -> None:
    assert bounds.output_tokens(model, quality, size) == tokens
    assert bounds.image_cost_usd(model, quality, size, 100) == Decimal(usd)


def test_every_model_size_and_quality_has_a_bound() -> None:
    for name, model in pricing.IMAGE_MODELS.items():
        sizes = [*model.sizes, *(["3840x2160", "1280x720"] if model.any_size else [])]
        for quality, size in product(model.qualities, sizes):
            most = bounds.image_cost_usd(name, quality, size, 1000)
            assert most is not None, (name, quality, size)
            assert 0 < most < 10
            regional = bounds.image_cost_usd(name, quality, size, 1000, regional=True)
            assert regional is not None
            assert regional >= most


def test_the_known_figures_are_within_the_bounds() -> None:
    """As reported of OpenAI's calculator: tokens of gpt-image-2 and 2.5 at other sizes."""
    for size, tokens in (("1536x1024", 5488), ("1792x1024", 5063), ("3584x2048", 12_329)):
        for model, quality in (("gpt-image-2", "high"), ("gpt-image-2.5-flare", "max")):
            most = bounds.output_tokens(model, quality, size)
            assert most is not None
            assert tokens <= most


def test_a_successor_is_within_the_bound() -> None:
    first, last = "gpt-image-1.5", "gpt-image-2.5-flare"
    assert pricing.succession(first) == (first, last)
    for quality in ("low", "standard", "hd", "auto"):
        own = bounds.image_cost_usd(last, quality, "1024x1024", 500)
        most = bounds.image_cost_usd(first, quality, "1024x1024", 500)
        assert own is not None
        assert most is not None
        assert own <= most


def test_no_bill_of_a_text_is_above_its_bound() -> None:
    for name in pricing.text_models("gpt-3.5-turbo"):
        most = bounds.text_cost_usd(name, 1000, 500)
        for answering, tier in product(pricing.succession(name), ("", "flex", "priority")):
            for cached, written in ((0, 0), (1000, 0), (0, 1000), (500, 500)):
                cost = pricing.text_cost_usd(answering, 1000, 500, cached, written, tier=tier)
                assert cost is None or cost <= most, (name, answering, tier)
