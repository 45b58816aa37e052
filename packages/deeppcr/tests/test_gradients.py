"""Derivatives of the scan: first, second, forward, batched, under every transform."""

import pytest
import torch
from deeppcr import affine_scan
from torch.func import grad, hessian, jacfwd, jacrev, jvp, vmap

KINDS = ("dense", "diagonal", "scalar")
FLAGS = (False, True)
CASES = [(kind, reverse, start) for kind in KINDS for reverse in FLAGS for start in FLAGS]
# torch's forward mode and its fake tensors warn of their own insides
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning"),
]


def ready(system, kind, start, **options):
    leaves = system(4, 3, (2,), kind=kind, start=start, **options)
    return tuple(leaf.requires_grad_() for leaf in leaves if leaf is not None)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize(("kind", "reverse", "start"), CASES)
def test_gradcheck(system, kind, reverse, start, dtype):
    leaves = tuple(
        leaf.requires_grad_()
        for leaf in system(3, 2, (2,), kind=kind, start=start, dtype=dtype)
        if leaf is not None
    )

    def solve(*leaves):
        return affine_scan(*leaves, reverse=reverse)

    assert torch.autograd.gradcheck(
        solve,
        leaves,
        check_forward_ad=True,
        check_batched_grad=True,
        check_batched_forward_grad=True,
    )
    assert torch.autograd.gradgradcheck(solve, leaves)


@pytest.mark.parametrize("method", ["pcr", "chunked", "serial"])
def test_every_method_has_the_same_derivatives(system, method):
    A, b, z0 = system(9, 3, (2,), start=True)
    weights = system(9, 3, (2,), seed=1)[1]

    def loss(method, *leaves):
        return (affine_scan(*leaves, method=method) ** 2 * weights).sum()

    want = grad(loss, argnums=(1, 2, 3))("auto", A, b, z0)
    for got, right in zip(grad(loss, argnums=(1, 2, 3))(method, A, b, z0), want, strict=True):
        torch.testing.assert_close(got, right)


