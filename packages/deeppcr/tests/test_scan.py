"""Every method against the definition and against dense solves; identities; refusals."""

import math

import pytest
import torch
from deeppcr import affine_scan, bidiagonal_solve, pcr_steps
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.usefixtures("either")

METHODS = ("auto", "serial", "pcr", "oddeven", "chunked")
KINDS = ("dense", "diagonal", "scalar")
lengths, seeds = st.integers(1, 70), st.integers(0, 2**31)
methods, kinds = st.sampled_from(METHODS), st.sampled_from(KINDS)
batches = st.sampled_from([(), (1,), (3,), (2, 2)])


def relative_error(got, want):
    return float((got - want).norm() / want.norm().clamp_min(1e-300))


def assembled(A):
    """The (L d, L d) matrix of the system: identities, and -A_l below the diagonal."""
    length, d = A.shape[:2]
    matrix = torch.eye(length * d, dtype=A.dtype)
    for i in range(1, length):
        matrix[i * d : (i + 1) * d, (i - 1) * d : i * d] = -A[i]
    return matrix


@pytest.mark.parametrize("length", [1, 2, 3, 5, 31, 64, 100, 257])
@pytest.mark.parametrize("d", [1, 2, 3, 7, 16])
@pytest.mark.parametrize("batch", [(), (3,), (2, 2)])
def test_every_method_equals_the_dense_triangular_solve(system, length, d, batch):
    A, b, _ = system(length, d, batch, seed=length + d)
    if length * d > 1000:
        A, b = A[:, :1] if batch else A, b[:, :1] if batch else b
    samples_A = A.reshape(length, -1, d, d).unbind(1)
    samples_b = b.reshape(length, -1, d).unbind(1)
    want = [
        torch.linalg.solve_triangular(assembled(a), r.reshape(-1, 1), upper=False).view(length, d)
        for a, r in zip(samples_A, samples_b, strict=True)
    ]
    want = torch.stack(want, 1).view_as(b)
    for method in METHODS:
        assert relative_error(affine_scan(A, b, method=method), want) < 1e-11, method


@given(
    length=lengths, d=st.integers(1, 17), batch=batches, kind=kinds, method=methods,
    reverse=st.booleans(), start=st.booleans(), seed=seeds,
)  # fmt: skip
def test_equals_the_loop(system, loop, length, d, batch, kind, method, reverse, start, seed):
    A, b, z0 = system(length, d, batch, kind=kind, seed=seed, start=start)
    want = loop(A, b, z0, reverse=reverse)
    got = affine_scan(A, b, z0, reverse=reverse, method=method)
    assert got.shape == b.shape
    assert relative_error(got, want) < 1e-11


@pytest.mark.parametrize("length", range(1, 71))
def test_the_sweeps_are_the_logarithm_of_the_length_and_their_stride_doubles(system, length):
    J, r, _ = system(length, 2, seed=length)
    sweeps = list(pcr_steps(J, r))
    assert len(sweeps) == math.ceil(math.log2(length))
    assert [stride for stride, _, _ in sweeps] == [2**i for i in range(len(sweeps))]
    for stride, A, b in sweeps:
        solved = min(2 * stride, length)
        torch.testing.assert_close(b[:solved], bidiagonal_solve(J, r)[:solved])
        assert len(A) == max(length - 2 * stride, 0)


def test_a_sweep_couples_every_row_to_the_one_two_strides_before(system):
    J, r, _ = system(13, 3)
    z = bidiagonal_solve(J, r)
    for stride, A, b in pcr_steps(J, r):
        left = b[2 * stride :] + torch.einsum("lij,lj->li", A, z[: max(13 - 2 * stride, 0)])
        torch.testing.assert_close(left, z[2 * stride :])


