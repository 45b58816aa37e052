"""The one pass equals the layer-by-layer definition, whatever the batches and the padding."""

import warnings

import pytest
import torch
from act_steer import (
    AurA,
    DegenerateWarning,
    LinearTransport,
    MeanTransport,
    NoModuleMatched,
    QuantileTransport,
    Recipe,
    Run,
    SmallSampleWarning,
    UnboundedWarning,
    collect,
    fit,
    fit_runs,
)
from act_steer_models import hooks_on, tiny_llama
from torch import nn

DATA = torch.Generator().manual_seed(1)
SOURCE = [torch.randint(1, 40, (n,), generator=DATA) for n in (4, 9, 7, 11, 5, 8, 6, 10, 3, 12)]
TARGET = [torch.randint(20, 61, (n,), generator=DATA) for n in (8, 5, 12, 6, 9, 4, 7, 10)]


def padded(rows, side="right", junk=0):
    length = max(map(len, rows))
    ids = torch.full((len(rows), length), junk)
    mask = torch.zeros(len(rows), length, dtype=torch.long)
    for i, row in enumerate(rows):
        place = slice(0, len(row)) if side == "right" else slice(length - len(row), length)
        ids[i, place], mask[i, place] = row, 1
    return {"input_ids": ids, "attention_mask": mask}


def batches(rows, size=4, side="right", junk=0):
    return [padded(rows[i : i + size], side, junk) for i in range(0, len(rows), size)]


def tiny_gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=61, n_embd=16, n_layer=2, n_head=4, n_positions=32, bos_token_id=0,
        eos_token_id=0, initializer_range=0.2,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval()


def tiny_gemma2():
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        vocab_size=61, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=4, initializer_range=0.2,
    )  # fmt: skip
    return Gemma2ForCausalLM(config).eval()


def layer_by_layer(model, names, *, target_path, kind=LinearTransport, **options):
    """The definition: for every module, run all prompts again with the maps before it in force."""
    maps = {}
    for name in names:
        rows = {}
        for side, prompts in (("source", SOURCE), ("target", TARGET)):
            kept, handles = [], []
            if side == "source" or target_path == "steered":
                for earlier, t in maps.items():
                    module = model.get_submodule(earlier)
                    handles.append(module.register_forward_hook(lambda m, a, out, t=t: t(out)))
            module = model.get_submodule(name)
            keep = kept.append
            handles.append(module.register_forward_hook(lambda m, a, out, keep=keep: keep(out)))
            for prompt in prompts:
                with torch.no_grad():
                    model(input_ids=prompt[None])
            for handle in handles:
                handle.remove()
            rows[side] = torch.stack([out[0].mean(0) for out in kept])
        maps[name] = kind.fit(rows["source"], rows["target"], **options)
    return maps


def apart(one, other):
    """Largest difference of the tensors of two sets of maps."""
    assert list(one) == list(other)
    pairs = [
        (a, other[name].tensors()[key]) for name in one for key, a in one[name].tensors().items()
    ]
    return max(float((a - b).abs().nan_to_num(0.0).max()) for a, b in pairs)


MODELS = {"llama": lambda: tiny_llama(3), "gpt2": tiny_gpt2, "gemma2": tiny_gemma2}


@pytest.mark.parametrize("target_path", ["clean", "steered"])
@pytest.mark.parametrize("name", MODELS)
def test_one_pass_equals_the_definition_layer_by_layer(name, target_path):
    model = MODELS[name]()
    steering = fit(model, batches(SOURCE), batches(TARGET), target_path=target_path)
    want = layer_by_layer(model, list(steering), target_path=target_path)
    assert apart(steering, want) < 1e-5


def test_one_pass_is_exact_through_many_layers_in_float64():
    model = tiny_llama(5).double()  # in float32 rounding grows from layer to layer
    steering = fit(model, batches(SOURCE), batches(TARGET))
    assert apart(steering, layer_by_layer(model, list(steering), target_path="clean")) < 1e-9


