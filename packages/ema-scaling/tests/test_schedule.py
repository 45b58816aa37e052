import math
from itertools import pairwise

import pytest
from ema_scaling import Constant, Cosine, HalfLife, PowerFunction, Schedule, Warmup
from ema_scaling.profiles import (
    MAX_SIGMA_REL,
    gamma_to_sigma_rel,
    inner_product,
    mean_time,
    sigma_rel_to_gamma,
)
from hypothesis import given
from hypothesis import strategies as st

EVERY = [
    Constant(0.999, batch=32),
    HalfLife(5000),
    PowerFunction(gamma=6.94),
    Cosine(0.99, 1.0, total=20_000, batch=32),
    Cosine(0.99, 0.9999, total=20_000, batch=32, form="continuous"),
    Warmup(0.999, curve="ratio", batch=32),
    Warmup(0.999, curve="power", batch=32),
    Warmup(0.999, curve="exponential", tau=100, batch=32),
]


@pytest.mark.parametrize("schedule", EVERY, ids=str)
@given(cuts=st.lists(st.integers(1, 30_000), min_size=3, max_size=6, unique=True))
def test_log_decays_add_up_over_adjoining_spans(schedule, cuts):
    cuts = sorted(cuts)
    parts = [schedule.log_decay(a, b) for a, b in pairwise(cuts)]
    whole = schedule.log_decay(cuts[0], cuts[-1])
    assert math.fsum(parts) == pytest.approx(whole, rel=1e-10, abs=1e-13)


@pytest.mark.parametrize("schedule", EVERY, ids=str)
def test_decay_and_weight_add_up_to_one_and_an_empty_span_keeps_all(schedule):
    assert schedule.decay(500, 500) == 1
    assert schedule.decay(0, 0) == 1
    total = schedule.decay(400, 464) + schedule.weight(400, 464)
    assert total == pytest.approx(1, abs=1e-15)
    with pytest.raises(ValueError, match=r"0 <= n0 <= n1, got \[2, 1\]"):
        schedule.decay(2, 1)


@given(decay=st.floats(0.5, 1), batch=st.integers(1, 512), kappa=st.integers(1, 64))
def test_a_constant_decay_follows_the_rule(decay, batch, kappa):
    got = Constant(decay, batch=batch).decay(0, batch * kappa)
    assert got == pytest.approx(decay**kappa, rel=1e-12)


@given(step=st.integers(0, 120), kappa=st.integers(1, 40))
def test_the_cosine_is_the_product_of_its_small_updates(step, kappa):
    start, end, total = 0.99, 0.9995, 100

    def small(t):  # the definition in BYOL's and DINO's code
        t = min(t, total)
        return end - (end - start) * (math.cos(math.pi * t / total) + 1) / 2

    schedule = Cosine(start, end, total=total * 8, batch=8)
    want = math.prod(small(t) for t in range(step, step + kappa))
    assert schedule.decay(8 * step, 8 * (step + kappa)) == pytest.approx(want, rel=1e-12)


def test_a_cosine_from_the_power_of_the_start_is_the_wrong_one():
    """The negative control: the common mistake is far off, the midpoint's power is close."""
    truth, kappa, total = Cosine(0.996, total=10_000), 64, 10_000
    naive = Cosine(0.996**kappa, total=total, batch=kappa)
    spans = [(n, n + kappa) for n in range(0, total - kappa, kappa)]
    worst = max(abs(naive.decay(*span) - truth.decay(*span)) for span in spans)
    middle = max(
        abs(truth.decay(int(a + kappa / 2), int(a + kappa / 2) + 1) ** kappa - truth.decay(a, b))
        for a, b in spans
    )
    assert worst > 5e-3
    assert middle < 2e-5
    off = naive.log_decay(0, total) / truth.log_decay(0, total)
    assert off == pytest.approx(1 - 0.027, abs=2e-3)


def test_the_continuous_cosine_is_the_limit_of_small_updates():
    fine = Cosine(0.996 ** (1 / 64), total=1000, batch=1)
    rate = Cosine(0.996 ** (1 / 64), total=1000, batch=1, form="continuous")
    assert fine.log_decay(0, 1000) == pytest.approx(rate.log_decay(0, 1000), rel=2e-3)
    # halfway the decay of equal ends is constant, so both are exact
    flat = Cosine(0.9, 0.9, total=1000, batch=10, form="continuous")
    assert flat.log_decay(0, 3000) == pytest.approx(300 * math.log(0.9), rel=1e-13)


def test_the_integral_equals_a_fine_sum():
    schedule = Cosine(0.9, 1.0, total=1000, batch=100, form="continuous")

    def log_at(n):
        share = min(n / 1000, 1)
        return math.log(1 - 0.1 * (math.cos(math.pi * share) + 1) / 2)

    n0, n1, pieces = 130, 1170, 200_000
    width = (n1 - n0) / pieces
    midpoints = math.fsum(log_at(n0 + (i + 0.5) * width) for i in range(pieces)) * width / 100
    assert schedule.log_decay(n0, n1) == pytest.approx(midpoints, rel=1e-9)


