"""How equivariant a representation is: what is read, what a shift does, each beside yardsticks."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from duet.decoder import Decoder
from duet.factors import Factor
from duet.harness import embed
from duet.layer import DuetMatrix
from duet.model import steer
from duet.probe import PoseErrors, pose_errors
from duet.views import ParamView

PARTS = ("matrix", "marginal", "interaction", "content")


@dataclass(frozen=True)
class Yardsticks:
    """One error after a move, beside what it is to be compared with.

    Attributes:
        what: ``matrix``, ``marginal``, ``interaction`` or ``content``, relative errors of
            features; or ``image``, the mean squared error of what is decoded.
        amount: of the move, in the factor's unit.
        moved: the representation moved, against that of the moved image.
        still: not moved: the first yardstick.
        wrong: moved in the wrong direction: the second; NaN where there is no other direction.
        oracle: of an image, decoded from the moved image itself: what the decoder can do at best;
            NaN for features, where it is 0.
    """

    what: str
    amount: float
    moved: float
    still: float
    wrong: float
    oracle: float

    @property
    def ratios(self) -> tuple[float, float]:
        """``moved`` over ``still`` and over ``wrong``; below 1 is better than that yardstick."""
        return self.moved / max(self.still, 1e-30), self.moved / max(self.wrong, 1e-30)


@dataclass(frozen=True)
class EquivarianceReport:
    """What `equivariance_report` found.

    Attributes:
        factor: of which.
        readout: errors of the parameter read off the group marginal.
        rows: one an amount and part.
    """

    factor: Factor
    readout: PoseErrors
    rows: tuple[Yardsticks, ...]

    def part(self, what: str) -> list[Yardsticks]:
        """The rows of one part, by amount."""
        return [row for row in self.rows if row.what == what]

    def __str__(self) -> str:
        lines = [f"{self.factor}", f"read off the marginal: {self.readout}"]
        lines.append(f"{'moved by':>12} {'error of':<12}" + "".join(
            f"{name:>10}" for name in ("moved", "still", "wrong", "oracle")))  # fmt: skip
        for row in self.rows:
            values = (row.moved, row.still, row.wrong, row.oracle)
            shown = "".join(f"{'-' if v != v else format(v, '.4f'):>10}" for v in values)
            lines.append(f"{row.amount:>12.4g} {row.what:<12}{shown}")
        return "\n".join(lines)

    def to_table(self) -> dict[str, list[Any]]:
        """One row an amount and part."""
        names = [field.name for field in fields(Yardsticks)]
        return {name: [getattr(row, name) for row in self.rows] for name in names}


def equivariance_report(
    model: nn.Module,
    images: Tensor,
    factor: Factor,
    *,
    generator: torch.Generator,
    matrix: DuetMatrix | None = None,
    decoder: Decoder | None = None,
    amounts: Sequence[float] | None = None,
    mask: bool = False,
) -> EquivarianceReport:
    """Measure what a factor's axis says, and what moving it does.

    Every image is seen at a drawn parameter p and at p + amount. The representation of the first
    is moved by the amount and compared with that of the second, as a whole and in its parts
    (``matrix = marginal + content + interaction``, the means over content and over group and what
    is left), and decoded where there is a decoder.

    Args:
        model: with ``features(x) -> (B, F)``: `Duet`, or `SimCLR` read by a ``matrix``.
        images: ``(N, C, H, W)``, as they are at the identity.
        factor: which; one of the matrix's.
        generator: of the parameters, on the CPU.
        matrix: how the features are read; None takes the model's.
        decoder: features to images.
        amounts: moves, in units of p; None takes every bin up to half a turn, or 1/8, 1/4 and 3/8
            of a range, or the steps between a factor's only values.
        mask: keep the disc inside the frame only, of every image that is encoded.

    Returns:
        The report.

    Raises:
        ValueError: if the matrix does not have the factor, or an amount is out of range.

    Source:
        "Equivariance" and "controlled generation" (abstract); the measures and yardsticks are
        our choice. No promise is made about the interaction, which no loss constrains.

    Example:
        >>> from duet import rotation
        >>> from duet.encoders import ConvNet
        >>> from duet.model import Duet
        >>> model = Duet(ConvNet(1, features=64), [rotation()])
        >>> draws = torch.Generator().manual_seed(0)
        >>> x = torch.rand(9, 1, 28, 28)
        >>> report = equivariance_report(model, x, rotation(), generator=draws)
        >>> [row.amount for row in report.part("matrix")]
        [45.0, 90.0, 135.0, 180.0]
    """
    read = matrix_of(model, matrix)
    names = [f.name for f in read.factors]
    if factor not in read.factors:
        raise ValueError(f"factor must be one of the matrix's ({', '.join(names)}), got {factor}")
    place = ParamView([factor], mask=mask)
    p = factor.draw(len(images), generator=generator).to(images.device)
    z = embed(model, place.apply(images, {factor.name: p}))
    said = read(z).readout()[factor.name]
    rows: list[Yardsticks] = []
    for amount in steps_of(factor) if amounts is None else amounts:
        start = start_of(factor, len(images), amount, generator).to(images.device)
        rows += _moved(model, read, decoder, images, place, factor, start, amount)
    return EquivarianceReport(factor, pose_errors(said, p, cyclic=factor.cyclic), tuple(rows))


def matrix_of(model: nn.Module, matrix: DuetMatrix | None) -> DuetMatrix:
    """The matrix that was given, or the model's own; raise where there is none.

    Args:
        model: `Duet`, or a method that has none.
        matrix: one for it.
    """
    found = getattr(model, "matrix", None) if matrix is None else matrix
    if not isinstance(found, DuetMatrix):
        raise ValueError(f"{type(model).__name__} has no matrix of its own: give matrix=")
    return found


def steps_of(factor: Factor) -> list[float]:
    """The moves that a factor is measured at, in units of p.

    Args:
        factor: cyclic: every bin (or drawn value) up to half a turn; finite: 1/8, 1/4, 3/8; of
            few values: from the lowest to each other.
    """
    if factor.cyclic:
        n = len(factor.values) if factor.values else factor.bins
        return [k / n for k in range(1, n // 2 + 1)]
    if factor.values:
        levels = sorted(factor.normalise(torch.tensor(factor.values)).tolist())
        return [level - levels[0] for level in levels[1:]]
    return [1 / 8, 1 / 4, 3 / 8]


def start_of(factor: Factor, n: int, amount: float, generator: torch.Generator) -> Tensor:
    """Parameters from which a move of ``amount`` is possible, ``(n,)``; both ways where it can be.

    Args:
        factor: cyclic factors start anywhere.
        n: how many.
        amount: of the move.
        generator: of the draw.
    """
    if factor.cyclic:
        return factor.draw(n, generator=generator)
    if factor.values:
        levels = factor.normalise(torch.tensor(factor.values))
        return levels.min().expand(n)
    if not 0 < abs(amount) <= 0.5:
        raise ValueError(f"amounts on a finite range must be up to 0.5, got {amount}")
    room = 1 - 2 * abs(amount)
    return abs(amount) + room * torch.rand(n, generator=generator)


def _moved(
    model: nn.Module,
    matrix: DuetMatrix,
    decoder: Decoder | None,
    images: Tensor,
    place: ParamView,
    factor: Factor,
    start: Tensor,
    amount: float,
) -> list[Yardsticks]:
    """All errors at one amount."""
    k = matrix.factors.index(factor)
    true = place.apply(images, {factor.name: start + amount})
    one_way = bool(factor.values) and not factor.cyclic
    with torch.no_grad():
        before = embed(model, place.apply(images, {factor.name: start}))
        after = embed(model, true)
        tried = {"moved": steer(matrix, before, factor.name, amount), "still": before}
        if not one_way:
            tried["wrong"] = steer(matrix, before, factor.name, -amount)
        errors: dict[str, dict[str, float]] = {part: {} for part in PARTS}
        goal = decompose(matrix.split(after)[k])
        for name, z in tried.items():
            for part, found in decompose(matrix.split(z)[k]).items():
                errors[part][name] = relative_error(found, goal[part])
        if decoder is not None:
            errors["image"] = {
                name: float((decoded(decoder, z) - true).square().mean())
                for name, z in {**tried, "oracle": after}.items()
            }
    value = amount * (factor.end - factor.start)
    none = {"wrong": float("nan"), "oracle": float("nan")}
    return [Yardsticks(what, value, **(none | found)) for what, found in errors.items()]


def decompose(matrix: Tensor) -> dict[str, Tensor]:
    """A matrix ``(B, G, C)`` and the three parts of which it is the sum, by the name of `PARTS`.

    ``marginal`` ``(B, G, 1)`` is the mean over content less the whole mean, ``content``
    ``(B, 1, C)`` the mean over the group, ``interaction`` what is left.

    Args:
        matrix: ``(B, G, C)``.
    """
    content = matrix.mean(1, keepdim=True)
    marginal = (matrix - content).mean(2, keepdim=True)
    rest = matrix - content - marginal
    return {"matrix": matrix, "marginal": marginal, "interaction": rest, "content": content}


def relative_error(found: Tensor, true: Tensor) -> float:
    """The mean over rows of ``|found - true| / |true|``.

    Args:
        found: ``(B, ...)``.
        true: ``(B, ...)``.
    """
    apart = (found - true).flatten(1).norm(dim=1)
    return float((apart / true.flatten(1).norm(dim=1).clamp_min(1e-12)).mean())


@torch.no_grad()
def decoded(decoder: nn.Module, z: Tensor, *, batch: int = 500) -> Tensor:
    """Images of many features ``(N, F)``, a part at a time, in eval mode.

    Args:
        decoder: features to images.
        z: ``(N, F)``.
        batch: rows at a time.
    """
    mode = decoder.training
    decoder.eval()
    parts = [decoder(part) for part in z.split(batch)]
    decoder.train(mode)
    return torch.cat(parts)
