"""The average itself: identities against loops, sparse and corrected updates, policies."""

import math

import pytest
import torch
from ema_scaling import Constant, Cosine, HalfLife, ModelEMA, PowerFunction, Warmup, readout_gain
from hypothesis import given
from hypothesis import strategies as st
from torch import nn


class Weights(nn.Module):
    """A model that is nothing but parameters."""

    def __init__(self, *tensors, dtype=torch.float64):
        super().__init__()
        self.items = nn.ParameterList([torch.as_tensor(t, dtype=dtype).clone() for t in tensors])

    def set(self, *tensors):
        with torch.no_grad():
            for item, tensor in zip(self.items, tensors, strict=True):
                item.copy_(torch.as_tensor(tensor))

    def forward(self, x):
        return x * self.items[0]


def draw(seed, *shape, dtype=torch.float64):
    return torch.randn(
        *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).to(dtype)


@given(seed=st.integers(0, 2**31), decay=st.floats(0, 1), steps=st.integers(1, 6))
def test_it_equals_the_definition_step_by_step(seed, decay, steps):
    model = Weights(draw(seed, 3, 2), draw(seed + 1, 5))
    want = [item.detach().clone() for item in model.items]
    ema = ModelEMA(model, decay)
    for step in range(steps):
        new = [draw(seed + 7 * step + i, *w.shape) for i, w in enumerate(want)]
        model.set(*new)
        want = [decay * w + (1 - decay) * n for w, n in zip(want, new, strict=True)]
        assert ema.update() == pytest.approx(decay)
    for got, expected in zip(ema.weights().values(), want, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


@given(seed=st.integers(0, 2**31), decay=st.floats(0.3, 1), kappa=st.integers(1, 30))
def test_kappa_updates_towards_a_constant_are_one_update_by_the_rule(seed, decay, kappa):
    small, large = Weights(draw(seed, 4)), Weights(draw(seed, 4))
    many = ModelEMA(small, Constant(decay, batch=8), batch=8)
    one = ModelEMA(large, Constant(decay, batch=8), batch=8 * kappa)
    for model in (small, large):
        model.set(draw(seed + 1, 4))
    for _ in range(kappa):
        many.update()
    one.update()
    assert many.samples == one.samples == 8 * kappa
    torch.testing.assert_close(
        many.weights()["items.0"], one.weights()["items.0"], rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("decay", [0.99, 0.999, 0.9999])
@pytest.mark.parametrize("kappa", [2, 3, 7, 64])
def test_the_corrected_average_equals_the_small_updates_on_a_straight_path(decay, kappa):
    start, slope = draw(0, 6), draw(1, 6)
    model = Weights(start)
    ema = ModelEMA(model, Constant(decay, batch=1), batch=kappa, corrected=True)
    plain = ModelEMA(model, Constant(decay, batch=1), batch=kappa)
    small = start.clone()
    for step in range(5):
        for j in range(1, kappa + 1):
            path = start + (step * kappa + j) * slope
            small = small + (1 - decay) * (path - small)
        model.set(path)
        ema.update()
        plain.update()
        # the uncorrected error after the first step has a closed form
        if step == 0:
            kept = decay**kappa
            lead = slope * (decay * (1 - kept) / (1 - decay) - kappa * kept)
            off = plain.weights()["items.0"] - small
            torch.testing.assert_close(off, lead, rtol=1e-9, atol=1e-11)
        assert (ema.weights()["items.0"] - small).abs().max() < 1e-12 * max(1, step * kappa)


@pytest.mark.parametrize(
    ("schedule", "tolerance"),
    [
        (HalfLife(400), 1e-12),
        (Cosine(0.99, 0.9999, total=2000, batch=1), 1e-12),
        (Cosine(0.99, 0.9999, total=2000, batch=1, form="continuous"), 1e-12),
        (PowerFunction(gamma=10), 1e-12),
    ],
    ids=str,
)
def test_the_corrected_average_follows_a_moving_decay_too(schedule, tolerance):
    """Against updates at every 1/16 sample; the plain rule's error is the yardstick."""
    model, kappa = Weights(torch.zeros(1)), 40
    corrected = ModelEMA(model, schedule, batch=kappa, corrected=True)
    plain = ModelEMA(model, schedule, batch=kappa)
    small, fine = 0.0, 1 if getattr(schedule, "form", "") == "product" else 64
    for step in range(40):
        for j in range(kappa * fine):
            n = step * kappa + j / fine
            x = n + 1 / fine
            if fine > 1:  # a continuous average sees the path's middle, to second order
                x -= 0.5 / fine
            small += schedule.weight(n, n + 1 / fine) * (x - small)
        model.set(torch.full((1,), float((step + 1) * kappa)))
        corrected.update()
        plain.update()
    off = abs(float(corrected.weights()["items.0"]) - small)
    yardstick = abs(float(plain.weights()["items.0"]) - small)
    assert yardstick > 1
    assert off < max(tolerance * yardstick, 1e-5)


@pytest.mark.parametrize("precision", ["fp32", "compensated", "stochastic"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_an_average_equal_to_its_model_never_moves(precision, dtype):
    model = Weights(draw(0, 1000), draw(1, 70_000), dtype=dtype)
    if precision == "stochastic":  # what bfloat16 holds, so that the shadow can equal it
        model.set(*(item.bfloat16() for item in model.items))
    ema = ModelEMA(model, 0.9997, precision=precision)
    before = {name: tensor.clone() for name, tensor in ema.average.shadow.items()}
    for _ in range(50):
        ema.update()
    for name, tensor in ema.average.shadow.items():
        assert torch.equal(tensor, before[name])


def test_the_weighted_sum_form_would_move_it():
    """The negative control of the test above: many implementations use this form."""
    value = draw(0, 1000, dtype=torch.float32)
    moved = 0.9997 * value + (1 - 0.9997) * value
    assert not torch.equal(moved, value)


@given(seed=st.integers(0, 2**31), decay=st.floats(0, 1))
def test_an_update_stays_between_average_and_model(seed, decay):
    model = Weights(draw(seed, 50, dtype=torch.float32), dtype=torch.float32)
    ema = ModelEMA(model, decay)
    before = model.items[0].detach().clone()
    model.set(draw(seed + 1, 50))
    after = model.items[0].detach()
    ema.update()
    got = ema.weights()["items.0"]
    assert bool((got >= torch.minimum(before, after)).all())
    assert bool((got <= torch.maximum(before, after)).all())


@given(seed=st.integers(0, 2**31), decay=st.floats(0.01, 0.999), a=st.floats(-3, 3))
def test_the_average_of_an_affine_map_is_the_map_of_the_average(seed, decay, a):
    first, second = Weights(draw(seed, 6)), Weights(a * draw(seed, 6) + 2)
    one, two = ModelEMA(first, decay), ModelEMA(second, decay)
    for step in range(1, 4):
        new = draw(seed + step, 6)
        first.set(new)
        second.set(a * new + 2)
        one.update()
        two.update()
    want = a * one.weights()["items.0"] + 2
    torch.testing.assert_close(two.weights()["items.0"], want, rtol=1e-11, atol=1e-11)


@given(seed=st.integers(0, 2**31))
def test_order_and_shape_of_the_elements_do_not_matter(seed):
    order = torch.randperm(24, generator=torch.Generator().manual_seed(seed))
    first, second = Weights(draw(seed, 24)), Weights(draw(seed, 24)[order].reshape(2, 3, 4))
    one, two = ModelEMA(first, 0.7), ModelEMA(second, 0.7)
    first.set(draw(seed + 1, 24))
    second.set(draw(seed + 1, 24)[order].reshape(2, 3, 4))
    one.update()
    two.update()
    assert torch.equal(one.weights()["items.0"][order], two.weights()["items.0"].flatten())


def test_every_kth_call_updates_with_the_decay_of_all_samples_between():
    model = Weights([0.0])
    ema = ModelEMA(model, 0.9, batch=4, update_every=3)
    model.set([1.0])
    decays = [ema.update() for _ in range(7)]
    assert decays == [1, 1, pytest.approx(0.9**3), 1, 1, pytest.approx(0.9**3), 1]
    assert float(ema.weights()["items.0"]) == pytest.approx(1 - 0.9**6)
    assert (ema.samples, ema.clock.seen, ema.clock.pending) == (28, 24, 4)


def test_sparse_updates_have_the_lag_of_dense_ones():
    """A ramp of slope 1: the lag must be decay / (1 - decay) = 999, not ten times that."""
    model = Weights([0.0])
    sparse = ModelEMA(model, 0.999, update_every=10, corrected=True)
    plain = ModelEMA(model, 0.999, update_every=10)
    for step in range(1, 20_001):
        model.set([float(step)])
        sparse.update()
        plain.update()
    assert 20_000 - float(sparse.weights()["items.0"]) == pytest.approx(999, abs=1e-3)
    assert 20_000 - float(plain.weights()["items.0"]) == pytest.approx(995, abs=1)


def test_the_default_of_naive_sparse_updates_has_ten_times_the_lag():
    """The negative control: the same decay, used once in ten steps."""
    average = 0.0
    for step in range(10, 100_001, 10):
        average += 0.001 * (step - average)
    assert 100_000 - average == pytest.approx(9990, rel=0.01)


def test_a_sparse_power_function_keeps_its_profile():
    """A ramp of 20,000 steps, updated every 100: mean time (gamma + 1) / (gamma + 2)."""
    model = Weights([0.0])
    ema = ModelEMA(model, PowerFunction(gamma=6.94), update_every=100, corrected=True)
    plain = ModelEMA(model, PowerFunction(gamma=6.94), update_every=100)
    for step in range(1, 20_001):
        model.set([float(step)])
        ema.update()
        plain.update()
    assert float(ema.weights()["items.0"]) / 20_000 == pytest.approx(7.94 / 8.94, abs=1e-6)
    assert float(plain.weights()["items.0"]) / 20_000 == pytest.approx(0.888, abs=0.003)


def test_between_two_sparse_updates_the_corrected_readout_follows_a_steady_path():
    model = Weights([0.0])
    ema = ModelEMA(model, 0.99, update_every=16, corrected=True)
    for step in range(1, 16 * 200 + 8):
        model.set([float(step)])
        ema.update()
        if step > 16 * 150:
            assert step - float(ema.weights()["items.0"]) == pytest.approx(99, abs=1e-6)


@given(sizes=st.lists(st.integers(1, 50), min_size=2, max_size=8), seed=st.integers(0, 999))
def test_uneven_steps_add_up_on_the_clock(sizes, seed):
    model = Weights(draw(seed, 3))
    ema = ModelEMA(model, HalfLife(40), batch=1)
    model.set(draw(seed + 1, 3))
    decay = math.prod(ema.update(samples=size) for size in sizes)
    assert decay == pytest.approx(2 ** (-sum(sizes) / 40), rel=1e-12)
    want = torch.lerp(draw(seed + 1, 3), draw(seed, 3), decay)
    torch.testing.assert_close(ema.weights()["items.0"], want, rtol=1e-12, atol=1e-13)


def test_a_warmup_begins_at_the_model_and_a_decay_of_one_never_moves():
    model = Weights([0.0])
    warm, frozen = ModelEMA(model, Warmup(0.99, curve="power"), batch=1), ModelEMA(model, 1.0)
    model.set([3.0])
    assert warm.update() == 0
    assert frozen.update() == 1
    assert float(warm.weights()["items.0"]) == 3
    assert float(frozen.weights()["items.0"]) == 0


def test_the_gain_is_bounded_where_a_step_forgets_everything():
    model = Weights([1.0])
    ema = ModelEMA(model, Warmup(0.99, curve="ratio"), batch=64, corrected=True)
    for value in (1.0, 2.0, 3.0):
        model.set([value])
        ema.update()
        assert 0 <= float(ema.weights()["items.0"]) <= value
    assert readout_gain(0.99, 64) < 2


def test_batch_norm_buffers_follow_their_policy_with_three_results():
    def run(policy):
        model = nn.Sequential(nn.BatchNorm1d(2))
        ema = ModelEMA(model, 0.5, buffers=policy)
        model(draw(0, 8, 2, dtype=torch.float32) + 3)
        at_update = model[0].running_mean.clone()
        ema.update()
        model(draw(1, 8, 2, dtype=torch.float32) + 9)  # not followed by an update
        with ema.swap():
            used, steps = model[0].running_mean.clone(), int(model[0].num_batches_tracked)
        return used, steps, at_update, model[0].running_mean.clone()

    copied, steps, at_update, live = run("copy")
    assert torch.equal(copied, at_update)
    assert steps == 1
    averaged, steps, *_ = run("average")
    torch.testing.assert_close(averaged, 0.5 * at_update)
    assert steps == 1  # integers are copied, never averaged
    skipped, steps, *_ = run("skip")
    assert torch.equal(skipped, live)
    assert steps == 2
    mixed, steps, *_ = run({"*.running_mean": "average", "*": "skip"})
    assert torch.equal(mixed, averaged)
    assert steps == 2


def test_tied_weights_are_updated_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(5, 3)
            self.head = nn.Linear(3, 5, bias=False)
            self.head.weight = self.embedding.weight
            self.view = nn.Parameter(torch.zeros(5, 3))
            self.view.data = self.embedding.weight.data  # another object, the same storage

        def forward(self, ids):
            return self.head(self.embedding(ids)) + self.view.sum()

    model = Tied()
    before = model.head.weight.detach().clone()
    ema = ModelEMA(model, 0.5)
    with torch.no_grad():
        model.head.weight.add_(1)
    ema.update()
    (only,) = ema.weights().values()
    torch.testing.assert_close(only, before + 0.5)
    ids = torch.tensor([1, 2])
    taught = ema(ids)
    with ema.swap():
        torch.testing.assert_close(taught, model(ids))


def test_frozen_parameters_and_integers_are_followed_exactly():
    model = nn.Module()
    model.frozen = nn.Parameter(draw(0, 4), requires_grad=False)
    model.whole = nn.Parameter(torch.tensor([1, 2]), requires_grad=False)
    ema = ModelEMA(model, 0.9)
    with torch.no_grad():
        model.whole += 5
    ema.update()
    assert torch.equal(ema.weights()["whole"], torch.tensor([6, 7]))
    assert torch.equal(ema.weights()["frozen"], model.frozen)


def test_complex_and_strided_parameters_are_averaged_elementwise():
    model = nn.Module()
    model.wave = nn.Parameter(torch.complex(draw(0, 4), draw(1, 4)))
    conv = draw(2, 2, 3, 4, 5, dtype=torch.float32).to(memory_format=torch.channels_last)
    model.conv = nn.Parameter(conv)
    model.gappy = nn.Parameter(draw(3, 6, 6)[::2, ::3])
    before = [p.detach().clone() for p in model.parameters()]
    ema = ModelEMA(model, 0.75)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(-1)
    ema.update()
    for got, old in zip(ema.weights().values(), before, strict=True):
        torch.testing.assert_close(got, 0.5 * old)
    assert ema.average.shadow["conv"].stride() == model.conv.stride()


def test_it_counts_nothing_and_moves_nothing_for_a_model_that_is_not_finite():
    model = Weights([1.0, 2.0])
    skipping = ModelEMA(model, 0.5, on_nonfinite="skip")
    strict = ModelEMA(model, 0.5, on_nonfinite="raise")
    careless = ModelEMA(model, 0.5)
    model.set([math.nan, 2.0])
    assert skipping.update() == 1
    assert skipping.samples == 0
    with pytest.raises(ValueError, match=r"items\.0 is not finite: the average was not updated"):
        strict.update()
    careless.update()
    assert torch.isnan(careless.weights()["items.0"][0])
    model.set([3.0, 2.0])
    assert skipping.update() == 0.5
    assert float(skipping.weights()["items.0"][0]) == 2


def test_the_lag_is_that_of_a_ramp():
    model = Weights([0.0, 0.0])
    ema = ModelEMA(model, 0.9, batch=10)
    for step in range(1, 400):
        model.set([float(step), 0.0])
        ema.update()
    lag = ema.lag()
    assert lag.distance == pytest.approx(9, rel=1e-6)
    assert lag.relative == pytest.approx(9 / 399, rel=1e-6)
    assert lag.cosine == pytest.approx(1)
    assert lag.mean_age == pytest.approx(-10 / math.log(0.9))
    assert lag.samples == 3990
    assert "after 3990 samples" in str(lag)
    assert lag.to_table()["samples"] == [3990]


def test_a_schedule_needs_to_know_the_batch():
    with pytest.raises(ValueError, match="say batch=, the samples of one optimizer step"):
        ModelEMA(Weights([0.0]), Constant(0.9, batch=256))
    assert ModelEMA(Weights([0.0]), PowerFunction(gamma=3)).batch == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decay": 1.5}, r"decay must lie in \[0, 1\]"),
        ({"batch": 0}, "batch must be at least 1"),
        ({"update_every": 0}, "update_every must be at least 1"),
        ({"precision": "fp8"}, "precision must be one of fp32, compensated, stochastic"),
        ({"buffers": "mix"}, "buffers must be one of copy, average, skip; got 'mix'"),
        ({"buffers": {"*": "mix"}}, "got 'mix'"),
        ({"rng": "new"}, "rng must be one of shared, independent"),
        ({"on_nonfinite": "stop"}, "on_nonfinite must be one of propagate, skip, raise"),
    ],
)
def test_bad_options_name_the_argument(options, message):
    with pytest.raises(ValueError, match=message):
        ModelEMA(Weights([0.0]), **{"decay": 0.9, **options})


def test_models_that_cannot_be_averaged_are_refused():
    with pytest.raises(ValueError, match="Flatten has no parameters to average"):
        ModelEMA(nn.Flatten(), 0.9)
    with torch.device("meta"):
        meta = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="weight is on the meta device: give the model its"):
        ModelEMA(meta, 0.9)


def test_a_model_that_changed_its_tensors_is_named():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    ema = ModelEMA(model, 0.9)
    model[0].extra = nn.Parameter(torch.zeros(1))
    with pytest.raises(ValueError, match=r"the model changed \(added: 0\.extra\)"):
        ema.update()
    del model[0].extra
    ema.update()
    model[1].weight.data = torch.zeros(3, 2)
    with pytest.raises(ValueError, match=r"reshaped: 1\.weight \(2, 2\) -> \(3, 2\)"):
        ema.copy_to()
    model[1] = nn.Identity()
    with pytest.raises(ValueError, match=r"removed: 1\.bias, 1\.weight"), ema.swap():
        pass


def test_a_parameter_that_was_replaced_is_followed():
    model = nn.Linear(2, 2)
    ema = ModelEMA(model, 0.5)
    old = model.weight.detach().clone()
    model.load_state_dict({k: v + 2 for k, v in model.state_dict().items()}, assign=True)
    ema.update()
    torch.testing.assert_close(ema.weights()["weight"], old + 1)


def test_a_model_that_changed_its_dtype_is_refused():
    model = nn.Linear(2, 2)
    ema = ModelEMA(model, 0.5)
    model.to(torch.bfloat16)
    with pytest.raises(ValueError, match=r"the model moved .*build ModelEMA after \.to"):
        ema.update()


def test_an_optimizer_s_steps_update_it_until_the_handle_is_removed():
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ema = ModelEMA(model, 0.9, batch=8)
    handle = ema.attach(optimizer)
    for _ in range(3):
        model(torch.ones(1, 2)).sum().backward()
        optimizer.step()
    assert ema.samples == 24
    handle.remove()
    optimizer.step()
    assert ema.samples == 24


def test_steps_that_a_gradient_scaler_skips_do_not_count():
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ema = ModelEMA(model, 0.9)
    ema.attach(optimizer)
    scaler = torch.amp.GradScaler("cpu")
    for factor in (1.0, math.inf, 1.0):
        optimizer.zero_grad()
        scaler.scale(model(torch.ones(1, 2)).sum() * factor).backward()
        scaler.step(optimizer)
        scaler.update()
    assert ema.samples == 2
