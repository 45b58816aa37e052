import copy
import inspect
from collections import namedtuple

import pytest
import torch
from act_steer.apply import StrengthWarning, apply, attach, resolve
from act_steer.errors import ShapeMismatch
from act_steer.hooks import SteeredModule
from act_steer.move import Move
from act_steer.sites import Site, grouped, width_of
from act_steer_models import affine, hooks_on, norms, tiny_llama
from torch import nn
from transformers import DynamicCache

MODES = ("hook", "module")
IDS = torch.arange(24).reshape(2, 12)


@pytest.fixture(scope="module")
def llama():
    torch.manual_seed(0)
    return tiny_llama()


def logits(model, ids=IDS, **options):
    with torch.no_grad():
        return model(ids, **options).logits


@pytest.mark.parametrize("mode", MODES)
def test_the_model_comes_out_as_it_went_in(llama, mode):
    before, names = logits(llama), [name for name, _ in llama.named_modules()]
    with apply(norms(llama), llama, mode=mode):
        assert not torch.equal(logits(llama), before)
    with pytest.raises(KeyError, match="inside"), apply(norms(llama), llama, mode=mode):
        raise KeyError("inside")
    assert hooks_on(llama) == 0
    assert [name for name, _ in llama.named_modules()] == names
    assert torch.equal(logits(llama), before)


@pytest.mark.parametrize("mode", MODES)
def test_strength_0_changes_no_bit(llama, mode):
    with apply(norms(llama), llama, strength=0.0, mode=mode):
        assert torch.equal(logits(llama), logits(copy.deepcopy(llama)))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bounded", [False, True])
