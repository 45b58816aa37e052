import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from er_ssl import ERLoss, NTXentLoss, row_logsumexp
from er_ssl._lse import lse
from hypothesis import given
from hypothesis import strategies as st


def looped(a, b, scale, exclude_self=False):
    """The definition, entry by entry, on plain numbers."""
    out = []
    for i, row in enumerate(a.tolist()):
        terms = [
            scale * sum(x * y for x, y in zip(row, other, strict=True))
            for j, other in enumerate(b.tolist())
            if not (exclude_self and i == j)
        ]
        top = max(terms)
        out.append(top + math.log(sum(math.exp(term - top) for term in terms)))
    return torch.tensor(out, dtype=torch.float64)


def dense(a, b, scale, exclude_self=False):
    """The same as one matrix, for gradients."""
    logits = scale * a @ (a if b is None else b).T
    if exclude_self:
        logits = logits.masked_fill(torch.eye(len(a), dtype=torch.bool), -torch.inf)
    return logits.logsumexp(1)


@given(
    n=st.integers(2, 20),
    d=st.integers(1, 6),
    scale=st.sampled_from([0.1, 3.0, 500.0, 5000.0]),
    exclude_self=st.booleans(),
    block_size=st.sampled_from([None, 1, 2, 3, 7, 64]),
    seed=st.integers(0, 2**31),
)
def test_a_symmetric_matrix_equals_the_definition(
    rows, n, d, scale, exclude_self, block_size, seed
):
    a = rows(seed, n, d)
    got = row_logsumexp(a, scale=scale, exclude_self=exclude_self, block_size=block_size)
    torch.testing.assert_close(got, looped(a, a, scale, exclude_self), rtol=1e-12, atol=1e-12)


@given(
    n=st.integers(1, 12),
    m=st.integers(1, 12),
    scale=st.sampled_from([0.1, 3.0, 5000.0]),
    block_size=st.sampled_from([None, 1, 2, 5, 64]),
    seed=st.integers(0, 2**31),
)
def test_a_rectangle_equals_the_definition(rows, n, m, scale, block_size, seed):
    a, b = rows(seed, n, 3), rows(seed + 1, m, 3)
    got = row_logsumexp(a, b, scale=scale, block_size=block_size)
    torch.testing.assert_close(got, looped(a, b, scale), rtol=1e-12, atol=1e-12)


@given(
    n=st.integers(2, 20),
    scale=st.sampled_from([0.1, 3.0, 500.0]),
    exclude_self=st.booleans(),
    square=st.booleans(),
    block_size=st.sampled_from([None, 1, 3, 7, 64]),
    seed=st.integers(0, 2**31),
)
def test_gradients_equal_those_of_the_dense_matrix(
    rows, n, scale, exclude_self, square, block_size, seed
):
    a, weight = rows(seed, n, 4).requires_grad_(), rows(seed + 2, n, 1)[:, 0]
    b = None if square else rows(seed + 1, n + 3, 4).requires_grad_()
    factor = torch.tensor(scale, dtype=torch.float64, requires_grad=True)
    exclude_self = exclude_self and square
    inputs = [x for x in (a, b, factor) if x is not None]
    out = row_logsumexp(a, b, scale=factor, exclude_self=exclude_self, block_size=block_size)
    got = torch.autograd.grad(out @ weight, inputs)
    want = torch.autograd.grad(dense(a, b, factor, exclude_self) @ weight, inputs)
    for mine, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-9 * max(1, scale))


@pytest.mark.parametrize("block_size", [8, 16, 64])
@pytest.mark.parametrize("exclude_self", [False, True])
def test_gradcheck_with_a_last_block_that_is_not_full(rows, block_size, exclude_self):
    a = rows(0, 37, 3).requires_grad_()
    scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)

    def f(a, scale):
        return row_logsumexp(a, scale=scale, exclude_self=exclude_self, block_size=block_size)

    assert torch.autograd.gradcheck(f, (a, scale))


@pytest.mark.parametrize("scale", [5.0, 200.0])
@pytest.mark.parametrize("start", [0, 2, 5])
def test_a_slice_of_the_rows_leaves_out_its_own_columns(rows, scale, start):
    everyone = rows(3, 9, 4).requires_grad_()
    part = everyone[start : start + 4]
    got = lse(part, everyone, scale, self_offset=start, block_size=2)
    want = dense(everyone, None, scale, exclude_self=True)[start : start + 4]
    torch.testing.assert_close(got, want)
    got, want = (torch.autograd.grad(x.sum(), everyone)[0] for x in (got, want))
    torch.testing.assert_close(got, want)


def test_all_ones_have_the_closed_form():
    a = torch.ones(10, 4, dtype=torch.float64)
    assert float(row_logsumexp(a, scale=2.0)[0]) == pytest.approx(8 + math.log(10))
    excluded = row_logsumexp(a, scale=2.0, exclude_self=True)
    assert float(excluded[3]) == pytest.approx(8 + math.log(9))


def test_rows_far_below_the_largest_logit_do_not_underflow():
    a = torch.eye(6)  # every other row's logit is 0, while its own is 1000
    got = row_logsumexp(a, scale=1000.0, exclude_self=True, block_size=4)
    torch.testing.assert_close(got, torch.full((6,), math.log(5)))


