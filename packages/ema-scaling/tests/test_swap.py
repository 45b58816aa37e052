"""Reading the average: teacher calls, swaps, copies, names under wrappers."""

import pytest
import torch
from ema_scaling import ModelEMA
from ema_scaling._track import canonical_name, unwrap
from torch import nn


def network(batchnorm=True):
    layers = [nn.Linear(4, 8), nn.BatchNorm1d(8) if batchnorm else nn.Identity(), nn.Linear(8, 2)]
    return nn.Sequential(*layers)


def bits(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def pair(move):
    model = network()
    ema = ModelEMA(model, 0.5, batch=2)
    for _ in range(3):
        model(torch.randn(6, 4))
        move(model)
        ema.update()
    return model.eval(), ema


def test_a_swap_puts_the_average_in_and_the_weights_back_bit_by_bit(pair):
    model, ema = pair
    before = bits(model)
    with ema.swap() as inside:
        assert inside is model
        assert torch.equal(model[0].weight, ema.weights()["0.weight"])
        assert not torch.equal(model[0].weight, before["0.weight"])
        assert ema.swapped
    assert same(bits(model), before)
    assert not ema.swapped


def test_an_exception_inside_a_swap_restores_the_weights(pair):
    model, ema = pair
    before = bits(model)
    with pytest.raises(ZeroDivisionError), ema.swap():
        1 / 0  # noqa: B018
    assert same(bits(model), before)
    ema.update()


def test_swaps_may_be_nested_also_with_a_corrected_readout(move):
    model = network(batchnorm=False)
    ema = ModelEMA(model, 0.9, update_every=2, corrected=True)
    for _ in range(4):
        move(model)
        ema.update()
    before = bits(model)
    with ema.swap():
        outer = bits(model)
        with ema.swap():
            assert same(bits(model), outer)
        assert same(bits(model), outer)
        assert same({k: v for k, v in ema.raw_weights().items()}, before)
    assert same(bits(model), before)


def test_a_swap_leaves_optimizer_and_generator_alone(pair):
    model, ema = pair
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    model(torch.randn(3, 4)).sum().backward()
    optimizer.step()
    state = [s["exp_avg"].clone() for s in optimizer.state.values()]
    random = torch.get_rng_state()
    with ema.swap():
        pass
    ema.update()
    ema(torch.ones(2, 4))
    assert torch.equal(torch.get_rng_state(), random)
    assert all(
        torch.equal(a, s["exp_avg"]) for a, s in zip(state, optimizer.state.values(), strict=True)
    )


def test_an_update_inside_a_swap_is_refused(pair):
    _, ema = pair
    with ema.swap(), pytest.raises(RuntimeError, match="would average the average"):
        ema.update()
    with ema.swap(), pytest.raises(RuntimeError, match="own, unsharded weights"):
        ema.lag()


def test_the_state_inside_a_swap_is_the_state_outside(pair):
    _, ema = pair
    before = {k: v.clone() for k, v in ema.state_dict()["shadow"].items()}
    with ema.swap():
        assert same(ema.state_dict()["shadow"], before)


def test_the_teacher_equals_the_swapped_model_and_has_no_gradient(pair):
    model, ema = pair
    x = torch.randn(5, 4, requires_grad=True)
    taught = ema(x)
    with ema.swap():
        torch.testing.assert_close(taught, model(x))
    assert not taught.requires_grad
    assert not torch.allclose(taught, model(x))


def test_a_teacher_in_training_mode_moves_no_statistics(pair):
    model, ema = pair
    model.train()
    student, average = bits(model), {k: v.clone() for k, v in ema.weights().items()}
    out = ema(torch.randn(5, 4))
    assert same(bits(model), student)
    assert same(ema.weights(), average)
    model.eval()
    assert not torch.allclose(out, ema(torch.zeros(5, 4)))


def test_a_student_step_between_forward_and_teacher_keeps_autograd_whole(pair):
    model, ema = pair
    x = torch.randn(5, 4)
    loss = (model(x) - ema(x)).square().mean()
    loss.backward()
    assert model[0].weight.grad is not None


def test_a_copy_is_a_model_of_its_own(pair):
    model, ema = pair
    twin = ema.materialize()
    x = torch.randn(5, 4)
    torch.testing.assert_close(twin(x), ema(x))
    assert not twin.training
    assert not any(p.requires_grad for p in twin.parameters())
    other = network()
    ema.copy_to(other)
    torch.testing.assert_close(other.eval()(x), twin(x))
    with ema.swap(other) as swapped:
        assert swapped is other
        assert not ema.swapped
    ema.copy_to()
    torch.testing.assert_close(model(x), twin(x))


def test_another_architecture_is_refused_by_name(pair):
    _, ema = pair
    with pytest.raises(ValueError, match=r"removed: 2\.bias, 2\.weight\)"):
        ema.copy_to(nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8)))
    with pytest.raises(ValueError, match=r"reshaped: 0\.weight \(8, 4\) -> \(8, 3\)"):
        ema.copy_to(nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)))


