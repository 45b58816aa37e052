"""What `homssl demo` shows, and what it writes."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from tokenize import TokenError
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from homssl.check import equivariance_error
from homssl.experiment import ARMS, run_failure_cell, run_sweep_cell
from homssl.framework import ASSL, HSSL
from homssl.groups import Cyclic
from homssl.journal import run_cells, write_csv, written
from homssl.measures import ANGLES, step_seconds
from homssl.models import group_convnet, unstructured
from homssl.synthetic import synthetic_images

Data = tuple[Tensor, Tensor]
BASES, DISTANCES = (1, 2, 4), (1, 2, 4, 7)
GALLERY = 1000
_NO_ARRAY = (  # what numpy raises on files that hold none
    ValueError, TypeError, SyntaxError, RecursionError, MemoryError, OverflowError, TokenError,
)  # fmt: skip


def show_identity() -> str:
    """The two losses, their gradients, their times and the certificate, with and without."""
    x, _ = synthetic_images(64, generator=torch.Generator().manual_seed(0))
    group = Cyclic(4)
    lines: list[str] = []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = group_convnet(group).double()
        for name, encoder in (("C4 net", net), ("without structure", unstructured(net))):
            h, a = HSSL(encoder, group), ASSL(encoder, group)
            first = h(x.double(), generator=torch.Generator().manual_seed(0))
            second = a(x.double(), elements=first.elements)
            one, other = (_gradient(out.loss, encoder) for out in (first, second))
            apart = float((one - other).norm() / other.norm())
            lines += [
                f"{name}: {equivariance_error(encoder, x[:4].double(), group).verdict}",
                f"  H-SSL, fibers of one pass       loss {float(first.loss.detach()):.12f}",
                f"  A-SSL, a pass for each view     loss {float(second.loss.detach()):.12f}",
                f"  gradients apart, relative       {apart:.1e}",
            ]
        for views in (2, 4):
            encoder = group_convnet(group)
            both: dict[str, HSSL | ASSL] = {
                "h": HSSL(encoder, group, views=views),
                "a": ASSL(encoder, group, views=views),
            }
            taken = step_seconds(both, x, turns=7)
            lines.append(f"{views} views: A-SSL takes {taken['a'] / taken['h']:.2f} times as long")
    return "\n".join(lines)


def _gradient(loss: Tensor, module: nn.Module) -> Tensor:
    return torch.cat([p.flatten() for p in torch.autograd.grad(loss, list(module.parameters()))])


def read_data(images: Path | None, labels: Path | None, *, labels_needed: bool) -> Data:
    """Images ``(N, C, H, W)``, float32 in 0 to 1 if they came as uint8, and classes ``(N,)``."""
    if images is None:
        return synthetic_images(5000, generator=torch.Generator().manual_seed(0))
    if labels is None and labels_needed:
        raise ValueError("--labels must be given with --images: the sweep has a linear probe")
    x = _read_array(images)
    if x.ndim == 3:
        x = x[:, None]
    if x.ndim != 4 or len(x) < 4:
        raise ValueError(f"{images} must hold (N, H, W) or (N, C, H, W), got {x.shape}")
    pictures = torch.from_numpy(x.astype(np.float32))
    if x.dtype == np.uint8:
        pictures /= 255
    if labels is None:
        return pictures, torch.zeros(len(x), dtype=torch.int64)
    y = _read_array(labels)
    if y.shape != x.shape[:1] or y.dtype.kind not in "iu" or y.min() < 0:
        raise ValueError(f"{labels} must hold ({len(x)},) classes from 0, got {y.dtype} {y.shape}")
    return pictures, torch.from_numpy(y.astype(np.int64))


def _read_array(path: Path) -> np.ndarray:
    """The numbers of a .npy file; no room is made before its size fits its header."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            if version == (1, 0):
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            else:
                shape, _, dtype = np.lib.format.read_array_header_2_0(file)
            if dtype.kind not in "biuf":
                raise ValueError(f"it must hold numbers, got {dtype}")
            size, wanted = path.stat().st_size - file.tell(), math.prod(shape) * dtype.itemsize
            if size != wanted or min(shape, default=0) < 0:
                raise ValueError(f"it has {size} bytes of data, its header says {wanted}")
        return np.load(path, allow_pickle=False)
    except _NO_ARRAY as error:
        told = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is no .npy array: {told}") from error


