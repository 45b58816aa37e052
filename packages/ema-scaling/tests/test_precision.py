"""What rounding does to an average: stagnation, remainders, stochastic rounding, memory."""

import math

import pytest
import torch
from ema_scaling import ModelEMA
from ema_scaling._kernels import BLOCK, WIDE_BLOCK, flat, is_dense
from hypothesis import given
from hypothesis import strategies as st
from torch import nn


def constant_model(value, size=1, dtype=torch.float32):
    model = nn.Module()
    model.w = nn.Parameter(torch.full((size,), value, dtype=dtype))
    return model


def gap_after(model, ema, target, updates):
    with torch.no_grad():
        model.w.fill_(target)
    for _ in range(updates):
        ema.update()
    return abs(target - float(ema.weights()["w"].double().mean()))


def test_a_bfloat16_model_s_average_in_float32_arrives():
    model = constant_model(1.0, dtype=torch.bfloat16)
    ema = ModelEMA(model, 0.9999)
    gap_after(model, ema, 1.5, 100_000)
    assert abs(1.5 - float(ema.average.shadow["w"])) < 1e-3


def test_a_plain_bfloat16_average_would_not_move_at_all():
    """The negative control: at decay 0.9999 the step is below half a unit in the last place."""
    average, target = torch.tensor([1.0], dtype=torch.bfloat16), torch.tensor([1.5]).bfloat16()
    for _ in range(1000):
        average.lerp_(target, 1e-4)
    assert float(average) == 1


def test_the_remainder_moves_where_plain_float32_stands_still():
    decay, updates, near = 0.9999 ** (1 / 8), 2000, 1.5 - 4e-3
    plain_model, model = constant_model(near), constant_model(near)
    plain = ModelEMA(plain_model, decay)
    kept = ModelEMA(model, decay, precision="compensated")
    before = 1.5 - float(plain.weights()["w"])
    assert gap_after(plain_model, plain, 1.5, updates) == pytest.approx(before, rel=1e-12)
    gap_after(model, kept, 1.5, updates)
    exact = before * math.exp(updates * math.log(decay))
    total = kept.average.shadow["w"].double() + kept.average.residual["w"].double()
    assert 1.5 - float(total) == pytest.approx(exact, rel=1e-6)


@pytest.mark.slow
def test_two_million_compensated_updates_arrive_within_a_millionth():
    model = constant_model(1.0)
    ema = ModelEMA(model, 0.9999875, precision="compensated")
    assert gap_after(model, ema, 1.5, 2_000_000) < 1e-6


@given(seed=st.integers(0, 2**31), weight=st.floats(1e-6, 1), scale=st.floats(1e-3, 1e3))
def test_with_the_remainder_rounding_errors_shrink_with_the_weight(seed, weight, scale):
    g = torch.Generator().manual_seed(seed)
    model = constant_model(0.0, size=64)
    start = scale * torch.randn(64, generator=g)
    with torch.no_grad():
        model.w.copy_(start)
    ema = ModelEMA(model, 1 - weight, precision="compensated")
    exact = start.double()
    for _ in range(5):
        new = torch.randn(64, generator=g)
        with torch.no_grad():
            model.w.copy_(new)
        ema.update()
        exact = exact + (1 - (1 - weight)) * (new.double() - exact)
    total = ema.average.shadow["w"].double() + ema.average.residual["w"].double()
    size = max(scale, 1.0)
    torch.testing.assert_close(total, exact, rtol=0, atol=3e-6 * size * weight + 1e-12)


@pytest.mark.parametrize("rng", ["shared", "independent"])
def test_stochastic_rounding_is_unbiased_over_entries(rng):
    """4,096 entries, 300 updates, seed 0: the mean within 4 standard errors of the exact one."""
    model = constant_model(1.0, size=4096, dtype=torch.bfloat16)
    ema = ModelEMA(model, 0.999, precision="stochastic", rng=rng)
    gap_after(model, ema, 1.5, 300)
    got = ema.average.shadow["w"].double()
    exact = 1.5 - 0.5 * 0.999**300
    error = float(got.std()) / math.sqrt(4096)
    assert abs(float(got.mean()) - exact) < 4 * error
    assert error > 0


@pytest.mark.parametrize("rng", ["shared", "independent"])
def test_stochastic_rounding_is_unbiased_over_seeds(rng):
    """One entry, 400 seeds: mean within 4 standard errors, control is not."""
    value = 1 + 1 / 1000  # between two bfloat16 numbers, 1 and 1.0078
    means = []
    for seed in range(400):
        model = constant_model(value, size=8)
        generator = torch.Generator().manual_seed(seed)
        ema = ModelEMA(model, 0.5, precision="stochastic", rng=rng, generator=generator)
        ema.average.shadow["w"].fill_(1.0)
        ema.update()
        means.append(ema.average.shadow["w"].double()[:1])
    exact = 1 + 0.5 / 1000
    drawn = torch.cat(means)
    assert set(drawn.tolist()) <= {1.0, 1.0078125}
    error = float(drawn.std()) / math.sqrt(len(drawn))
    assert abs(float(drawn.mean()) - exact) < 4 * error
    nearest = float(torch.tensor(exact).bfloat16())  # the control: rounding to nearest is biased
    assert abs(nearest - exact) > 0.9 * (exact - 1)


