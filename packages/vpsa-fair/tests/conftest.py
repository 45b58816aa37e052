"""Counts as a sweep would leave them, for the tests of what follows from counts."""

import numpy as np
import pytest
from PIL import Image
from vpsa_fair import CLEAN, Axis, Cell, Counts

MODEL = """
import numpy as np

calls = []

def embed(images):
    calls.append(len(images))
    flat = images.reshape(len(images), -1).astype(np.float32)
    return flat - flat.mean(axis=1, keepdims=True) + 1e-3

not_callable = 3
"""

TABLE = """
[model]
embed = "model.py:embed"
name = "pixels"

[data]
csv = "faces.csv"
root = "images"
attributes = ["tone"]

[protocol]
kind = "verification"
threshold = "accuracy"

[[perturbation]]
kind = "gaussian_blur"
levels = [0.5, 1.0]

[[perturbation]]
kind = "exposure"
direction = "down"
levels = { low = 1.0, high = 4.0, count = 2 }

[audit]
groups = ["tone"]
seed = 5

[result]
n_boot = 40
min_identities = 3

[run]
out = "run"
"""


def simulated(
    seed=0,
    *,
    identities=60,
    groups=("a", "b", "c"),
    perturbations=("blur", "dark"),
    levels=(1.0, 2.0, 4.0),
    measures=("correct",),
    trials=12,
    labels=None,
    plant=None,
    order=None,
    chance=0.0,
):
    """Identities differ in ability; ``plant = (group, perturbation, loss at the last level)``."""
    rng = np.random.default_rng(seed)
    labels = np.array(labels if labels is not None else rng.choice(list(groups), identities))
    ability = rng.beta(6, 1.5, size=len(labels))[:, None]
    cells = [CLEAN]
    cells += [Cell(p, s, s / levels[-1]) for p in perturbations for s in levels]
    position = np.array([c.position for c in cells])
    loss = 0.3 * position * np.ones((len(labels), 1))
    if plant:
        hurt = np.array([c.perturbation == plant[1] for c in cells]) * position
        loss = loss + plant[2] * hurt * (labels == plant[0])[:, None]
    rate = np.clip(ability - loss, 0.01, 0.99)
    hits = {m: rng.binomial(trials, rate).astype(float) for m in measures}
    asked = {m: np.full(rate.shape, float(trials)) for m in measures}
    other = np.array(["x", "y"])[rng.integers(0, 2, len(labels))]
    return Counts(
        identity=np.array([f"id{i:04d}" for i in range(len(labels))]),
        groups={"tone": labels, "sex": other},
        cells=tuple(cells),
        hits=hits,
        trials=asked,
        order=order or {},
        chance=chance,
        protocol="simulated",
        axes={p: Axis("linear", 0.0, "px") for p in perturbations},
    )


@pytest.fixture(scope="session")
def make_counts():
    """The function that makes them."""
    return simulated


@pytest.fixture
def place(tmp_path):
    """A folder with twelve faces of six people, a model, and a configuration."""
    rng = np.random.default_rng(0)
    rows = ["path,identity,tone,label"]
    (tmp_path / "images").mkdir()
    for person in range(6):
        base = rng.integers(60, 200, (12, 12, 3))
        for shot in range(2):
            noisy = np.clip(base + rng.integers(-20, 20, base.shape), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(tmp_path / "images" / f"{person}_{shot}.png")
            rows.append(f"{person}_{shot}.png,p{person},{'ab'[person % 2]},{person % 2}")
    (tmp_path / "faces.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "audit.toml").write_text(TABLE)
    return tmp_path
