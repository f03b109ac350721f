"""How far a figure can be trusted: intervals of rates, and whether rates differ beyond chance.
Textbook statistics of counts (Agresti, Categorical Data Analysis)."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import erfc, sqrt
from statistics import NormalDist

ALPHA = 0.05
Z = NormalDist().inv_cdf(1 - ALPHA / 2)
# With fewer expected hits or misses, a z-test may err more often than it says (Cochran's rule).
LEAST_EXPECTED = 5
# Whoever counts so many had LEAST_EXPECTED to expect: with fewer, that comes in 3 % at most.
LEAST_COUNTED = 10

# Hits and trials, such as clicks and impressions.
Counts = tuple[float, float]


@dataclass(frozen=True)
class Comparison:
    """Some rates, each against the one in front, which is the highest of those that take part.
    `enough` tells who does: whose trials are enough for the test to err as seldom as it says.
    `p_values` are those of the z-tests and, `adjusted` for their number, of those that take part;
    None where there is nothing to compare. `leader` is the index of the one in front if it is ahead
    of all beyond chance."""

    leader: int | None
    enough: list[bool]
    p_values: list[float | None]
    adjusted: list[float | None]


def wilson_interval(hits: float, trials: float) -> tuple[float, float] | None:
    """Wilson's score interval of a rate at 95 %, from 0 to 1; None where the counts are no rate."""
    if not 0 <= hits <= trials or trials == 0:
        return None
    rate, weight = hits / trials, Z * Z / trials
    middle = (rate + weight / 2) / (1 + weight)
    reach = Z * sqrt(rate * (1 - rate) / trials + weight / (4 * trials)) / (1 + weight)
    # At the ends, where the two are equal, only rounding would tell them apart.
    lowest, highest = middle - reach, middle + reach
    if hits == 0:
        lowest = 0.0
    if hits == trials:
        highest = 1.0
    return lowest, highest


def p_value(hits: float, trials: float, other_hits: float, other_trials: float) -> float | None:
    """Return the two-sided p-value of the pooled two-proportion z-test; None where the counts are
    no rates."""
    counts = ((hits, trials), (other_hits, other_trials))
    if not all(0 <= each <= of and of > 0 for each, of in counts):
        return None
    pooled = (hits + other_hits) / (trials + other_trials)
    error = sqrt(pooled * (1 - pooled) * (1 / trials + 1 / other_trials))
    if error == 0:  # all of them are hits, or none is
        return 1.0
    z = (hits / trials - other_hits / other_trials) / error
    return erfc(abs(z) / sqrt(2))  # 2 * P(Z > |z|)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for their number by Holm's step-down method, in their order."""
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = largest
    return adjusted


def compare(counts: Sequence[Counts]) -> Comparison:
    """Who leads among these. Whoever takes no part changes nothing for the others."""
    enough = _enough(counts)
    p_values: list[float | None] = [None] * len(counts)
    adjusted: list[float | None] = [None] * len(counts)
    taking_part = [index for index, is_enough in enumerate(enough) if is_enough]
    if not taking_part:
        return Comparison(None, enough, p_values, adjusted)
    # The higher rate is in front; of equal ones, the one that was seen more often.
    front = max(taking_part, key=lambda index: _rate_and_trials(counts[index]))
    for index, each in enumerate(counts):
        if index != front:
            p_values[index] = p_value(*counts[front], *each)
    tested = {index: p for index in taking_part if (p := p_values[index]) is not None}
    corrected = holm(list(tested.values()))
    for index, p_holm in zip(tested, corrected, strict=True):
        adjusted[index] = p_holm
    # Nobody is ahead of a rate above 100 %, however few trials it has.
    is_beaten = any(hits > trials >= 0 for hits, trials in counts)
    leads = max(corrected, default=1.0) < ALPHA and not is_beaten
    return Comparison(front if leads else None, enough, p_values, adjusted)


def _enough(counts: Sequence[Counts]) -> list[bool]:
    """Tell whether hits and misses enough are to be expected of each, at the rate of one whose own
    counts tell it."""
    # So trials alone decide, and nobody is left out for being very good or bad.
    rates = [
        (fewer, trials)
        for hits, trials in counts
        if (fewer := min(hits, trials - hits)) >= LEAST_COUNTED
    ]
    return [
        0 <= hits <= trials and any(trials * fewer >= LEAST_EXPECTED * of for fewer, of in rates)
        for hits, trials in counts
    ]


def _rate_and_trials(counts: Counts) -> tuple[float, float]:
    hits, trials = counts
    return hits / trials, trials
