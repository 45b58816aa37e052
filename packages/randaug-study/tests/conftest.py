"""Data, a study and runs that several modules of tests use."""

import dataclasses
import gzip
import struct

import numpy as np
import pytest
from randaug_study.arms import Arm
from randaug_study.data import NAMES
from randaug_study.study import Study
from randaug_study.training import Run

STUDY = """
name = "tiny"
seeds = 3
margin = 2

[recipe]
train = 20
epochs = 3
batch = 8
lr = 0.05
widths = [4]
strides = [2]

[arms.none]
rule = "none"

[arms.random]
rule = "random"

[arms.worst]
rule = "worst"
k = 3

[arms.advaa]
rule = "advaa"
k = 2
"""


def write_idx(path, array, zipped=True):
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}i", *array.shape)
    raw = head + array.tobytes()
    path.write_bytes(gzip.compress(raw) if zipped else raw)


def a_folder(path, n=40, size=8, seed=0):
    """Four idx files of drawn images whose class shows: brighter columns further right."""
    path.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for part in ("train", "test"):
        y = (np.arange(n) % 4).astype(np.uint8)
        x = rng.integers(0, 120, (n, size, size), np.uint8)
        for i, c in enumerate(y):
            x[i, :, 2 * c : 2 * c + 2] += 120
        write_idx(path / f"{NAMES[part + '_x']}.gz", x)
        write_idx(path / NAMES[f"{part}_y"], y, zipped=False)
    return path


def a_run(arm, seed, accuracy, *, scored=0, trained=10):
    return Run(arm, seed, accuracy, [1.0], 90.0, [], {}, [], [], scored, trained, trained, 1.0)


def a_study(seeds=10):
    arms = (
        Arm("none", "none"),
        Arm("random", "random"),
        Arm("worst", "worst", k=4),
        Arm("long", "random", epochs=3),
        Arm("far", "random"),
    )
    arms = (*arms[:2], dataclasses.replace(arms[2], equal_compute="long"), *arms[3:])
    return Study("a study", arms, tuple(range(seeds)))


def some_runs(means, seeds=10, noise=0.2):
    """Accuracies around a mean, and a part that the arms of a seed share."""
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 3, seeds)
    return {
        (arm, seed): a_run(
            arm, seed, mean + shared[seed] + rng.normal(0, noise),
            scored=40 if arm == "worst" else 0,
        )
        for arm, mean in means.items()
        for seed in range(seeds)
    }  # fmt: skip


MEANS = {"none": 75.0, "random": 80.0, "worst": 80.1, "long": 80.0, "far": 77.0}


@pytest.fixture(scope="session", name="write_idx")
def _write_idx():
    return write_idx


@pytest.fixture(scope="session", name="a_folder")
def _a_folder():
    return a_folder


@pytest.fixture(scope="session", name="study_text")
def _study_text():
    return STUDY


@pytest.fixture(scope="session", name="a_study")
def _a_study():
    return a_study


@pytest.fixture(scope="session", name="some_runs")
def _some_runs():
    return some_runs


@pytest.fixture(scope="session", name="means")
def _means():
    return MEANS