def test_a_low_precision_model_reads_its_own_dtype(move):
    model = network(batchnorm=False).to(torch.bfloat16)
    ema = ModelEMA(model, 0.9)
    move(model)
    ema.update()
    assert ema.average.shadow["0.weight"].dtype == torch.float32
    assert ema(torch.ones(1, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "name",
    [
        "module.0.weight",
        "_orig_mod.0.weight",
        "module._orig_mod.0.weight",
        "_orig_mod.module.0.weight",
        "_fsdp_wrapped_module.0._fsdp_wrapped_module.weight",
        "0._checkpoint_wrapped_module.weight",
        "0.weight",
    ],
)
def test_wrappers_leave_no_trace_in_the_names(name):
    assert canonical_name(name) == "0.weight"


def test_a_submodule_that_is_called_module_keeps_its_name():
    assert canonical_name("net.module.weight") == "net.module.weight"
    assert canonical_name("my_orig_mod.weight") == "my_orig_mod.weight"

    class Clash(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(1))
            self.module = nn.Module()
            self.module.weight = nn.Parameter(torch.ones(1))

    assert sorted(ModelEMA(Clash(), 0.9).weights()) == ["module.weight", "weight"]


def test_a_compiled_model_sees_the_swapped_weights(pair, move):
    model, _ = pair
    compiled = torch.compile(model, backend="eager")
    ema = ModelEMA(compiled, 0.5)
    assert "0.weight" in ema.weights()
    assert unwrap(compiled) is model
    x = torch.randn(3, 4)
    raw = compiled(x)
    move(model, 1.0)
    ema.update()
    moved = compiled(x)
    with ema.swap():
        swapped = compiled(x)
        torch.testing.assert_close(swapped, model(x))
    assert not torch.allclose(swapped, moved)
    torch.testing.assert_close(ema(x), swapped)
    torch.testing.assert_close(compiled(x), moved)
    assert not torch.allclose(raw, moved)


def test_an_average_of_a_wrapped_model_loads_into_a_bare_one(pair):
    model, _ = pair
    wrapped = nn.DataParallel(torch.compile(model, backend="eager"))
    over, bare = ModelEMA(wrapped, 0.5), ModelEMA(model, 0.5)
    bare.load_state_dict(over.state_dict())
    assert over.weights().keys() == bare.weights().keys()


def test_activation_checkpointing_wrappers_are_followed(pair, move):
    from torch.distributed.algorithms._checkpoint import checkpoint_wrapper as wrappers

    model = nn.Sequential(wrappers.checkpoint_wrapper(nn.Linear(4, 4)), nn.Linear(4, 2))
    ema = ModelEMA(model, 0.5)
    move(model)
    ema.update()
    assert sorted(ema.weights()) == ["0.bias", "0.weight", "1.bias", "1.weight"]
    x = torch.randn(2, 4)
    with ema.swap():
        want = model(x)
    torch.testing.assert_close(ema(x), want)