@given(length=lengths, kind=kinds, method=methods, seed=seeds)
def test_zero_blocks_copy_and_identity_blocks_sum(system, length, kind, method, seed):
    A, b, _ = system(length, 3, kind=kind, seed=seed)
    assert torch.equal(affine_scan(torch.zeros_like(A), b, method=method), b)
    ones = torch.eye(3, dtype=A.dtype).expand_as(A) if kind == "dense" else torch.ones_like(A)
    torch.testing.assert_close(affine_scan(ones, b, method=method), b.cumsum(0))


@given(length=lengths, method=methods, seed=seeds)
def test_a_scalar_chain_from_one_state_is_the_cumulative_product(system, length, method, seed):
    A, b, _ = system(length, 1, seed=seed)
    b[1:] = 0
    factors = A.flatten().clone()
    factors[0] = 1
    want = b[0] * factors.cumprod(0)
    torch.testing.assert_close(affine_scan(A, b, method=method).flatten(), want)


@given(a=st.floats(-1.2, 1.2), c=st.floats(-2, 2), length=lengths, method=methods)
def test_a_constant_affine_map_has_its_closed_form(a, c, length, method):
    if abs(1 - a) < 1e-3:
        return
    A = torch.full((length,), a, dtype=torch.float64)
    z0 = torch.tensor([0.7], dtype=torch.float64)
    got = affine_scan(A, torch.full((length, 1), c, dtype=torch.float64), z0, method=method)
    powers = a ** torch.arange(1, length + 1, dtype=torch.float64)
    want = powers * 0.7 + c * (1 - powers) / (1 - a)
    torch.testing.assert_close(got.flatten(), want, rtol=1e-9, atol=1e-9)


@given(length=lengths, kind=kinds, method=methods, seed=seeds, x=st.floats(-3, 3))
def test_is_linear_in_the_right_hand_side(system, length, kind, method, seed, x):
    A, b, _ = system(length, 3, (2,), kind=kind, seed=seed)
    c = system(length, 3, (2,), seed=seed + 1)[1]
    sum_first = affine_scan(A, x * b + c, method=method)
    sum_last = x * affine_scan(A, b, method=method) + affine_scan(A, c, method=method)
    torch.testing.assert_close(sum_first, sum_last, rtol=1e-9, atol=1e-9)


@given(length=st.integers(2, 70), kind=kinds, method=methods, reverse=st.booleans(), seed=seeds)
def test_no_row_changes_an_earlier_one_by_a_single_bit(system, length, kind, method, reverse, seed):
    A, b, _ = system(length, 3, kind=kind, seed=seed)
    row = seed % length
    z = affine_scan(A, b, reverse=reverse, method=method)
    A, b = A.clone(), b.clone()
    A[row] += 1
    b[row] -= 1
    other = affine_scan(A, b, reverse=reverse, method=method)
    earlier = slice(row + 1, None) if reverse else slice(0, row)
    assert torch.equal(z[earlier], other[earlier])


@given(length=lengths, kind=kinds, method=methods, reverse=st.booleans(), seed=seeds)
def test_nan_reaches_every_later_row(system, length, kind, method, reverse, seed):
    A, b, _ = system(length, 3, kind=kind, seed=seed)
    row = seed % length
    b[row] = math.nan
    z = affine_scan(A, b, reverse=reverse, method=method)
    later = slice(0, row + 1) if reverse else slice(row, None)
    assert z[later].isnan().all()


@given(length=lengths, kind=kinds, method=methods, seed=seeds)
def test_the_adjoint_moves_across_the_inner_product(system, length, kind, method, seed):
    A, b, _ = system(length, 4, (2,), kind=kind, seed=seed)
    g = system(length, 4, (2,), seed=seed + 1)[1]
    b.requires_grad_()
    z = affine_scan(A, b, method=method)
    (adjoint,) = torch.autograd.grad(z, b, g)
    torch.testing.assert_close((adjoint * b).sum(), (g * z).sum(), rtol=1e-9, atol=1e-9)