def split(data: Data) -> tuple[Data, Data]:
    """Four fifths to train on, a fifth to test, in the order given."""
    cut = len(data[0]) * 4 // 5
    return (data[0][:cut], data[1][:cut]), (data[0][cut:], data[1][cut:])


def run_failure(
    data: Data, out: Path, *, seeds: int, steps: int | None, source: str = "synthetic"
) -> Iterator[str]:
    """Run or go on with the failure experiment; yields what to print.

    Writes ``failure.jsonl``, the journal, and ``failure.csv``.
    """
    training, test = split(data)
    gallery, classes = test[0][:GALLERY], test[1][:GALLERY]
    labels = (training[1], classes) if len(classes.unique()) > 1 else None
    tasks: list[dict[str, Any]] = [
        {"data": source, "net": net, "loss": loss, "seed": seed, "steps": steps or 150}
        for seed in range(seeds)
        for net, loss in ARMS
    ]

    def run(*, data: str, **task: Any) -> Any:  # the source is part of the key alone
        return run_failure_cell(training[0], gallery, labels=labels, **task)

    rows = run_cells(out / "failure.jsonl", tasks, run)
    write_csv(out / "failure.csv", rows)
    yield f"\nretrieval of a turned image among {len(gallery)}, mean (lowest to highest)"
    yield f"{'':16}" + "".join(f"{angle:>24}" for angle in ANGLES) + f"{'pretext':>24}"
    for net, loss in ARMS:
        cells = [row for row in rows if (row["net"], row["loss"]) == (net, loss)]
        columns = [[row["after"][i] for row in cells] for i in range(len(ANGLES))]
        columns.append([row["pretext"] for row in cells])
        yield f"{net + ', ' + loss.upper() + '-SSL':16}" + "".join(
            f"{_spread(column):>24}" for column in columns
        )
    for net, loss in ARMS if labels else ():
        cells = [row["probes"] for row in rows if (row["net"], row["loss"]) == (net, loss)]
        before, after = (_spread([probes[i] for probes in cells]) for i in (0, 1))
        yield f"{net}, {loss.upper()}-SSL: linear probe of one upright fiber {before}, then {after}"
    yield f"written: {out / 'failure.csv'}"


def run_sweep(
    data: Data, out: Path, *, seeds: int, steps: int | None, source: str = "synthetic"
) -> Iterator[str]:
    """Run or go on with the sweep; yields what to print.

    Writes ``sweep.jsonl``, the journal, ``sweep.csv``, and ``sweep.png`` where matplotlib is.
    """
    training, test = split(data)
    side = min(training[0].shape[-2:]) // 2
    tasks: list[dict[str, Any]] = [
        {
            "data": source,
            "base_size": base,
            "distance": distance,
            "seed": seed,
            "steps": steps or 100,
        }
        for base in BASES
        for distance in DISTANCES
        for seed in range(seeds)
        if base <= side and distance <= side // 2
    ]

    def run(*, data: str, **task: Any) -> Any:  # the source is part of the key alone
        return run_sweep_cell(training, test, **task)

    rows = run_cells(out / "sweep.jsonl", tasks, run)
    write_csv(out / "sweep.csv", rows)
    yield "\nmean (lowest to highest) over seeds"
    yield f"{'base':>4}{'distance':>10}{'start loss':>24}{'final loss':>24}{'probe':>24}"
    for base, distance in dict.fromkeys((row["base_size"], row["distance"]) for row in rows):
        cells = [row for row in rows if (row["base_size"], row["distance"]) == (base, distance)]
        columns = [[row[name] for row in cells] for name in ("start_loss", "final_loss", "probe")]
        yield f"{base:>4}{distance:>10}" + "".join(f"{_spread(c):>24}" for c in columns)
    yield f"A-SSL on the same draws: at most {max(row['gap'] for row in rows):.1e} nats apart"
    yield f"written: {out / 'sweep.csv'}"
    try:
        from homssl.plots import plot_sweep

        figure = plot_sweep(rows)
    except ImportError as error:
        yield f"no picture: {error}"
        return
    with written(out / "sweep.png") as temporary:
        figure.savefig(temporary, dpi=150)
    yield f"written: {out / 'sweep.png'}"


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"
