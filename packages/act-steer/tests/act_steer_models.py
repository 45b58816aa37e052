"""Models without a download, and maps for them."""

import torch
from act_steer.transport import AffineTransport


def tiny_llama(layers=2, **options):
    from transformers import LlamaConfig, LlamaForCausalLM

    options = {"tie_word_embeddings": False, "initializer_range": 0.2} | options
    config = LlamaConfig(
        vocab_size=61, hidden_size=16, intermediate_size=24, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64, **options,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def affine(width, seed=0, *, scaled=True, bounded=False, clamp=False, dtype=torch.float32):
    """A map with factors about 1 and shifts about 0."""
    g = torch.Generator().manual_seed(seed)
    inf = torch.full((width,), torch.inf, dtype=dtype)
    scale = 1 + 0.3 * torch.randn(width, generator=g, dtype=dtype) if scaled else torch.ones(width)
    shift = 0.3 * torch.randn(width, generator=g, dtype=dtype)
    low = -0.5 * torch.rand(width, generator=g, dtype=dtype) if bounded else -inf
    high = 0.5 * torch.rand(width, generator=g, dtype=dtype) if bounded else inf
    return AffineTransport(scale.to(dtype), shift, low, high, clamp)


def norms(model, **options):
    """A map for every norm of a Llama."""
    names = [name for name, _ in model.named_modules() if name.endswith("norm")]
    width = model.config.hidden_size
    return {name: affine(width, seed, **options) for seed, name in enumerate(names)}


def hooks_on(model):
    """How many hooks there are on all modules."""
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks)
        for m in model.modules()
    )