@given(length=lengths, method=methods, seed=seeds)
def test_the_adjoint_solves_the_transposed_system(system, length, method, seed):
    A, b, _ = system(length, 3, seed=seed)
    b.requires_grad_()
    g = system(length, 3, seed=seed + 1)[1]
    (adjoint,) = torch.autograd.grad(affine_scan(A, b, method=method), b, g)
    matrix = assembled(A)
    torch.testing.assert_close(matrix.T @ adjoint.flatten(), g.flatten())
    shifted = torch.cat([A[1:].mT, torch.zeros_like(A[:1])])
    torch.testing.assert_close(affine_scan(shifted, g, reverse=True, method=method), adjoint)


@given(length=lengths, method=methods, seed=seeds, orthogonal=st.booleans())
def test_a_change_of_coordinates_changes_the_states_alike(system, length, method, seed, orthogonal):
    A, b, _ = system(length, 3, seed=seed)
    T = system(length, 3, seed=seed + 1)[0] + 2 * torch.eye(3, dtype=A.dtype)
    T = torch.linalg.qr(T).Q if orthogonal else T
    before = torch.cat([T[:1], T[:-1]])
    moved = affine_scan(
        T @ A @ torch.linalg.inv(before), torch.einsum("lij,lj->li", T, b), method=method
    )
    z = affine_scan(A, b, method=method)
    if orthogonal:
        torch.testing.assert_close(moved.norm(dim=-1), z.norm(dim=-1), rtol=1e-8, atol=1e-8)
    want = torch.einsum("lij,lj->li", T, z)
    assert relative_error(moved, want) < 1e-7


@given(length=lengths, batch=batches, method=methods, seed=seeds)
def test_structures_agree_where_they_describe_one_matrix(system, length, batch, method, seed):
    diagonal, b, _ = system(length, 4, batch, kind="diagonal", seed=seed)
    want = affine_scan(torch.diag_embed(diagonal), b, method=method)
    torch.testing.assert_close(affine_scan(diagonal, b, method=method), want)
    scalar = diagonal[..., :1]
    want = affine_scan(scalar.expand_as(b), b, method=method)
    torch.testing.assert_close(affine_scan(scalar, b, method=method), want)
    blocks, _, _ = system(length, 2, (*batch, 2), seed=seed)
    joined = torch.zeros(length, *batch, 4, 4, dtype=b.dtype)
    joined[..., :2, :2], joined[..., 2:, 2:] = blocks[..., 0, :, :], blocks[..., 1, :, :]
    got = affine_scan(blocks, b.unflatten(-1, (2, 2)), method=method).flatten(-2)
    torch.testing.assert_close(got, affine_scan(joined, b, method=method))


@given(length=st.integers(2, 70), kind=kinds, method=methods, reverse=st.booleans(), seed=seeds)
def test_a_solve_can_go_on_from_where_another_stopped(system, length, kind, method, reverse, seed):
    A, b, z0 = system(length, 3, (2,), kind=kind, seed=seed, start=True)
    cut = 1 + seed % (length - 1)
    whole = affine_scan(A, b, z0, reverse=reverse, method=method)
    parts = [(A[:cut], b[:cut]), (A[cut:], b[cut:])]
    z, states = z0, []
    for blocks, right in parts[::-1] if reverse else parts:
        states.append(affine_scan(blocks, right, z, reverse=reverse, method=method))
        z = states[-1][0 if reverse else -1]
    torch.testing.assert_close(torch.cat(states[::-1] if reverse else states), whole)