def test_the_order_and_the_path_of_the_target_matter():
    model = tiny_llama(3)
    sides = batches(SOURCE), batches(TARGET)
    clean, steered, at_once = (
        fit(model, *sides, **options)
        for options in ({}, {"target_path": "steered"}, {"order": "simultaneous"})
    )
    second = list(clean)[1]
    assert (clean[second].shift - steered[second].shift).abs().max() > 1e-3
    assert (clean[second].shift - at_once[second].shift).abs().max() > 1e-3
    first = next(iter(clean))
    assert torch.equal(clean[first].shift, at_once[first].shift)


def test_simultaneous_maps_are_those_of_the_unsteered_model_in_any_order_of_names():
    model = tiny_llama(2)
    steering = fit(model, batches(SOURCE), batches(TARGET), order="simultaneous")
    for name in steering:
        rows = []
        for prompts in (SOURCE, TARGET):
            parts = [
                collect(lambda p=p: model(input_ids=p[None]), model, [name])[name] for p in prompts
            ]
            rows.append(torch.cat(parts))
        alone = LinearTransport.fit(*rows)
        assert torch.allclose(alone.scale, steering[name].scale, atol=1e-5)
        assert torch.allclose(alone.shift, steering[name].shift, atol=1e-5)
    backwards = fit(
        model, batches(SOURCE), batches(TARGET), modules=list(steering)[::-1], order="simultaneous"
    )
    assert apart(steering, backwards) == 0
    assert list(steering) == list(backwards)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("junk", [0, 60])
@pytest.mark.parametrize("pool", ["mean", "last", "max", "median"])
def test_padding_side_and_batch_size_change_nothing(name, pool, junk):
    model = MODELS[name]()
    alone = fit(model, batches(SOURCE, 1), batches(TARGET, 1), pool=pool)
    for size, side in ((3, "right"), (5, "left"), (10, "left")):
        other = fit(
            model, batches(SOURCE, size, side, junk), batches(TARGET, size, side, junk), pool=pool
        )
        assert apart(alone, other) < 1e-4


def test_pads_would_change_the_maps_if_they_counted():
    model = tiny_llama(2)
    right = batches(SOURCE, 10), batches(TARGET, 10)
    blind = tuple([{"input_ids": b["input_ids"]} for b in side] for side in right)
    assert apart(fit(model, *right), fit(model, *blind)) > 1e-2


def test_the_order_of_prompts_on_either_side_changes_nothing():
    model = tiny_llama(2)
    one = fit(model, batches(SOURCE), batches(TARGET))
    other = fit(model, batches(SOURCE[::-1]), batches(TARGET[3:] + TARGET[:3]))
    assert apart(one, other) < 1e-5


def test_outputs_are_found_in_the_order_of_execution_not_of_definition():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.second, self.first = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x):
            return self.second(self.first(x))

    steering = fit(Backwards(), [torch.randn(8, 3)], [torch.randn(9, 3)], modules=r"\w+")
    assert list(steering) == ["first", "second"]


class Words:
    """A tokenizer of letters, with a beginning that does not count."""

    def __call__(self, texts, truncation, max_length, return_special_tokens_mask):
        assert truncation
        assert return_special_tokens_mask
        ids = [[60, *(ord(c) - 96 for c in text)][:max_length] for text in texts]
        mask = [[1] + [0] * (len(row) - 1) for row in ids]
        return {"input_ids": ids, "special_tokens_mask": mask}


def test_texts_are_batched_and_the_tokens_that_the_tokenizer_adds_do_not_count():
    model = tiny_llama(2)
    source = ["abc", "bcdefg", "hi", "jklm", "noo", "pqr", "stuv", "wx"]
    target = ["zzz", "yxyx", "ccba", "edc", "fd", "g", "abababab", "q"]
    one = fit(model, source, target, tokenizer=Words(), batch_size=3)
    other = fit(model, source, target, tokenizer=Words(), batch_size=8)
    assert apart(one, other) < 1e-5

    def ready(texts):
        return [
            {
                "input_ids": torch.tensor([[60, *(ord(c) - 96 for c in text)]]),
                "special_tokens_mask": torch.tensor([[1] + [0] * len(text)]),
            }
            for text in texts
        ]

    assert apart(one, fit(model, ready(source), ready(target))) < 1e-5
    counted = [{"input_ids": b["input_ids"]} for b in ready(source)]
    assert apart(one, fit(model, counted, ready(target))) > 1e-3


