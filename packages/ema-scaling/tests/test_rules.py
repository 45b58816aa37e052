import math

import pytest
from ema_scaling import rules
from hypothesis import given
from hypothesis import strategies as st

decays = st.floats(1e-6, 1 - 1e-9)
kappas = st.floats(1e-3, 1e3)


@given(decay=decays, first=kappas, second=kappas)
def test_scaling_twice_is_scaling_once_by_the_product(decay, first, second):
    once = rules.scale_decay(decay, first * second)
    middle = rules.scale_decay(decay, first)
    if middle < 1e-290 or once < 1e-290:
        return  # an underflow keeps no digits
    # what rounding `middle` does to it, in units of the last place, is raised by `second`
    twice = rules.scale_decay(middle, second)
    assert twice == pytest.approx(once, rel=1e-12 + 4e-16 * second + 1e-15 * abs(math.log(once)))


@given(decay=st.floats(0.5, 1 - 1e-6), kappa=st.floats(0.1, 10))
def test_scaling_there_and_back_is_the_identity(decay, kappa):
    assert rules.scale_decay(decay, 1) == decay
    back = rules.scale_decay(rules.scale_decay(decay, kappa), 1 / kappa)
    assert back == pytest.approx(decay, rel=1e-12)


@given(kappa=kappas)
def test_decays_of_nought_and_one_stay(kappa):
    assert rules.scale_decay(0.0, kappa) == 0.0
    assert rules.scale_decay(1.0, kappa) == 1.0
    assert rules.scale_weight(0.0, kappa) == 0.0
    assert rules.scale_weight(1.0, kappa) == 1.0


@given(low=decays, high=decays, small=kappas, large=kappas)
def test_it_grows_with_the_decay_and_falls_with_kappa(low, high, small, large):
    low, high = sorted((low, high))
    small, large = sorted((small, large))
    assert rules.scale_decay(low, small) <= rules.scale_decay(high, small)
    assert rules.scale_decay(low, large) <= rules.scale_decay(low, small)
    assert 0 <= rules.scale_decay(low, large) <= 1


@given(decay=st.floats(0.01, 1 - 1e-6), batch=st.integers(1, 4096), kappa=st.integers(1, 64))
def test_the_half_life_in_samples_is_kept(decay, batch, kappa):
    scaled = rules.scale_decay(decay, kappa)
    if scaled < 1e-300:
        return
    before = rules.half_life(decay, batch=batch)
    assert rules.half_life(scaled, batch=batch * kappa) == pytest.approx(before, rel=1e-9)


@given(exponent=st.floats(-15, -0.01), batch=st.integers(1, 4096))
def test_the_half_life_round_trip_is_exact_however_small_the_weight(exponent, batch):
    weight = 10**exponent
    samples = rules.half_life_from_weight(weight, batch=batch)
    assert rules.weight_from_half_life(samples, batch=batch) == pytest.approx(weight, rel=1e-12)


@given(samples=st.floats(1, 1e12), batch=st.integers(1, 4096))
def test_decay_and_weight_of_a_half_life_add_up_to_one(samples, batch):
    total = rules.decay_from_half_life(samples, batch=batch)
    assert total + rules.weight_from_half_life(samples, batch=batch) == pytest.approx(1, abs=1e-15)


@given(weight=st.floats(1e-12, 0.99), kappa=st.floats(0.1, 50))
def test_the_weight_form_agrees_with_the_decay_form(weight, kappa):
    want = -math.expm1(kappa * math.log1p(-weight))
    assert rules.scale_weight(weight, kappa) == pytest.approx(want, rel=1e-14)
    by_decay = 1 - rules.scale_decay(1 - weight, kappa)
    assert rules.scale_weight(weight, kappa) == pytest.approx(by_decay, rel=1e-6, abs=1e-13)


def test_the_paper_s_example_values_come_out():
    assert rules.scale_decay(0.996, 16) == pytest.approx(0.996**16, rel=1e-14)
    assert rules.scale_decay(0.9999, 16) == pytest.approx(0.99840119944, abs=1e-11)


@given(
    lr=st.floats(1e-6, 10),
    kappa=st.floats(0.1, 9.9),
    eps=st.floats(1e-12, 1e-3),
    wd=st.floats(1e-6, 0.5),
)
def test_adam_keeps_its_noise_per_sample(lr, kappa, eps, wd):
    new_lr = rules.scale_lr(lr, kappa, rule="sqrt")
    assert new_lr**2 / kappa == pytest.approx(lr**2, rel=1e-12)
    for beta in (0.9, 0.999):
        (new,) = rules.scale_betas((beta,), kappa)
        assert (1 - new) / kappa == pytest.approx(1 - beta, rel=1e-9)
    assert rules.scale_eps(eps, kappa) * math.sqrt(kappa) == pytest.approx(eps, rel=1e-12)
    if lr * wd < 0.9:
        new_wd = rules.scale_weight_decay(
            wd, kappa, convention="lr-decoupled", lr_rule="sqrt", lr=lr, exact=True
        )
        assert 1 - new_lr * new_wd == pytest.approx((1 - lr * wd) ** kappa, rel=1e-12, abs=1e-14)


@given(wd=st.floats(1e-6, 0.5), kappa=st.floats(0.1, 50), lr=st.floats(1e-8, 1e-6))
def test_first_order_weight_decay_is_the_limit_of_the_exact_one(wd, kappa, lr):
    first = rules.scale_weight_decay(wd, kappa, convention="lr-decoupled", lr_rule="sqrt")
    exact = rules.scale_weight_decay(
        wd, kappa, convention="lr-decoupled", lr_rule="sqrt", lr=lr, exact=True
    )
    assert first == pytest.approx(exact, rel=1e-3)
    assert first == pytest.approx(math.sqrt(kappa) * wd, rel=1e-12)


