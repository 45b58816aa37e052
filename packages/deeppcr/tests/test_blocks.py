"""A matrix with scaled rows is solved as its product would be, with the kernel and without."""

import deeppcr as dp
import pytest
import torch
from deeppcr import affine_scan, kernel
from deeppcr.blocks import ScaledRows, dense, scaled_rows
from deeppcr.scan import scan

BATCHES = [(), (4,), (2, 4)]
SHAPES = [((), ()), ((3,), (3,)), ((3,), (1,)), ((2, 3), (2, 3)), ((2, 3), (1, 1))]


def drawn(length, width, batch=(), own=(), *, shared=False, columns=False, dtype=torch.float64):
    g = torch.Generator().manual_seed(width)
    shape = () if shared else (length, *own)
    matrix = torch.randn(*shape, width, width, generator=g, dtype=dtype) / width**0.5
    matrix = matrix.mT.contiguous().mT if columns else matrix
    slope, right = torch.randn(2, length, *batch, width, generator=g, dtype=dtype)
    return ScaledRows(slope, matrix), right


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 7, 8, 9, 12, 16, 33, 64, 65, 80])
@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("adjoint", [False, True])
def test_solves_like_the_blocks_multiplied_out(either, width, columns, adjoint):
    for dtype, bound in ((torch.float64, 1e-13), (torch.float32, 1e-5)):
        blocks, right = drawn(9, width, columns=columns, dtype=dtype)
        want = scan(blocks.dense(), right, None, False, adjoint, "pcr")
        assert (blocks.solve(right, adjoint=adjoint) - want).norm() < bound * want.norm()


@pytest.mark.parametrize(("batch", "own"), SHAPES)
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("adjoint", [False, True])
def test_batches_and_shared_matrices(either, batch, own, shared, adjoint):
    blocks, right = drawn(6, 4, batch, own, shared=shared)
    want = scan(blocks.dense(), right, None, False, adjoint, "serial")
    torch.testing.assert_close(blocks.solve(right, adjoint=adjoint), want)
    torch.testing.assert_close(blocks.first(), blocks.dense()[:1])


def test_slopes_and_right_hand_sides_of_any_memory(either):
    blocks, right = drawn(6, 4, (3,), (3,))
    for move in (
        lambda t: t.mT.contiguous().mT,
        lambda t: t.movedim(0, 1).contiguous().movedim(1, 0),
    ):
        moved = ScaledRows(move(blocks.slope), blocks.matrix)
        for adjoint in (False, True):
            want = blocks.solve(right, adjoint=adjoint)
            assert torch.equal(moved.solve(move(right), adjoint=adjoint), want)


def test_threads_change_no_bit(monkeypatch):
    blocks, right = drawn(5, 6, (7,), (7,))
    for adjoint in (False, True):
        alone = blocks.solve(right, adjoint=adjoint)
        monkeypatch.setattr(kernel, "WORTH_A_THREAD", 8)
        torch.set_num_threads(3)
        try:
            assert torch.equal(blocks.solve(right, adjoint=adjoint), alone)
        finally:
            torch.set_num_threads(1)
            monkeypatch.undo()


def test_the_slope_of_the_block_that_is_not_read_may_be_anything(either):
    blocks, right = drawn(6, 3)
    for row, adjoint in ((0, False), (0, True)):
        spoiled = blocks.slope.clone()
        spoiled[row] = torch.nan
        got = ScaledRows(spoiled, blocks.matrix).solve(right, adjoint=adjoint)
        assert torch.equal(got, blocks.solve(right, adjoint=adjoint))


def test_a_nan_reaches_every_later_row(either):
    blocks, right = drawn(6, 3)
    right[3] = torch.nan
    assert blocks.solve(right, adjoint=False).isnan().any(1).tolist() == [False] * 3 + [True] * 3
    assert blocks.solve(right, adjoint=True).isnan().any(1).tolist() == [True] * 4 + [False] * 2


def test_derivatives_go_through_the_product(either):
    blocks, right = drawn(5, 3)
    leaves = [leaf.requires_grad_() for leaf in (blocks.slope, blocks.matrix, right)]

    def solve(slope, matrix, right):
        return ScaledRows(slope, matrix).solve(right, adjoint=True)

    assert torch.autograd.gradcheck(solve, leaves)
    assert torch.autograd.gradgradcheck(solve, leaves)


def test_the_solve_is_told(either):
    blocks, right = drawn(5, 3)
    with dp.explain() as log:
        blocks.solve(right, adjoint=False)
    (decision,) = log.decisions
    assert decision.what == "dense solve, L=5, B=1, d=3, cpu"
    assert (decision.method == "kernel") == (either == "kernel")


@pytest.mark.parametrize("width", [3, 8, 9])
def test_rows_are_scaled(width):
    g = torch.Generator().manual_seed(0)
    slope, shared = torch.randn(5, 2, width, generator=g), torch.randn(width, 4, generator=g)
    torch.testing.assert_close(scaled_rows(slope, shared), torch.diag_embed(slope) @ shared)
    own = torch.randn(5, 2, width, 4, generator=g)
    torch.testing.assert_close(scaled_rows(slope, own), torch.diag_embed(slope) @ own)
    assert dense(own) is own


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("batch", "inputs"),
    [(batch, xs) for batch in BATCHES for xs in (None, *BATCHES[: len(batch) + 1])],
)
def test_all_steps_at_once_are_the_steps_one_by_one(either, own, bias, inputs, batch):
    g = torch.Generator().manual_seed(0)
    lead, step = (5,) if own else (), dp.DenseStep()
    weight = torch.randn(*lead, 3, 3, generator=g).double()
    params = (weight, torch.randn(*lead, 3, generator=g).double()) if bias else weight
    xs = None if inputs is None else torch.randn(5, *inputs, 3, generator=g).double()
    before = torch.randn(5, *batch, 3, generator=g).double()

    def row(i):
        mine = params if not own else tuple(p[i] for p in params) if bias else weight[i]
        return step(before[i], None if xs is None else xs[i], mine)

    want = torch.stack([row(i) for i in range(5)])
    torch.testing.assert_close(step.at_once(before, xs, params), want)


def test_a_stack_forward_forms_no_blocks():
    g = torch.Generator().manual_seed(0)
    weights = 0.9 * torch.linalg.qr(torch.randn(64, 3, 3, generator=g))[0]
    z0 = torch.randn(3, generator=g)
    with dp.explain() as log:
        run = dp.parallel_forward(
            dp.DenseStep(), z0, None, weights, per_layer_params=True, method="newton"
        )
    assert run.report.converged
    assert {d.what for d in log.decisions} == {"dense solve, L=64, B=1, d=3, cpu"} | (
        {"dense solve, L=1, B=64, d=3, cpu"}
    )
    z = z0
    for weight in weights:
        z = torch.tanh(weight @ z)
    torch.testing.assert_close(run.final, z, atol=1e-5, rtol=1e-4)
    assert affine_scan(weights, torch.zeros(64, 3)).shape == (64, 3)
