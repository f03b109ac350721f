"""Render the price tables of docs/models-and-prices.md, in both languages, from pricing.py.

    .venv/bin/python -m tests.price_tables

Each page has the heads of its tables in its own language, behind a comment that names the rows.
"""

import re
from decimal import Decimal

import pricing
from tests.conftest import ROOT

PAGES = (ROOT / "docs/models-and-prices.md", ROOT / "docs/ko/models-and-prices.md")


def row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def usd(price: Decimal | None) -> str:
    """Show dollars with two decimals or more, and a dash for what has no price of its own."""
    if price is None:
        return "–"
    return max(str(price), f"{price:.2f}", key=len)


def end(model: pricing.TextModel | pricing.ImageModel) -> str:
    """Say when the model ends and who follows; nothing for one that lives on."""
    if model.retired_on is None:
        return ""
    return f"{model.retired_on}, {model.successor}"


def sizes(model: pricing.ImageModel) -> str:
    if model.any_size:
        return "WxH, auto"
    return ", ".join(model.sizes)


def text_rows() -> str:
    rows = ""
    for name, model in pricing.TEXT_MODELS.items():
        price = model.price
        rows += row(
            name,
            usd(price.input_usd),
            usd(price.cached_input_usd),
            usd(price.output_usd),
            end(model),
        )
    return rows


def image_rows() -> str:
    """Give the models that bill each image a row for each quality."""
    rows = ""
    for name, model in pricing.IMAGE_MODELS.items():
        if isinstance(model.price, dict):
            for quality in model.qualities:
                prices = " | ".join(usd(model.price[quality, size]) for size in model.sizes)
                rows += row(name, quality, prices, end(model))
    return rows


def image_token_rows() -> str:
    rows = ""
    for name, model in pricing.IMAGE_MODELS.items():
        price = model.price
        if isinstance(price, pricing.ImageTokenPrice):
            rows += row(
                name,
                usd(price.text_input_usd),
                usd(price.cached_text_input_usd),
                usd(price.image_input_usd),
                usd(price.image_output_usd),
                ", ".join(model.qualities),
                sizes(model),
                end(model),
            )
    return rows


TABLES = {"text": text_rows, "image": image_rows, "image tokens": image_token_rows}


def rendered(text: str) -> str:
    """Put the rows of today under each head. ValueError where a table is missing."""
    for name, rows in TABLES.items():
        head = rf"<!-- pricing\.py: {name} -->\n\n(?:\|.*\n){{2}}"
        text, found = re.subn(rf"({head})(?:\|.*\n)*", rf"\g<1>{rows()}", text)
        if found != 1:
            raise ValueError(f"The page has {found} tables of {name} prices instead of one.")
    return text


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(rendered(page.read_text()))