@given(batch=st.integers(2, 6), kind=kinds, method=methods, seed=seeds)
def test_samples_do_not_meet(system, batch, kind, method, seed):
    A, b, z0 = system(9, 3, (batch,), kind=kind, seed=seed, start=True)
    z = affine_scan(A, b, z0, method=method)
    order = torch.randperm(batch, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(
        affine_scan(A[:, order], b[:, order], z0[order], method=method), z[:, order]
    )
    torch.testing.assert_close(affine_scan(A[:, 0], b[:, 0], z0[0], method=method), z[:, 0])


@given(length=lengths, kind=kinds, method=methods, seed=seeds)
def test_the_same_input_gives_the_same_bytes(system, length, kind, method, seed):
    A, b, z0 = system(length, 5, (2,), kind=kind, seed=seed, start=True, dtype=torch.float32)
    assert torch.equal(affine_scan(A, b, z0, method=method), affine_scan(A, b, z0, method=method))


@given(length=lengths, q=st.floats(0.1, 0.9), method=methods, seed=seeds)
def test_a_contraction_bounds_the_error_by_the_residual(system, length, q, method, seed):
    A, b, _ = system(length, 4, seed=seed)
    A = q * A / torch.linalg.matrix_norm(A, 2).view(-1, 1, 1)
    r = system(length, 4, seed=seed + 1)[1]
    error = affine_scan(A, b + r, method=method) - affine_scan(A, b, method=method)
    assert error.norm(dim=-1).max() <= r.norm(dim=-1).max() / (1 - q) * (1 + 1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reverse", [False, True])
def test_every_layout_of_memory_is_read_alike(system, loop, method, reverse):
    A, b, z0 = system(12, 4, (3,), start=True)
    want = loop(A, b, z0, reverse=reverse)
    layouts = [
        (A.mT.contiguous().mT, b, z0),
        (A.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0), b, z0),
        (torch.stack([A, A], -1)[..., 0], torch.stack([b, b], -1)[..., 0], z0),
        (A, b.transpose(0, 2).contiguous().transpose(0, 2), z0.T.contiguous().T),
        (A.repeat_interleave(2, 0)[::2], b.repeat_interleave(2, 1)[:, ::2], z0),
    ]
    for case in layouts:
        got = affine_scan(*case, reverse=reverse, method=method)
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("method", METHODS)
def test_blocks_that_are_shared_are_broadcast(system, loop, method):
    A, b, _ = system(7, 3, (2, 4))
    for shared in (A[:, :1, :1], A[:, :, :1], A[:, :1, :, 0], A[:1].expand_as(A)):
        want = loop(shared.expand(7, *shared.shape[1:]), b)
        torch.testing.assert_close(affine_scan(shared, b, method=method), want)
    torch.testing.assert_close(
        affine_scan(A[:, 0, 0, 0, 0], b, method=method), loop(A[:, :1, :1, 0, :1], b)
    )


def test_the_steps_may_stand_on_another_axis(system):
    A, b, z0 = system(6, 3, (2,), start=True)
    want = affine_scan(A, b, z0)
    got = affine_scan(A.transpose(0, 1), b.transpose(0, 1), z0, dim=1)
    assert torch.equal(got, want.transpose(0, 1))
    assert torch.equal(affine_scan(A.transpose(0, 1), b.transpose(0, 1), z0, dim=-2), got)


def test_the_first_block_is_not_read_where_there_is_no_state_before_it(system):
    A, b, _ = system(6, 3)
    for method in METHODS:
        for row, reverse in ((0, False), (-1, True)):
            spoiled = A.clone()
            spoiled[row] = math.nan
            spoiled.requires_grad_()
            z = affine_scan(spoiled, b, reverse=reverse, method=method)
            assert torch.equal(z, affine_scan(A, b, reverse=reverse, method=method))
            (gradient,) = torch.autograd.grad(z.sum() * math.inf, spoiled)
            assert (gradient[row] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reverse", [False, True])
def test_ragged_samples_hold_their_last_state_and_take_nothing_from_the_padding(
    system, loop, kind, reverse, either
):
    A, b, z0 = system(8, 3, (4,), kind=kind, start=True)
    ends = torch.tensor([8, 3, 1, 0])
    A[3:, 1], b[3:, 1] = math.nan, math.nan
    A.requires_grad_()
    z = affine_scan(A, b, z0, reverse=reverse, lengths=ends)
    for i, n in enumerate(ends.tolist()):
        want = (
            loop(A[:n, i : i + 1], b[:n, i : i + 1], z0[i : i + 1], reverse=reverse) if n else b[:0]
        )
        torch.testing.assert_close(z[:n, i], want[:, 0] if n else want[:, i])
        held = z0[i] if reverse or n == 0 else z[n - 1, i]
        exact = {"rtol": 0, "atol": 0} if either == "kernel" else {"rtol": 1e-14, "atol": 1e-14}
        torch.testing.assert_close(z[n:, i], held.expand(8 - n, 3), **exact)
    z.sum().backward()
    assert A.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("method", METHODS)
def test_half_precision_is_computed_in_float32(system, loop, dtype, method):
    A, b, _ = system(1024, 8, seed=3)
    A, b = 0.9 * A.to(dtype), b.to(dtype)
    exact = loop(A.double(), b.double())
    got = affine_scan(A, b, method=method)
    assert got.dtype == dtype
    ours = float((got.double() - exact).abs().max())
    assert ours <= 1.5 * float((loop(A, b).double() - exact).abs().max())
    assert ours <= 1.01 * float((exact.to(dtype).double() - exact).abs().max())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", KINDS)
def test_complex_chains(system, loop, method, kind):
    A, b, z0 = system(20, 3, (2,), kind=kind, dtype=torch.complex128, start=True)
    for reverse in (False, True):
        got = affine_scan(A, b, z0, reverse=reverse, method=method)
        torch.testing.assert_close(got, loop(A, b, z0, reverse=reverse))


def test_auto_finds_the_states_where_products_of_blocks_overflow(loop):
    A = torch.full((80, 1, 1), 1e20, dtype=torch.complex64)
    b = torch.zeros(80, 1, dtype=torch.complex64)
    b[-1] = 1
    z = affine_scan(A, b)
    assert torch.equal(z, loop(A, b))
    assert not affine_scan(A, b, method="pcr").isfinite().all()


def test_no_rows_give_no_states():
    assert affine_scan(torch.zeros(0, 3, 3), torch.zeros(0, 3)).shape == (0, 3)
    assert list(pcr_steps(torch.zeros(0, 3, 3), torch.zeros(0, 3))) == []


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"b": torch.zeros(4)}, ValueError, r"b must be .* got \(4,\)"),
        ({"b": torch.zeros(4, 0)}, ValueError, r"d >= 1 .* got \(4, 0\)"),
        ({"A": torch.zeros(4, 3, 2)}, ValueError, r"A must be dense .* got \(4, 3, 2\)"),
        ({"A": torch.zeros(5, 3, 3)}, ValueError, r"got \(5, 3, 3\)"),
        ({"A": torch.zeros(4, 2)}, ValueError, r"got \(4, 2\)"),
        ({"A": torch.zeros(4, 2, 1, 3, 3)}, ValueError, r"got \(4, 2, 1, 3, 3\)"),
        ({"A": torch.zeros(4, 3, 3).double()}, TypeError, "A is torch.float64 and b is"),
        ({"z0": torch.zeros(2)}, ValueError, r"z0 must be \(3,\), got \(2,\)"),
        ({"z0": torch.zeros(3).half()}, TypeError, "z0 is torch.float16"),
        ({"A": torch.zeros(4, 3, 3, device="meta")}, ValueError, "A is on meta and b on cpu"),
        ({"method": "fast"}, ValueError, "auto, serial, pcr, oddeven, chunked; got 'fast'"),
        ({"dim": 1}, ValueError, "dim=1, not on the last"),
        ({"lengths": torch.tensor([1.0])}, ValueError, r"lengths must be integers of shape \(\)"),
    ],
)  # fmt: skip
def test_says_what_came(change, error, text):
    arguments = {"A": torch.zeros(4, 3, 3), "b": torch.zeros(4, 3), **change}
    with pytest.raises(error, match=text):
        affine_scan(**arguments)


def test_integers_are_refused():
    with pytest.raises(TypeError, match=r"floating or complex, got torch.int64: use b.float\(\)"):
        affine_scan(torch.ones(3, 1, dtype=torch.int64), torch.ones(3, 1, dtype=torch.int64))
