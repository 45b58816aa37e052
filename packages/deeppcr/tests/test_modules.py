import deeppcr as dp
import pytest
import torch
from deeppcr.cells import GruStep, LstmStep
from deeppcr.problem import make_problem
from torch import nn

pytestmark = pytest.mark.usefixtures("either")

KINDS = [(dp.RNN, nn.RNN, {}), (dp.RNN, nn.RNN, {"nonlinearity": "relu"}), (dp.GRU, nn.GRU, {}),
         (dp.LSTM, nn.LSTM, {})]  # fmt: skip


def flat(tree):
    return torch.utils._pytree.tree_leaves(tree)


def run(module, x, hx=None):
    """Outputs, final states and all gradients of a loss that reads them all."""
    x = x.clone().requires_grad_()
    given = [t.clone().requires_grad_() for t in flat(hx)] if hx is not None else []
    if hx is not None:
        hx = tuple(given) if isinstance(hx, tuple) else given[0]
    results = flat(module(x, hx))
    loss = sum((t * torch.linspace(-1, 1, t.numel()).to(t).view_as(t)).sum() for t in results)
    leaves = [x, *given, *module.parameters()]
    return results, torch.autograd.grad(loss, leaves)


def start(kind, layers, batch):
    g = torch.Generator().manual_seed(3)
    states = [torch.randn(layers, *batch, 5, generator=g).double() for _ in range(2)]
    return tuple(states) if kind is dp.LSTM else states[0]


@pytest.mark.parametrize(("kind", "peer", "options"), KINDS)
@pytest.mark.parametrize("method", ["newton", "sequential", "auto"])
@pytest.mark.parametrize(
    ("layers", "bias", "batch_first", "batch"),
    [(1, True, False, (3,)), (2, True, True, (3,)), (2, False, False, ())],
)
def test_outputs_and_gradients_are_those_of_torch(
    kind, peer, options, method, layers, bias, batch_first, batch
):  # check 9
    torch.manual_seed(0)
    theirs = peer(3, 5, layers, bias=bias, batch_first=batch_first, dtype=torch.float64, **options)
    solver = dp.Newton(atol=1e-13, rtol=0)
    ours = kind.from_torch(theirs, method=method, solver=solver)
    shape = (*batch, 24, 3) if batch_first else (24, *batch, 3)
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1)).double()
    for hx in (None, start(kind, layers, batch)):
        (got, got_grads), (want, want_grads) = run(ours, x, hx), run(theirs, x, hx)
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-10)
        for a, b in zip(got_grads, want_grads, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)
    assert len(ours.last_reports) == layers
    assert ours.last_report.fell_back == (method != "newton")


@pytest.mark.parametrize(("kind", "peer", "options"), KINDS)
def test_single_precision_agrees_to_its_digits(kind, peer, options):
    torch.manual_seed(0)
    theirs = peer(3, 5, **options)
    x = torch.randn(200, 2, 3)
    ours = kind.from_torch(theirs, method="newton", solver=dp.Newton(atol=1e-6, rtol=0))
    (got, got_grads), (want, want_grads) = run(ours, x), run(theirs, x)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    for a, b in zip(got_grads, want_grads, strict=True):
        assert (a - b).abs().max() <= 1e-4 * b.abs().max()


@pytest.mark.parametrize(("kind", "peer", "options"), KINDS)
def test_weights_go_back_and_forth(kind, peer, options):
    theirs = peer(3, 5, 2, **options)
    ours = kind(3, 5, 2, **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(10, 2, 3)
    torch.testing.assert_close(ours(x)[0], theirs(x)[0], rtol=0, atol=1e-5)


def test_weights_are_drawn_from_the_generator():
    draws = [dp.GRU(3, 4, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    weights = [m.weight_hh_l0 for m in draws]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert all((p.abs() <= 0.5).all() for p in draws[0].parameters())


def test_making_a_copy_leaves_the_global_generator_alone():
    peer, before = nn.GRU(3, 4), torch.get_rng_state()
    dp.GRU.from_torch(peer)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("step", "gates", "size"), [(GruStep(), 3, 1), (LstmStep(), 4, 2)])
def test_the_cells_blocks_are_those_of_automatic_differentiation(step, gates, size):
    g = torch.Generator().manual_seed(0)
    z0 = torch.randn(2, 4 * size, generator=g).double()
    xs = torch.randn(7, 2, 4 * gates, generator=g).double()
    params = (torch.randn(4 * gates, 4, generator=g).double(),)
    known = make_problem(step, z0, xs, params, vectorized=True)
    z_prev = torch.randn(7, 2, 4 * size, generator=g).double()
    plain = make_problem(lambda z, x, p: step(z, x, p), z0, xs, params, vectorized=True)
    z = known.at_once(z_prev)
    torch.testing.assert_close(known.blocks(z_prev, z), plain.blocks(z_prev, z))


def test_second_derivatives_go_through_the_cells():
    torch.manual_seed(0)
    for kind in (dp.RNN, dp.GRU, dp.LSTM):
        module = kind(2, 2, method="newton", dtype=torch.float64)
        module.solver = dp.Newton(atol=1e-14, rtol=0)
        x = torch.randn(4, 1, 2, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradgradcheck(lambda x, m=module: m(x)[0], (x,))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"bidirectional": True}, "bidirectional must be False, got True"),
        ({"num_layers": 2, "dropout": 0.5}, "dropout must be 0.0, got 0.5"),
        ({"proj_size": 2}, "proj_size must be 0, got 2"),
    ],
)
def test_says_which_kinds_of_weights_do_not_do(options, text):
    with pytest.raises(ValueError, match=text):
        dp.LSTM.from_torch(nn.LSTM(3, 4, **options))


def test_says_which_arguments_do_not_do():
    with pytest.raises(TypeError, match=r"must be a torch.nn.GRU, got LSTM"):
        dp.GRU.from_torch(nn.LSTM(3, 4))
    with pytest.raises(ValueError, match="hidden_size must be >= 1, got 0"):
        dp.GRU(3, 0)
    with pytest.raises(ValueError, match='nonlinearity must be "tanh" or "relu"'):
        dp.RNN(3, 4, nonlinearity="gelu")
    with pytest.raises(ValueError, match=r"input must be \(L, B, 3\)"):
        dp.GRU(3, 4)(torch.zeros(5, 2))
    with pytest.raises(ValueError, match=r"hx must be \(1, 2, 4\), got \(1, 3, 4\)"):
        dp.GRU(3, 4)(torch.zeros(5, 2, 3), torch.zeros(1, 3, 4))
    with pytest.raises(ValueError, match="hx must be a pair"):
        dp.LSTM(3, 4)(torch.zeros(5, 2, 3), torch.zeros(1, 2, 4))