def test_the_modules_output_is_moved_and_nothing_else(llama, mode, bounded):
    maps = {"model.layers.1.mlp.down_proj": affine(16, bounded=bounded)}
    seen = []
    layer = llama.model.layers[1]
    layer.mlp.down_proj.register_forward_hook(lambda m, i, o: seen.append(o))
    keep = layer.register_forward_hook(lambda m, i, o: seen.append(o))
    logits(llama)
    with apply(maps, llama, strength=0.4, mode=mode):
        logits(llama)
    keep.remove()
    layer.mlp.down_proj._forward_hooks.clear()
    plain, out, unmoved, moved = seen
    assert torch.equal(plain, unmoved)
    want = out - plain + maps["model.layers.1.mlp.down_proj"](plain, 0.4)
    torch.testing.assert_close(moved, want, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", MODES)
def test_strength_can_be_set_anew_and_by_pattern(llama, mode):
    maps = norms(llama)
    handle = attach(maps, llama, strength=0.0, mode=mode)
    plain = logits(llama)
    handle.strength = {"input": 0.5}
    some = logits(llama)
    handle.remove()
    handle.remove()
    only = {name: m for name, m in maps.items() if "input" in name}
    with apply(only, llama, strength=0.5):
        torch.testing.assert_close(logits(llama), some, atol=1e-5, rtol=0)
    assert torch.equal(logits(llama), plain)
    assert handle.strength == {"input": 0.5}


def test_the_first_pattern_that_fits_counts():
    assert resolve({"b": 0.1, "": 0.2}, ["ab", "a"]) == {"ab": 0.1, "a": 0.2}
    assert resolve({"b": 0.1}, ["ab", "a"]) == {"ab": 0.1, "a": 0.0}


@pytest.mark.parametrize(
    ("strength", "error", "message"),
    [
        ({"x": 1.0}, ValueError, "pattern 'x' fits none of ab"),
        (float("nan"), ValueError, "must be finite, got nan"),
        (torch.zeros(2, 1), ValueError, r"0-d or \(batch,\), got torch.float32 of shape \(2, 1\)"),
        (True, TypeError, "got bool"),
        ("1", TypeError, "got str"),
    ],
)
def test_a_strength_that_means_nothing_is_refused(strength, error, message):
    with pytest.raises(error, match=message):
        resolve(strength, ["ab"])


def test_a_strength_beyond_what_was_fitted_warns(llama):
    for strength in (-0.5, 1.5):
        with pytest.warns(StrengthWarning, match="outside 0 to 1"):
            attach(norms(llama), llama, strength=strength).remove()


def test_each_of_two_contexts_keeps_its_strength_and_the_inner_moves_last(llama):
    path = "model.layers.0.input_layernorm"
    one, two = {path: affine(16, 1)}, {path: affine(16, 2)}
    z, norm = torch.randn(3, 16), llama.model.layers[0].input_layernorm
    for outer, inner in (("hook", "hook"), ("module", "module"), ("hook", "module")):
        with (
            apply(one, llama, strength=0.3, mode=outer) as first,
            apply(two, llama, strength=0.7, mode=inner) as second,
        ):
            assert (first.strength, second.strength) == (0.3, 0.7)
            got = llama.get_submodule(path)(z)
        if outer == inner:
            want = two[path](one[path](norm(z), 0.3), 0.7)
            torch.testing.assert_close(got, want, atol=1e-5, rtol=0)
        assert llama.get_submodule(path) is norm
    assert hooks_on(llama) == 0


@pytest.mark.parametrize("mode", MODES)
def test_taken_off_in_the_order_they_were_put_on(llama, mode):
    before = logits(llama)
    first = attach(norms(llama), llama, mode=mode)
    second = attach({"model.layers.0": affine(16)}, llama, mode=mode)
    first.remove()
    with apply({"model.layers.0": affine(16)}, copy.deepcopy(llama)):
        pass
    left = logits(llama)
    second.remove()
    assert torch.equal(logits(llama), before)
    with apply({"model.layers.0": affine(16)}, llama):
        assert torch.equal(logits(llama), left)
    assert not any(isinstance(m, SteeredModule) for m in llama.modules())


def test_the_same_maps_are_not_put_on_twice(llama):
    maps = norms(llama)
    for first in MODES:
        for second in MODES:
            with (
                apply(maps, llama, mode=first),
                pytest.raises(ValueError, match="steered by these maps already"),
            ):
                attach(maps, llama, mode=second)
            assert hooks_on(llama) == 0


@pytest.mark.parametrize("mode", MODES)
def test_a_cache_of_keys_and_values_changes_nothing(llama, mode):
    with torch.no_grad(), apply(norms(llama, bounded=True), llama, strength=0.8, mode=mode):
        whole = llama(IDS, use_cache=False).logits
        cache = DynamicCache(config=llama.config)
        known = inspect.signature(llama.forward).parameters
        name = "cache" if "cache" in known else "past_key_values"  # transformers 5.24 renamed it
        steps = [
            llama(IDS[:, n : n + 1], use_cache=True, **{name: cache}).logits
            for n in range(IDS.shape[1])
        ]
        options = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
        texts = [llama.generate(IDS, use_cache=use, **options) for use in (True, False)]
    torch.testing.assert_close(torch.cat(steps, 1), whole, atol=1e-5, rtol=1e-4)
    assert torch.equal(*texts)


@pytest.mark.parametrize("bounded", [False, True])
def test_padding_and_the_batch_change_nothing(llama, bounded):
    prompts = [torch.arange(1, n) for n in (4, 9, 6)]
    with torch.no_grad(), apply(norms(llama, bounded=bounded), llama, strength=0.8):
        alone = [llama(p[None]).logits[0] for p in prompts]
        for side in ("left", "right"):
            ids, mask = torch.zeros(3, 10, dtype=torch.long), torch.zeros(3, 10, dtype=torch.long)
            parts = [slice(10 - len(p), 10) if side == "left" else slice(len(p)) for p in prompts]
            for n, (p, place) in enumerate(zip(prompts, parts, strict=True)):
                ids[n, place], mask[n, place] = p, 1
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            out = llama(ids, attention_mask=mask, position_ids=positions).logits
            for n, place in enumerate(parts):
                torch.testing.assert_close(out[n, place], alone[n], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_works_in_inference_mode_and_is_changed_outside_it(llama, mode):
    with torch.inference_mode():
        handle = attach(norms(llama), llama, mode=mode)
        inside = llama(IDS).logits
    handle.strength = 0.5
    half = logits(llama)
    handle.strength = 1.0
    with torch.inference_mode():
        assert torch.equal(llama(IDS).logits, inside)
        handle.strength = 0.5
        assert torch.equal(llama(IDS).logits, half)
    handle.remove()


@pytest.mark.parametrize("mode", MODES)
def test_every_row_of_a_batch_can_have_its_own_strength(llama, mode):
    maps, ids = norms(llama, bounded=True), torch.arange(24).reshape(3, 8) % llama.vocab_size
    strengths = [0.0, 0.4, 1.0]
    with torch.no_grad(), apply(maps, llama, strength=torch.tensor(strengths), mode=mode):
        together = llama(input_ids=ids).logits
        with pytest.raises(ShapeMismatch, match="moves 2 rows, and there are 3 strengths"):
            llama(input_ids=ids[:2])
    for row, strength in enumerate(strengths):
        with torch.no_grad(), apply(maps, llama, strength=strength, mode=mode):
            alone = llama(input_ids=ids[row : row + 1]).logits[0]
        torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=1e-5)


def test_a_live_strength_is_differentiable_through_the_model(llama):
    strength = torch.tensor(0.3, requires_grad=True)
    with apply(norms(llama), llama, strength=strength):
        llama(IDS).logits.square().mean().backward()
    assert strength.grad.abs() > 0


@pytest.mark.parametrize("bounded", [False, True])
def test_torch_compile_traces_it_whole_and_another_strength_compiles_nothing(bounded):
    net = nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 4)).requires_grad_(False)
    plain = copy.deepcopy(net)
    maps = {"0": affine(8, bounded=bounded), "1": affine(8, 1, bounded=bounded)}
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    z = torch.randn(5, 4)
    handle = attach(maps, net, strength=0.0, mode="module")
    compiled = torch.compile(net, backend=backend, fullgraph=True)
    for strength in (0.0, 0.5, 1.0, 0.0):
        handle.strength = strength
        with apply(maps, plain, strength=strength):
            torch.testing.assert_close(compiled(z), plain(z))
    assert len(graphs) == 1
    handle.remove()
    assert torch.equal(compiled(z), plain(z))


