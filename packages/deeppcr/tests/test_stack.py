import copy

import deeppcr as dp
import pytest
import torch
from deeppcr.stack import Run
from torch import nn

pytestmark = pytest.mark.usefixtures("either")

TIGHT = dp.Newton(atol=1e-13, rtol=0)


class Residual(nn.Module):
    def __init__(self, width, scale=0.1):
        super().__init__()
        self.inner, self.scale = nn.Linear(width, width), scale

    def forward(self, x):
        return x + self.scale * torch.tanh(self.inner(x))


class Convolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(2, 2, 3, padding=1)
        nn.init.normal_(self.inner.weight, std=0.05)

    def forward(self, x):
        return x + torch.tanh(self.inner(x))


def dense(count, width=4, activation=nn.Tanh, bias=True):
    return [m for _ in range(count) for m in (nn.Linear(width, width, bias=bias), activation())]


MODELS = {
    "dense": lambda: nn.Sequential(nn.Linear(3, 4), *dense(40), nn.Linear(4, 1)),
    "relu": lambda: nn.Sequential(nn.Linear(3, 4), *dense(30, activation=nn.ReLU)),
    "sigmoid": lambda: nn.Sequential(nn.Linear(3, 4), *dense(30, activation=nn.Sigmoid)),
    "linear": lambda: nn.Sequential(nn.Linear(3, 4), *dense(30, activation=nn.Identity)),
    "no bias": lambda: nn.Sequential(nn.Linear(3, 4), *dense(30, bias=False)),
    "residual": lambda: nn.Sequential(nn.Linear(3, 4), *[Residual(4) for _ in range(30)]),
    "two runs": lambda: nn.Sequential(
        nn.Linear(3, 4), *dense(8), nn.Linear(4, 5), *[Residual(5) for _ in range(6)]
    ),
}


@pytest.mark.parametrize("method", ["newton", "sequential"])
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch", [(6,), (2, 3), ()])
def test_outputs_and_gradients_are_those_of_the_sequential_model(name, method, batch):
    torch.manual_seed(0)
    plain = MODELS[name]().double()
    model = dp.DeepPCR(plain, method=method, solver=TIGHT)
    x = torch.randn(*batch, 3, generator=torch.Generator().manual_seed(1)).double()
    results = []
    for each in (model, plain):
        leaf = x.clone().requires_grad_()
        out = each(leaf)
        results.append((out, *torch.autograd.grad(out.sin().sum(), [leaf, *each.parameters()])))
    for got, want in zip(*results, strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-11)
    if method == "sequential":
        assert torch.equal(results[0][0], results[1][0])
    assert len(model.last_reports) == len(model.runs) > 0
    assert model.last_report.fell_back == (method == "sequential")


def test_convolutions_keep_their_shape_and_mix_only_inside_a_sample():
    torch.manual_seed(0)
    plain = nn.Sequential(*[Convolution() for _ in range(8)]).double()
    x = torch.randn(3, 2, 4, 4).double()
    for method in ("newton", "sequential"):
        model = dp.DeepPCR(plain, method=method, solver=TIGHT)
        out = model(x)
        torch.testing.assert_close(out, plain(x), rtol=0, atol=1e-11)
        got = torch.autograd.grad(out.sin().sum(), list(model.parameters()))
        want = torch.autograd.grad(plain(x).sin().sum(), list(plain.parameters()))
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_keys_and_modules_are_those_of_the_model():
    plain = MODELS["dense"]()
    model = dp.DeepPCR(plain)
    assert list(model.state_dict()) == list(plain.state_dict())
    assert model[0] is plain[0]
    copy.deepcopy(model).load_state_dict(plain.state_dict())


def test_runs_are_found_from_the_left_the_longest_first():
    assert dp.DeepPCR(MODELS["two runs"]()).runs == (Run(1, 2, 8), Run(18, 1, 6))
    blocks = [nn.Sequential(nn.Linear(4, 4), nn.Tanh()) for _ in range(5)]
    assert dp.DeepPCR(nn.Sequential(*blocks)).runs == (Run(0, 1, 5),)
    assert dp.DeepPCR(nn.Sequential(*dense(3))).runs == ()


def test_unlike_blocks_are_no_run():
    def runs(*modules):
        return dp.DeepPCR(nn.Sequential(*modules)).runs

    assert runs(*[Residual(4, scale=0.1 * i) for i in range(6)]) == ()  # a plain attribute differs
    assert runs(*[nn.Dropout() for _ in range(6)]) == ()
    assert runs(*[nn.BatchNorm1d(4) for _ in range(6)]) == ()
    hooked = [Residual(4) for _ in range(6)]
    hooked[3].register_forward_hook(lambda *a: None)
    assert runs(*hooked) == ()


def test_a_short_training_is_that_of_the_sequential_model():
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(3, 4), *[Residual(4) for _ in range(20)], nn.Linear(4, 1))
    plain = plain.double()
    ours = dp.DeepPCR(copy.deepcopy(plain), method="sequential")
    x = torch.randn(16, 3).double()
    y = x.prod(-1, keepdim=True)
    losses = []
    for model in (ours, plain):
        optimizer, curve = torch.optim.Adam(model.parameters(), lr=0.01), []
        for _ in range(10):
            optimizer.zero_grad()
            loss = (model(x) - y).square().mean()
            loss.backward()
            optimizer.step()
            curve.append(float(loss.detach()))
        losses.append(curve)
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    assert losses[0][-1] < losses[0][0]


def test_says_what_a_model_must_be():
    with pytest.raises(TypeError, match=r"layers must be a torch.nn.Sequential, got Linear"):
        dp.DeepPCR(nn.Linear(3, 3))
