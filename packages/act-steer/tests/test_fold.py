import copy

import pytest
import torch
from act_steer.apply import apply
from act_steer.fold import NotFoldable, fold
from act_steer.transport import AffineTransport
from act_steer_models import affine, hooks_on, tiny_llama
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

IDS = torch.arange(24).reshape(2, 12)


def logits(model, ids=IDS):
    with torch.no_grad():
        return model(ids).logits


def hooked(model, maps, strength=0.7, run=logits):
    with apply(maps, model, strength=strength):
        return run(model)


def state(model):
    return {key: value.clone() for key, value in model.state_dict().items()}


def same_state(model, before):
    now = model.state_dict()
    return list(now) == list(before) and all(torch.equal(now[k], before[k]) for k in now)


SITES = {
    "norms before attention and MLP": (r"layers\.\d\.(input|post_attention)_layernorm$", True),
    "the last norm": (r"model\.norm$", False),
    "attention": (r"o_proj$", True),
    "mlp": (r"down_proj$", True),
    "mlp, hidden": (r"(up|gate)_proj$", True),
    "queries": (r"(q|v)_proj$", True),
    "the mlp as a whole": (r"\.mlp$", True),
    "the head": ("lm_head", False),
}


def maps_for(model, pattern, **options):
    import re

    from act_steer.sites import width_of

    names = [name for name, _ in model.named_modules() if re.search(pattern, name)]
    widths = [width_of(model.get_submodule(name)) or model.config.hidden_size for name in names]
    return {
        name: affine(w, n, **options) for n, (name, w) in enumerate(zip(names, widths, strict=True))
    }


@pytest.mark.parametrize(("pattern", "shifts"), SITES.values(), ids=SITES)
def test_folded_equals_hooked_and_a_checkpoint_equals_both(pattern, shifts, tmp_path):
    model = tiny_llama()
    maps = maps_for(model, pattern)
    if not shifts:  # the head has no bias that a configuration could ask for
        for name, m in maps.items():
            with pytest.raises(NotFoldable, match=r"no setting for lm_head.bias") as caught:
                fold(maps, model)
            assert caught.value.module == name
            maps[name] = AffineTransport(m.scale, 0 * m.shift, m.low, m.high)
    plain, before = logits(model), state(model)
    want = hooked(model, maps)
    undo = fold(maps, model, strength=0.7)
    torch.testing.assert_close(logits(model), want, atol=1e-4, rtol=1e-4)
    assert (want - plain).abs().max() > 0.01
    assert hooks_on(model) == 0
    assert undo.changed
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path)
    torch.testing.assert_close(logits(again), want, atol=1e-4, rtol=1e-4)
    undo()
    assert same_state(model, before)
    assert (model.config.attention_bias, model.config.mlp_bias) == (False, False)
    assert torch.equal(logits(model), plain)
    undo()
    assert same_state(model, before)


def test_all_sites_at_once_fold_to_what_they_are_together():
    model = tiny_llama().double()
    maps = maps_for(
        model, r"(input_layernorm|q_proj|o_proj|up_proj|down_proj)$", dtype=torch.float64
    )
    want = hooked(model, maps)
    fold(maps, model, strength=0.7)
    torch.testing.assert_close(logits(model), want, atol=1e-12, rtol=0)


def test_without_a_checkpoint_the_last_norm_shifts_too():
    model = tiny_llama()
    maps = maps_for(model, r"model\.norm$")
    want = hooked(model, maps)
    fold(maps, model, strength=0.7, checkpoint=False)
    torch.testing.assert_close(logits(model), want, atol=1e-4, rtol=1e-4)


def test_strength_by_pattern_and_0():
    model = tiny_llama()
    maps = maps_for(model, r"(o_proj|down_proj)$")
    before = state(model)
    assert not fold(maps, model, strength=0.0).changed
    assert same_state(model, before)
    want = hooked(model, maps, {"o_proj": 0.5})
    undo = fold(maps, model, strength={"o_proj": torch.tensor(0.5)})
    torch.testing.assert_close(logits(model), want, atol=1e-4, rtol=1e-4)
    assert not any("down_proj.weight" in name for name in undo.changed)


def test_a_shift_of_the_residual_stream_is_a_bias_of_its_last_linear():
    model = tiny_llama()
    maps = {f"model.layers.{n}": affine(16, n, scaled=False) for n in range(2)}
    want = hooked(model, maps)
    undo = fold(maps, model, strength=0.7)
    torch.testing.assert_close(logits(model), want, atol=1e-4, rtol=1e-4)
    assert {name.partition("mlp.")[2] for name in undo.changed} == {
        "down_proj.bias", "gate_proj.bias", "up_proj.bias",
    }  # fmt: skip
    before = state(model)
    with pytest.raises(NotFoldable, match="a residual sum takes a shift, but no factor"):
        fold({"model.layers.0": affine(16)}, model)
    assert same_state(model, before)


