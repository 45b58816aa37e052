"""The command line: from an encoder's saved features to codes, and what the codes are worth."""

import argparse
import csv
import io
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from lv_ssl.arrays import read_npy, replace
from lv_ssl.codes import CodeBook, hamming_knn, pack_bits, unpack_bits
from lv_ssl.compression import CompressionReport, RateAccuracy, bit_entropy, rate_accuracy_curve
from lv_ssl.heads import FAMILIES, StochasticHead
from lv_ssl.losses import StochasticContrastiveLoss
from lv_ssl.posthoc import fit_head, infer
from lv_ssl.probes import linear_probe
from lv_ssl.store import digest, load_head, save_head
from lv_ssl.uncertainty import r_auroc, risk_curve


def main(argv: list[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, or 2 where it cannot be done.

    Args:
        argv: arguments; None takes those of the process.

    Returns:
        The exit code; what went wrong stands in one line on stderr.

    Example:
        >>> main(["report", "no.npz"])
        2
    """
    arguments = _parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (OSError, ValueError, TypeError) as error:
        print(f"lv-ssl: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lv-ssl", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    fit = commands.add_parser("fit", help="train a head on two views' saved features")
    fit.add_argument("view1", type=Path, help=".npy, (N, F) floats: one view of each instance")
    fit.add_argument("view2", type=Path, help=".npy, (N, F) floats: another view, same rows")
    fit.add_argument("-o", "--out", type=Path, required=True, help="head, .safetensors")
    fit.add_argument("--family", choices=FAMILIES, default="bernoulli", help="default bernoulli")
    fit.add_argument("--dim", type=int, default=256, help="latents (default 256)")
    fit.add_argument("--beta", type=float, default=1e-3, help="weight of the KL (default 0.001)")
    fit.add_argument("--temperature", type=float, default=0.1, help="default 0.1")
    fit.add_argument("--samples", type=int, default=1, help="of each posterior, a step (default 1)")
    fit.add_argument("--epochs", type=int, default=20, help="default 20")
    fit.add_argument("--batch", type=int, default=256, help="default 256")
    fit.add_argument("--lr", type=float, default=1e-3, help="default 0.001")
    fit.add_argument("--seed", type=int, default=0, help="default 0")
    fit.set_defaults(run=_fit)

    encode = commands.add_parser("encode", help="features to a book of packed codes")
    encode.add_argument("head", type=Path, help=".safetensors, from lv-ssl fit")
    encode.add_argument("features", type=Path, help=".npy, (N, F) floats")
    encode.add_argument("-o", "--out", type=Path, required=True, help="codes, .npz")
    encode.set_defaults(run=_encode)

    report = commands.add_parser("report", help="size, rate, neighbours, uncertainty of codes")
    report.add_argument("codes", type=Path, help=".npz, from lv-ssl encode")
    report.add_argument("--labels", type=Path, help=".npy, (N,) integers")
    report.add_argument("--image-shape", type=int, nargs="+", metavar="N", help="such as 28 28 1")
    report.add_argument("--bits-per-channel", type=int, default=8, help="of the image (default 8)")
    report.add_argument("--feature-dim", type=int, help="float features that a code replaces")
    report.add_argument("--json", action="store_true", help="print JSON")
    report.set_defaults(run=_report)

    curve = commands.add_parser("rd-curve", help="accuracy over bits, the idlest bits pruned first")
    curve.add_argument("codes", type=Path, help=".npz, from lv-ssl encode")
    curve.add_argument("--labels", type=Path, required=True, help=".npy, (N,) integers")
    curve.add_argument("--train-rows", type=int, required=True, help="the first rows train probes")
    curve.add_argument("--keep", type=int, nargs="+", metavar="N", help="how many bits, ascending")
    curve.add_argument("-o", "--out", type=Path, help="also write a .csv")
    curve.set_defaults(run=_curve)
    return parser


def _fit(arguments: argparse.Namespace) -> None:
    view1, view2 = (_features(path) for path in (arguments.view1, arguments.view2))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(arguments.seed)
        head = StochasticHead(view1.shape[1], arguments.dim, arguments.family)
    loss = StochasticContrastiveLoss(
        temperature=arguments.temperature,
        beta=arguments.beta,
        samples=arguments.samples,
        seed=arguments.seed,
    )
    with tqdm(desc="fit", unit="step", disable=None) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        fitted = fit_head(
            head, view1, view2, loss=loss, epochs=arguments.epochs,
            batch=arguments.batch, lr=arguments.lr, seed=arguments.seed, progress=progress,
        )  # fmt: skip
    save_head(arguments.out, head)
    print(fitted)


def _encode(arguments: argparse.Namespace) -> None:
    head, features = load_head(arguments.head), _features(arguments.features)
    if head.family != "bernoulli":
        raise ValueError(f"{arguments.head} must be of family 'bernoulli', got {head.family!r}")
    posterior = infer(head, features)
    book = CodeBook(
        codes=pack_bits(posterior.mode),
        bits=head.dim,
        uncertainty=posterior.uncertainty().float().numpy(),
        rate=posterior.kl_units().mean(0).float().numpy(),
        model=digest(arguments.head),
    )
    book.save(arguments.out)
    print(f"{len(book)} codes of {book.bits} bits, {book.codes.nbytes} bytes")


def _report(arguments: argparse.Namespace) -> None:
    book = CodeBook.load(arguments.codes)
    labels = None if arguments.labels is None else _labels(arguments.labels, len(book))
    values = report(book, labels)
    if arguments.image_shape:
        sizes = CompressionReport(
            tuple(arguments.image_shape), arguments.bits_per_channel, book.bits,
            arguments.feature_dim,
        )  # fmt: skip
        values |= {"times_less_than_image": sizes.ratio, "float_features": sizes.features}
        values["times_less_than_features"] = sizes.feature_ratio
    if arguments.json:
        print(json.dumps(values, indent=2))
        return
    for name, value in values.items():
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        print(f"{name.replace('_', ' '):32}{text:>14}")


def report(book: CodeBook, labels: np.ndarray | None = None) -> dict[str, float]:
    """Return everything that ``lv-ssl report`` prints of a book, by name.

    Args:
        book: N codes, at least 2.
        labels: ``(N,)`` integers; None leaves out what needs them.

    Returns:
        Name to number; rates and ideal sizes in bits a code, accuracy and risk as shares.

    Raises:
        ValueError: if the labels do not fit.

    Source:
        `hamming_knn`, `r_auroc`, `risk_curve`, `bit_entropy`.

    Example:
        >>> ones = np.ones(3, np.float32)
        >>> report(CodeBook(pack_bits(np.eye(3)), 3, ones, ones))["rows"]
        3
    """
    bits = unpack_bits(book.codes, book.bits)
    values: dict[str, float] = {
        "rows": len(book),
        "bits": book.bits,
        "bytes": book.codes.shape[1],
        "rate_bits": float(book.rate.sum()) / math.log(2),
        "ideal_bits": float(bit_entropy(bits.mean(0)).sum()) if len(book) else 0.0,
    }
    if labels is None:
        return values
    if len(labels) != len(book) or len(book) < 2:
        raise ValueError(f"labels must be one a code, at least 2, got {len(labels)}, {len(book)}")
    nearest = hamming_knn(book.codes, book.codes, 1, leave_out_self=True).indices[:, 0]
    wrong = labels[nearest] != labels
    values["nearest_neighbour_accuracy"] = float(1 - wrong.mean())
    if 0 < wrong.sum() < len(wrong):
        values["uncertainty_auroc"] = r_auroc(book.uncertainty, wrong)
        values["risk_area"] = risk_curve(book.uncertainty, wrong).area
    return values


def _curve(arguments: argparse.Namespace) -> None:
    book = CodeBook.load(arguments.codes)
    labels = torch.from_numpy(_labels(arguments.labels, len(book)))
    curve = probe_curve(book, labels, train_rows=arguments.train_rows, keep=arguments.keep)
    print(curve)
    if arguments.out is not None:
        text = io.StringIO()
        table = curve.to_table()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(table)
        rows.writerows(zip(*table.values(), strict=True))
        replace(arguments.out, lambda file: file.write(text.getvalue().encode()))


def probe_curve(
    book: CodeBook, labels: Tensor, *, train_rows: int, keep: list[int] | None = None
) -> RateAccuracy:
    """Return the accuracy over bits that ``lv-ssl rd-curve`` prints: linear probes on codes.

    Args:
        book: N codes.
        labels: ``(N,)`` int64 from 0.
        train_rows: the first rows train the probes, the others test them.
        keep: how many bits, ascending; None takes powers of two from 8, and all.

    Returns:
        `RateAccuracy`.

    Raises:
        ValueError: if ``train_rows`` leaves no row to train or to test on.

    Source:
        `rate_accuracy_curve` with the rate that the book holds.

    Example:
        >>> ones = np.ones(4, np.float32)
        >>> book = CodeBook(pack_bits(np.eye(4)[[0, 1, 0, 1]]), 4, ones, ones)
        >>> probe_curve(book, torch.tensor([0, 1, 0, 1]), train_rows=2).accuracy
        [1.0]
    """
    if not 1 <= train_rows < len(book):
        raise ValueError(f"train_rows must be in 1 to {len(book) - 1}, got {train_rows}")
    bits = unpack_bits(book.codes, book.bits)
    x, classes = torch.from_numpy(bits).float(), int(labels.max()) + 1

    def accuracy(kept: np.ndarray) -> float:
        features = x[:, torch.from_numpy(kept)]
        probe = linear_probe(features[:train_rows], labels[:train_rows], classes=classes)
        return probe.accuracy(features[train_rows:], labels[train_rows:])

    return rate_accuracy_curve(bits[:train_rows], book.rate, accuracy, keep=keep)


def _features(path: Path) -> Tensor:
    x = read_npy(path)
    if x.ndim != 2 or x.dtype.kind != "f" or not x.size:
        raise ValueError(f"{path} must hold (N, F) floats, got {x.dtype} {x.shape}")
    bad = int((~np.isfinite(x)).any(1).sum())
    if bad:
        raise ValueError(f"{path} has {bad} rows with values that are not finite")
    return torch.from_numpy(x.astype(np.float32))


def _labels(path: Path, rows: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    y = read_npy(path)
    if y.shape != (rows,) or y.dtype.kind not in "iu" or int(y.min(initial=0)) < 0:
        raise ValueError(f"{path} must hold ({rows},) integers from 0, got {y.dtype} {y.shape}")
    if int(y.max(initial=0)) >= 2**31:
        raise ValueError(f"{path} must hold class numbers, got {y.max()}")
    return y.astype(np.int64)
