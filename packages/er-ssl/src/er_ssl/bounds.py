"""The entropy-reconstruction bound on mutual information, and the terms it is made of."""

from dataclasses import dataclass

import torch.distributed as dist
from torch import Tensor

from er_ssl._checks import at_least_float32, check_positive, check_rows, check_same_shape, unit_rows
from er_ssl.distributed import gather_with_start, sum_over_ranks
from er_ssl.entropy import entropy_limits, log_density
from er_ssl.vmf import vmf_log_normalizer


@dataclass(frozen=True)
class ERTerms:
    """Entropy, reconstruction and their sum, in nats.

    Attributes:
        loss: what a training step minimises.
        entropy: of the embeddings (with respect to the sphere's area), or of the clusters.
        reconstruction: mean log density, or probability, of one view given the other.
        bound: ``entropy + reconstruction``, a lower bound on the views' mutual information.
        ceiling: the most that ``bound`` can be with so many rows; below ``log k``, but for
            ``leave_one_out``.
        entropy_floor: the entropy of a collapsed batch.
        entropy_ceiling: the most that ``entropy`` can be with so many rows.
    """

    loss: Tensor
    entropy: Tensor
    reconstruction: Tensor
    bound: Tensor
    ceiling: float
    entropy_floor: float
    entropy_ceiling: float

    @property
    def level(self) -> float:
        """Where the entropy stands between its floor (0, collapse) and its ceiling (1)."""
        height = self.entropy_ceiling - self.entropy_floor
        return (float(self.entropy.detach()) - self.entropy_floor) / height

    def __str__(self) -> str:
        bound, h, r = (float(x.detach()) for x in (self.bound, self.entropy, self.reconstruction))
        parts = f"entropy {h:.3f}, reconstruction {r:.3f}, ceiling {self.ceiling:.3f}"
        return f"I >= {bound:.3f} nats ({parts})"

    def to_table(self) -> dict[str, list[str] | list[float]]:
        """One row a term: its name, and its nats."""
        tensors = {"entropy": self.entropy, "reconstruction": self.reconstruction}
        nats = {name: float(x.detach()) for name, x in (tensors | {"bound": self.bound}).items()}
        nats |= {
            "ceiling": self.ceiling,
            "entropy_floor": self.entropy_floor,
            "entropy_ceiling": self.entropy_ceiling,
        }
        return {"term": list(nats), "nats": list(nats.values())}


def er_bound(
    z1: Tensor,
    z2: Tensor,
    *,
    kappa: float = 10.0,
    leave_one_out: bool = False,
    normalize: bool = True,
    group: "dist.ProcessGroup | None" = None,
) -> ERTerms:
    """Return the entropy-reconstruction bound on the mutual information of two views.

    One kappa serves the kernel and the reconstruction, so that ``log C_d`` cancels in the bound.

    Args:
        z1: ``(B, D)`` embeddings of the first view.
        z2: ``(B, D)`` embeddings of the second view, whose entropy is taken; row i is another
            view of row i of ``z1``.
        kappa: concentration of the kernel and of the reconstruction, positive.
        leave_one_out: leave a row out of its own density; the bound may then pass ``log B``.
        normalize: bring rows to length one first; False trusts that they have it.
        group: process group whose ranks' rows are taken together; None is this process alone.

    Returns:
        `ERTerms`, part of the graph; ``loss`` is ``-bound``.

    Raises:
        ValueError: if the shapes differ, fewer than 2 rows came, or ``kappa <= 0``.
        TypeError: on tensors that are not floating.

    Source:
        ``I(Z1; Z2) >= H(Z2) + E[log q(Z2 | Z1)]``, q von Mises-Fisher.

    Example:
        >>> import torch
        >>> print(er_bound(torch.eye(4), torch.eye(4), kappa=5.0))
        I >= 1.366 nats (entropy 1.625, reconstruction -0.258, ceiling 1.382)
    """
    check_same_shape(z1=z1, z2=z2)
    check_positive("kappa", kappa)
    gather = group is not None
    u1, u2 = (unit_rows(z) if normalize else at_least_float32(z) for z in (z1, z2))
    h, rows = entropy_term(
        u2, kappa, leave_one_out=leave_one_out, gather=gather, group=group, unit=normalize
    )
    r = reconstruction_term(u1, u2, kappa, rows=rows, gather=gather, group=group)
    return make_terms(h, r, -(h + r), rows, z1.shape[1], kappa, leave_one_out=leave_one_out)