@pytest.mark.parametrize(
    ("curve", "formula"),
    [
        ("ratio", lambda t: min(0.999, (1 + t) / (10 + t))),
        ("power", lambda t: min(0.999, 1 - (1 + t / 2) ** -0.75)),
        ("exponential", lambda t: 0.999 * (1 - math.exp(-t / 50))),
    ],
)
def test_a_warmup_moves_on_the_clock_of_samples(curve, formula):
    schedule = Warmup(0.999, curve=curve, gamma=2, power=0.75, tau=50, batch=16)
    want = math.prod(formula(t) for t in range(3, 3 + 32))
    assert schedule.decay(3 * 16, 35 * 16) == pytest.approx(want, rel=1e-12)
    far = 10**7
    assert schedule.decay(16 * far, 16 * far + 16) == pytest.approx(0.999, rel=1e-9)


def test_part_of_a_small_update_is_taken_at_its_even_rate():
    schedule = Warmup(0.9, curve="ratio", batch=4)
    assert schedule.decay(4, 6) == pytest.approx(math.sqrt(2 / 11), rel=1e-12)
    assert schedule.decay(6, 8) == pytest.approx(math.sqrt(2 / 11), rel=1e-12)


def test_a_first_decay_of_nought_forgets_everything():
    assert Warmup(0.9, curve="power").decay(0, 1) == 0
    assert Warmup(0.9, curve="power").weight(0, 1) == 1
    assert PowerFunction(gamma=3).decay(0, 10) == 0
    assert Constant(0.0).decay(0, 1) == 0


@given(gamma=st.floats(0, 1e4))
def test_width_and_exponent_of_a_profile_are_each_other_s_inverse(gamma):
    width = gamma_to_sigma_rel(gamma)
    assert sigma_rel_to_gamma(width) == pytest.approx(gamma, rel=1e-9, abs=1e-7)
    assert PowerFunction(sigma_rel=width).gamma == pytest.approx(gamma, rel=1e-9, abs=1e-7)


@given(gamma=st.floats(0, 50), every=st.integers(1, 7))
def test_the_profile_s_mean_is_the_same_however_sparse_the_updates(gamma, every):
    schedule, total = PowerFunction(gamma=gamma), 2100
    average = 0.0
    for n in range(every, total + 1, every):
        average += schedule.weight(n - every, n) * (n - average)
    # a sum of stretches leads the integral by at most one of them
    assert 0 <= average / total - mean_time(gamma) <= every / total + 1e-12


@given(a=st.floats(0, 20), b=st.floats(0, 20), ta=st.floats(1, 9), tb=st.floats(1, 9))
def test_the_inner_product_equals_a_numerical_integral(a, b, ta, tb):
    n, end = 20_000, min(ta, tb)

    def profile(gamma, t, s):
        return (gamma + 1) * s**gamma / t ** (gamma + 1)

    points = ((i + 0.5) * end / n for i in range(n))
    integral = math.fsum(profile(a, ta, s) * profile(b, tb, s) for s in points) * end / n
    assert inner_product(a, ta, b, tb) == pytest.approx(integral, rel=1e-4)


def test_the_gain_of_a_continuous_average_is_the_limit_of_ever_smaller_updates():
    fine = Constant(0.5 ** (1 / 1000), batch=1)
    assert HalfLife(1000).gain(0, 500) == pytest.approx(fine.gain(0, 500), rel=1e-3)
    assert Constant(0.999, batch=1).gain(0, 1) == pytest.approx(1, rel=1e-14)
    assert Constant(1.0).gain(0, 8) == 1
    assert PowerFunction(gamma=1).gain(0, 8) == math.inf


@pytest.mark.parametrize("schedule", EVERY, ids=str)
def test_a_schedule_is_described_by_plain_values_that_build_it_again(schedule):
    spec = schedule.spec()
    kind = {type(s).__name__: type(s) for s in EVERY}[spec.pop("kind")]
    if kind is PowerFunction:
        del spec["sigma_rel"]
    assert kind(**spec) == schedule
    assert isinstance(schedule, Schedule)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Constant(1.5), r"decay must lie in \[0, 1\], got 1.5"),
        (lambda: Constant(0.9, batch=0), "batch must be at least 1, got 0"),
        (lambda: HalfLife(-1), "samples must be positive"),
        (lambda: PowerFunction(), "give either gamma or sigma_rel"),
        (lambda: PowerFunction(sigma_rel=0.3), r"sigma_rel must lie in \(0, 0.28868\]"),
        (lambda: Cosine(0.9, total=0), "total must be positive"),
        (lambda: Cosine(0.0, total=9, form="continuous"), "at least 0.01, got 0.0"),
        (lambda: Cosine(0.9, total=9, form="both"), "form must be one of product, continuous"),
        (lambda: Warmup(0.9, curve="line"), "curve must be one of ratio, power, exponential"),
    ],
)
def test_a_schedule_says_which_argument_is_wrong(build, message):
    with pytest.raises(ValueError, match=message):
        build()
    assert sigma_rel_to_gamma(MAX_SIGMA_REL) == pytest.approx(0, abs=1e-9)
