"""The parallel backward of an ordinary loop against autograd through that loop."""

import math

import pytest
import torch
from deeppcr import DenseStep, StepError, sequential_forward
from deeppcr.adjoint import jacobians, pullback
from deeppcr.chain import make_chain
from hypothesis import given
from hypothesis import strategies as st
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, vmap

pytestmark = [
    pytest.mark.usefixtures("either"),
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:FutureWarning"),
]


def cell(z, x, params):
    """A recurrent cell without a closed form."""
    weight, bias = params
    z = torch.einsum("ij,...j->...i", weight, z) + bias
    return torch.tanh(z if x is None else z + x) + 0.1 * z.sin()


def walk(step, z0, xs, params, length, *, per_layer=False, lengths=None):
    """The definition: a loop that autograd can follow."""
    z, states = z0, []
    for i in range(length):
        own = tuple(p[i] for p in params) if per_layer else params
        after = step(z, None if xs is None else xs[i], own)
        z = after if lengths is None else torch.where((i < lengths)[..., None], after, z)
        states.append(z)
    return torch.stack(states)


def draw(length, d, batch, *, per_layer, inputs, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)

    def leaf(*shape, scale=1.0):
        return (scale * torch.randn(*shape, generator=g, dtype=dtype)).requires_grad_()

    lead = (length,) if per_layer else ()
    params = leaf(*lead, d, d, scale=0.8 / d**0.5), leaf(*lead, d, scale=0.3)
    return leaf(*batch, d), leaf(length, *batch, d) if inputs else None, params


def closest(got, want, tolerance=1e-9):
    for mine, theirs in zip(got, want, strict=True):
        assert (mine - theirs).norm() <= tolerance * theirs.norm().clamp_min(1e-12)


@pytest.mark.parametrize("step", [cell, *map(DenseStep, ("tanh", "sigmoid", "relu", "identity"))])
@given(
    length=st.integers(1, 20), d=st.integers(1, 5), batch=st.sampled_from([(), (3,), (2, 2)]),
    per_layer=st.booleans(), inputs=st.booleans(), ragged=st.booleans(), seed=st.integers(0, 2**31),
)  # fmt: skip
def test_states_are_the_loop_s_and_gradients_are_autograd_s(
    step, length, d, batch, per_layer, inputs, ragged, seed
):
    z0, xs, params = draw(length, d, batch, per_layer=per_layer, inputs=inputs, seed=seed)
    g = torch.Generator().manual_seed(seed)
    lengths = torch.randint(0, length + 1, batch, generator=g) if ragged else None
    want = walk(step, z0, xs, params, length, per_layer=per_layer, lengths=lengths)
    options = {"length": length, "per_layer_params": per_layer, "lengths": lengths}
    got = sequential_forward(step, z0, xs, params, **options)
    assert torch.equal(got, want)
    leaves = [z0, *params, *([xs] if inputs else [])]
    weights = torch.randn(want.shape, generator=g, dtype=want.dtype)
    closest(torch.autograd.grad(got, leaves, weights), torch.autograd.grad(want, leaves, weights))


def test_a_thousand_layers(system):
    z0, _, params = draw(1024, 4, (), per_layer=True, inputs=False)
    leaves = [z0, *params]
    for step in (cell, DenseStep()):
        want = walk(step, z0, None, params, 1024, per_layer=True)
        got = sequential_forward(step, z0, None, params, per_layer_params=True)
        closest(
            torch.autograd.grad(got[-1].sum(), leaves), torch.autograd.grad(want[-1].sum(), leaves)
        )


def test_autograd_backward_is_the_plain_graph():
    z0, xs, params = draw(6, 3, (2,), per_layer=False, inputs=True)
    got = sequential_forward(cell, z0, xs, params, backward="autograd")
    want = walk(cell, z0, xs, params, 6)
    assert torch.equal(got, want)
    for mine, theirs in zip(
        torch.autograd.grad(got.sum(), params), torch.autograd.grad(want.sum(), params), strict=True
    ):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("step", [cell, DenseStep("tanh")])
