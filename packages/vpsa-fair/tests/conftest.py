"""Counts as a sweep would leave them, for the tests of what follows from counts."""

import numpy as np
import pytest
from vpsa_fair import CLEAN, Axis, Cell, Counts


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