@pytest.mark.parametrize("scale", [39.0, 41.0, 100.0, 1e3, 1e5])
def test_float32_neither_overflows_nor_underflows_at_any_temperature(rows, scale):
    a = torch.cat([rows(0, 20, 4, spread=0.01), -rows(0, 20, 4, spread=0.01), rows(1, 20, 4)])
    a = a / a.norm(dim=1, keepdim=True)  # logits from -scale to scale
    got = row_logsumexp(a.float(), scale=scale, exclude_self=True, block_size=16)
    want = dense(a, None, scale, exclude_self=True)
    torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-5 * scale)


def test_one_pair_in_many_blocks_has_no_self_left():
    a = torch.eye(2, dtype=torch.float64).requires_grad_()
    out = row_logsumexp(a, scale=500.0, exclude_self=True, block_size=1)
    out.sum().backward()
    assert out.tolist() == [0.0, 0.0]
    assert a.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(rows, dtype):
    a = rows(0, 300, 16, dtype=dtype).requires_grad_()
    out = row_logsumexp(a, scale=0.5, block_size=64)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, dense(a.float(), None, 0.5))
    out.sum().backward()
    assert a.grad.dtype == dtype


def test_autocast_does_not_reach_the_sums(rows):
    a = rows(0, 50, 16, dtype=torch.float32)
    want = row_logsumexp(a, scale=0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = row_logsumexp(a, scale=0.5)
    assert torch.equal(got, want)


def test_a_run_repeats_to_the_bit(rows):
    a = rows(0, 1100, 16, dtype=torch.float32)
    assert torch.equal(row_logsumexp(a), row_logsumexp(a))


def test_a_second_derivative_is_refused(rows):
    a = rows(0, 5, 3).requires_grad_()
    (first,) = torch.autograd.grad(row_logsumexp(a).sum(), a, create_graph=True)
    with pytest.raises(RuntimeError, match="cannot be differentiated twice"):
        first.square().sum().backward()


def test_vmap_is_refused():
    with pytest.raises(RuntimeError, match="functorch transforms"):
        torch.func.vmap(row_logsumexp)(torch.zeros(2, 3, 4))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_a_training_step_compiles_as_one_graph_and_is_the_same(rows):
    layer = torch.nn.Linear(8, 4, dtype=torch.float64)
    losses = ERLoss(learnable_kappa=True), NTXentLoss(temperature=0.1)

    def step(x1, x2):
        z1, z2 = layer(x1), layer(x2)
        return sum(loss(z1, z2) for loss in losses)

    x1, x2 = rows(0, 20, 8), rows(1, 20, 8)
    parameters = [*layer.parameters(), losses[0].log_kappa]
    want = torch.autograd.grad(step(x1, x2), parameters)
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    got = torch.autograd.grad(compiled(x1, x2), parameters)
    for mine, theirs in zip(got, want, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is Linux's")
def test_memory_stays_within_its_bars_and_grows_with_the_rows_not_their_square():
    extra = [_peak_mebibytes(rows) for rows in (4096, 16384)]
    assert extra[0] <= 40  # a matrix would be 64
    assert extra[1] <= 100  # a matrix would be 1024
    assert extra[1] < 6 * extra[0]


def _peak_mebibytes(rows):
    """Memory that one step takes over what is there, in a process of its own."""
    code = f"""
import torch, er_ssl
torch.set_num_threads(1)
def status(key):
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(key))
loss = er_ssl.NTXentLoss(0.1)
z = torch.randn(8, 128, requires_grad=True)
loss(z, z).backward()
z1, z2 = (torch.randn({rows} // 2, 128, requires_grad=True) for _ in range(2))
before = status("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
loss(z1, z2).backward()
print(status("VmHWM") - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"a": torch.zeros(3)}, r"a must be \(B, D\).*got \(3,\)"),
        ({"a": torch.zeros(0, 3)}, r"B >= 1.*\(0, 3\)"),
        ({"a": torch.zeros(1, 3), "exclude_self": True}, r"B >= 2.*\(1, 3\)"),
        ({"a": torch.zeros(2, 3), "b": torch.zeros(2, 4)}, r"\(2, 3\) and \(2, 4\)"),
        ({"a": torch.zeros(2, 3), "b": torch.zeros(2, 3), "exclude_self": True}, "b=None"),
        ({"a": torch.zeros(2, 3), "scale": 0.0}, "scale must be positive and finite, got 0.0"),
        ({"a": torch.zeros(2, 3), "scale": math.nan}, "got nan"),
        ({"a": torch.zeros(2, 3), "scale": torch.ones(2)}, "0-d"),
        ({"a": torch.zeros(2, 3), "scale": torch.tensor(-2.0)}, "scale must be .* got -2.0"),
        ({"a": torch.zeros(2, 3), "block_size": 0}, "block_size must be at least 1, got 0"),
    ],
)
def test_says_what_came_and_what_would_do(arguments, message):
    with pytest.raises(ValueError, match=message):
        row_logsumexp(**arguments)


@pytest.mark.parametrize("bad", [torch.zeros(2, 3, dtype=torch.long), [[0.0, 1.0]]])
def test_refuses_what_is_no_floating_tensor(bad):
    with pytest.raises(TypeError, match="a must be a"):
        row_logsumexp(bad)
