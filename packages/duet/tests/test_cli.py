import csv
import sys

import numpy as np
import pytest
import torch
from duet import rotation
from duet.cli import main
from duet.data import read_images
from duet.decoder import Decoder
from duet.demo import FACTORS, images_of
from duet.encoders import ConvNet
from duet.model import Duet

PICTURES = ["rotation-grid.png", "rotation-marginals.png", "rotation-readout.png"]
FILES = ["decoder.safetensors", "model.safetensors", "report.csv", "training.safetensors"]


@pytest.fixture
def data(tmp_path):
    """A few small pictures with classes, and one of colour."""
    draw = np.random.default_rng(0)
    labels = np.arange(60) % 3
    np.savez(tmp_path / "grey.npz", images=draw.random((60, 12, 12), np.float32), labels=labels)
    np.savez(tmp_path / "colour.npz", images=draw.random((60, 3, 12, 12), np.float32))
    return tmp_path


@pytest.fixture
def no_pictures(monkeypatch):
    """Drawing takes longer than the rest."""
    monkeypatch.setattr("duet.demo.draw", lambda *_: iter(()))


def demo(data, *options, name="grey.npz"):
    command = ["demo", "--data", str(data / name), "--out", str(data / "out"), "--steps", "3"]
    return main([*command, "--batch", "16", *options])


def test_the_demo_trains_reports_and_draws_without_a_network(data, capsys, monkeypatch):
    def refuse(*_):
        raise AssertionError("the demo asks for a network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    before = torch.random.get_rng_state()
    assert demo(data) == 0
    assert torch.equal(torch.random.get_rng_state(), before)
    printed = capsys.readouterr().out
    assert "48 images to train on, 12 to test" in printed
    assert "linear probe of the classes on the whole matrix" in printed
    assert sorted(path.name for path in (data / "out").iterdir()) == sorted(FILES + PICTURES)
    for name in PICTURES:
        assert (data / "out" / name).read_bytes().startswith(b"\x89PNG")
    rows = list(csv.DictReader((data / "out" / "report.csv").read_text().splitlines()))
    assert {(row["what"], float(row["amount"])) for row in rows} >= {
        ("image", 45.0 * k) for k in (1, 2, 3, 4)
    }


def test_a_demo_that_was_stopped_goes_on_and_ends_the_same(data, capsys, no_pictures):
    assert demo(data) == 0
    whole = Duet.load(data / "out" / "model.safetensors").state_dict()
    lines = capsys.readouterr().out
    for path in (data / "out").iterdir():
        if path.name != "training.safetensors":
            path.unlink()
    assert demo(data) == 0
    assert capsys.readouterr().out == lines
    again = Duet.load(data / "out" / "model.safetensors").state_dict()
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert demo(data, "--factor", "scale") == 2
    assert "of another training: structure" in capsys.readouterr().err


def test_the_demo_makes_its_own_pictures(tmp_path, capsys, monkeypatch, no_pictures):
    monkeypatch.setattr("duet.demo.MADE", 50)
    command = ["demo", "--out", str(tmp_path), "--steps", "1", "--batch", "8", "--size", "12"]
    assert main(command) == 0
    assert "40 images to train on, 10 to test" in capsys.readouterr().out


@pytest.mark.parametrize("name", list(FACTORS))
def test_every_factor_has_a_demo(data, name, capsys, no_pictures):
    colour = name in ("saturation", "hue")
    assert demo(data, "--factor", name, name="colour.npz" if colour else "grey.npz") == 0
    printed = capsys.readouterr().out
    assert f"{name}: " in printed
    assert ("linear probe" in printed) != colour


def test_evaluate_reports_on_a_saved_model(data, capsys, no_pictures):
    demo(data)
    lines = capsys.readouterr().out.splitlines()
    command = ["evaluate", str(data / "out" / "model.safetensors"), "--data"]
    command += [str(data / "grey.npz"), "--decoder", str(data / "out" / "decoder.safetensors")]
    assert main(command) == 0
    again = capsys.readouterr().out.splitlines()
    start = lines.index(again[0])
    assert lines[start : start + len(again)] == again
    assert main([*command, "--out", str(data / "more")]) == 0
    assert (data / "more" / "report.csv").read_bytes() == (data / "out/report.csv").read_bytes()


def test_evaluate_fails_where_the_error_is_too_large(data, capsys, no_pictures):
    demo(data)
    command = ["evaluate", str(data / "out" / "model.safetensors"), "--data"]
    command += [str(data / "grey.npz"), "--max-error"]
    assert main([*command, "180"]) == 0
    assert main([*command, "0.001"]) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["demo", "--data", "{}/none.npz"], "none.npz is not there"),
        (["demo", "--data", "{}/grey.npz", "--factor", "hue"], "hue needs colour images, got 1"),
        (["demo", "--steps", "0"], "--steps must be at least 1"),
        (["demo", "--data", "{}/few.npz"], "at least 20 images, got 5"),
        (["evaluate", "{}/grey.npz"], "is a pickle"),
        (["evaluate", "{}/bad"], "no safetensors file"),
        (["evaluate", "{}/model", "--decoder", "{}/model"], "format must be 'duet decoder'"),
        (["evaluate", "{}/decoder"], "format must be 'duet model', got 'duet decoder'"),
        (["evaluate", "{}/model", "--data", "{}/colour.npz"], "does not fit the images"),
    ],
)
def test_what_cannot_be_done_exits_2_with_one_line(data, arguments, message, capsys, monkeypatch):
    monkeypatch.chdir(data)
    np.savez(data / "few.npz", images=np.zeros((5, 12, 12)))
    (data / "bad").write_bytes(b"nonsense")
    Duet(ConvNet(1, features=16, widths=(4, 4, 4, 4)), [rotation()]).save(data / "model")
    Decoder(16, 1, 12).save(data / "decoder")
    assert main([part.replace("{}", str(data)) for part in arguments]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
    assert printed.startswith("duet: ")
    assert not (data / "duet-demo").exists()


def test_without_matplotlib_the_demo_says_so_and_writes_the_rest(data, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert demo(data) == 0
    assert "no picture: plots need matplotlib" in capsys.readouterr().out
    assert sorted(path.name for path in (data / "out").iterdir()) == FILES


def test_files_sorted_by_class_are_mixed_before_they_are_split(tmp_path):
    x = np.zeros((40, 6, 6), np.uint8)
    np.savez(tmp_path / "x.npz", images=x, labels=np.repeat([0, 1], 20))
    data = images_of(tmp_path / "x.npz", None, 0)
    assert set(data.test_labels.tolist()) == {0, 1}
    assert len(data.train) == 32
    assert len(read_images(tmp_path / "x.npz")[0]) == 40


def test_a_decoder_comes_back_bit_for_bit(tmp_path):
    decoder = Decoder(10, 3, (9, 14), width=8).eval()
    decoder.save(tmp_path / "d")
    again = Decoder.load(tmp_path / "d")
    z = torch.randn(4, 10)
    assert torch.equal(again(z), decoder(z))
    torch.save(decoder.state_dict(), tmp_path / "d")
    with pytest.raises(ValueError, match="is a pickle"):
        Decoder.load(tmp_path / "d")
