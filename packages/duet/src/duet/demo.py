"""What `duet demo` and `duet evaluate` do."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from duet import factors as kinds
from duet.data import read_images
from duet.decoder import Decoder, fit_decoder
from duet.encoders import ConvNet
from duet.evaluate import EquivarianceReport, equivariance_report
from duet.factors import Factor
from duet.grid import controlled_grid
from duet.harness import embed, fit
from duet.model import Duet
from duet.probe import linear_probe
from duet.store import write_whole
from duet.synthetic import synthetic_images
from duet.views import ParamView

FACTORS: dict[str, Callable[[], Factor]] = {
    "rotation": kinds.rotation,
    "rotation4": kinds.rotation4,
    "hflip": kinds.hflip,
    "vflip": kinds.vflip,
    "scale": kinds.scale,
    "brightness": kinds.brightness,
    "contrast": kinds.contrast,
    "saturation": kinds.saturation,
    "hue": kinds.hue,
}
COLOURED = ("saturation", "hue")
CONTENT = 32  # channels of content
MADE = 5000  # pictures where no data are given
FEW = 4  # images of a grid


@dataclass(frozen=True)
class Images:
    """Four fifths to train on and a fifth to test, in the order given; classes or None."""

    train: Tensor
    test: Tensor
    train_labels: Tensor | None
    test_labels: Tensor | None


def images_of(path: Path | None, size: int | None, seed: int) -> Images:
    """The images of a path, or made ones where there is none.

    Args:
        path: see `read_images`.
        size: side of pictures in folders.
        seed: of made ones.

    Raises:
        ValueError: if there are fewer than 20.
    """
    if path is None:
        draws = torch.Generator().manual_seed(seed)
        x, y = synthetic_images(MADE, generator=draws, size=size or 28)
    else:
        x, y = read_images(path, size=size)
    if len(x) < 20:
        raise ValueError(f"{path} must hold at least 20 images, got {len(x)}")
    if y is not None:  # files are often sorted by class
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        x, y = x[order], y[order]
    cut = len(x) * 4 // 5
    return Images(x[:cut], x[cut:], None if y is None else y[:cut], None if y is None else y[cut:])


def run_demo(
    data: Images, name: str, out: Path, *, steps: int, batch: int, seed: int
) -> Iterator[str]:
    """Train DUET on one factor, decode, report; yields what to print.

    Writes ``training.safetensors``, from which a stopped demo goes on, ``model.safetensors``,
    ``decoder.safetensors``, ``report.csv``, and pictures where matplotlib is.

    Args:
        data: images.
        name: of the factor, one of `FACTORS`.
        out: folder.
        steps: of the encoder; the decoder has three fifths as many.
        batch: images a step.
        seed: of weights, batches and views.

    Raises:
        ValueError: if colour is asked of grey images.
    """
    if name in COLOURED and data.train.shape[1] != 3:
        raise ValueError(f"{name} needs colour images, got {data.train.shape[1]} channel")
    factor = FACTORS[name]()
    crop = [] if name == "scale" else [kinds.scale(low=0.25)]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = ConvNet(data.train.shape[1], features=CONTENT * factor.bins)
        model = Duet(encoder, [factor], view=ParamView([*crop, factor]))
        decoder = Decoder(CONTENT * factor.bins, data.train.shape[1], data.train.shape[-2:])
    generator = torch.Generator().manual_seed(seed)
    batch = min(batch, len(data.train))
    checkpoint = out / "training.safetensors"
    yield f"{factor}; {len(data.train)} images to train on, {len(data.test)} to test"
    trace = fit(model, data.train, steps=steps, batch=batch, generator=generator,
                checkpoint=checkpoint)  # fmt: skip
    yield f"trained {trace}"
    model.save(out / "model.safetensors")
    view = ParamView([factor])
    fit_decoder(
        model.features, data.train, draw=lambda x, g: view(x, g).image,
        steps=max(1, steps * 3 // 5), batch=batch, decoder=decoder,
        generator=torch.Generator().manual_seed(seed + 1),
    )  # fmt: skip
    decoder.save(out / "decoder.safetensors")
    yield from run_evaluation(model, data, decoder=decoder, out=out, seed=seed)


def run_evaluation(
    model: Duet, data: Images, *, decoder: Decoder | None, out: Path | None, seed: int
) -> Iterator[str]:
    """Report on every factor of a model, probe the classes, draw; yields what to print.

    Args:
        model: trained.
        data: images; the classes are probed where there are some.
        decoder: of the model's features.
        out: folder of the table and the pictures; None writes nothing.
        seed: of the parameters.
    """
    reports = reports_of(model, data.test, decoder, seed)
    yield from map(str, reports)
    if data.train_labels is not None and data.test_labels is not None:
        z, test = embed(model, data.train), embed(model, data.test)
        score = linear_probe(z, data.train_labels, test, data.test_labels)
        yield f"linear probe of the classes on the whole matrix: {score}"
    if out is None:
        return
    rows: list[dict[str, Any]] = []
    for report in reports:
        table = report.to_table()
        lines = zip(*table.values(), strict=True)
        rows += [{"factor": report.factor.name, **dict(zip(table, r, strict=True))} for r in lines]
    write_csv(out / "report.csv", rows)
    yield f"written: {out / 'report.csv'}"
    for report in reports:
        yield from draw(model, data.test, report.factor, decoder, out, seed)


def reports_of(
    model: Duet, images: Tensor, decoder: Decoder | None, seed: int
) -> list[EquivarianceReport]:
    """One report a factor.

    Args:
        model: trained.
        images: to test on.
        decoder: of the model's features.
        seed: of the parameters.
    """
    return [
        equivariance_report(
            model, images, factor, decoder=decoder,
            generator=torch.Generator().manual_seed(seed + 2),
        )
        for factor in model.matrix.factors
    ]  # fmt: skip


def draw(
    model: Duet, images: Tensor, factor: Factor, decoder: Decoder | None, out: Path, seed: int
) -> Iterator[str]:
    """Write the pictures of one factor, where matplotlib is; yields what was written.

    Args:
        model: trained.
        images: to draw from.
        factor: one of the model's.
        decoder: of its features, for the grid.
        out: folder.
        seed: of the parameters.
    """
    from duet.plots import plot_grid, plot_marginals, plot_readout

    k = model.matrix.factors.index(factor)
    p = factor.draw(len(images), generator=torch.Generator().manual_seed(seed + 3))
    view = ParamView([factor]).apply(images, {factor.name: p})
    read = model.matrix(embed(model, view))
    try:
        figures = {
            "marginals": plot_marginals(read.logits[k].softmax(1), p, factor),
            "readout": plot_readout(read.readout()[factor.name], p, factor),
        }
        if decoder is not None:
            figures["grid"] = plot_grid(controlled_grid(model, decoder, images[:FEW], factor))
    except ImportError as error:
        yield f"no picture: {error}"
        return
    for name, figure in figures.items():
        path = out / f"{factor.name}-{name}.png"
        write_whole(path, lambda temporary, figure=figure: figure.savefig(temporary, dpi=120))
        yield f"written: {path}"


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows of the same keys, as a whole or not at all.

    Args:
        path: where.
        rows: at least one.
    """

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="") as file:
            table = csv.DictWriter(file, fieldnames=list(rows[0]))
            table.writeheader()
            table.writerows(rows)

    write_whole(path, write)