def test_a_compiled_model_is_refused():
    maps = {"0": affine(8)}
    net = nn.Sequential(nn.Linear(4, 8))
    whole = torch.compile(net, backend="eager")
    part = nn.Sequential(torch.compile(nn.Linear(4, 8), backend="eager"))
    net.compile(backend="eager")
    for compiled in (whole, part, net):
        with pytest.raises(ValueError, match="compiled already and would ignore the maps"):
            attach(maps, compiled)


def test_the_state_dict_in_module_mode_is_the_models_own(llama, tmp_path):
    state = llama.state_dict()
    handles = [attach(m, llama, mode="module") for m in (norms(llama), norms(llama))]
    handles.append(attach({"model.layers.0": affine(16)}, llama, mode="module"))
    steered = llama.state_dict()
    assert set(steered) == set(state)
    assert all(torch.equal(steered[key], state[key]) for key in state)
    assert not llama.load_state_dict(state).missing_keys
    llama.save_pretrained(tmp_path)
    for handle in handles:
        handle.remove()
    fresh = type(llama).from_pretrained(tmp_path)
    assert torch.equal(logits(fresh), logits(llama))


def test_what_the_model_reads_of_a_module_is_still_there(llama):
    norm = llama.model.norm
    with apply(norms(llama), llama, mode="module"):
        assert llama.model.norm is not norm
        assert llama.model.norm.weight is norm.weight
        with pytest.raises(AttributeError, match="nothing"):
            _ = llama.model.norm.nothing


