import csv

import numpy as np
import pytest
from homssl.cli import load_model, main
from homssl.plots import plot_certificate, plot_sweep

NETS = """
from torch import nn
from homssl import Cyclic, LiftConv2d, group_convnet

def good():
    return group_convnet(Cyclic(4))

bad = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
number = lambda: 3
"""


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture
def nets(tmp_path):
    path = tmp_path / "nets.py"
    path.write_text(NETS)
    return path


def test_a_network_that_is_equivariant_exits_0(nets, capsys, tmp_path):
    table, picture = tmp_path / "out.csv", tmp_path / "out.png"
    options = ["--csv", str(table), "--plot", str(picture), "--train", "--output", "regular"]
    assert main(["check", f"{nets}:good", "--group", "c4", *options]) == 0
    printed = capsys.readouterr().out
    assert "LiftConv2d, regular" in printed
    assert printed.endswith("equivariant to 1e-10\n")
    rows = rows_of(table)
    assert rows[-1]["layer"] == "(output)"
    assert float(rows[0]["error"]) < 1e-12
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_a_network_that_is_not_exits_1_and_names_the_layer(nets, capsys):
    assert main(["check", f"{nets}:bad", "--group", "c4"]) == 1
    assert "the first layer beyond 1e-10 is 0" in capsys.readouterr().out
    assert main(["check", f"{nets}:bad", "--group", "t28x28m1", "--float32"]) == 0
    assert main(["check", f"{nets}:bad", "--group", "c8"]) == 0
    assert "no verdict" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{nets}:none", "--group", "c4"], "no attribute 'none'"),
        (["{nets}:number", "--group", "c4"], "must be or make a torch.nn.Module, got int"),
        (["{nets}", "--group", "c4"], "package.module:name"),
        (["nets", "--group", "c4"], "package.module:name"),
        (["no_such_module_at_all:x", "--group", "c4"], "No module named"),
        (["{nets}:bad", "--group", "x4"], "got 'x4'"),
        (["{nets}:bad", "--group", "c4", "--channels", "3"], "fails on images (4, 3, 28, 28)"),
        (["{nets}:bad", "--group", "c4", "--batch", "0"], "at least 1"),
        (["{nets}:bad", "--group", "t5x5"], "must divide"),
    ],
)
def test_what_cannot_be_checked_exits_2_with_one_line(arguments, message, nets, capsys):
    arguments = [part.replace("{nets}", str(nets)) for part in arguments]
    assert main(["check", *arguments]) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("homssl: ")
    assert not printed.out


def test_the_demo_shows_the_identity(capsys):
    assert main(["demo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    losses = [line.split()[-1] for line in lines if " loss " in line]
    assert losses[0] == losses[1]
    assert losses[2] != losses[3]
    assert "times as long" in lines[-1]


def test_the_failure_is_run_on_ones_own_images_and_gone_on_with(tmp_path, capsys):
    draw = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", draw.integers(0, 256, (60, 12, 12), dtype=np.uint8))
    np.save(tmp_path / "y.npy", np.arange(60) % 3)
    command = ["demo", "--failure", "--images", str(tmp_path / "x.npy"), "--steps", "2"]
    command += ["--labels", str(tmp_path / "y.npy"), "--out", str(tmp_path / "out")]
    assert main([*command, "--seeds", "1"]) == 0
    assert capsys.readouterr().out.count("linear probe") == 3
    journal = tmp_path / "out" / "failure.jsonl"
    assert journal.read_text().count("\n") == 3
    first = journal.read_text()
    assert main([*command, "--seeds", "2"]) == 0
    assert journal.read_text().startswith(first)
    assert journal.read_text().count("\n") == 6
    assert len(rows_of(tmp_path / "out" / "failure.csv")) == 6
    assert "c4, H-SSL" in capsys.readouterr().out


def test_the_sweep_writes_table_and_picture(tmp_path, capsys):
    draw = np.random.default_rng(0)
    np.save(tmp_path / "x.npy", draw.random((90, 1, 8, 8), dtype=np.float32))
    np.save(tmp_path / "y.npy", np.arange(90) % 3)
    command = ["demo", "--sweep", "distance", "--images", str(tmp_path / "x.npy"), "--labels"]
    command += [str(tmp_path / "y.npy"), "--steps", "1", "--seeds", "2", "--out", str(tmp_path)]
    assert main(command) == 0
    rows = rows_of(tmp_path / "sweep.csv")
    assert {(row["base_size"], row["distance"]) for row in rows} == {
        (base, distance) for base in "124" for distance in "12"
    }
    assert len(rows) == 12
    assert (tmp_path / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert "A-SSL on the same draws: at most" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("files", "arguments", "message"),
    [
        ({}, ["--failure", "--images", "none.npy"], "none.npy"),
        ({"x": np.zeros((9, 3))}, ["--failure", "--images", "x"], "(N, H, W) or (N, C, H, W)"),
        ({"x": np.zeros((9, 8, 8))}, ["--sweep", "distance", "--images", "x"], "--labels must"),
        (
            {"x": np.zeros((9, 8, 8)), "y": np.zeros(8, int)},
            ["--failure", "--images", "x", "--labels", "y"],
            "must hold (9,) classes",
        ),
        ({"y": np.zeros(8)}, ["--failure", "--labels", "y"], "give both"),
        ({}, ["--failure", "--seeds", "0"], "at least 1"),
    ],
)
def test_the_demo_refuses_with_one_line(files, arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, array in files.items():
        np.save(tmp_path / f"{name}.npy", array)
    arguments = [f"{part}.npy" if part in files else part for part in arguments]
    assert main(["demo", *arguments]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "homssl-demo").exists()


def test_a_pickle_is_not_read(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.array([{"a": 1}]), allow_pickle=True)
    assert main(["demo", "--failure", "--images", str(tmp_path / "x.npy")]) == 2
    assert "no .npy array" in capsys.readouterr().err


def test_an_import_path_will_do():
    assert type(load_model("torch.nn:Identity")).__name__ == "Identity"


def test_pictures_hold_what_they_are_given(nets):
    import torch
    from homssl import Cyclic, equivariance_error

    bad = load_model(f"{nets}:bad").double()
    certificate = equivariance_error(bad, torch.randn(2, 1, 8, 8, dtype=torch.float64), Cyclic(4))
    axis = plot_certificate(certificate).axes[0]
    assert len(axis.patches) == len(certificate.layers)
    assert axis.get_title() == certificate.verdict
    row = {"start_loss": 5.0, "final_loss": 4.0, "probe": 0.5}
    rows = [row | {"base_size": b, "distance": d} for b in (1, 2) for d in (1, 2, 4)]
    assert [len(axis.lines) for axis in plot_sweep(rows).axes] == [2, 2, 2]
    with pytest.raises(ValueError, match="got none"):
        plot_sweep([])


HEADER = b"{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x05\x06" + bytes(18),  # an empty .npz
        b"\x93NUMPY\x01\x00\x76\x00" + (HEADER % b"1000000000000, 9").ljust(117) + b"\n",
        b"\x93NUMPY\x01\x00\x76\x00" + (HEADER % b"0, 99999999999999999999").ljust(117) + b"\n",
        b"\x93NUMPY\x01\x00\x76\x00" + (HEADER % b"-4, -1").ljust(117) + b"\n" + bytes(16),
    ],
)
def test_images_that_are_none_are_refused_before_room_is_made(content, tmp_path, capsys):
    path = tmp_path / "x.npy"
    path.write_bytes(content)
    assert main(["demo", "--failure", "--images", str(path)]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "x.npy" in printed
