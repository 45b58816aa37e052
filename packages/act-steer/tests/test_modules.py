"""What presets mean on real architectures, and what they refuse."""

import re

import pytest
import torch
from act_steer import NoModuleMatched, select
from act_steer.modules import PRESETS, execution_order
from act_steer_models import hooks_on, tiny_llama
from torch import nn


def config(name, **options):
    import transformers

    sizes = {
        "vocab_size": 61, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4,
    }  # fmt: skip
    return getattr(transformers, f"{name}Config")(**sizes, **options)


@pytest.fixture(scope="module")
def models():
    import transformers as hf

    gpt2 = hf.GPT2Config(
        vocab_size=61, n_embd=16, n_layer=2, n_head=4, bos_token_id=0, eos_token_id=0
    )
    return {
        "llama": tiny_llama(2),
        "gemma2": hf.Gemma2ForCausalLM(config("Gemma2")),
        "qwen3": hf.Qwen3ForCausalLM(config("Qwen3")),
        "gpt2": hf.GPT2LMHeadModel(gpt2),
    }


EXPECTED = {  # the last part of the names in the second block
    ("llama", "norms"): ["input_layernorm", "post_attention_layernorm"],
    ("llama", "pre_ln"): ["input_layernorm", "post_attention_layernorm"],
    ("llama", "attention"): ["self_attn.o_proj"],
    ("llama", "mlp"): ["mlp.down_proj"],
    ("llama", "blocks"): [""],
    ("gemma2", "norms"): [
        "input_layernorm",
        "post_attention_layernorm",
        "pre_feedforward_layernorm",
        "post_feedforward_layernorm",
    ],
    ("gemma2", "pre_ln"): ["input_layernorm", "pre_feedforward_layernorm"],
    ("gemma2", "post_ln"): ["post_attention_layernorm", "post_feedforward_layernorm"],
    ("gemma2", "attention"): ["self_attn.o_proj"],
    ("qwen3", "norms"): ["input_layernorm", "post_attention_layernorm"],
    ("gpt2", "norms"): ["ln_1", "ln_2"],
    ("gpt2", "pre_ln"): ["ln_1", "ln_2"],
    ("gpt2", "attention"): ["attn.c_proj"],
    ("gpt2", "mlp"): ["mlp.c_proj"],
    ("gpt2", "blocks"): [""],
}


@pytest.mark.parametrize(("model", "preset"), EXPECTED)
def test_a_preset_means_these_modules_in_every_block(models, model, preset):
    found = select(models[model], preset)
    prefix = "transformer.h" if model == "gpt2" else "model.layers"
    names = EXPECTED[model, preset]
    want = [f"{prefix}.{i}.{name}".rstrip(".") for i in range(2) for name in names]
    assert found == want


@pytest.mark.parametrize("model", ["llama", "qwen3"])
def test_post_ln_is_refused_where_the_name_means_the_norm_before_the_mlp(models, model):
    with pytest.raises(
        NoModuleMatched, match="post_attention_layernorm is the norm before the MLP"
    ):
        select(models[model], "post_ln")
    with pytest.raises(NoModuleMatched, match="'post_ln'"):
        select(models["gpt2"], "post_ln")


def test_unets_have_norms_attention_and_mlps_by_the_same_names():
    from diffusers import UNet2DConditionModel, UNet2DModel

    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        cross_attention_dim=8, attention_head_dim=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    norms = select(unet, "norms")
    assert "mid_block.resnets.0.norm1" in norms
    assert "down_blocks.0.attentions.0.transformer_blocks.0.norm2" in norms
    kinds = {type(unet.get_submodule(name)) for name in norms}
    assert kinds == {nn.GroupNorm, nn.LayerNorm}
    assert len(select(unet, r".*norm.*")) > len(norms)  # the paper's pattern has the last one too
    assert all(name.endswith("to_out.0") for name in select(unet, "attention"))
    assert all(name.endswith("ff.net.2") for name in select(unet, "mlp"))
    plain = UNet2DModel(
        sample_size=8, block_out_channels=(8,), norm_num_groups=4,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
    )  # fmt: skip
    assert "down_blocks.0.resnets.0.norm1" in select(plain, "norms")


def test_names_patterns_and_indices_can_be_mixed(models):
    first = "model.layers.0.self_attn.o_proj"
    found = select(models["llama"], [r"model\.layers\.1\.mlp:1", first, first, "attention"])
    assert found == [first, "model.layers.1.self_attn.o_proj", "model.layers.1.mlp:1"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("post_nl", "post_ln"),
        ("model.layers.0.self_attn.o_prj", "model.layers.0.self_attn.o_proj"),
        ("layernorm", "layernorm"),
        ("(", "no regular expression"),
        ([], "modules is empty"),
    ],
)
def test_what_matches_nothing_is_told_with_what_is_close(models, asked, said):
    with pytest.raises(NoModuleMatched, match=re.escape(said)):
        select(models["llama"], asked)


def test_every_preset_is_in_the_docstring():
    assert all(f'"{preset}"' in select.__doc__ for preset in PRESETS)


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.b, self.a, self.unused = nn.Identity(), nn.Identity(), nn.Identity()

    def forward(self, x):
        return self.b(self.a(x)), {"x": x}


def test_the_order_is_that_of_a_dry_run():
    net = Odd()
    x = torch.zeros(1, 2)
    assert execution_order(lambda: net(x), net, ["b", "a"]) == ["a", "b"]
    with pytest.raises(NoModuleMatched, match="unused gave nothing"):
        execution_order(lambda: net(x), net, ["a", "unused"])
    with pytest.raises(NoModuleMatched, match="a is called more than once"):
        execution_order(lambda: (net(x), net(x)), net, ["a"])
    outer = nn.Sequential(net)
    assert execution_order(lambda: outer(x), outer, ["0"], unpack=True) == ["0:0"]
    with pytest.raises(TypeError, match="0 gives tuple of Tensor, dict"):
        execution_order(lambda: outer(x), outer, ["0"])
    assert hooks_on(outer) == 0