def test_gradients_equal_those_of_the_loop(system, loop):
    leaves = ready(system, "dense", start=True)
    weights = system(4, 3, (2,), seed=1)[1]
    for reverse in (False, True):
        want = torch.autograd.grad((loop(*leaves, reverse=reverse) * weights).sum(), leaves)
        got = torch.autograd.grad((affine_scan(*leaves, reverse=reverse) * weights).sum(), leaves)
        for mine, theirs in zip(got, want, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_blocks_that_are_broadcast_get_the_sum_of_the_gradients(system, loop):
    A, b, _ = system(5, 3, (2, 3))
    for shape in ((5, 1, 1, 3, 3), (5, 2, 1, 3, 3), (5, 1, 3, 3), (5, 1, 1, 1), (5,)):
        blocks = A.flatten()[: torch.Size(shape).numel()].view(shape).clone().requires_grad_()
        aligned = blocks.view(5, 1, 1, 1) if blocks.ndim == 1 else blocks
        (want,) = torch.autograd.grad(loop(aligned, b).square().sum(), blocks)
        (got,) = torch.autograd.grad(affine_scan(blocks, b).square().sum(), blocks)
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_needs_a_gradient_gets_one(system, kind):
    A, b, z0 = system(4, 3, (2,), kind=kind, start=True)
    for i in range(3):
        leaves = [A.clone(), b.clone(), z0.clone()]
        leaves[i].requires_grad_()
        affine_scan(*leaves).sum().backward()
        assert [leaf.grad is not None for leaf in leaves] == [j == i for j in range(3)]


@pytest.mark.parametrize(
    "dims", [(0, 0, 0), (0, None, None), (None, 1, None), (2, None, 0), (None, 0, 1)]
)
@pytest.mark.parametrize("reverse", [False, True])
def test_vmap_equals_a_loop_over_the_samples(system, dims, reverse):
    A, b, z0 = system(6, 3, (5,), start=True)
    whole = [A, b, z0]
    samples = [leaf.unbind(0 if i == 2 else 1) for i, leaf in enumerate(whole)]
    inputs = [
        torch.stack(parts, dim) if dim is not None else parts[0]
        for parts, dim in zip(samples, dims, strict=True)
    ]
    got = vmap(lambda *x: affine_scan(*x, reverse=reverse), in_dims=dims)(*inputs)
    for i in range(5):
        mine = [
            parts[0] if dim is None else parts[i] for parts, dim in zip(samples, dims, strict=True)
        ]
        torch.testing.assert_close(got[i], affine_scan(*mine, reverse=reverse))


def test_transforms_compose(system, loop):
    A, b, z0 = system(4, 2, start=True)

    def ours(A):
        return affine_scan(A, b, z0).sin().sum()

    def theirs(A):
        return loop(A, b, z0).sin().sum()

    torch.testing.assert_close(hessian(ours)(A), hessian(theirs)(A))
    torch.testing.assert_close(jacrev(jacfwd(ours))(A), jacrev(jacrev(theirs))(A))
    with pytest.raises(RuntimeError, match=r"forward mode within forward .* torch.func.hessian"):
        jacfwd(jacfwd(ours))(A)
    stack = torch.stack([A, 2 * A, -A])
    torch.testing.assert_close(vmap(grad(ours))(stack), vmap(grad(theirs))(stack))


def test_forward_mode_with_some_tangents_only(system, loop):
    A, b, z0 = system(5, 3, (2,), start=True)
    moves = system(5, 3, (2,), start=True, seed=1)
    for i in range(3):

        def ours(x, i=i):
            return affine_scan(*[x if j == i else y for j, y in enumerate((A, b, z0))])

        def theirs(x, i=i):
            return loop(*[x if j == i else y for j, y in enumerate((A, b, z0))])

        got, want = (jvp(f, ((A, b, z0)[i],), (moves[i],))[1] for f in (ours, theirs))
        torch.testing.assert_close(got, want)


def test_many_cotangents_at_once(system):
    A, b = ready(system, "dense", start=False)
    z = affine_scan(A, b)
    cotangents = torch.stack([system(4, 3, (2,), seed=i)[1] for i in range(3)])
    batched = torch.autograd.grad(z, (A, b), cotangents, is_grads_batched=True, retain_graph=True)
    for i, one in enumerate(cotangents):
        for many, single in zip(
            batched, torch.autograd.grad(z, (A, b), one, retain_graph=True), strict=True
        ):
            torch.testing.assert_close(many[i], single)


def test_gradients_in_half_precision_keep_their_dtype(system):
    A, b, z0 = (x.to(torch.bfloat16).requires_grad_() for x in system(64, 4, start=True))
    affine_scan(A, b, z0).float().square().sum().backward()
    exact = [x.detach().double().requires_grad_() for x in (A, b, z0)]
    affine_scan(*exact).square().sum().backward()
    for mine, right in zip((A, b, z0), exact, strict=True):
        assert mine.grad.dtype == torch.bfloat16
        assert (mine.grad.double() - right.grad).norm() < 0.01 * right.grad.norm()


def test_autocast_changes_nothing(system):
    A, b, z0 = (x.float() for x in system(20, 3, start=True))
    want = affine_scan(A, b, z0, method="oddeven")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(affine_scan(A, b, z0, method="oddeven"), want)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dense", "diagonal"])
def test_compiles_whole_and_agrees_with_eager(system, kind):
    A, b, z0 = system(9, 3, (2,), kind=kind, start=True)

    def loss(A, b, z0):
        return affine_scan(A.sin(), b, z0, reverse=True).cos().sum()

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    eager_leaves, compiled_leaves = (
        [x.clone().requires_grad_() for x in (A, b, z0)] for _ in range(2)
    )
    want, got = loss(*eager_leaves), compiled(*compiled_leaves)
    torch.testing.assert_close(got, want)
    want.backward()
    got.backward()
    for mine, theirs in zip(compiled_leaves, eager_leaves, strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_the_operator_obeys_the_rules_of_torch(system):
    A, b, z0 = (x.requires_grad_() for x in system(5, 3, (2,), start=True))
    operator = torch.ops.deeppcr.scan.default
    for reverse, adjoint, start in ((False, False, z0), (True, True, None)):
        torch.library.opcheck(operator, (A, b, start, reverse, adjoint, "auto"))


def test_a_fake_tensor_has_the_shape_of_the_states():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        z = affine_scan(torch.empty(5, 2, 3, 3), torch.empty(5, 2, 3))
    assert z.shape == (5, 2, 3)
