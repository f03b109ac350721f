"""Freeze statsmodels' figures for the tests: `pip install statsmodels==0.15.0`, then
`python tests/figures/freeze.py`."""

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path

from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint, proportions_ztest

COUNTS = [(0, 10), (1, 10), (10, 10), (45, 1000), (999, 1000), (3, 40), (120_000, 3_000_000)]
OTHERS = [(40, 1000), (7, 50), (3, 10)]
# Of the one text in test_content_figures.py, and of the variants in test_compare_variants.py.
ONE_TEXT = [(200, 5000), (12, 200), (12, 5000)]
LEADER, VARIANTS = (120, 2000), [(60, 2000), (70, 2000), (61, 2000)]


def p_value(counts: tuple[int, int], others: tuple[int, int]) -> float:
    hits, trials = zip(counts, others, strict=True)
    return float(proportions_ztest(hits, trials)[1])


def families() -> list[list[float]]:
    """Return p-values to adjust together: one to nine, two of them alike, and the variants'."""
    chance = random.Random(1)
    drawn = [[chance.uniform(0, 0.2) for _ in range(size)] for size in range(1, 10)]
    for p_values in drawn:
        p_values[-1] = p_values[0]
    return [*drawn, [p_value(LEADER, each) for each in VARIANTS]]


def rows() -> Iterator[tuple[str, object, object]]:
    """Yield what is asked, what goes in, and what statsmodels makes of it."""
    for counts in COUNTS + ONE_TEXT:
        yield "interval", counts, proportion_confint(*counts, alpha=0.05, method="wilson")
    pairs = list(itertools.product(COUNTS, OTHERS))
    for pair in pairs + [(LEADER, each) for each in VARIANTS]:
        yield "p_value", pair, p_value(*pair)
    for p_values in families():
        yield "holm", p_values, list(multipletests(p_values, method="holm")[1])


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(row) for row in rows())
    Path(__file__).with_name("statsmodels.json").write_text(f"[\n{lines}\n]\n")
