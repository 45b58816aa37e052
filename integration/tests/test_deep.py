import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tenfold.deep import BACKWARDS, ResidualStep, Stack, train
from tenfold.methods import seeded


def gradients(backward, depth, width, batch, seed):
    """Loss and gradients of a stack in double precision; of blocks that are modules, stacked."""
    make = seeded(seed, lambda: Stack(depth, width, inputs=6, classes=3, backward=backward))
    model = make.double()
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, 6, generator=g, dtype=torch.float64)
    loss = F.cross_entropy(model(x), torch.arange(batch) % 3)
    loss.backward()
    if backward == "modules":
        linear = [block.linear for block in model.blocks]
        own = [torch.stack([getattr(m, name).grad for m in linear]) for name in ("weight", "bias")]
    else:
        own = [model.weights.grad, model.biases.grad]
    rest = [p.grad for part in (model.stem, model.head) for p in part.parameters()]
    return loss, [*own, *rest]


@settings(max_examples=10, deadline=None)
@given(
    depth=st.integers(1, 9),
    width=st.integers(1, 5),
    batch=st.integers(1, 4),
    seed=st.integers(0, 99),
)
def test_all_ways_backwards_give_one_gradient(depth, width, batch, seed):
    loss, wanted = gradients("loop", depth, width, batch, seed)
    for backward in BACKWARDS[1:]:
        again, found = gradients(backward, depth, width, batch, seed)
        assert torch.allclose(again, loss, rtol=1e-12)
        for one, other in zip(found, wanted, strict=True):
            assert torch.allclose(one, other, rtol=1e-9, atol=1e-12)


def test_the_blocks_derivative_is_that_of_the_block():
    g = torch.Generator().manual_seed(0)
    step = ResidualStep(0.3)
    before = torch.randn(2, 1, 3, generator=g, dtype=torch.float64)
    params = tuple(
        torch.randn(2, *shape, generator=g, dtype=torch.float64) for shape in ((3, 3), (3,))
    )
    after = torch.stack([step(z, None, pair) for z, *pair in zip(before, *params, strict=True)])
    blocks, _ = step.linearize(before, after, None, params)
    for n in range(2):
        pair = tuple(leaf[n] for leaf in params)
        wanted = torch.autograd.functional.jacobian(lambda z, p=pair: step(z, None, p), before[n])
        assert torch.allclose(blocks[n, 0], wanted[0, :, 0], atol=1e-14)


def test_the_forward_is_the_loops_to_the_bit():
    x = torch.randn(5, 784, generator=torch.Generator().manual_seed(0))
    loop, parallel = (
        seeded(0, lambda way=way: Stack(40, 4, backward=way))(x) for way in ("loop", "parallel")
    )
    assert torch.equal(loop, parallel)


def run(backward, seed=0):
    g = torch.Generator().manual_seed(5)
    rows = torch.randn(64, 6, generator=g), torch.arange(64) % 3
    make = lambda: Stack(16, 4, inputs=6, classes=3, backward=backward)  # noqa: E731
    steps = []
    found = train(
        seeded(0, make).double(), (rows[0].double(), rows[1]), (rows[0].double(), rows[1]),
        steps=12, batch=16, seed=seed, progress=lambda *step: steps.append(step),
    )  # fmt: skip
    assert steps == [(n, 12) for n in range(1, 13)]
    return found


def test_training_follows_the_same_curve_whatever_the_backward():
    loop, parallel = run("loop"), run("parallel")
    assert loop.losses == pytest.approx(parallel.losses, rel=1e-9)
    assert loop.losses != pytest.approx(run("loop", seed=1).losses, rel=1e-3)  # another order
    assert loop.test_loss == pytest.approx(parallel.test_loss, rel=1e-9)
    assert loop.seconds > 0


def test_says_which_backward_there_is():
    with pytest.raises(ValueError, match=r"loop, modules, parallel, any step; got 'none'"):
        Stack(2, 2, backward="none")