def test_second_derivatives_and_forward_mode(step):
    z0, xs, params = draw(4, 2, (2,), per_layer=False, inputs=True)

    def states(z0, xs, *params):
        return sequential_forward(step, z0, xs, params)

    leaves = (z0, xs, *params)
    assert torch.autograd.gradcheck(states, leaves, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(states, leaves)


def test_transforms_agree_with_those_of_the_loop():
    z0, xs, params = draw(5, 3, (2,), per_layer=False, inputs=True)
    leaves = [x.detach() for x in (z0, xs, *params)]

    def ours(z0, xs, *params):
        return sequential_forward(cell, z0, xs, params)

    def theirs(z0, xs, *params):
        return walk(cell, z0, xs, params, 5)

    moves = tuple(torch.randn_like(x) for x in leaves)
    closest([jvp(ours, tuple(leaves), moves)[1]], [jvp(theirs, tuple(leaves), moves)[1]])
    for i in range(4):
        want = jacrev(theirs, i)(*leaves)
        closest([jacrev(ours, i)(*leaves), jacfwd(ours, i)(*leaves)], [want, want])
    many = [torch.stack([x, -x, 2 * x]) for x in leaves]

    def loss(f, *leaves):
        return f(*leaves).square().sum()

    for dims in ((0, 0, 0, 0), (0, None, None, None), (None, None, 0, 0)):
        inputs = [m if dim == 0 else x for m, x, dim in zip(many, leaves, dims, strict=True)]
        got, want = (
            vmap(grad(lambda *x, f=f: loss(f, *x), argnums=(0, 1, 2, 3)), in_dims=dims)(*inputs)
            for f in (ours, theirs)
        )
        closest(got, want)


def test_the_state_may_be_a_pytree_and_the_parameters_a_module_s():
    torch.manual_seed(0)
    gates = torch.nn.Linear(3 + 4, 5 * 4).double()
    xs = torch.randn(7, 2, 3, dtype=torch.float64)
    start = tuple(torch.randn(2, n, dtype=torch.float64) for n in (4, 8))

    def step(z, x, params):
        h, c = z
        i, f, *u, o = functional_call(gates, params, (torch.cat([x, h], -1),)).chunk(5, -1)
        c = c * torch.cat([f, i], -1).sigmoid() + torch.cat(u, -1).tanh()
        return o.sigmoid() * c[..., :4].tanh(), c

    params = dict(gates.named_parameters())
    h, c = sequential_forward(step, start, xs, params)
    state, want = start, []
    for x in xs:
        state = step(state, x, params)
        want.append(state)
    assert torch.equal(h, torch.stack([w[0] for w in want]))
    assert torch.equal(c, torch.stack([w[1] for w in want]))
    leaves = list(params.values())
    closest(
        torch.autograd.grad((h.sum(-1) * c.cos().sum(-1)).sum(), leaves),
        torch.autograd.grad(sum((a.sum(-1) * b.cos().sum(-1)).sum() for a, b in want), leaves),
    )


def test_a_jacobian_in_closed_form_is_used_dense_or_diagonal():
    z0, xs, _ = draw(8, 3, (2,), per_layer=False, inputs=True)
    scale = torch.rand(3, dtype=torch.float64, requires_grad=True)
    asked = []

    def step(z, x, scale):
        return torch.sin(scale * z) + x

    def diagonal(z, x, scale):
        asked.append("diagonal")
        return scale * torch.cos(scale * z)

    def dense(z, x, scale):
        return torch.diag_embed(scale * torch.cos(scale * z))

    leaves = [z0, xs, scale]
    want = torch.autograd.grad(sequential_forward(step, z0, xs, scale).sum(), leaves)
    ends = torch.tensor([8, 3])
    ragged = sequential_forward(step, z0, xs, scale, lengths=ends)
    want_ragged = torch.autograd.grad(ragged.sum(), leaves)
    for jacobian in (diagonal, dense):
        states = sequential_forward(step, z0, xs, scale, jacobian=jacobian)
        closest(torch.autograd.grad(states.sum(), leaves), want)
        states = sequential_forward(step, z0, xs, scale, jacobian=jacobian, lengths=ends)
        closest(torch.autograd.grad(states.sum(), leaves), want_ragged)
    assert asked


def test_a_vectorized_step_is_given_all_rows_at_once():
    z0, xs, params = draw(6, 3, (2,), per_layer=False, inputs=True)
    shapes = []

    def step(z, x, params):
        shapes.append(tuple(z.shape))
        return cell(z, x, params)

    states = sequential_forward(step, z0, xs, params, vectorized=True)
    shapes.clear()
    got = torch.autograd.grad(states.sum(), params)
    assert (6, 2, 3) in shapes
    want = torch.autograd.grad(walk(cell, z0, xs, params, 6).sum(), params)
    closest(got, want)


def test_complex_states():
    g = torch.Generator().manual_seed(1)
    A = (torch.randn(3, 3, generator=g, dtype=torch.complex128) / 3).requires_grad_()
    z0 = torch.randn(2, 3, generator=g, dtype=torch.complex128).requires_grad_()

    def step(z, x, A):
        return torch.sin(z @ A.mT)

    for chosen in (step, DenseStep("tanh")):
        got = sequential_forward(chosen, z0, None, A, length=5)
        z, want = z0, []
        for _ in range(5):
            z = chosen(z, None, A)
            want.append(z)
        want = torch.autograd.grad(torch.stack(want).abs().sum(), [A, z0])
        closest(torch.autograd.grad(got.abs().sum(), [A, z0]), want)


def test_half_precision_is_solved_in_float32():
    z0, xs, params = draw(400, 4, (), per_layer=False, inputs=True, dtype=torch.bfloat16)
    got = torch.autograd.grad(sequential_forward(cell, z0, xs, params).float().sum(), params)
    want = torch.autograd.grad(walk(cell, z0, xs, params, 400).float().sum(), params)
    for mine, theirs in zip(got, want, strict=True):
        assert mine.dtype == torch.bfloat16
        assert (mine - theirs).float().norm() < 0.05 * theirs.float().norm()


def test_integers_among_the_inputs_pass_through():
    table = torch.rand(5, 3, dtype=torch.float64, requires_grad=True)
    tokens = torch.tensor([[0, 4], [1, 1], [2, 0]])
    z0 = torch.zeros(2, 3, dtype=torch.float64)

    def step(z, token, table):
        return torch.tanh(z + table[token])

    got = torch.autograd.grad(sequential_forward(step, z0, tokens, table).sum(), table)
    z, total = z0, 0.0
    for token in tokens:
        z = step(z, token, table)
        total = total + z.sum()
    closest(got, torch.autograd.grad(total, table))


def test_nan_is_not_hidden():
    z0, xs, params = draw(6, 2, (), per_layer=False, inputs=True)
    with torch.no_grad():
        xs[3, 0] = math.nan
    states = sequential_forward(cell, z0, xs, params)
    assert states[:3].isfinite().all()
    assert states[3:].isnan().any(-1).all()
    (gradient,) = torch.autograd.grad(states[-1].sum(), z0)
    assert gradient.isnan().all()


def test_jacobians_equal_those_of_the_step():
    z0, xs, params = draw(4, 3, (2,), per_layer=False, inputs=True)
    chain, _, inputs, shared = make_chain(cell, z0.detach(), xs.detach(), params)
    before = torch.randn(4, 2, 3, dtype=torch.float64)
    got = jacobians(chain, before, inputs, shared)
    for i in range(4):
        for j in range(2):
            want = jacrev(cell)(before[i, j], xs[i, j], params)
            torch.testing.assert_close(got[i, j], want)


def test_the_pullback_leaves_out_what_is_not_wanted():
    z0, xs, params = draw(4, 3, (), per_layer=False, inputs=True)
    leaves = z0.detach(), xs.detach(), tuple(p.detach() for p in params)
    chain, start, inputs, shared = make_chain(cell, *leaves)
    states = walk(cell, *leaves, 4)
    _, by_step, common = pullback(
        chain, start, states, inputs, shared, torch.ones_like(states), wanted=[False, True, False]
    )
    assert by_step == (None,)
    assert common[0] is not None
    assert common[1] is None


def test_no_steps_give_no_states():
    states = sequential_forward(cell, torch.zeros(2, 3), torch.zeros(0, 2, 3), (torch.eye(3),) * 2)
    assert states.shape == (0, 2, 3)


def test_a_step_that_hides_its_parameters_is_refused():
    layer = torch.nn.Linear(3, 3)
    with pytest.raises(StepError, match=r"not among its arguments: pass them in params"):
        sequential_forward(lambda z, x, p: layer(z), torch.zeros(3), length=4)
    with torch.no_grad():
        sequential_forward(lambda z, x, p: layer(z), torch.zeros(3), length=4)
    states = sequential_forward(
        lambda z, x, p: layer(z), torch.zeros(3), length=4, backward="autograd"
    )
    assert states.requires_grad


def test_a_step_that_vmap_cannot_take_says_what_would_do():
    def step(z, x, p):
        return z * p if z.sum().item() > 0 else z - p

    p = torch.ones(3, requires_grad=True)
    states = sequential_forward(step, torch.ones(3), None, p, length=3)
    with pytest.raises(StepError, match=r"torch.vmap .*vectorized=True, or use the plain loop"):
        states.sum().backward()


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"backward": "fast"}, ValueError, "\"parallel\" or \"autograd\", got 'fast'"),
        ({"length": None}, ValueError, r"number of steps must be given .* got \[\]"),
        ({"xs": torch.zeros(5, 3)}, ValueError, r"be one: got \[4, 5\]"),
        ({"xs": [1.0]}, TypeError, "xs must hold tensors only, got float"),
        ({"z0": ()}, ValueError, r"z0 must be a tensor \(\*B, d\)"),
        ({"z0": torch.tensor(1.0)}, ValueError, r"z0 must be a tensor \(\*B, d\)"),
        ({"z0": (torch.zeros(2, 3), torch.zeros(3))}, TypeError, "must agree in dtype"),
        ({"step": lambda z, x, p: z[:2]}, StepError, r"\[\(3,\)\] .* got \[\(\(2,\)"),
        ({"step": lambda z, x, p: z.double()}, StepError, "torch.float64"),
        ({"step": lambda z, x, p: (z, z)}, StepError, "a state like the one it takes"),
        ({"step": lambda z, x, p: None}, StepError, "a state like the one it takes"),
        ({"lengths": torch.tensor([1])}, ValueError, r"integers of shape \(\), one a sample"),
    ],
)  # fmt: skip
def test_says_what_came(options, error, text):
    arguments = {"step": lambda z, x, p: z, "z0": torch.zeros(3), "length": 4, **options}
    with pytest.raises(error, match=text):
        sequential_forward(**arguments)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="tanh, sigmoid, relu, identity; got 'gelu'"):
        DenseStep("gelu")