@given(seed=st.integers(0, 2**31), weight=st.floats(0.01, 0.99))
def test_every_rounded_value_is_one_of_the_two_neighbours(seed, weight):
    g = torch.Generator().manual_seed(seed)
    model = constant_model(0.0, size=256)
    with torch.no_grad():
        model.w.copy_(torch.randn(256, generator=g))
    ema = ModelEMA(model, 1 - weight, precision="stochastic")
    before = ema.average.shadow["w"].float()
    with torch.no_grad():
        model.w.copy_(torch.randn(256, generator=g))
    ema.update()
    exact = torch.lerp(before, model.w.detach(), 1 - (1 - weight))
    bits = exact.view(torch.int32)
    toward_zero = (bits & -65536).view(torch.float32)
    away = ((bits & -65536) + 65536).view(torch.float32)
    got = ema.average.shadow["w"].float()
    assert bool(((got == toward_zero) | (got == away)).all())


def test_shared_bits_are_drawn_anew_for_each_update():
    model = constant_model(1.0, size=2 * BLOCK + 5)
    ema = ModelEMA(model, 0.5, precision="stochastic")
    rounded = []
    for _ in range(2):
        ema.average.shadow["w"].fill_(1.0)
        with torch.no_grad():
            model.w.fill_(1 + 1 / 128)  # halfway after an update with decay 0.5
        ema.update()
        rounded.append(ema.average.shadow["w"].float() - 1)
    first, second = ((r > 0).float() - 0.5 for r in rounded)
    size = first.numel()
    assert abs(float((first * second).mean())) < 4 * 0.25 / math.sqrt(size / 2)
    # and two blocks of one update read the pool from different places
    assert not torch.equal(first[:BLOCK], first[BLOCK : 2 * BLOCK])


def test_infinities_and_nan_survive_stochastic_rounding():
    model = constant_model(1.0, size=3)
    ema = ModelEMA(model, 0.75, precision="stochastic")
    with torch.no_grad():
        model.w.copy_(torch.tensor([math.inf, -math.inf, math.nan]))
    ema.update()
    got = ema.average.shadow["w"].float()
    assert got[0] == math.inf
    assert got[1] == -math.inf
    assert math.isnan(got[2])


def sizes_and_layouts():
    g = torch.Generator().manual_seed(0)
    yield "small", torch.randn(7, 3, generator=g)
    yield "scalar", torch.randn((), generator=g)
    yield "empty", torch.randn(0, 3, generator=g)
    yield "a block", torch.randn(BLOCK, generator=g)
    yield "more than a block", torch.randn(3, BLOCK // 2 + 1, generator=g)
    yield "more than a wide block", torch.randn(WIDE_BLOCK + 7, generator=g)
    large = torch.randn(2, 32, 64, 65, generator=g)
    yield "channels last", large.to(memory_format=torch.channels_last)
    yield "transposed", torch.randn(300, 400, generator=g).t()
    yield "gappy", torch.randn(1200, 1000, generator=g)[::2, ::2]


@pytest.mark.parametrize("precision", ["fp32", "compensated", "stochastic"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_blocks_average_every_element_whatever_the_layout(precision, dtype):
    model = nn.Module()
    for i, (_, tensor) in enumerate(sizes_and_layouts()):
        parameter = torch.empty_strided(tensor.size(), tensor.stride(), dtype=dtype)
        model.register_parameter(f"p{i}", nn.Parameter(parameter.copy_(tensor)))
    before = [p.detach().clone().float() for p in model.parameters()]
    ema = ModelEMA(model, 0.75, precision=precision)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(-1)
    ema.update()
    loose = 2**-6 if precision == "stochastic" else 1e-6
    for shadow, old in zip(ema.average.shadow.values(), before, strict=True):
        torch.testing.assert_close(shadow.float(), 0.5 * old, rtol=loose, atol=1e-3 * loose)


def test_a_model_that_changed_its_memory_order_is_still_averaged_right():
    model = nn.Module()
    model.w = nn.Parameter(torch.randn(2, 32, 64, 65).bfloat16())
    ema = ModelEMA(model, 0.5)
    old = model.w.detach().float()
    model.to(memory_format=torch.channels_last)
    with torch.no_grad():
        model.w.mul_(3)
    ema.update()
    want = (old + model.w.detach().float()) / 2
    torch.testing.assert_close(ema.average.shadow["w"], want)


def test_dense_is_told_from_gappy():
    x = torch.zeros(4, 6)
    assert is_dense(x)
    assert is_dense(x.t())
    assert not is_dense(x[:, ::2])
    assert not is_dense(x[:1].expand(4, 6))
    assert flat(x.t()).data_ptr() == x.data_ptr()


def test_a_mixed_update_allocates_nothing_of_the_model_s_size():
    """bfloat16 to float32, 8 M weights: all allocations of one update under 2 MiB together."""
    model = nn.Module()
    model.big = nn.Parameter(torch.zeros(6_000_000, dtype=torch.bfloat16))
    model.rest = nn.ParameterList(
        [nn.Parameter(torch.zeros(20_000, dtype=torch.bfloat16)) for _ in range(100)]
    )
    ema = ModelEMA(model, 0.9)
    ema.update()
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        ema.update()
    allocated = sum(max(event.self_cpu_memory_usage, 0) for event in profile.key_averages())
    assert allocated < 2 * 2**20


def test_the_generator_of_the_user_is_used_and_the_global_one_is_not():
    before = torch.get_rng_state()
    drawn = []
    for seed in (1, 1, 2):
        model = constant_model(1.0, size=512)
        generator = torch.Generator().manual_seed(seed)
        ema = ModelEMA(model, 0.9, precision="stochastic", generator=generator)
        gap_after(model, ema, 2.0, 3)
        drawn.append(ema.average.shadow["w"].clone())
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(torch.get_rng_state(), before)
