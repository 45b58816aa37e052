import csv
import json
import os
import re
import subprocess
import sys

import pytest
import torch
from act_steer.cli import main, read_prompts
from act_steer_models import tiny_llama

WORDS = ["the", "a", "cat", "dog", "runs", "sleeps", "ball", "goal", "rain", "sun"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny language model, its tokenizer, and prompts."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    place = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    tiny_llama().save_pretrained(place)
    vocabulary = {"<pad>": 0, "<unk>": 1} | {w: n + 2 for n, w in enumerate(WORDS)}
    known = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    known.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=known, pad_token="<pad>", unk_token="<unk>", eos_token="<pad>"
    ).save_pretrained(place)
    for name, start in (("source", 0), ("target", 5)):
        texts = [" ".join(WORDS[(start + n + k) % 10] for k in range(3 + n % 4)) for n in range(9)]
        (place / f"{name}.txt").write_text("\n".join(texts) + "\n\n")
    return place


def fit(folder, out, *options):
    sides = ["--source", str(folder / "source.txt"), "--target", str(folder / "target.txt")]
    return ["fit", "--model", str(folder), *sides, "-o", str(out), *options]


def test_fit_report_generate_and_fold_go_round(folder, tmp_path, capsys):
    maps, model = tmp_path / "maps.safetensors", ["--model", str(folder)]
    assert main(fit(folder, maps, "--modules", "attention", "--support", "all")) == 0
    assert "linear maps of 2 modules, 32 neurons" in capsys.readouterr().out
    table, picture = tmp_path / "report.csv", tmp_path / "report.svg"
    assert main(["report", str(maps), "--csv", str(table), "--plot", str(picture)]) == 0
    assert "model.layers.1.self_attn.o_proj" in capsys.readouterr().out
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [row["neurons"] for row in rows] == ["16", "16"]
    assert "<svg" in picture.read_text()
    write = ["--prompt", "the cat", "--prompt", "a dog", "--max-new-tokens", "6"]
    texts = {}
    for strength in ("0", "1"):
        assert main(["generate", str(maps), *model, *write, "--strength", strength]) == 0
        texts[strength] = capsys.readouterr().out
    assert texts["0"] != texts["1"]
    assert [line[:5] for line in texts["1"].splitlines()] == ["the c", "a dog"]
    folded = tmp_path / "new" / "folded"
    assert main(["fold", str(maps), *model, "-o", str(folded)]) == 0
    assert float(re.search(r"differ by (\S+) of", capsys.readouterr().out)[1]) < 1e-4
    assert main(["generate", str(maps), "--model", str(folded), *write, "--strength", "0"]) == 0
    assert capsys.readouterr().out == texts["1"]
    assert [p.name for p in folded.parent.iterdir()] == ["folded"]
    assert main(["fold", str(maps), *model, "-o", str(folded)]) == 2
    assert "is there already" in capsys.readouterr().err


def test_the_same_seed_writes_the_same_text_and_leaves_the_global_one(folder, tmp_path, capsys):
    maps = tmp_path / "maps.safetensors"
    assert main(fit(folder, maps, "--modules", "norms")) == 0
    capsys.readouterr()
    command = ["generate", str(maps), "--model", str(folder), "--prompt", "the cat"]
    said = []
    for seed in ("3", "3", "4"):
        before = torch.get_rng_state()
        assert main([*command, "--temperature", "2", "--seed", seed]) == 0
        assert torch.equal(torch.get_rng_state(), before)
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != said[2]


def test_mean_maps_of_blocks_become_a_control_vector(folder, tmp_path, capsys):
    maps, vector = tmp_path / "maps.safetensors", tmp_path / "vector.gguf"
    options = ["--modules", r"model\.layers\.1", "--method", "mean", "--support", "all"]
    assert main(fit(folder, maps, *options)) == 0
    assert main(["gguf", str(maps), "-o", str(vector), "--model-hint", "llama"]) == 0
    assert vector.read_bytes().startswith(b"GGUF")
    assert main(fit(folder, maps, "--modules", "attention")) == 0
    assert main(["gguf", str(maps), "-o", str(vector)]) == 2
    assert "outputs of blocks" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["report", "{here}/none.safetensors"], "none.safetensors"),
        (["report", "{here}/a.txt"], "a.txt"),
        (["generate", "{maps}", "--model", "{here}", "--prompt", "x"], "config.json"),
        (["generate", "{maps}", "--model", "{here}/none", "--prompt", "x"], "must be a folder"),
        (["generate", "{maps}", "--model", "{model}", "--prompt", "x", "--temperature", "-1"],
         "at least 0"),
        (["fold", "{maps}", "--model", "{model}", "-o", "{here}/out"], "acts on an interval only"),
        (["fit", "--model", "{model}", "--source", "{here}/a.txt", "--target", "{here}/empty.txt",
          "-o", "{here}/out"], "empty.txt holds no prompts"),
        (["fit", "--model", "{model}", "--source", "{here}/a.txt", "--target", "{here}/a.jsonl",
          "-o", "{here}/out"], "a.jsonl, line 2: must be"),
        (["fit", "--model", "{model}", "--source", "{here}/a.txt", "--target", "{here}/a.txt",
          "--modules", "post_ln", "-o", "{here}/out"], "no 'post_ln'"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_exits_2_with_one_line(arguments, message, folder, tmp_path, capsys):
    maps = tmp_path / "maps.safetensors"
    main(fit(folder, maps))
    capsys.readouterr()
    (tmp_path / "a.txt").write_text("the cat\n" * 9)
    (tmp_path / "empty.txt").write_text("\n")
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"word": "a"}\n')
    before = sorted(tmp_path.iterdir())
    places = {"here": tmp_path, "maps": maps, "model": folder}
    assert main([part.format(**places) for part in arguments]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("act-steer: ")
    assert not printed.out
    assert sorted(tmp_path.iterdir()) == before


def test_a_fold_that_is_not_the_steered_model_exits_1_and_writes_nothing(
    folder, tmp_path, capsys, monkeypatch
):
    maps = tmp_path / "maps.safetensors"
    main(fit(folder, maps, "--modules", "attention", "--support", "all"))
    from act_steer import cli

    real = cli.fold
    monkeypatch.setattr(cli, "fold", lambda s, m, strength: real(s, m, strength=strength / 2))
    assert main(["fold", str(maps), "--model", str(folder), "-o", str(tmp_path / "out")]) == 1
    assert "is not the steered one: not written" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_prompts_are_lines_or_texts_of_json_lines(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\n two\n")
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "one\ntwo"}) + "\n")
    assert read_prompts(tmp_path / "a.txt") == ["one", " two"]
    assert read_prompts(tmp_path / "a.jsonl") == ["one\ntwo"]


@pytest.mark.slow
def test_the_installed_command_works_offline(folder, tmp_path):
    offline = os.environ | {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", "from act_steer.cli import main; raise SystemExit(main())"]
    done = subprocess.run(
        [*command, *fit(folder, tmp_path / "maps")], env=offline, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
