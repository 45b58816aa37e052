import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from tenfold.data import diffusion

# diffusers on a newer numpy (November 2026)
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
TOOL = Path(__file__).parents[1] / "tools" / "make_diffusion.py"
ABOUT = json.loads((diffusion.FOLDER / "model.json").read_text())


def test_the_images_are_balanced_styles_of_the_same_digits():
    images, labels = diffusion.styled_digits()
    assert images.shape == (2160, 1, 16, 16)
    assert np.abs(images).max() == 1
    plain, striped, dotted = images.reshape(3, 720, 16, 16)
    assert np.array_equal(striped, np.maximum(plain, striped))
    assert (dotted[:, :3, :3] == 1).all()
    assert np.array_equal(dotted[:, 3:], plain[:, 3:])
    assert np.array_equal(labels[:720] + 8, labels[1440:])


def test_the_model_is_small_and_says_how_it_was_made():
    model = diffusion.load()
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(0.7e6, rel=0.02)
    assert not any(p.requires_grad for p in model.parameters())
    weights = diffusion.FOLDER / "model.safetensors"
    assert weights.stat().st_size < 3_000_000
    with safe_open(weights, "pt") as file:
        assert file.metadata() == {"format": "tenfold diffusion", "version": "1"}
    assert set(ABOUT["licence"]) == {"images", "weights"}
    assert ABOUT["recipe"]["seed"] == 0
    assert {name: ABOUT["noise"][name] for name in diffusion.NOISE} == diffusion.NOISE
    assert {p.suffix for p in diffusion.FOLDER.iterdir()} == {".json", ".png", ".safetensors"}
    with Image.open(diffusion.FOLDER / "samples.png") as picture:
        assert picture.mode == "L"


def test_other_weights_are_refused(tmp_path, monkeypatch):
    raw = (diffusion.FOLDER / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    (tmp_path / "model.json").write_text(json.dumps(ABOUT))
    monkeypatch.setattr(diffusion, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match="train it again"):
        diffusion.load()


@pytest.mark.parametrize("name", diffusion.SAMPLERS)
def test_samples_are_the_digits_that_were_asked_for(name):
    classes = torch.arange(12)
    noise = torch.randn(12, 1, 16, 16, generator=torch.Generator().manual_seed(3))
    steps = 25 if name == "ddpm" else 10
    drawn = diffusion.sample(
        diffusion.conditioned(diffusion.load(), classes),
        diffusion.scheduler(name, steps),
        noise,
        generator=torch.Generator().manual_seed(4),
    )
    digit, style = diffusion.recognised(drawn.numpy(), classes.numpy())
    assert digit >= 0.75
    assert style >= 0.9
    assert float(drawn.abs().max()) < 1.6  # though nothing clips
    shown = diffusion.pictures(drawn)
    assert shown.dtype == np.uint8
    assert shown.shape == (12, 16, 16)


@pytest.mark.parametrize("name", diffusion.SAMPLERS)
def test_the_model_sees_noise_of_unit_variance_first(name):
    noise = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    seen = []

    def denoise(x, t):
        seen.append(x)
        return torch.zeros_like(x)

    g = torch.Generator().manual_seed(0)
    diffusion.sample(denoise, diffusion.scheduler(name, 3), noise, generator=g)
    assert len(seen) == 3
    assert torch.allclose(seen[0], noise, rtol=1e-3)


def test_the_measure_of_samples_knows_images_and_noise():
    images, labels = diffusion.styled_digits()
    assert diffusion.recognised(images[::9], labels[::9]) == (1.0, 1.0)
    assert diffusion.recognised(images[::9], (labels[::9] + 1) % 12)[0] == 0
    noise = np.random.default_rng(0).standard_normal((120, 1, 16, 16)).astype(np.float32)
    assert diffusion.recognised(noise, np.arange(120) % 12)[1] < 0.6


def test_labels_go_on_with_the_rows_of_later_steps():
    seen = []

    def model(x, t, class_labels):
        seen.append(class_labels.tolist())
        return type("Output", (), {"sample": x})

    diffusion.conditioned(model, torch.tensor([4, 7]))(torch.zeros(6, 1), torch.zeros(6))
    assert seen == [[4, 7, 4, 7, 4, 7]]


def test_an_unknown_sampler_is_refused():
    with pytest.raises(ValueError, match="ddim, euler, ddpm; got 'pndm'"):
        diffusion.scheduler("pndm", 5)


@pytest.fixture
def tool(monkeypatch):
    """The tool, with little to train and to draw."""
    spec = importlib.util.spec_from_file_location("make_diffusion", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "COLUMNS", 1)
    monkeypatch.setattr(module, "scheduler", lambda name, steps: diffusion.scheduler(name, 2))
    return module


def test_the_tool_makes_the_same_bytes_twice(tool, tmp_path, monkeypatch, capsys):
    for name in ("one", "two"):
        out = str(tmp_path / name)
        monkeypatch.setattr("sys.argv", ["make_diffusion.py", "--steps", "2", "--out", out])
        assert tool.main() == 0
    for name in ("model.json", "model.safetensors", "samples.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert "SHA-256" in capsys.readouterr().out
    monkeypatch.setattr(diffusion, "FOLDER", tmp_path / "one")
    diffusion.load()