def test_every_method_keeps_its_own_support_and_pool():
    model = tiny_llama(1)
    sides = batches(SOURCE), batches(TARGET)
    for method in ("linear", "mean", "gaussian", "aura", "quantile"):
        steering = fit(model, *sides, method=method)
        assert {t.method for t in steering.values()} == {method}
        want = ("max", torch.inf) if method == "aura" else ("mean", None)
        assert steering.metadata["pool"] == want[0]
        bounded = all(torch.isfinite(t.low).all() for t in steering.values())
        assert bounded == (method != "aura")
    with pytest.raises(ValueError, match="method must be one of linear"):
        fit(model, *sides, method="liner")
    named, by_class = (fit(model, *sides, method=m) for m in ("aura", AurA))
    assert apart(named, by_class) == 0
    own = fit(model, *sides, method=lambda a, b: LinearTransport.fit(b, a), support=None)
    assert own.metadata["method"] == "<lambda>"


def test_a_full_covariance_map_can_be_fitted_on_one_module():
    from act_steer import FullGaussianTransport

    model = tiny_llama(1)
    name = "model.layers.0.self_attn.o_proj"
    steering = fit(
        model, batches(SOURCE), batches(TARGET), modules=[name], method=FullGaussianTransport
    )
    with steering.apply(model):
        moved = [collect(lambda p=p: model(input_ids=p[None]), model, [name])[name] for p in SOURCE]
    want = [collect(lambda p=p: model(input_ids=p[None]), model, [name])[name] for p in TARGET]
    assert torch.allclose(torch.cat(moved).mean(0), torch.cat(want).mean(0), atol=1e-5)


def test_coverage_is_the_share_of_tokens_that_a_map_reaches():
    model = tiny_llama(2)
    for order in ("causal", "simultaneous"):
        steering = fit(model, batches(SOURCE), batches(TARGET), order=order)
        name = next(iter(steering))
        tokens = []
        module = model.get_submodule(name)
        handle = module.register_forward_hook(lambda m, a, out, keep=tokens.append: keep(out[0]))
        for prompt in SOURCE:
            model(input_ids=prompt[None])
        handle.remove()
        inside = steering[name].inside(torch.cat(tokens)).float().mean(0)
        assert torch.allclose(steering[name].moments.coverage, inside, atol=1e-2)
        assert inside.mean() < 0.9


def test_the_model_is_left_as_it_was_whatever_happens():
    model = tiny_llama(2)
    model.train()
    model.model.layers[0].eval()
    before = [module.training for module in model.modules()]
    state = torch.random.get_rng_state()
    fit(model, batches(SOURCE), batches(TARGET))
    broken = batches(SOURCE)
    broken[1]["input_ids"] = broken[1]["input_ids"] + 1000
    with pytest.raises(IndexError):
        fit(model, broken, batches(TARGET))
    assert [module.training for module in model.modules()] == before
    assert hooks_on(model) == 0
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_module_that_draws_is_seeded():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Identity()

        def forward(self, x):
            return self.inner(x + torch.randn(x.shape))

    sides = [torch.zeros(8, 3)], [torch.ones(8, 3)]
    one, other, third = (fit(Noisy(), *sides, modules=["inner"], seed=s) for s in (3, 3, 4))
    assert apart(one, other) == 0
    assert apart(one, third) > 1e-3


def test_a_bf16_model_gives_finite_float32_maps_and_counts_what_is_constant():
    model = tiny_llama(2).to(torch.bfloat16)
    with torch.no_grad():
        model.model.layers[0].self_attn.o_proj.weight[3] = 0
    with pytest.warns(DegenerateWarning, match=r"1 of 32 neurons"):
        steering = fit(model, batches(SOURCE), batches(TARGET), modules="attention")
    for t in steering.values():
        assert t.scale.dtype == torch.float32
        assert torch.isfinite(t.scale).all()
        assert (t.scale <= 50).all()
    first = steering["model.layers.0.self_attn.o_proj"]
    assert first.moments.degenerate.nonzero().flatten().tolist() == [3]
    assert first.scale[3] == 1
    assert steering.report().rows[0].degenerate == 1


