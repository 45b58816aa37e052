import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from symphony_ui import load_book

STUDIES = Path(__file__).parents[1] / "studies"


@pytest.fixture(scope="session")
def study_module():
    """A function from a study's folder and a file's stem to the module in it."""

    def load(study, stem):
        path = STUDIES / study / f"{stem}.py"
        spec = importlib.util.spec_from_file_location(f"{study}_{stem}", path)
        found = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(found)
        return found

    return load


@pytest.fixture
def two_as_one(tmp_path):
    """Runs a script, ``folder rank world`` its arguments, in one process and in two.

    What each saves as ``{world}-{rank}.pt`` must agree.
    """

    def check(text):
        script = tmp_path / "ranks.py"
        script.write_text(text)
        environment = os.environ | {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
        children = [
            subprocess.Popen(
                [sys.executable, str(script), str(tmp_path), str(rank), str(world)],
                env=environment, stderr=subprocess.PIPE, text=True,
            )
            for world in (1, 2)
            for rank in range(world)
        ]  # fmt: skip
        for child in children:
            _, error = child.communicate(timeout=120)
            assert child.returncode == 0, error[-3000:]
        want = torch.load(tmp_path / "1-0.pt", weights_only=True)
        for rank in range(2):
            got = torch.load(tmp_path / f"2-{rank}.pt", weights_only=True)
            torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)

    return check


WORDS = "the a dog cat sea sat ran on to and one two who what Q A"


@pytest.fixture(scope="session")
def tiny_llama():
    """A random Llama of two layers that knows the words of our sentences, and its tokenizer."""
    from tenfold.data import sentences
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    text = " ".join(path.read_text() for path in sorted(sentences.FOLDER.iterdir()))
    known = dict.fromkeys([*WORDS.split(), *re.findall(r"\w+|[^\w\s]+", text)])
    vocabulary = {word: n for n, word in enumerate(["<pad>", "<unk>", *known])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", unk_token="<unk>")
    config = LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
        pad_token_id=0, bos_token_id=None, eos_token_id=None, initializer_range=0.3,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    return model.eval().requires_grad_(False), tokenizer


@pytest.fixture
def texts():
    """A function from a tour's page to the prose of each of its tabs."""
    return read


def read(path):
    """The prose of each tab, with Markdown's backslashes taken out."""
    book = load_book(path)
    return {
        tab: "\n".join(
            placed.component.text.replace("\\", "")
            for page in pages
            for placed in page.layout.all()
            if placed.component.type == "markdown"
        )
        for tab, pages in book.tabs.items()
    }
