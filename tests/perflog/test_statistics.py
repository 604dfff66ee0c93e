"""Verdicts by simulation: equal things are not called different, a 5 % slowdown is found, nothing else is "slower"."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.verdicts import NOISES, Noise, alarms, heavy_tailed, judge_pairs, normal
from engine.perflog import statistics
from engine.perflog.ab import DEFAULT_PAIRS
from engine.perflog.compare import DEFAULT_THRESHOLD
from engine.perflog.history import find_changes
from engine.perflog.statistics import (
    FASTER,
    FEWEST_PAIRS,
    FEWEST_RUNS,
    INCONCLUSIVE,
    MOST_EXACT,
    RANK_CAP,
    SAME,
    SLOWER,
    UNKNOWN_FLOOR,
    NoiseFloor,
    Samples,
    judge,
    noise_floor,
    signed_ranks,
)

THRESHOLD = DEFAULT_THRESHOLD


def simulate_pairs(noise: Noise, sd: float, slowdown: float, n_times: int) -> Counter[str]:
    """Verdicts of the default number of pairs on a host that also drifts."""
    rng = np.random.default_rng(7)
    return Counter(judge_pairs(rng, noise, sd, slowdown) for _ in range(n_times))


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize(("sd", "n_times"), [(0.01, 100), (0.05, 400)])
def test_pairs_of_equal_things_raise_at_most_one_alarm_in_a_hundred(noise: Noise, sd: float, n_times: int) -> None:
    verdicts = simulate_pairs(noise, sd, 0.0, n_times)
    assert alarms(verdicts) <= n_times / 100, verdicts


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize(("sd", "n_times"), [(0.005, 40), (0.01, 40), (0.02, 200)])
def test_the_default_pairs_find_a_slowdown_of_5_percent(noise: Noise, sd: float, n_times: int) -> None:
    verdicts = simulate_pairs(noise, sd, 0.05, n_times)
    assert verdicts[SLOWER] >= 0.95 * n_times, verdicts


def test_the_default_pairs_find_3_percent_on_a_quiet_host_with_a_lower_threshold() -> None:
    rng, found = np.random.default_rng(3), 0
    for _ in range(100):
        base, new = (np.exp(normal(rng, DEFAULT_PAIRS, 0.005)) * rate for rate in (1.0, 0.97))
        found += judge(Samples(base), Samples(new), 0.015, UNKNOWN_FLOOR, is_paired=True).verdict == SLOWER
    assert found >= 95


@pytest.mark.parametrize("noise", NOISES)
def test_unpaired_runs_of_equal_things_raise_at_most_one_alarm_in_a_hundred(noise: Noise) -> None:
    rng, verdicts = np.random.default_rng(11), Counter[str]()
    for _ in range(300):
        sides = [Samples(np.exp(noise(rng, 6, 0.05))) for _ in range(2)]
        verdicts[judge(*sides, THRESHOLD, UNKNOWN_FLOOR).verdict] += 1
    assert verdicts[SLOWER] + verdicts[FASTER] <= 3, verdicts


@pytest.mark.parametrize(("noise", "sd"), [(normal, 0.03), (heavy_tailed, 0.03), (normal, 0.01)])
def test_single_runs_against_a_measured_floor_raise_at_most_one_alarm_in_a_hundred(noise: Noise, sd: float) -> None:
    rng, verdicts = np.random.default_rng(5), Counter[str]()
    for _ in range(500):
        floor = noise_floor([np.exp(noise(rng, 30, sd))])
        sides = [single(float(np.exp(noise(rng, 1, sd)[0]))) for _ in range(2)]
        verdicts[judge(*sides, THRESHOLD, floor).verdict] += 1
    assert verdicts[SLOWER] + verdicts[FASTER] <= 5, verdicts


def single(rate: float) -> Samples:
    """One run with calm intervals."""
    return Samples([rate], rate * (1 + 0.001 * np.arange(20)))


def test_single_runs_find_5_percent_on_a_quiet_host() -> None:
    floor = NoiseFloor(0.008, 20)
    assert judge(single(100), single(95), THRESHOLD, floor).verdict == SLOWER
    assert judge(single(95), single(100), THRESHOLD, floor).verdict == FASTER


def test_a_single_run_of_which_only_a_part_was_slow_concludes_nothing() -> None:
    floor, calm = NoiseFloor(0.008, 20), single(100)
    stalled = Samples([80.0], [*calm.intervals[:10], *(rate * 0.6 for rate in calm.intervals[10:])])
    verdict = judge(calm, stalled, THRESHOLD, floor)
    assert (verdict.verdict, verdict.ratio) == (INCONCLUSIVE, pytest.approx(0.8))
    assert (
        verdict.reason == "the best quarters of both runs have a ratio of 0.990: a part of one run was slow, more runs"
    )


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(st.integers(-4, 4).filter(bool), min_size=1, max_size=10))
def test_the_p_of_pairs_is_that_of_all_signs_tried(steps: list[int]) -> None:
    """Ties and the cap included, the p is the share of sign patterns with as small a smaller sum, counted twice."""
    n = len(steps)
    cap = max(1, round(RANK_CAP * n))
    sizes = sorted(map(abs, steps))
    ranks = [min((sizes.index(abs(x)) + n - sizes[::-1].index(abs(x)) + 1) / 2, cap) for x in steps]
    ups = [sum(r for r, up in zip(ranks, signs, strict=True) if up) for signs in product((0, 1), repeat=n)]
    seen = sum(r for r, x in zip(ranks, steps, strict=True) if x > 0)
    extreme = min(seen, sum(ranks) - seen)
    expected = min(1.0, 2 * sum(up <= extreme + 1e-9 for up in ups) / len(ups))
    assert signed_ranks(np.asarray(steps, float)) == pytest.approx(expected)


def test_the_normal_approximation_of_many_pairs_is_near_the_exact_p() -> None:
    rng = np.random.default_rng(4)
    for shift in (0.0, 0.2, 0.4):
        steps = rng.normal(shift, 1, MOST_EXACT)
        exact = signed_ranks(steps)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(statistics, "MOST_EXACT", MOST_EXACT - 1)
            assert signed_ranks(steps) == pytest.approx(exact, rel=0.1, abs=1e-4)


def test_single_runs_without_a_floor_or_without_intervals_conclude_nothing() -> None:
    verdict = judge(single(100), single(50), THRESHOLD, UNKNOWN_FLOOR)
    assert (verdict.verdict, verdict.reason) == (
        INCONCLUSIVE,
        "one run a side and no noise floor: needed 6 runs a side, or 13 earlier runs of this configuration on this "
        "host in the log",
    )
    verdict = judge(Samples([100.0]), Samples([50.0]), THRESHOLD, NoiseFloor(0.001, 50))
    assert (verdict.verdict, verdict.reason) == (INCONCLUSIVE, "0 intervals in a run: needed 6")


def test_a_run_that_is_unstable_in_itself_concludes_nothing_alone() -> None:
    floor, calm = NoiseFloor(0.005, 40), single(100)
    shaky = Samples([60.0], single(60).intervals, half_width=0.40)
    assert judge(calm, single(60), THRESHOLD, floor).verdict == SLOWER
    assert judge(calm, shaky, THRESHOLD, floor).verdict == INCONCLUSIVE
    wild = Samples([60.0], single(60).intervals, half_width=1.3)
    assert judge(calm, wild, THRESHOLD, floor).reason == "a run was UNSTABLE: its own interval is wider than its rate"


def test_too_few_runs_conclude_nothing_whatever_they_say() -> None:
    few = [1.0] * (FEWEST_RUNS - 1)
    assert judge(Samples(few), Samples([0.5] * 40), THRESHOLD, UNKNOWN_FLOOR).reason == "5 runs a side: needed 6"
    pairs = Samples([1.0] * (FEWEST_PAIRS - 1)), Samples([0.5] * (FEWEST_PAIRS - 1))
    assert judge(*pairs, THRESHOLD, UNKNOWN_FLOOR, is_paired=True).reason == "8 pairs: needed 9"
    assert judge(Samples([]), Samples([1.0]), THRESHOLD, UNKNOWN_FLOOR).verdict == INCONCLUSIVE
    assert judge(Samples([0.0] * 9), Samples([1.0] * 9), THRESHOLD, UNKNOWN_FLOOR).reason == "a rate of 0 was measured"


def test_a_floor_widens_what_the_runs_alone_make_too_narrow() -> None:
    base, new = Samples([100, 100.1, 99.9, 100, 100.05, 99.95]), Samples([95, 95.1, 94.9, 95, 95.05, 94.95])
    assert judge(base, new, THRESHOLD, UNKNOWN_FLOOR).verdict == SLOWER
    assert judge(base, new, THRESHOLD, NoiseFloor(0.10, 40)).verdict == INCONCLUSIVE


RATES = st.lists(st.floats(1.0, 1e6), min_size=1, max_size=15)


@settings(max_examples=60, deadline=None)
@given(base=RATES, new=RATES)
def test_swapping_the_sides_swaps_the_verdict(base: list[float], new: list[float]) -> None:
    there, back = (judge(Samples(a), Samples(b), THRESHOLD, UNKNOWN_FLOOR) for a, b in ((base, new), (new, base)))
    assert there.ratio == pytest.approx(1 / back.ratio)
    mirror = {SLOWER: FASTER, FASTER: SLOWER, SAME: SAME, INCONCLUSIVE: INCONCLUSIVE}
    # The bootstrap of both directions is drawn differently: only opposite conclusions would contradict each other.
    assert there.verdict == back.verdict == INCONCLUSIVE or back.verdict in (mirror[there.verdict], INCONCLUSIVE, SAME)


@settings(max_examples=60, deadline=None)
@given(base=RATES)
def test_a_thing_is_never_faster_or_slower_than_itself(base: list[float]) -> None:
    for is_paired in (False, True):
        verdict = judge(Samples(base), Samples(base), THRESHOLD, UNKNOWN_FLOOR, is_paired)
        assert verdict.verdict in (SAME, INCONCLUSIVE)


def test_the_floor_is_the_noise_and_not_the_drift_or_one_step() -> None:
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 0.01, 400)
    drift = np.linspace(0, 1, 400)
    step = np.repeat([0, 0.05], 200)
    for shape in (0, drift, step):
        assert noise_floor([np.exp(noise + shape)]).sd == pytest.approx(0.01, rel=0.15)
    assert not noise_floor([[1.0, 1.1, 1.0]]).is_known
    assert not noise_floor([]).is_known


@pytest.mark.parametrize("noise", [normal, heavy_tailed])
def test_history_finds_a_step_where_it_is_and_none_where_there_is_none(noise: Noise) -> None:
    rng, n_false, n_found = np.random.default_rng(9), 0, 0
    for _ in range(100):
        rates = 600 * np.exp(noise(rng, 40, 0.01))
        n_false += bool(find_changes(rates.tolist(), THRESHOLD))
        rates[25:] *= 0.95
        changes = find_changes(rates.tolist(), THRESHOLD)
        n_found += [c.verdict.verdict for c in changes] == [SLOWER] and abs(changes[0].first - 25) <= 2
    assert n_false <= 1
    assert n_found >= 95


def test_history_tells_a_change_and_its_repair_apart() -> None:
    rates = [600 + i % 3 for i in range(15)] + [540 + i % 3 for i in range(10)] + [600 + i % 3 for i in range(15)]
    assert [(c.first, c.verdict.verdict) for c in find_changes(rates, THRESHOLD)] == [(15, SLOWER), (25, FASTER)]