@pytest.mark.parametrize("mode", MODES)
def test_the_maps_follow_a_model_to_half_precision(mode):
    model = tiny_llama()
    with apply(norms(model), model, strength=0.5, mode=mode):
        want = logits(model)
        model.to(torch.bfloat16)
        got = logits(model)
        assert got.dtype == torch.bfloat16
        assert (got.float() - want).abs().mean() < 0.02 * want.abs().mean()
        model.to(torch.float64)
        assert logits(model).dtype == torch.float64


Pair = namedtuple("Pair", "a b")


class Gives(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def forward(self, z):
        return self.make(z)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "make", [lambda z: (z, z + 1, None), lambda z: [z, z + 1], lambda z: Pair(z, z + 1)]
)
def test_one_tensor_of_a_tuple_is_moved(make, mode):
    net, z, maps = nn.Sequential(Gives(make)), torch.randn(2, 3), {"0:1": affine(3)}
    plain = net(z)
    with apply(maps, net, mode=mode):
        out = net(z)
    assert type(out) is type(plain)
    assert out[0] is plain[0]
    assert out[2:] == plain[2:]
    torch.testing.assert_close(out[1], maps["0:1"](plain[1]))


def test_both_tensors_of_a_models_output_are_moved():
    from transformers.modeling_outputs import BaseModelOutput

    def make(z):
        return BaseModelOutput(last_hidden_state=z, hidden_states=(z,))

    net, z = nn.Sequential(Gives(make)), torch.randn(2, 3)
    with apply({"0:0": affine(3)}, net):
        out = net(z)
    assert type(out) is BaseModelOutput
    torch.testing.assert_close(out.last_hidden_state, affine(3)(z))
    assert out["last_hidden_state"] is out.last_hidden_state
    assert out.hidden_states[0] is z


def test_an_output_without_such_a_tensor_says_what_there_is():
    net = nn.Sequential(Gives(lambda z: (z, None)))
    for key, message in (
        ("0", "0 gives tuple of Tensor, NoneType: name a tensor of it, as 0:0, got '0'"),
        ("0:1", "got '0:1'"),
        ("0:2", "got '0:2'"),
    ):
        with pytest.raises(TypeError, match=message), apply({key: affine(3)}, net):
            net(torch.zeros(2, 3))
    assert hooks_on(net) == 0


@pytest.mark.parametrize(
    ("maps", "error", "message"),
    [
        ({"model.layer.0": affine(16)}, ValueError, "'model.layer.0'; close are model.layers.0"),
        ({"model.norm": affine(15)}, ShapeMismatch, r"15 wide, .* \(LlamaRMSNorm\) gives 16"),
        ({"lm_head": affine(16)}, ShapeMismatch, "gives 61"),
        ({}, ValueError, "holds no map"),
        ({"a:b": affine(16)}, ValueError, "got 'a:b'"),
        ({"model.norm@1": affine(16)}, ValueError, "must take one of timestep, t, timesteps"),
        ({"model.norm@1": affine(16), "model.norm": affine(16)}, ValueError, "or one for all"),
    ],
)  # fmt: skip
def test_maps_that_do_not_fit_are_refused_before_the_model_is_touched(llama, maps, error, message):
    for mode in MODES:
        with pytest.raises(error, match=message):
            attach({**maps, "model.layers.0.mlp": affine(16)} if maps else maps, llama, mode=mode)
        assert hooks_on(llama) == 0
        assert not any(isinstance(m, SteeredModule) for m in llama.modules())


def test_a_width_that_only_a_call_shows_is_refused_then(llama):
    with (
        apply({"model.layers.0": affine(15)}, llama),
        pytest.raises(ShapeMismatch, match=r"model.layers.0 gives \(2, 12, 16\)"),
    ):
        logits(llama)


