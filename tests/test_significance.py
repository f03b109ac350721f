"""The statistics, against statsmodels; and how often a leader is named by chance."""

import random
from itertools import pairwise
from math import exp, lgamma, log

import pytest

from analytics import significance
from tests import figures

COUNTS = [(0, 10), (1, 10), (10, 10), (45, 1000), (999, 1000), (3, 40), (120_000, 3_000_000)]
EXPERIMENTS = 4000


@pytest.mark.parametrize(("hits", "trials"), COUNTS)
def test_wilson_intervals_are_those_of_statsmodels(hits: int, trials: int) -> None:
    interval = significance.wilson_interval(hits, trials)
    expected = figures.frozen("interval", (hits, trials))
    assert interval == pytest.approx(tuple(expected), abs=1e-12)
    assert interval
    low, high = interval
    assert 0 <= low <= hits / trials <= high <= 1


@pytest.mark.parametrize(("hits", "trials"), [(0, 0), (5, 0), (6, 5), (-1, 5), (-1, -5)])
def test_counts_that_are_no_rate_have_no_interval_and_no_p_value(hits: int, trials: int) -> None:
    assert significance.wilson_interval(hits, trials) is None
    assert significance.p_value(hits, trials, 5, 100) is None
    assert significance.p_value(5, 100, hits, trials) is None


@pytest.mark.parametrize("ours", COUNTS)
@pytest.mark.parametrize("theirs", [(40, 1000), (7, 50), (3, 10)])
def test_p_values_are_those_of_statsmodels(ours: tuple[int, int], theirs: tuple[int, int]) -> None:
    expected = figures.frozen("p_value", (ours, theirs))
    assert significance.p_value(*ours, *theirs) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_rates_that_are_all_or_nothing_do_not_differ() -> None:
    assert significance.p_value(0, 100, 0, 50) == 1
    assert significance.p_value(100, 100, 50, 50) == 1


def test_holm_is_that_of_statsmodels() -> None:
    families = [row for row in figures.ROWS if row[0] == "holm"]
    assert [len(p_values) for _, p_values, _ in families] == [*range(1, 10), 3]
    for _, p_values, expected in families:
        assert significance.holm(p_values) == pytest.approx(expected, abs=1e-12)
    assert significance.holm([]) == []


def test_a_comparison_is_of_each_with_the_one_in_front() -> None:
    counts = [(40.0, 1000.0), (90.0, 1000.0), (0.0, 0.0), (55.0, 1000.0)]
    compared = significance.compare(counts)
    assert compared.leader == 1
    assert compared.enough == [True, True, False, True]
    first = significance.p_value(90, 1000, 40, 1000)
    last = significance.p_value(90, 1000, 55, 1000)
    assert first
    assert last
    assert compared.p_values == [first, None, None, last]
    assert compared.adjusted == [2 * first, None, None, pytest.approx(max(last, 2 * first))]


@pytest.mark.parametrize(
    "counts",
    [
        [],
        [(90, 1000)],
        [(90, 1000), (0, 0)],
        [(90, 1000), (90, 1000)],
        [(90, 1000), (85, 1000), (10, 1000)],  # ahead of one, not of all
        [(0, 1000), (0, 1000)],
        [(1100, 1000), (10, 1000)],  # more clicks than impressions
        [(90, 1000), (-5, 1000)],
        [(2, 4), (20, 10_000)],  # a p-value below 0.05, of 2 clicks
    ],
)
def test_nobody_leads_where_that_may_be_chance(counts: list[tuple[float, float]]) -> None:
    compared = significance.compare(counts)
    assert compared.leader is None
    assert len(compared.p_values) == len(compared.adjusted) == len(counts)


def test_too_few_counts_take_no_part() -> None:
    few = significance.compare([(2, 4), (20, 10_000)])
    assert few.enough == [False, True]
    assert few.p_values[0] is not None
    assert few.p_values[0] < 0.05
    assert few.adjusted == [None, None]
    without = significance.compare([(90, 1000), (40, 1000)])
    beside = significance.compare([(90, 1000), (1, 1), (40, 1000)])
    assert (beside.leader, beside.enough) == (0, [True, False, True])
    assert beside.adjusted == [None, None, without.adjusted[1]]


@pytest.mark.parametrize(
    ("counts", "leader", "enough"),
    [
        # Too good to have misses of its own, but as large as the other one.
        ([(30, 32), (25, 40)], 0, [True, True]),
        ([(397, 400), (360, 400)], 0, [True, True]),
        ([(38, 40), (36, 40), (12, 40)], None, [True, True, True]),  # not the second
        ([(1000, 1000), (900, 1000)], 0, [True, True]),
        ([(90, 1000), (0, 1000)], 0, [True, True]),
        # Too small, whatever it counts.
        ([(5, 100), (20_000, 1_000_000), (10_000, 1_000_000)], 1, [False, True, True]),
        ([(4, 100), (20_000, 1_000_000), (10_000, 1_000_000)], 1, [False, True, True]),
        ([(3, 3), (90, 1000), (40, 1000)], 1, [False, True, True]),
        # Beside something huge of a low rate, the others are as large as they were.
        ([(100, 1000), (50, 1000), (1000, 1_000_000)], 0, [True, True, True]),
        ([(397, 400), (360, 400), (1000, 1_000_000)], 0, [True, True, True]),
        # More hits than trials cannot be tested, and nobody is ahead of it.
        ([(90, 1000), (40, 1000), (1100, 1000)], None, [True, True, False]),
        ([(90, 1000), (40, 1000), (2, 1)], None, [True, True, False]),
        ([(90, 1000), (40, 1000), (1, 0)], None, [True, True, False]),
        # Less than nothing, after corrections, is ahead of nobody.
        ([(90, 1000), (40, 1000), (-5, 1000)], 0, [True, True, False]),
        ([(90, 1000), (40, 1000), (0, 0), (-5, -1)], 0, [True, True, False, False]),
        ([(90, 1000), (90, 1000), (40, 1000)], None, [True, True, True]),
        ([(90.5, 1000.25), (40.5, 999.75)], 0, [True, True]),
    ],
)
def test_who_takes_part_and_who_leads(
    counts: list[tuple[float, float]], leader: int | None, enough: list[bool]
) -> None:
    compared = significance.compare(counts)
    assert (compared.leader, compared.enough) == (leader, enough)