def test_channels_in_front_are_pooled_over_pixels_and_shifted_as_one():
    net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.Conv2d(4, 3, 1))
    source, target = torch.randn(9, 2, 5, 5), torch.randn(8, 2, 5, 5) + 1
    steering = fit(net, [source[:4], source[4:]], [target], modules=["0", "2"])
    a, b = net[0](source).mean((2, 3)), net[0](target).mean((2, 3))
    first = LinearTransport.fit(a, b)
    assert torch.allclose(steering["0"].scale, first.scale, atol=1e-5)
    moved = net[0](source) + (first(a) - a)[:, :, None, None]
    second = LinearTransport.fit(net[1:](moved).mean((2, 3)), net(target).mean((2, 3)))
    assert torch.allclose(steering["2"].shift, second.shift, atol=1e-5)


class Pair(nn.Module):
    def forward(self, x):
        return x, 2 * x


class Twins(nn.Module):
    def __init__(self):
        super().__init__()
        self.pair, self.twice = Pair(), nn.Identity()

    def forward(self, x):
        one, other = self.pair(x)
        return self.twice(one) + self.twice(other)


def test_elements_of_tuples_are_steered_by_their_number():
    sides = [torch.randn(8, 3)], [torch.randn(8, 3)]
    steering = fit(Twins(), *sides, modules=["pair:1", "pair:0"])
    assert list(steering) == ["pair:0", "pair:1"]
    assert torch.allclose(steering["pair:1"].scale, steering["pair:0"].scale)
    assert torch.allclose(steering["pair:1"].shift, 2 * steering["pair:0"].shift)
    with pytest.raises(TypeError, match="pair gives tuple of Tensor, Tensor: name a tensor"):
        fit(Twins(), *sides, modules=["pair"])
    with pytest.raises(NoModuleMatched, match="twice is called more than once"):
        fit(Twins(), *sides, modules=["twice"])


def test_errors_name_the_side_the_prompt_and_the_module():
    model = tiny_llama(1)
    good = batches(TARGET)
    with pytest.raises(ValueError, match="source has no prompts"):
        fit(model, [], good)
    with pytest.raises(TypeError, match=r"target must be a sequence of prompts .* one str"):
        fit(model, good, "abc")
    with pytest.raises(TypeError, match="source holds texts, so tokenizer"):
        fit(model, ["abc"], good)
    with pytest.raises(ValueError, match="source prompt 1 has no token that counts: ''"):
        fit(model, ["abc", ""], good, tokenizer=Words())
    with pytest.raises(TypeError, match="source must be texts, mappings or tensors, got int"):
        fit(model, [1], good)
    with pytest.raises(ValueError, match="batch_size"):
        fit(model, good, good, batch_size=0)
    with pytest.raises(ValueError, match="order must be one of causal, simultaneous"):
        fit(model, good, good, order="casual")
    with torch.no_grad():
        model.model.embed_tokens.weight[SOURCE[5][0]] = torch.nan
    hit = [i for i, p in enumerate(SOURCE) if (p == SOURCE[5][0]).any()]
    message = rf"model.layers.0.input_layernorm gives NaN .* source prompt {hit[0]}"
    with pytest.raises(ValueError, match=message):
        fit(model, batches(SOURCE), good)


def test_suspicious_input_warns_once():
    model = tiny_llama(1)
    with pytest.warns(SmallSampleWarning, match="only 3 source prompts") as caught:
        fit(model, batches(SOURCE[:3]), batches(TARGET))
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with pytest.warns(UnboundedWarning, match="input_layernorm"):
        fit(model, batches(SOURCE), batches(TARGET), support="all")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(model, batches(SOURCE), batches(TARGET), support="all", modules="attention")
        fit(model, batches(SOURCE), batches(TARGET), support="all", method="mean")


