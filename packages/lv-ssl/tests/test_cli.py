import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from lv_ssl import CodeBook, StochasticHead, load_head, save_head
from lv_ssl.cli import main
from lv_ssl.store import digest


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two views' features, labels, and the working directory among them."""
    monkeypatch.chdir(tmp_path)
    g = np.random.default_rng(0)
    y = np.arange(400) % 4
    centres = 2 * g.standard_normal((4, 12))
    shared = centres[y] + g.standard_normal((400, 12))
    for name in ("v1.npy", "v2.npy"):
        np.save(name, (shared + 0.5 * g.standard_normal((400, 12))).astype(np.float32))
    np.save("y.npy", y)
    return tmp_path


def run(*arguments):
    return main([str(a) for a in arguments])


FIT = ("fit", "v1.npy", "v2.npy", "-o", "head.safetensors", "--dim", "64", "--epochs", "3")


def test_from_features_to_a_curve(folder, capsys):
    assert run(*FIT, "--batch", "100") == 0
    assert "3 epochs" in capsys.readouterr().out
    assert run("encode", "head.safetensors", "v1.npy", "-o", "codes.npz") == 0
    assert capsys.readouterr().out == "400 codes of 64 bits, 3200 bytes\n"
    assert CodeBook.load("codes.npz").model == digest("head.safetensors")
    shape = ("--image-shape", "28", "28", "--feature-dim", "12")
    assert run("report", "codes.npz", "--labels", "y.npy", *shape, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["times_less_than_image"] == 98.0
    assert found["times_less_than_features"] == 6.0
    assert found["nearest_neighbour_accuracy"] > 0.6
    assert 0 < found["ideal_bits"] <= 64
    assert run("report", "codes.npz", "--labels", "y.npy", *shape) == 0
    assert "times less than image" in capsys.readouterr().out
    curve = ("rd-curve", "codes.npz", "--labels", "y.npy", "--train-rows", "300")
    assert run(*curve, "--keep", "4", "64", "-o", "curve.csv") == 0
    assert "ideal bits" in capsys.readouterr().out
    rows = list(csv.DictReader((folder / "curve.csv").read_text().splitlines()))
    assert [row["units"] for row in rows] == ["4", "64"]
    assert float(rows[1]["accuracy"]) > 0.7
    assert run(*curve) == 0
    assert capsys.readouterr().out.count("\n") == 5  # heading, 8, 16, 32 and 64 bits


def test_the_same_seed_writes_the_same_files(folder, capsys):
    for name in ("a", "b"):
        run(*FIT[:4], f"{name}.safetensors", *FIT[5:], "--batch", "100", "--seed", "3")
        run("encode", f"{name}.safetensors", "v1.npy", "-o", f"{name}.npz")
    assert (folder / "a.npz").read_bytes() == (folder / "b.npz").read_bytes()
    before = torch.get_rng_state()
    run(*FIT, "--family", "vmf", "--epochs", "1")
    assert torch.equal(before, torch.get_rng_state())
    assert load_head("head.safetensors").family == "vmf"


def spoil_features(folder):
    x = np.zeros((400, 12), np.float32)
    x[3, 4] = np.nan
    np.save("v1.npy", x)


@pytest.mark.parametrize(
    ("prepare", "arguments", "message"),
    [
        (None, ("report", "none.npz"), "No such file"),
        (None, ("report", "y.npy"), "y.npy is no .npz file that can be read"),
        (None, ("fit", "v1.npy", "none.npy", "-o", "x"), "No such file"),
        (None, ("fit", "v1.npy", "y.npy", "-o", "x"), "y.npy must hold (N, F) floats, got int64"),
        (None, (*FIT, "--batch", "500"), "batch must be in 2 to 400, got 500"),
        (None, (*FIT, "--beta", "-1"), "beta must be at least 0"),
        (None, (*FIT, "--dim", "0"), "dim must be positive"),
        (spoil_features, FIT, "v1.npy has 1 rows with values that are not finite"),
        (None, ("encode", "v1.npy", "v1.npy", "-o", "x"), "v1.npy is no safetensors file"),
        (None, ("encode", "normal", "v1.npy", "-o", "x"), "family 'bernoulli', got 'normal'"),
        (None, ("encode", "other", "v1.npy", "-o", "x"), "features must be (B, 5), got (400, 12)"),
        (None, ("report", "codes.npz", "--labels", "v1.npy"), "(400,) integers from 0, got float"),
        (None, ("rd-curve", "codes.npz", "--labels", "y.npy", "--train-rows", "400"), "1 to 399"),
        (
            None,
            ("rd-curve", "codes.npz", "--labels", "y.npy", "--train-rows", "9", "--keep", "3", "2"),
            "keep must be ascending",
        ),
        (None, ("report", "codes.npz", "--image-shape", "0"), "image_shape must be positive"),
        (None, ("encode", "good", "v1.npy", "-o", "no/where.npz"), "No such file"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(folder, capsys, prepare, arguments, message):
    save_head("normal", StochasticHead(12, 4, "normal"))
    save_head("other", StochasticHead(5, 4))
    save_head("good", StochasticHead(12, 4))
    run("encode", "good", "v1.npy", "-o", "codes.npz")
    if prepare:
        prepare(folder)
    before = sorted(p.name for p in folder.iterdir())
    capsys.readouterr()
    assert run(*arguments) == 2
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert error[0].startswith("lv-ssl: ")
    assert message in error[0]
    assert sorted(p.name for p in folder.iterdir()) == before


def test_the_command_is_installed_and_explains_itself():
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from lv_ssl.cli import main; sys.exit(main())", "-h"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    for command in ("fit", "encode", "report", "rd-curve"):
        assert command in done.stdout


def test_importing_takes_only_what_is_declared():
    script = "import sys, lv_ssl; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    found = set(done.stdout.split())
    assert {"numpy", "safetensors", "torch"} <= found
    assert not {"scipy", "sklearn", "matplotlib", "er_ssl", "tenfold", "faiss", "lightly"} & found