def test_other_options_are_refused(llama):
    for option in ("mode", "spatial", "cfg"):
        with pytest.raises(ValueError, match=f"{option} must be"):
            attach(norms(llama), llama, **{option: "x"})
    with pytest.raises(TypeError, match="got int"):
        attach(norms(llama), 3)
    with pytest.raises(ValueError, match='use mode="hook"'):
        attach({"": affine(4)}, nn.Linear(4, 4), mode="module")


def test_keys_are_read_as_they_are_written():
    for key in ("a.b", "a:1", "a:0@0.25", "a@1e-05", "", "@12"):
        assert str(Site.parse(key)) == key
    assert [key for _, key in grouped(["a@10", "a@2", "a@-1"])["a"]] == ["a@-1", "a@2", "a@10"]


def test_widths_are_those_of_the_outputs(llama):
    for module in (nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5), nn.LayerNorm(5), nn.Linear(2, 5)):
        assert width_of(module) == 5
    assert width_of(llama.model.norm) == 16
    assert width_of(llama.model.layers[0]) is None


class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.GroupNorm(2, 4)

    def forward(self, x, timestep, extra=None):
        return self.norm(x)


@pytest.mark.parametrize("mode", MODES)
def test_rows_of_several_timesteps_equal_the_same_rows_alone(mode):
    net, maps = Denoiser(), {f"norm@{t}": affine(4, t) for t in (1, 5, 9)}
    x, t = torch.randn(5, 4, 3, 3), torch.tensor([9, 1, 4, 0, 7])
    with torch.no_grad(), apply(maps, net, strength=0.6, mode=mode):
        together = net(x, t)
        by_name = net(x, timestep=t)
        rows = [net(x[n : n + 1], t[n]) for n in range(5)]
        as_number = net(x[:1], 9)
    assert torch.equal(together, by_name)
    torch.testing.assert_close(together, torch.cat(rows))
    torch.testing.assert_close(as_number, together[:1])
    want = Move([maps["norm@9"]], 0.6)(net(x[:1], 9))
    torch.testing.assert_close(together[:1], want)
    assert hooks_on(net) == 0


def test_only_the_conditional_half_is_moved_where_that_is_asked():
    net, maps, x = Denoiser(), {"norm": affine(4)}, torch.randn(4, 4, 3, 3)
    with torch.no_grad():
        plain = net(x, 0)
        with apply(maps, net):
            both = net(x, 0)
        with apply(maps, net, cfg="cond"):
            half = net(x, 0)
            with pytest.raises(ValueError, match="batches of two halves, norm gave 3"):
                net(x[:3], 0)
    assert torch.equal(half[:2], plain[:2])
    torch.testing.assert_close(half[2:], both[2:])
    assert (both[:2] - plain[:2]).abs().max() > 0.01


def test_maps_by_timestep_compile_too():
    net, maps = Denoiser(), {f"norm@{t}": affine(4, t) for t in (1, 9)}
    x, t = torch.randn(2, 4, 3, 3), torch.tensor([9, 1])
    with apply(maps, net, mode="module") as handle, torch.no_grad():
        want = net(x, t)
        compiled = torch.compile(net, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(x, t), want)
        handle.strength = 0.5
        torch.testing.assert_close(compiled(x, t), net(x, t))


@pytest.mark.slow
def test_a_whole_language_model_compiles_once_for_all_strengths():
    model = tiny_llama()
    plain, maps = copy.deepcopy(model), norms(model, bounded=True)
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    with apply(maps, model, strength=0.0, mode="module") as handle, torch.no_grad():
        compiled = torch.compile(model, backend=backend, fullgraph=True)
        for strength in (0.0, 0.3, 1.0):
            handle.strength = strength
            with apply(maps, plain, strength=strength):
                want = plain(IDS, use_cache=False).logits
            got = compiled(IDS, use_cache=False).logits
            torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-4)
    assert len(graphs) == 1