@pytest.mark.parametrize("name", MODELS)
def test_the_residual_stream_is_steered_block_by_block(name):
    model = MODELS[name]()
    steering = fit(model, batches(SOURCE), batches(TARGET), modules="blocks", method="mean")
    assert len(steering) == model.config.num_hidden_layers
    want = layer_by_layer(model, list(steering), target_path="clean", kind=MeanTransport)
    assert apart(steering, want) < 1e-5


def test_options_reach_the_fit_of_the_method():
    model = tiny_llama(1)
    steering = fit(model, batches(SOURCE), batches(TARGET), max_scale=0.5)
    assert max(float(t.scale.max()) for t in steering.values()) == 0.5
    coarse = fit(model, batches(SOURCE), batches(TARGET), method=QuantileTransport, knots=3)
    assert {t.source.shape[1] for t in coarse.values()} == {3 + 2}  # and the ends


def test_runs_of_many_calls_are_keyed_by_what_they_do():
    net = nn.Sequential(nn.Linear(2, 2), nn.Tanh())
    a, b = torch.randn(8, 2), torch.randn(8, 2) + 1
    step = {}

    def key(name):
        import threading

        return f"{name}@{step[threading.get_ident()]}"

    def twice(x):
        import threading

        for t in (1, 0):
            step[threading.get_ident()] = t
            x = net(x)

    runs = [Run(lambda: twice(a), True), Run(lambda: twice(b), False)]
    maps = fit_runs(net, runs, ["0"], key=key)
    assert list(maps) == ["0@1", "0@0"]
    first = LinearTransport.fit(net[0](a), net[0](b))
    assert torch.allclose(maps["0@1"].scale, first.scale, atol=1e-5)
    second = LinearTransport.fit(net[0](torch.tanh(first(net[0](a)))), net[0](net(b)))
    assert torch.allclose(maps["0@0"].shift, second.shift, atol=1e-5)
    with pytest.raises(NoModuleMatched, match="0 is called more than once"):
        fit_runs(net, runs, ["0"])


def test_runs_must_agree():
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    x = torch.randn(4, 2)
    with pytest.raises(ValueError, match="one of the source and one of the target"):
        fit_runs(net, [Run(lambda: net(x), True)], ["0"])
    long, short = Run(lambda: net(x), True), Run(lambda: net[0](x), False)
    for runs in ([long, short], [replace_side(short), replace_side(long)]):
        with pytest.raises(RuntimeError, match="ended"):
            fit_runs(net, runs, ["0", "1"])
    other = Run(lambda: net[0](net[1](x)), False)
    with pytest.raises(RuntimeError, match=r"same outputs in one order, got \['0', '1'\]"):
        fit_runs(net, [long, other], ["0", "1"])
    with pytest.raises(NoModuleMatched, match="1 gave nothing"):
        fit_runs(net, [replace_side(short), short], ["0", "1"])
    with pytest.raises(ValueError, match="target_path"):
        Recipe(target_path="dirty")


def replace_side(run):
    return Run(run.call, not run.source)


def test_an_error_in_one_run_ends_all():
    net = nn.Sequential(nn.Linear(2, 2))
    x = torch.randn(4, 2)

    def fails():
        net(x)
        raise ZeroDivisionError("here")

    for calls in ([lambda: net(x), fails], [fails, lambda: net(x)]):
        with pytest.raises(ZeroDivisionError, match="here"):
            fit_runs(net, [Run(calls[0], True), Run(calls[1], False)], ["0"])
    assert hooks_on(net) == 0


def test_threads_see_the_modes_of_the_caller():
    net = nn.Sequential(nn.Linear(2, 2))
    seen = []

    def look(x):
        y = net(x)
        seen.append((y.dtype, torch.is_grad_enabled()))

    runs = [Run(lambda: look(torch.randn(4, 2)), s) for s in (True, False)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = fit_runs(net, runs, ["0"])
    assert seen == [(torch.bfloat16, False)] * 2
    assert maps["0"].scale.dtype == torch.float32
