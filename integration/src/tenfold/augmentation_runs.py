"""A small study of random augmentation against an adversary, and how fast images are augmented."""

import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from randaug_study.report import Report
    from randaug_study.study import Study

    from tenfold.data.images import Split

GREY = (
    "Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness",
    "Contrast", "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize",
)  # fmt: skip
SIZES = {"small": (500, 20), "paper": (2000, 60)}  # training images, epochs
MARGIN = 2.0  # points: three seeds decide no finer


def small_study(seeds: int, scale: str, channels: int) -> "Study":
    """None, random and the worst of 4, ``3 * seeds`` paired seeds.

    Args:
        seeds: of the tour.
        scale: ``small`` or ``paper``.
        channels: of the images; grey ones are spared the operation Color, which does nothing.
    """
    from randaug_study.arms import Arm
    from randaug_study.study import Study
    from randaug_study.training import Recipe

    train, epochs = SIZES[scale]
    return Study(
        name="random against the worst of 4",
        arms=(
            Arm("none", "none"),
            Arm("random", "random"),
            Arm("worst-of-4", "worst", k=4, reference="random"),
        ),
        seeds=tuple(range(3 * seeds)),
        margin=MARGIN,
        recipe=Recipe(train=train, epochs=epochs, ops=GREY if channels == 1 else ()),
    )


def run_small(study: "Study", split: "Split", progress: Callable[[int, int], None]) -> "Report":
    """Run a study in memory, without a journal: the tour keeps a station's result itself."""
    from randaug_study.data import Data
    from randaug_study.report import NoGainWarning, Report
    from randaug_study.training import train

    parts = split.train, split.train_labels, split.test, split.test_labels
    data = Data(*(torch.tensor(part) for part in parts))
    tasks = study.tasks()
    epochs = study.recipe.epochs
    runs = {}
    for n, (arm, seed) in enumerate(tasks):

        def step(done: int, total: int, n: int = n) -> None:
            progress(n * epochs + done, len(tasks) * epochs)

        runs[arm.name, seed] = train(arm, seed, study.recipe, data, progress=step)
    with warnings.catch_warnings():  # the station's verdict and headline say it themselves
        warnings.simplefilter("ignore", NoGainWarning)
        return Report.of(study, runs)


def images_a_second(images: np.ndarray, repeats: int = 5) -> tuple[float, float]:
    """Images a processor second by this package on the batch, and by torchvision one by one.

    Args:
        images: uint8 ``(N, C, H, W)``.
        repeats: rounds, of which the fastest counts, interleaved.

    Returns:
        Both rates, N = 2, M = 9, uint8 in and out, on as many threads as torch has.
    """
    from randaug_study import RandAugment
    from torchvision.transforms import v2

    x = torch.tensor(images)  # a copy: the embedded images cannot be written to
    ours, theirs = RandAugment(), v2.RandAugment()
    best = [float("inf"), float("inf")]
    with torch.random.fork_rng(devices=[]):
        for key in range(repeats):
            start = time.process_time()
            ours(x, key=key)
            middle = time.process_time()
            for image in x:
                theirs(image)
            spent = middle - start, time.process_time() - middle
            best = [min(old, new) for old, new in zip(best, spent, strict=True)]
    return len(x) / best[0], len(x) / best[1]


def examples(images: np.ndarray, magnitude: int, ops: tuple[str, ...] = GREY) -> np.ndarray:
    """Every operation on the first image, at one magnitude, ``(K, H, W)`` or ``(K, H, W, 3)``."""
    from randaug_study import Plan, RandAugment

    aug = RandAugment(ops=ops)
    x = torch.from_numpy(images[:1].copy()).repeat(len(ops), 1, 1, 1)
    numbers = torch.arange(len(ops))[:, None]
    plan = Plan(numbers, torch.ones_like(numbers), torch.full_like(numbers, magnitude), aug.space)
    out = aug.apply(x, plan).numpy()
    return out[:, 0] if out.shape[1] == 1 else np.ascontiguousarray(np.moveaxis(out, 1, 3))