def infonce_bound(z1: Tensor, z2: Tensor, *, kappa: float = 10.0) -> Tensor:
    """Return InfoNCE's bound on mutual information: ``log B`` minus the contrastive loss.

    Its denominator sets each row of the first view against the second view; the entropy of
    `er_bound` sets each row of the second view against the second view. Where the views agree,
    the two bounds do.

    Args:
        z1: ``(B, D)`` anchors.
        z2: ``(B, D)`` candidates; row i is the positive of row i of ``z1``.
        kappa: one over the temperature, positive.

    Returns:
        Scalar, nats, at most ``log B``.

    Raises:
        ValueError: if the shapes differ, no row came, or ``kappa <= 0``.
        TypeError: on tensors that are not floating.

    Source:
        ``I >= log k + (1/k) sum_i log softmax_j(kappa z1_i . z2_j)_i``.

    Example:
        >>> import torch
        >>> infonce_bound(torch.eye(4), torch.eye(4), kappa=5.0)
        tensor(1.3663)
    """
    check_same_shape(z1=z1, z2=z2)
    check_rows("z1", z1)
    check_positive("kappa", kappa)
    u1, u2 = unit_rows(z1), unit_rows(z2)
    return kappa * (u1 * u2).sum(1).mean() - log_density(u1, u2, kappa).mean()


def entropy_term(
    u: Tensor,
    kappa: float | Tensor,
    *,
    leave_one_out: bool,
    gather: bool,
    group: "dist.ProcessGroup | None" = None,
    unit: bool = True,
) -> tuple[Tensor, int]:
    """Joe's entropy of unit rows without ``-log C_d``, and how many rows it is over."""
    everyone, start = gather_with_start(u, group) if gather else (u, 0)
    k = len(everyone)
    if k < 2:
        raise ValueError(f"the batch must have at least 2 rows, got {k}")
    reference = None if everyone is u else everyone
    log_p = log_density(u, reference, kappa, leave_one_out=leave_one_out, start=start, unit=unit)
    return -_mean(log_p, k, gather, group), k


def reconstruction_term(
    u1: Tensor,
    u2: Tensor,
    kappa: float | Tensor,
    *,
    rows: int,
    gather: bool,
    group: "dist.ProcessGroup | None" = None,
) -> Tensor:
    """``kappa`` times the mean cosine over all ``rows``, ``log C_d`` left out."""
    return kappa * _mean((u1 * u2).sum(1), rows, gather, group)


def make_terms(
    entropy: Tensor,
    reconstruction: Tensor,
    loss: Tensor,
    rows: int,
    d: int,
    kappa: float | Tensor,
    *,
    leave_one_out: bool,
) -> ERTerms:
    """`ERTerms` from terms without ``log C_d``, which cancels in their sum."""
    number = float(kappa.detach()) if isinstance(kappa, Tensor) else kappa
    floor, top = entropy_limits(rows, d, kappa=number, leave_one_out=leave_one_out)
    log_c = vmf_log_normalizer(d, kappa).to(entropy)
    return ERTerms(
        loss=loss,
        entropy=entropy - log_c,
        reconstruction=reconstruction + log_c,
        bound=entropy + reconstruction,
        ceiling=top - floor,
        entropy_floor=floor,
        entropy_ceiling=top,
    )


def _mean(x: Tensor, rows: int, gather: bool, group: "dist.ProcessGroup | None") -> Tensor:
    total = x.sum()
    return (sum_over_ranks(total, group) if gather else total) / rows