def test_gemmas_norm_of_one_plus_weight():
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        vocab_size=61, hidden_size=16, intermediate_size=24, num_hidden_layers=2, head_dim=4,
        num_attention_heads=4, num_key_value_heads=2, sliding_window=32,
    )  # fmt: skip
    model = Gemma2ForCausalLM(config).eval().requires_grad_(False)
    for name, p in model.named_parameters():
        if "layernorm" in name:
            p.copy_(0.3 * torch.randn_like(p))
    for pattern in ("post_feedforward_layernorm", "input_layernorm"):
        maps = maps_for(model, pattern)
        scales = {k: AffineTransport(m.scale, 0 * m.shift, m.low, m.high) for k, m in maps.items()}
        want = hooked(model, scales)
        undo = fold(scales, model, strength=0.7)
        torch.testing.assert_close(logits(model), want, atol=1e-4, rtol=1e-4)
        undo()
    with pytest.raises(NotFoldable, match=r"post_feedforward_layernorm.*its shift needs Linears"):
        fold(maps_for(model, "post_feedforward_layernorm"), model)


def test_gpt2_with_transposed_weights_and_layer_norms():
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=61, n_embd=16, n_layer=2, n_head=4, n_positions=64, bos_token_id=0,
        eos_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval().requires_grad_(False)
    for p in model.parameters():
        p.add_(0.2 * torch.randn_like(p))
    widths = {"ln_1": 16, "attn.c_attn": 48, "attn.c_proj": 16, "mlp.act": 64, "mlp.c_fc": 64}
    maps = {f"transformer.h.1.{k}": affine(w, n) for n, (k, w) in enumerate(widths.items())}
    maps["transformer.h.0"] = affine(16, scaled=False)
    before, want = state(model), hooked(model, maps)
    undo = fold(maps, model, strength=0.7)
    torch.testing.assert_close(logits(model), want, atol=1e-4, rtol=1e-4)
    undo()
    assert same_state(model, before)
    with pytest.raises(NotFoldable, match=r"is shared: transformer.wte.weight and lm_head.weight"):
        fold({"lm_head": affine(61)}, model)
    ended = {"transformer.h.0.mlp": affine(16)}
    want = hooked(model, ended)
    fold(ended, model, strength=0.7)
    torch.testing.assert_close(logits(model), want, atol=1e-4, rtol=1e-4)


NETS = {
    "LayerNorm": (lambda: nn.LayerNorm(4), (3, 4)),
    "LayerNorm without bias": (lambda: nn.LayerNorm(4, bias=False), (3, 4)),
    "GroupNorm": (lambda: nn.GroupNorm(2, 4), (3, 4, 5, 5)),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(4), (3, 4, 5, 5)),
    "RMSNorm": (lambda: nn.Sequential(nn.RMSNorm(4), nn.Linear(4, 4)), (3, 4)),
    "Linear": (lambda: nn.Linear(4, 4), (3, 4)),
    "Linear without bias": (lambda: nn.Linear(4, 4, bias=False), (3, 4)),
    "Conv1d": (lambda: nn.Conv1d(4, 4, 3, padding=1), (3, 4, 5)),
    "Conv2d": (lambda: nn.Conv2d(4, 4, 3, padding=1, groups=2), (3, 4, 5, 5)),
    "Linear behind": (lambda: nn.Sequential(nn.GELU(), nn.Linear(4, 4)), (3, 4)),
    "Conv2d behind": (lambda: nn.Sequential(nn.SiLU(), nn.Conv2d(4, 4, 3)), (3, 4, 5, 5)),
}


@pytest.mark.parametrize("name", NETS)
@given(strength=st.floats(0, 1), seed=st.integers(0, 2**31))
def test_every_kind_of_module_folds_to_rounding(name, strength, seed):
    make, shape = NETS[name]
    g = torch.Generator().manual_seed(seed)
    net = nn.Sequential(make()).double().eval().requires_grad_(False)
    for p in net.parameters():
        p.copy_(torch.randn(p.shape, generator=g))
    x = torch.randn(shape, generator=g, dtype=torch.float64)
    path = "0.0" if isinstance(net[0], nn.Sequential) else "0"
    maps, plain = {path: affine(4, seed, dtype=torch.float64)}, net(x)
    with apply(maps, net, strength=strength, spatial="pointwise"):
        want = net(x)
    undo = fold(maps, net, strength=strength, spatial="pointwise", example={"input": x})
    torch.testing.assert_close(net(x), want, atol=1e-12, rtol=1e-12)
    undo()
    assert torch.equal(net(x), plain)


def test_low_precision_folds_to_its_rounding():
    model = tiny_llama().to(torch.bfloat16)
    maps = maps_for(model, r"(o_proj|down_proj)$")
    want, plain = hooked(model, maps).float(), logits(model).float()
    fold(maps, model, strength=0.7)
    assert model.model.layers[0].mlp.down_proj.weight.dtype == torch.bfloat16
    error = (logits(model).float() - want).abs().mean()
    assert error < 0.05 * want.abs().mean()
    assert error < 0.2 * (plain - want).abs().mean()


