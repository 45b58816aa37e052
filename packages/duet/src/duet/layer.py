"""A feature vector as matrices, content by group, and the two marginals of each."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from duet._checks import check_floating
from duet.factors import Factor


@dataclass(frozen=True)
class DuetOutput:
    """What a feature vector says, of what (content) and of its pose (logits).

    Args:
        content: plain sums over the group axes, ``(B, sum of C_k)``.
        logits: for each factor, ``(B, G_k)``, float32 at least; their softmax is the marginal.
        matrix: for each factor, ``(B, G_k, C_k)``, a view of the features.
        factors: to which they belong.
    """

    content: Tensor
    logits: tuple[Tensor, ...]
    matrix: tuple[Tensor, ...]
    factors: tuple[Factor, ...]

    @property
    def marginals(self) -> dict[str, Tensor]:
        """The group marginals by the name of the factor, probabilities ``(B, G_k)``."""
        pairs = zip(self.factors, self.logits, strict=True)
        return {factor.name: logits.softmax(-1) for factor, logits in pairs}

    def readout(self) -> dict[str, Tensor]:
        """The parameter p that each marginal says, ``(B,)``, by the name of the factor."""
        marginals = self.marginals
        return {factor.name: factor.readout(marginals[factor.name]) for factor in self.factors}

    def __str__(self) -> str:
        shapes = ", ".join(
            f"{factor.name} {m.shape[1]}x{m.shape[2]}"
            for factor, m in zip(self.factors, self.matrix, strict=True)
        )
        return f"{len(self.content)} representations: {shapes} (group x content)"

    def to_table(self) -> dict[str, list[float]]:
        """One row a sample: the value read out, in each factor's own unit."""
        read = self.readout()
        return {
            factor.name: factor.denormalise(read[factor.name].detach()).tolist()
            for factor in self.factors
        }


class DuetMatrix(nn.Module):
    """Features as a matrix for every factor: group bins outside, content inside, no weights.

    The group logits are the mean of the matrix over its content, and their softmax is the only
    one. The content is the plain sum over the group. With one bin it is the features themselves.

    Args:
        features: length F of the vectors.
        factors: what is structured; each has an equal part of the features, in this order.
        pool: ``"mean"`` over the content, as in the released code, or ``"sum"``, as in the
            paper's figure 1: a softmax whose temperature is C times lower.
        split: how many features each factor has, instead of equal parts.

    Raises:
        ValueError: if the features cannot be split, or a part is no multiple of its bins.

    Source:
        Suau et al. 2023, figure 1.

    Example:
        >>> from duet import rotation
        >>> out = DuetMatrix(512, [rotation(bins=8)])(torch.randn(16, 512))
        >>> out.content.shape, out.logits[0].shape
        (torch.Size([16, 64]), torch.Size([16, 8]))
    """

    def __init__(
        self,
        features: int,
        factors: Sequence[Factor],
        pool: str = "mean",
        *,
        split: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.features, self.factors, self.pool = features, check_factors(factors), pool
        if pool not in ("mean", "sum"):
            raise ValueError(f"pool must be 'mean' or 'sum', got {pool!r}")
        self.widths = self._widths(split)
        for factor, width in zip(self.factors, self.widths, strict=True):
            if width < factor.bins or width % factor.bins:
                below = width // factor.bins * factor.bins
                use = f"{below} or {below + factor.bins}" if below else str(factor.bins)
                raise ValueError(
                    f"the features of {factor.name} ({width}) must be a multiple of its bins "
                    f"({factor.bins}): use {use}"
                )

    def _widths(self, split: Sequence[int] | None) -> tuple[int, ...]:
        """How many features each factor has."""
        count = len(self.factors)
        if split is None:
            if self.features < count or self.features % count:
                raise ValueError(
                    f"features ({self.features}) must be a multiple of the number of factors "
                    f"({count}), or give split="
                )
            return (self.features // count,) * count
        if len(split) != count or sum(split) != self.features:
            raise ValueError(
                f"split must be {count} numbers of sum {self.features}, got {list(split)}"
            )
        return tuple(split)

    @property
    def content_features(self) -> int:
        """Length of the content: what a projection head takes."""
        return sum(w // f.bins for w, f in zip(self.widths, self.factors, strict=True))

    def split(self, z: Tensor) -> tuple[Tensor, ...]:
        """Features ``(B, F)`` as a matrix ``(B, G_k, C_k)`` for each factor."""
        check_floating("z", z)
        if z.ndim != 2 or z.shape[1] != self.features:
            raise ValueError(f"z must be (B, {self.features}), got {tuple(z.shape)}")
        parts = z.split(self.widths, 1)
        return tuple(
            part.unflatten(1, (factor.bins, -1))
            for part, factor in zip(parts, self.factors, strict=True)
        )

    def join(self, matrices: Sequence[Tensor]) -> Tensor:
        """The inverse of `split`: matrices to features ``(B, F)``."""
        return torch.cat([matrix.flatten(1) for matrix in matrices], 1)

    def __call__(self, z: Tensor) -> DuetOutput:
        """As `forward`."""
        return super().__call__(z)

    def forward(self, z: Tensor) -> DuetOutput:
        """Content, logits and matrices of features ``(B, F)``."""
        matrices = self.split(z)
        content = torch.cat([matrix.sum(1) for matrix in matrices], 1)
        logits = tuple(group_logits(matrix, self.pool) for matrix in matrices)
        return DuetOutput(content, logits, matrices, self.factors)

    def extra_repr(self) -> str:
        """The factors and how many features each has."""
        pairs = zip(self.factors, self.widths, strict=True)
        return "\n".join(f"({factor}), {width} features" for factor, width in pairs)


def group_logits(matrix: Tensor, pool: str = "mean") -> Tensor:
    """Logits of the group marginal of a matrix ``(B, G, C)``, ``(B, G)``, float32 at least."""
    wide = torch.float64 if matrix.dtype == torch.float64 else torch.float32
    return matrix.mean(2, dtype=wide) if pool == "mean" else matrix.sum(2, dtype=wide)


def check_factors(factors: Sequence[Factor]) -> tuple[Factor, ...]:
    """The factors as a tuple; raise if there are none or two of one name."""
    factors = (factors,) if isinstance(factors, Factor) else tuple(factors)
    for factor in factors:
        if not isinstance(factor, Factor):
            raise TypeError(f"factors must be Factor objects, got {type(factor).__name__}")
    names = [factor.name for factor in factors]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"factors must be one or more of different names, got {names}")
    return factors