def test_each_weight_decay_convention_has_its_own_power_of_kappa():
    def scaled(convention, lr_rule):
        return rules.scale_weight_decay(0.01, 4, convention=convention, lr_rule=lr_rule)

    assert scaled("coupled", "linear") == 0.01
    assert scaled("lr-decoupled", "sqrt") == pytest.approx(0.02)
    assert scaled("lr-decoupled", "linear") == pytest.approx(0.01)
    assert scaled("decoupled", "sqrt") == pytest.approx(0.04)
    exact = rules.scale_weight_decay(0.01, 4, convention="decoupled", exact=True)
    assert 1 - exact == pytest.approx(0.99**4, rel=1e-14)


def test_the_linear_betas_error_names_the_beta_and_the_largest_legal_kappa():
    with pytest.raises(ValueError, match=r"beta1 = 0\.9 .*largest legal kappa is 10; form 'power'"):
        rules.scale_betas((0.9, 0.999), 16)
    with pytest.raises(ValueError, match=r"beta2 .*largest legal kappa is 1000"):
        rules.scale_betas((0.9999, 0.999), 1001)
    assert rules.scale_betas((0.9, 0.999), 10)[0] == pytest.approx(0, abs=1e-12)


def test_the_power_betas_are_legal_for_every_kappa():
    first, second = rules.scale_betas((0.9, 0.999), 16, form="power")
    assert first == pytest.approx(0.18530, abs=5e-6)
    assert second == pytest.approx(0.98412, abs=5e-6)


@given(decay=st.floats(0.5, 0.99999), kappa=st.integers(1, 64), slope=st.floats(-2, 2))
def test_the_readout_gain_is_exact_on_straight_paths(decay, kappa, slope):
    """Oracle: kappa small updates a step, four steps, from an average equal to the model."""
    kept, gain = rules.scale_decay(decay, kappa), rules.readout_gain(decay, kappa)
    small = large = theta = 0.0
    for step in range(4):
        for j in range(1, kappa + 1):
            theta = slope * (step * kappa + j)
            small = decay * small + (1 - decay) * theta
        large = kept * large + (1 - kept) * theta
        size = max(1.0, abs(theta)) * gain
        assert theta + gain * (large - theta) == pytest.approx(small, abs=1e-12 * size)


@given(decay=st.floats(0.5, 0.9999), kappa=st.integers(1, 40), lr=st.floats(1e-4, 1))
def test_the_frozen_gradient_error_is_small_steps_minus_one_large_step(decay, kappa, lr):
    for order in ("post", "pre"):
        theta = small = 0.0
        for _ in range(kappa):
            moved = theta - lr
            small = decay * small + (1 - decay) * (moved if order == "post" else theta)
            theta = moved
        large = (1 - decay**kappa) * (theta if order == "post" else 0.0)
        got = rules.frozen_gradient_error(lr, decay, kappa, order=order)
        assert got == pytest.approx(small - large, rel=1e-9, abs=1e-12 * lr * kappa)


def test_the_two_orders_err_with_opposite_sign():
    post = rules.frozen_gradient_error(0.1, 0.999, 8)
    pre = rules.frozen_gradient_error(0.1, 0.999, 8, order="pre")
    first_order = 0.1 * 0.001 * 8 * 7 / 2
    assert post == pytest.approx(first_order, rel=0.02)
    assert pre == pytest.approx(-first_order, rel=0.02)
    assert rules.frozen_gradient_error(0.1, 1.0, 8) == 0


@pytest.mark.parametrize("bad", [0, -1, math.nan, math.inf])
def test_a_kappa_that_is_no_positive_number_is_refused(bad):
    with pytest.raises(ValueError, match=r"kappa must be (positive|finite), got"):
        rules.scale_decay(0.9, bad)


@pytest.mark.parametrize("bad", [True, "0.9", None])
def test_what_is_no_number_is_a_type_error(bad):
    with pytest.raises(TypeError, match="decay must be a number"):
        rules.scale_decay(bad, 2)


@pytest.mark.parametrize("bad", [-0.1, 1.1])
def test_a_decay_outside_the_unit_interval_is_refused(bad):
    with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\], got"):
        rules.scale_decay(bad, 2)


def test_further_mistakes_name_the_argument():
    with pytest.raises(ValueError, match="strictly between 0 and 1 for a half-life, got 1"):
        rules.half_life(1.0)
    with pytest.raises(ValueError, match="strictly between 0 and 1 for a half-life, got 0"):
        rules.half_life_from_weight(0.0)
    with pytest.raises(ValueError, match="rule must be one of linear, sqrt, none; got 'cube'"):
        rules.scale_lr(0.1, 2, rule="cube")
    with pytest.raises(ValueError, match="needs lr=, got None"):
        rules.scale_weight_decay(0.1, 2, convention="lr-decoupled", exact=True)
    with pytest.raises(ValueError, match=r"beta1 must lie in \[0, 1\), got 1"):
        rules.scale_betas((1.0,), 2)


def test_a_gain_has_its_limits():
    assert rules.readout_gain(1.0, 8) == 1
    assert rules.readout_gain(0.5, 1) == 1
    assert rules.readout_gain(0.0, 8) == math.inf
    assert rules.readout_gain(0.99, 0.5) < 1
    exact = rules.scale_weight_decay(0.1, 4, convention="lr-decoupled", lr=0, exact=True)
    assert exact == pytest.approx(0.2)