class Half(nn.Module):
    """Reads a norm with a Linear and with something else."""

    def __init__(self, rest):
        super().__init__()
        self.norm, self.linear, self.rest = nn.RMSNorm(4), nn.Linear(4, 4), rest

    def forward(self, x):
        z = self.norm(x)
        return self.linear(z) + self.rest(z)


class Quantised(nn.Linear):
    def __init__(self):
        super().__init__(4, 4)
        whole = torch.ones(4, 4, dtype=torch.int8)
        self.weight = nn.Parameter(whole, requires_grad=False)


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(4))

    def forward(self, x):
        return x.abs() * self.gain


class OddRMSNorm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(4))

    def forward(self, x):
        return x * self.weight


@pytest.mark.parametrize(
    ("path", "net", "map_", "reason"),
    [
        ("0", nn.Linear(4, 4), affine(4, bounded=True), 'fit with support="all"'),
        ("0@3", nn.Linear(4, 4), affine(4), "depends on the timestep"),
        ("0:1", nn.Linear(4, 4), affine(4), "only the first tensor"),
        ("0", nn.Linear(4, 4), torch.tanh, "builtin_function_or_method is not affine"),
        ("0", nn.GroupNorm(2, 4), affine(4), 'fit with spatial="pointwise"'),
        ("0", Quantised(), affine(4), "the weights of Quantised are quantised"),
        ("0.norm", Half(nn.Tanh()), affine(4), "and tanh reads it"),
        ("0.norm", Half(lambda z: z.mT @ z), affine(4), "reads it"),
        ("0", nn.ReLU(), affine(4), "nothing reads it"),
        ("0", Odd(), affine(4), "a Odd is not known to be affine"),
        ("0", OddRMSNorm(), affine(4), "a OddRMSNorm is no RMS norm times a weight"),
        ("0", nn.LayerNorm(4, elementwise_affine=False), affine(4), "neither weight nor bias"),
        ("0", nn.LayerNorm((4, 4)), affine(4), "its weight has 2 axes"),
        ("0", nn.Sequential(nn.Linear(4, 4), nn.Tanh()), affine(4), "not one Linear"),
        ("0", nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Flatten(0, 0)), affine(4), "no Linear"),
        ("0", nn.Sequential(nn.Tanh()), affine(4), "no Linear ends it"),
    ],
)
def test_what_no_weight_can_hold_is_refused_with_the_reason(path, net, map_, reason):
    net = nn.Sequential(net)
    before = state(net)
    with pytest.raises(NotFoldable, match=reason) as caught:
        fold({path: map_}, net, example={"input": torch.randn(4, 4)})
    assert path.partition("@")[0].startswith(caught.value.module.partition("@")[0][:1])
    assert caught.value.reason in str(caught.value)
    assert same_state(net, before)


def test_a_convolution_with_padding_behind_an_activation_takes_factors_only():
    net = nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1)).requires_grad_(False)
    x, m = torch.randn(2, 4, 5, 5), affine(4)
    options = {"spatial": "pointwise", "example": {"input": x}}
    with pytest.raises(NotFoldable, match="convolution with padding"):
        fold({"0": m}, net, **options)
    maps = {"0": AffineTransport(m.scale, 0 * m.shift, m.low, m.high)}
    with apply(maps, net, spatial="pointwise"):
        want = net(x)
    fold(maps, net, **options)
    torch.testing.assert_close(net(x), want)


def test_a_map_that_fails_leaves_those_before_it_undone():
    model = tiny_llama()
    maps = maps_for(model, "o_proj") | maps_for(model, "down_proj", bounded=True)
    before = state(model)
    with pytest.raises(NotFoldable, match="down_proj"):
        fold(maps, model)
    assert same_state(model, before)
    tied = tiny_llama(tie_word_embeddings=True)
    before = state(tied)
    with pytest.raises(NotFoldable, match="shared"):
        fold(maps_for(tied, "o_proj") | {"lm_head": affine(61)}, tied)
    assert same_state(tied, before)
    assert tied.config.attention_bias is False


def test_the_fold_goes_back_wherever_the_model_has_moved():
    net = nn.Sequential(nn.Linear(4, 4, bias=False))
    weight = net[0].weight
    undo = fold({"0": affine(4)}, net)
    assert net[0].weight is not weight
    assert net[0].weight.requires_grad
    copy.deepcopy(net)
    undo()
    assert net[0].weight is weight
    assert net[0].bias is None


def test_training_mode_and_dropout_are_left_as_they_are():
    net = nn.Sequential(nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 4)), nn.Dropout(0.5))
    net[1].eval()
    fold({"0": affine(4)}, net, example={"input": torch.randn(3, 4)})
    assert [m.training for m in net.modules()] == [True, True, True, True, False]


def test_a_model_that_is_none_of_transformers_needs_an_example():
    net = nn.Sequential(nn.GELU(), nn.Linear(4, 4))
    with pytest.raises(ValueError, match="folding into Sequential needs example="):
        fold({"0": affine(4)}, net)
