"""DUET, SimCLR and ESSL trained alike: what is read, what a shift makes, what features hold.

The station and the study of duet share these.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from duet import DuetMatrix, Factor, ParamView, hflip, rotation, scale
from duet.baselines import ESSL, SimCLR
from duet.decoder import Decoder, fit_decoder
from duet.encoders import ConvNet
from duet.evaluate import equivariance_report
from duet.harness import embed, fit
from duet.model import Duet
from duet.probe import PoseErrors, linear_probe, pose_errors, pose_probe
from torch import Tensor, nn

from tenfold.data.images import Split
from tenfold.data.photos import photo_crops
from tenfold.methods import seeded

Framework = Duet | SimCLR  # ESSL is a SimCLR
Kind = Literal["duet", "simclr", "essl", "untrained"]
LAMBDA = 500.0  # in the mean form of the content loss: 1000 in the reference's
FEATURES = 256
LEAST_AREA = 0.25  # of a crop: half of the side
NOISE = 0.75  # on the features that the decoder learns from: about what a shift is off by
SECTORS = 24  # of the true angle, in figures
TURN = rotation()
READ = DuetMatrix(FEATURES, [TURN])  # how features are read that have no axis of their own


@dataclass(frozen=True)
class Recipe:
    """How long a method and its decoder are trained.

    Attributes:
        steps: of the encoder.
        decoder_steps: of the decoder, above the frozen encoder.
        batch: images a step, of both.
        lr: highest learning rate, of both.
    """

    steps: int = 700
    decoder_steps: int = 420
    batch: int = 128
    lr: float = 2e-3


def pixels(images: Any) -> Tensor:
    """uint8 images as float32 in 0 to 1, as duet takes them."""
    return torch.tensor(images).float() / 255


def view_of(factors: Sequence[Factor] = (TURN,), *, mask: bool = False) -> ParamView:
    """What is drawn in training: a crop, and the factors.

    Args:
        factors: besides the crop.
        mask: keep the disc only.
    """
    return ParamView([scale(low=LEAST_AREA), *factors], mask=mask)


def made(
    kind: Kind,
    seed: int,
    *,
    channels: int = 1,
    factors: Sequence[Factor] = (TURN,),
    weights: float | dict[str, float] = LAMBDA,
    relative: bool = False,
    mask: bool = False,
) -> Framework:
    """Return a method before its training; those of one seed begin with the same encoder.

    Args:
        kind: which; ``untrained`` is SimCLR's, to be left as it is.
        seed: of the weights.
        channels: of the images.
        factors: that DUET's matrix has.
        weights: lambda, of all factors or by name.
        relative: whether only differences of the parameter are known.
        mask: whether views keep the disc only.

    Raises:
        ValueError: if there is no such method.
    """
    if kind not in get_args(Kind):
        raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}, got {kind!r}")
    view = view_of(factors, mask=mask)

    def build() -> Framework:
        encoder = ConvNet(channels, features=FEATURES)
        if kind == "duet":
            return Duet(encoder, factors, view=view, weights=weights, relative=relative)
        return (ESSL if kind == "essl" else SimCLR)(encoder, view)

    return seeded(seed, build)


def train(
    method: Framework,
    images: Tensor,
    recipe: Recipe,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, list[float]]:
    """Train in place; the mean of every term over the first and the last ten steps.

    Args:
        method: of `made`.
        images: ``(N, C, H, W)`` in 0 to 1.
        recipe: how long.
        seed: of the batches and views.
        progress: called with steps done and steps in all.
    """
    trace = fit(
        method, images, steps=recipe.steps, batch=recipe.batch, lr=recipe.lr,
        generator=torch.Generator().manual_seed(seed), progress=progress,
    )  # fmt: skip
    return {
        name: [round(sum(part) / len(part), 5) for part in (values[:10], values[-10:])]
        for name, values in trace.terms.items()
    }


def decoder_of(
    method: Framework,
    images: Tensor,
    recipe: Recipe,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    noise: float = NOISE,
) -> Decoder:
    """Train a decoder on the frozen features of rotated images.

    Args:
        method: trained.
        images: ``(N, C, H, W)`` in 0 to 1.
        recipe: how long.
        seed: of weights, batches and views.
        progress: called with steps done and steps in all.
        noise: on the features, in units of their standard deviation.
    """
    method.eval()
    view = ParamView([TURN])
    fresh = seeded(seed, lambda: Decoder(FEATURES, images.shape[1], images.shape[-2:]))
    return fit_decoder(
        method.features, images, draw=lambda x, generator: view(x, generator).image,
        steps=recipe.decoder_steps, batch=recipe.batch, lr=recipe.lr, noise=noise, decoder=fresh,
        generator=torch.Generator().manual_seed(seed), progress=progress,
    )  # fmt: skip


def turned(images: Tensor, seed: int, *, mask: bool = False) -> tuple[Tensor, Tensor]:
    """Return every image at an angle of its own, and the angles in turns, 0.5 upright.

    Args:
        images: ``(N, C, H, W)`` in 0 to 1, upright.
        seed: of the angles.
        mask: keep the disc only.
    """
    p = TURN.draw(len(images), generator=torch.Generator().manual_seed(seed)).to(images.device)
    return ParamView([TURN], mask=mask).apply(images, {TURN.name: p}), p


def read(method: Framework, images: Tensor, name: str = TURN.name) -> Tensor:
    """The parameter that a method's own marginal says, ``(N,)`` in units of p.

    Args:
        method: DUET, or another, whose features are then read as if they had an axis.
        images: ``(N, C, H, W)`` in 0 to 1.
        name: of the factor.
    """
    matrix = method.matrix if isinstance(method, Duet) else READ
    return matrix(embed(method, images)).readout()[name]


def summary_of(errors: PoseErrors) -> dict[str, float]:
    """Median and mean, for the journal."""
    return {"median": round(errors.median, 3), "mean": round(errors.mean, 3)}


def readouts(method: Framework, split: Split, *, device: str = "cpu") -> dict[str, Any]:
    """How far the angle that is read lies from the true one: all, masked, by class, by angle.

    Args:
        method: trained.
        split: whose test images are turned.
        device: where the method is.
    """
    images = pixels(split.test).to(device)
    view, p = turned(images, seed=17)
    said = read(method, view)
    signed = (360 * (said - p)).cpu().double()
    signed = (signed + 180).remainder(360) - 180
    classes = {
        name: round(float(signed[torch.tensor(split.test_labels) == n].abs().quantile(0.5)), 2)
        for n, name in enumerate(split.classes)
        if bool((split.test_labels == n).any())
    }
    masked, same = turned(images, seed=17, mask=True)
    return {
        "readout": summary_of(pose_errors(said, p, cyclic=True)),
        "masked": summary_of(pose_errors(read(method, masked), same, cyclic=True)),
        "angles_by_class": classes,
        "angles": by_angle(p.cpu(), signed),
    }


def by_angle(p: Tensor, signed: Tensor) -> list[list[float]]:
    """Quartiles of the signed error by sector of the true angle: degrees, lower, middle, upper.

    Args:
        p: true angles in turns, ``(N,)``, 0.5 upright.
        signed: errors in degrees, ``(N,)``, -180 to 180.
    """
    rows = []
    sector = (p * SECTORS).long().clamp(0, SECTORS - 1)
    for n in range(SECTORS):
        if bool((sector == n).any()):
            parts = signed[sector == n].double().quantile(torch.tensor([0.25, 0.5, 0.75]).double())
            rows.append([360 * (n + 0.5) / SECTORS - 180, *(round(x, 2) for x in parts.tolist())])
    return rows


def probes(method: Framework, split: Split, *, device: str = "cpu") -> dict[str, Any]:
    """Linear probes of the classes on upright images, and of the angle on turned ones.

    Args:
        method: trained or not.
        split: images and labels.
        device: where the method is.
    """
    train_images, test_images = (pixels(x).to(device) for x in (split.train, split.test))
    labels = [torch.tensor(y) for y in (split.train_labels, split.test_labels)]
    upright = [embed(method, x).cpu() for x in (train_images, test_images)]
    turns = [turned(x, seed) for x, seed in ((train_images, 18), (test_images, 19))]
    seen = [(embed(method, x).cpu(), p.cpu()) for x, p in turns]
    ridge = pose_probe(*seen[0], *seen[1], cyclic=True)
    found = {"matrix": linear_probe(upright[0], labels[0], upright[1], labels[1])}
    if isinstance(method, Duet):
        content = [method.matrix.cpu()(z).content for z in upright]
        found["content"] = linear_probe(content[0], labels[0], content[1], labels[1])
    return {
        "classes": {name: [score.right, score.n] for name, score in found.items()},
        "ridge": summary_of(ridge),
    }


def generation(
    method: Framework, decoder: Decoder, split: Split, *, device: str = "cpu"
) -> list[dict[str, Any]]:
    """Errors of features and of decoded images after a shift, with their yardsticks.

    Args:
        method: trained.
        decoder: of its features.
        split: whose test images are turned.
        device: where the method is.
    """
    report = equivariance_report(
        method, pixels(split.test).to(device), TURN, decoder=decoder,
        matrix=None if isinstance(method, Duet) else READ.to(device),
        generator=torch.Generator().manual_seed(20),
    )  # fmt: skip
    names = ("moved", "still", "wrong", "oracle")
    return [
        {"what": row.what, "amount": round(row.amount, 3)}
        | {name: round(value, 6) for name in names if not math.isnan(value := getattr(row, name))}
        for row in report.rows
    ]


def grey(images: Tensor) -> Tensor:
    """Colour images ``(N, 3, H, W)`` as one channel, by the weights of ITU-R BT.601.

    Args:
        images: in 0 to 1.
    """
    return (images * images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)


def transfer(method: Framework, *, train: int = 4000, test: int = 1000) -> dict[str, Any]:
    """What frozen features hold of crops of photographs: which photograph, and the angle.

    Crops are grey where the encoder was trained on grey images; corners are masked for the angle.

    Args:
        method: trained or not, on another data set.
        train: crops that the probes are fitted on.
        test: crops that they are tested on.
    """
    split = photo_crops(train, test)
    first = next(m for m in method.modules() if isinstance(m, nn.Conv2d))
    images = [pixels(x) for x in (split.train, split.test)]
    if first.in_channels == 1:
        images = [grey(x) for x in images]
    labels = [torch.tensor(y) for y in (split.train_labels, split.test_labels)]
    upright = [embed(method, x) for x in images]
    score = linear_probe(upright[0], labels[0], upright[1], labels[1])
    turns = [turned(x, seed, mask=True) for x, seed in zip(images, (21, 22), strict=True)]
    seen = [(embed(method, x), p) for x, p in turns]
    said = pose_errors(read(method, turns[1][0]), turns[1][1], cyclic=True)
    ridge = pose_probe(*seen[0], *seen[1], cyclic=True)
    return {
        "photograph": [score.right, score.n],
        "ridge": summary_of(ridge),
        "readout": summary_of(said),
    }


def two_factors() -> tuple[Factor, Factor]:
    """Rotation and mirror image."""
    return TURN, hflip()


def read_both(method: Duet, split: Split) -> dict[str, Any]:
    """Errors of the angle, and how often the mirror image is told, of images that are both.

    Args:
        method: with both factors.
        split: whose test images are turned and mirrored.
    """
    images = pixels(split.test)
    view = ParamView([hflip(), TURN])
    params = view.draw(len(images), generator=torch.Generator().manual_seed(23))
    said = method.matrix(embed(method, view.apply(images, params))).readout()
    right = (said["hflip"] > 0.5) == (params["hflip"] > 0.5)
    labels = torch.tensor(split.test_labels)
    return {
        "rotation": summary_of(pose_errors(said["rotation"], params["rotation"], cyclic=True)),
        "hflip": [int(right.sum()), len(right)],
        "hflip by class": {
            name: [int(right[labels == n].sum()), int((labels == n).sum())]
            for n, name in enumerate(split.classes)
            if bool((labels == n).any())
        },
    }


def hidden(images: Tensor, seed: int) -> Tensor:
    """Every image at an angle that nobody records: a data set without an upright pose.

    Args:
        images: ``(N, C, H, W)`` in 0 to 1.
        seed: of the angles.
    """
    return turned(images, seed)[0]


def read_relative(method: Duet, images: Tensor) -> dict[str, Any]:
    """Errors of the angle itself, and of the difference of two views' angles.

    Args:
        method: trained.
        images: ``(N, C, H, W)`` in 0 to 1, at hidden angles.
    """
    (view1, p1), (view2, p2) = turned(images, seed=24), turned(images, seed=25)
    r1, r2 = read(method, view1), read(method, view2)
    return {
        "absolute": summary_of(pose_errors(r1, p1, cyclic=True)),
        "relative": summary_of(pose_errors((r2 - r1) % 1, (p2 - p1) % 1, cyclic=True)),
    }
