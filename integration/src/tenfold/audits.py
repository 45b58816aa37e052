"""What vpsa-fair audits in the tour: a classifier and drawn faces, with a plant and without."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
import vpsa_fair as vf
from torch import Tensor, nn
from vpsa_fair.adapters import torch_embedder

from tenfold.classifiers import conv_classifier
from tenfold.data.images import Split
from tenfold.encoders import resnet18

Progress = Callable[[int, int], None]
CAMERAS = "camera (synthetic)"  # says by its name that nobody's attribute is meant
PLANT = 5.0  # stops by which camera b takes in less light


@dataclass(frozen=True)
class Scale:
    """How large an audit is.

    Attributes:
        epochs: of the classifier.
        images: how many test images are audited.
        identities: of the drawn faces, four images each.
    """

    epochs: int
    images: int
    identities: int


SCALES = {"small": Scale(2, 1000, 64), "paper": Scale(20, 10_000, 200)}


def train_classifier(
    split: Split,
    *,
    epochs: int,
    seed: int,
    large: bool = False,
    device: str = "cpu",
    progress: Progress | None = None,
) -> nn.Module:
    """Return a classifier of a split's images, in evaluation mode.

    It standardises every image first, so that less light alone changes its answers little.

    Args:
        split: images and labels.
        epochs: passes over the training images, batches of 64.
        seed: of weights and order.
        large: a ResNet-18 in the place of three convolutions.
        device: where it trains.
        progress: called with steps done and steps in all.

    Returns:
        ``(B, C, H, W)`` float32 in [0, 1] to ``(B, classes)`` logits.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = _network(split, large).to(device)
    x, y = torch.tensor(split.train), torch.tensor(split.train_labels)
    generator = torch.Generator().manual_seed(seed)
    steps = epochs * (len(x) // 64)
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    for step, rows in enumerate(_batches(len(x), epochs, generator)):
        loss = F.cross_entropy(net(x[rows].to(device).float() / 255), y[rows].to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        if progress is not None:
            progress(step + 1, steps)
    return net.eval()


def _network(split: Split, large: bool) -> nn.Module:
    channels, size, classes = split.train.shape[1], split.train.shape[2], len(split.classes)
    if not large:
        return conv_classifier(classes, channels=channels, size=size, norm=True)
    standard = nn.GroupNorm(1, channels, affine=False)
    return nn.Sequential(standard, resnet18(channels), nn.Linear(512, classes))


def _batches(count: int, epochs: int, generator: torch.Generator) -> list[Tensor]:
    return [
        rows
        for _ in range(epochs)
        for rows in torch.randperm(count, generator=generator).split(64)
        if len(rows) == 64
    ]


def clothes_audit(net: nn.Module, split: Split, images: int, *, plant: bool) -> vf.Audit:
    """Return an audit of a classifier, by class and by a synthetic attribute.

    Every other image is given to "camera b", whatever it shows. With the plant, camera b takes in
    less light before rounding to 8 bits; without it the attribute is a label and nothing else.

    Args:
        net: from `train_classifier`.
        split: whose test images are audited.
        images: how many of them.
        plant: whether camera b is darker.
    """
    pixels = np.ascontiguousarray(split.test[:images].transpose(0, 2, 3, 1))
    labels = split.test_labels[:images]
    camera = np.arange(len(pixels)) % 2
    if plant:
        pixels = pixels.copy()
        pixels[camera == 1] = vf.exposure("down", [PLANT])(pixels[camera == 1], PLANT)
    return vf.Audit(
        embed=torch_embedder(net, mean=0.0, std=1.0),
        data=vf.Faces.from_arrays(
            pixels,
            attributes={
                "class": np.array(split.classes)[labels],
                CAMERAS: np.array(["a", "b"])[camera],
            },
        ),
        perturbations=[
            vf.gaussian_noise(vf.linear(6, 36, 4)),
            vf.gaussian_blur(vf.log(0.5, 3, 4)),
            vf.rotation(vf.linear(10, 40, 4)),
            vf.occlusion(vf.linear(0.1, 0.4, 4)),
        ],
        protocol=vf.Classification(labels),
        groups=["class", CAMERAS],
        progress=False,
    )


@lru_cache(maxsize=1)
def _recogniser() -> vf.FisherModel:
    return vf.fisher_model(vf.synthetic_faces(120, 4, seed=1))


def faces_audit(identities: int, *, plant: bool) -> vf.Audit:
    """Return an audit of a small recogniser on drawn faces, by the camera that drew them.

    Args:
        identities: how many; the recogniser learnt from others.
        plant: whether camera b takes in less light.
    """
    return vf.Audit(
        embed=_recogniser(),
        data=vf.synthetic_faces(identities, 4, plant=PLANT + 0.5 if plant else None),
        perturbations=[
            vf.gaussian_noise(vf.linear(15, 90, 4)),
            vf.gaussian_blur(vf.log(0.5, 6, 4)),
            vf.rotation(vf.linear(3, 30, 4)),
        ],
        protocol=vf.Verification(fmr=0.02),
        groups=["camera"],
        progress=False,
    )