def any_counts(chance: random.Random) -> list[tuple[float, float]]:
    """Some variants of all sizes and rates, also of impossible ones."""
    counts = []
    for _ in range(chance.randint(1, 6)):
        trials = round(10 ** chance.uniform(0, 6))
        rate = chance.choice((0, 1, 0.95, 10 ** chance.uniform(-4, 0)))
        hits = float(round(trials * rate))
        counts.append(chance.choice([(hits, float(trials))] * 20 + [(hits * 2, trials - 5.0)]))
    return counts


def test_nobody_leads_from_below_and_who_is_too_small_changes_nothing() -> None:
    chance = random.Random(2026)
    for _ in range(3000):
        counts = any_counts(chance)
        compared = significance.compare(counts)
        beside = list(
            zip(counts, compared.enough, compared.p_values, compared.adjusted, strict=True)
        )
        if compared.leader is not None:
            hits, trials = counts[compared.leader]
            assert compared.enough[compared.leader]
            for (other_hits, other_trials), enough, *_ in beside:
                assert not enough or other_hits / other_trials <= hits / trials
                assert other_hits <= other_trials or other_trials < 0

        by_size = sorted((of, not enough) for (n, of), enough, *_ in beside if 0 <= n <= of)
        assert all(small >= large for (_, small), (_, large) in pairwise(by_size)), "by size alone"

        order = chance.sample(range(len(counts)), len(counts))
        shuffled = significance.compare([counts[place] for place in order])
        assert shuffled.enough == [compared.enough[place] for place in order]
        led = None if shuffled.leader is None else order[shuffled.leader]
        assert led == compared.leader

        for place, (hits, trials) in enumerate(counts):
            if compared.enough[place] or hits > trials:
                continue
            alone = significance.compare(counts[:place] + counts[place + 1 :])
            led = compared.leader
            assert alone.leader == (led if led is None or led < place else led - 1)
            rest = beside[:place] + beside[place + 1 :]
            assert (alone.enough, alone.p_values, alone.adjusted) == tuple(
                [each[column] for each in rest] for column in (1, 2, 3)
            )


def test_a_p_value_too_small_for_a_float_is_none_the_less_beyond_chance() -> None:
    compared = significance.compare([(10, 10_000_000), (1_000_000, 10_000_000)])
    assert compared.p_values[0] == 0
    assert compared.leader == 1


def draws(chance: random.Random, trials: int, rate: float, size: int) -> list[float]:
    """Draw so many times how many of the trials are hits."""
    weights = [
        exp(
            (lgamma(trials + 1) - lgamma(hits + 1) - lgamma(trials - hits + 1))
            + (hits * log(rate) + (trials - hits) * log(1 - rate))
        )
        for hits in range(trials + 1)
    ]
    return [float(hits) for hits in chance.choices(range(trials + 1), weights, k=size)]


def leaders(rates: list[float], trials: list[int], experiments: int) -> list[int | None]:
    """Who is named in each of so many experiments with variants of these rates."""
    chance = random.Random(2026)
    variants = [draws(chance, *variant, experiments) for variant in zip(trials, rates, strict=True)]
    return [
        significance.compare(list(zip(hits, map(float, trials), strict=True))).leader
        for hits in zip(*variants, strict=True)
    ]


@pytest.mark.parametrize(
    ("rates", "trials"),
    [
        # No variant is better than all others: whoever is named, is named wrongly.
        ([0.02, 0.02], [2000, 2000]),
        ([0.05, 0.05], [10_000, 400]),
        ([0.03, 0.03, 0.01, 0.01, 0.01], [3000] * 5),
        ([0.02] * 5, [1000, 2000, 3000, 500, 300]),
        ([0.5, 0.5, 0.1], [200, 20, 2000]),
        ([0.95, 0.95], [40, 60]),
        ([0.02, 0.02], [500, 1_000_000]),
    ],
)
def test_a_leader_is_named_wrongly_in_at_most_5_percent(
    rates: list[float], trials: list[int]
) -> None:
    named = leaders(rates, trials, EXPERIMENTS)
    wrong = sum(leader is not None for leader in named) / EXPERIMENTS
    # Three standard errors of a simulation of this size, on top of the 5 percent.
    assert wrong <= 0.05 + 3 * (0.05 * 0.95 / EXPERIMENTS) ** 0.5


@pytest.mark.parametrize("rates", [[0.95, 0.65], [0.95, 0.65, 0.3]])
def test_the_worse_variant_is_not_named_for_the_better_ones_want_of_misses(
    rates: list[float],
) -> None:
    named = leaders(rates, [40] * len(rates), EXPERIMENTS)
    assert set(named) <= {0, None}
    assert named.count(0) > EXPERIMENTS / 2


def test_the_better_variant_is_found() -> None:
    named = leaders([0.03, 0.05, 0.03, 0.032, 0.02], [4000] * 5, experiments=500)
    assert set(named) <= {1, None}
    assert named.count(1) > 450
