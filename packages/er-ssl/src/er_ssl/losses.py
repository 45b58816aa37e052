"""The objectives on the sphere: the contrastive loss, the bound, and the bound with a teacher."""

import math

import torch
from torch import Tensor, nn

from er_ssl._checks import check_choice, check_positive, check_same_shape, unit_rows
from er_ssl._lse import lse
from er_ssl.bounds import ERTerms, entropy_term, make_terms, reconstruction_term
from er_ssl.distributed import gather_with_start, sum_over_ranks
from er_ssl.vmf import vmf_log_normalizer


class NTXentLoss(nn.Module):
    """SimCLR's contrastive loss, in memory that grows with the rows and not with their square.

    Takes the arguments and the default of lightly's loss of this name, and equals it.

    Args:
        temperature: divisor of the cosines, positive; ``1 / kappa``.
        memory_bank_size: there for the signature's sake; only 0 will do.
        gather_distributed: let every rank's rows be negatives.

    Raises:
        ValueError: if ``temperature <= 0`` or ``memory_bank_size`` is not 0.

    Source:
        Chen et al. 2020, equation 1, which is ``log(2k-1) - H_LOO(both views) - reconstruction``.

    Example:
        >>> import torch
        >>> z = torch.eye(4)
        >>> NTXentLoss(temperature=0.5)(z, z)
        tensor(0.5944)
    """

    def __init__(
        self, temperature: float = 0.5, memory_bank_size: int = 0, gather_distributed: bool = False
    ) -> None:
        super().__init__()
        check_positive("temperature", temperature)
        if memory_bank_size != 0:
            raise ValueError(
                f"memory_bank_size must be 0, got {memory_bank_size}: a bank makes another loss "
                "(MoCo's); for a density from past batches see EntropyQueue"
            )
        self.temperature = temperature
        self.gather_distributed = gather_distributed

    def forward(self, z1: Tensor, z2: Tensor) -> Tensor:
        """Return the mean over the 2B rows.

        Args:
            z1: ``(B, D)`` embeddings of the first view, any scale.
            z2: ``(B, D)``; row i is another view of row i of ``z1``.

        Returns:
            Scalar, nats, float32 or the inputs' float64.

        Raises:
            ValueError: if the shapes differ or there are fewer than 2 pairs.
            TypeError: on tensors that are not floating.
        """
        check_same_shape(z1=z1, z2=z2)
        u1, u2 = unit_rows(z1), unit_rows(z2)
        u, kappa = torch.cat([u1, u2]), 1 / self.temperature
        everyone, start = gather_with_start(u, None) if self.gather_distributed else (u, 0)
        rows = len(everyone)
        if rows < 4:
            raise ValueError(f"the batch must have at least 2 pairs, got {rows // 2}")
        others = None if everyone is u else everyone
        # of 2B rows, each pair's cosine is the positive of two
        total = lse(u, others, kappa, self_offset=start, unit=True).sum()
        total = total - 2 * kappa * (u1 * u2).sum()
        return (sum_over_ranks(total, None) if self.gather_distributed else total) / rows

    def extra_repr(self) -> str:
        """The arguments, for ``print``."""
        return f"temperature={self.temperature}, gather_distributed={self.gather_distributed}"


class _OnTheSphere(nn.Module):
    """What the two losses of the bound share: kappa, and the sum of the terms."""

    def __init__(
        self,
        kappa: float | None,
        *,
        temperature: float | None,
        entropy_weight: float,
        leave_one_out: bool,
        gather_distributed: bool,
        learnable_kappa: bool,
    ) -> None:
        super().__init__()
        if kappa is not None and temperature is not None:
            raise ValueError(f"give kappa or temperature, got both: {kappa} and {temperature}")
        if temperature is not None:
            check_positive("temperature", temperature)
            kappa = 1 / temperature
        kappa = 10.0 if kappa is None else kappa
        check_positive("kappa", kappa)
        if not 0 <= entropy_weight < math.inf:
            raise ValueError(f"entropy_weight must be at least 0 and finite, got {entropy_weight}")
        self.entropy_weight = entropy_weight
        self.leave_one_out = leave_one_out
        self.gather_distributed = gather_distributed
        self._kappa = float(kappa)
        self.log_kappa = nn.Parameter(torch.tensor(math.log(kappa))) if learnable_kappa else None

    @property
    def kappa(self) -> float | Tensor:
        """The concentration: a number, or a 0-d tensor in the graph where it is learnt."""
        return self._kappa if self.log_kappa is None else self.log_kappa.exp()

    def extra_repr(self) -> str:
        """The arguments, for ``print``."""
        return (
            f"kappa={float(torch.as_tensor(self.kappa).detach()):g}, "
            f"learnable_kappa={self.log_kappa is not None}, entropy_weight={self.entropy_weight}, "
            f"leave_one_out={self.leave_one_out}, gather_distributed={self.gather_distributed}"
        )

    def _entropy(self, u: Tensor) -> tuple[Tensor, int]:
        loo, gather = self.leave_one_out, self.gather_distributed
        return entropy_term(u, self.kappa, leave_one_out=loo, gather=gather)

    def _reconstruction(self, u1: Tensor, u2: Tensor, rows: int) -> Tensor:
        gather = self.gather_distributed
        return reconstruction_term(u1, u2, self.kappa, rows=rows, gather=gather)

    def _loss(self, entropy: Tensor, reconstruction: Tensor, d: int) -> Tensor:
        loss = -(self.entropy_weight * entropy + reconstruction)
        if self.log_kappa is None or self.entropy_weight == 1:
            return loss  # log C_d is a constant, or cancels
        return loss + (self.entropy_weight - 1) * vmf_log_normalizer(d, self.kappa).to(loss)

    def _terms(self, entropy: Tensor, reconstruction: Tensor, rows: int, d: int) -> ERTerms:
        loss, loo = self._loss(entropy, reconstruction, d), self.leave_one_out
        return make_terms(entropy, reconstruction, loss, rows, d, self.kappa, leave_one_out=loo)


class ERLoss(_OnTheSphere):
    """Minus the entropy-reconstruction bound, symmetric in the views: SimCLR + ER.

    Args:
        kappa: concentration of kernel and reconstruction, positive; 10 unless given.
        temperature: ``1 / kappa``, in its place.
        entropy_weight: factor of the entropy; 1 is the bound.
        leave_one_out: leave a row out of its own density.
        gather_distributed: take the densities over every rank's rows.
        learnable_kappa: make ``log_kappa`` a parameter.

    Raises:
        ValueError: on both ``kappa`` and ``temperature``, or values out of range.

    Source:
        ``-(mean_b H(Z_b) + mean over pairs of kappa z_a . z_b)``, ``log C_d`` left out.

    Example:
        >>> import torch
        >>> loss = ERLoss(kappa=5.0)
        >>> z = torch.eye(4)
        >>> loss(z, z)
        tensor(-1.3663)
        >>> print(loss.terms(z, z))
        I >= 1.366 nats (entropy 1.625, reconstruction -0.258, ceiling 1.382)
    """

    def __init__(
        self,
        kappa: float | None = None,
        *,
        temperature: float | None = None,
        entropy_weight: float = 1.0,
        leave_one_out: bool = False,
        gather_distributed: bool = False,
        learnable_kappa: bool = False,
    ) -> None:
        super().__init__(
            kappa,
            temperature=temperature,
            entropy_weight=entropy_weight,
            leave_one_out=leave_one_out,
            gather_distributed=gather_distributed,
            learnable_kappa=learnable_kappa,
        )

    def forward(self, *views: Tensor) -> Tensor:
        """Return the loss of two views or more.

        Args:
            views: ``(B, D)`` each, any scale; row i of each is a view of one instance.

        Returns:
            Scalar, nats, float32 or the inputs' float64.

        Raises:
            ValueError: if fewer than 2 views or 2 rows came, or the shapes differ.
            TypeError: on tensors that are not floating.
        """
        h, r, _ = self._entropy_and_reconstruction(views)
        return self._loss(h, r, views[0].shape[1])

    def terms(self, *views: Tensor) -> ERTerms:
        """Return `ERTerms` in the graph, with the ``loss`` that `forward` gives."""
        h, r, rows = self._entropy_and_reconstruction(views)
        return self._terms(h, r, rows, views[0].shape[1])

    def _entropy_and_reconstruction(self, views: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, int]:
        if len(views) < 2:
            raise ValueError(f"at least 2 views are needed, got {len(views)}")
        check_same_shape(**{f"view {n}": view for n, view in enumerate(views)})
        units = [unit_rows(view) for view in views]
        entropies, counts = zip(*map(self._entropy, units), strict=True)
        pairs = [
            self._reconstruction(a, b, counts[0]) for n, a in enumerate(units) for b in units[:n]
        ]
        return torch.stack(entropies).mean(), torch.stack(pairs).mean(), counts[0]


class DistillationERLoss(_OnTheSphere):
    """The bound with a teacher: BYOL's reconstruction, and an entropy that keeps it from collapse.

    The target receives no gradient. Call it once a direction and average: ``(loss(p1, z1, t2) +
    loss(p2, z2, t1)) / 2``.

    Args:
        kappa: concentration of kernel and reconstruction, positive; 10 unless given.
        temperature: ``1 / kappa``, in its place.
        entropy_on: which tensor's entropy: ``"online"`` the projection before the predictor,
            ``"prediction"`` what the predictor gives, ``"target"`` the teacher, without gradient.
        entropy_weight: factor of the entropy; 1 is the bound, 0 is BYOL's loss up to scale.
        leave_one_out: leave a row out of its own density.
        gather_distributed: take the densities over every rank's rows.
        learnable_kappa: make ``log_kappa`` a parameter.

    Raises:
        ValueError: on an unknown ``entropy_on``, both ``kappa`` and ``temperature``, or values out
            of range.

    Source:
        ``-(H(online) + mean kappa prediction . target)``. That the entropy is the online
        projection's is our choice.

    Example:
        >>> import torch
        >>> z = torch.eye(4)
        >>> DistillationERLoss(kappa=5.0)(z, z, z)
        tensor(-1.3663)
    """

    def __init__(
        self,
        kappa: float | None = None,
        *,
        temperature: float | None = None,
        entropy_on: str = "online",
        entropy_weight: float = 1.0,
        leave_one_out: bool = False,
        gather_distributed: bool = False,
        learnable_kappa: bool = False,
    ) -> None:
        check_choice("entropy_on", entropy_on, ("online", "prediction", "target"))
        super().__init__(
            kappa,
            temperature=temperature,
            entropy_weight=entropy_weight,
            leave_one_out=leave_one_out,
            gather_distributed=gather_distributed,
            learnable_kappa=learnable_kappa,
        )
        self.entropy_on = entropy_on

    def forward(self, prediction: Tensor, projection: Tensor, target: Tensor) -> Tensor:
        """Return the loss of one direction.

        Args:
            prediction: ``(B, D)``, what the predictor makes of ``projection``; the projection
                itself where there is no predictor.
            projection: ``(B, D)``, the online branch before the predictor.
            target: ``(B, D)``, the teacher's projection of the other view; detached here.

        Returns:
            Scalar, nats, float32 or the inputs' float64.

        Raises:
            ValueError: if the shapes differ or there are fewer than 2 rows.
            TypeError: on tensors that are not floating.
        """
        h, r, _ = self._entropy_and_reconstruction(prediction, projection, target)
        return self._loss(h, r, prediction.shape[1])

    def terms(self, prediction: Tensor, projection: Tensor, target: Tensor) -> ERTerms:
        """Return `ERTerms` in the graph; ``bound`` is one if both branches are spread alike."""
        h, r, rows = self._entropy_and_reconstruction(prediction, projection, target)
        return self._terms(h, r, rows, prediction.shape[1])

    def _entropy_and_reconstruction(
        self, prediction: Tensor, projection: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor, int]:
        check_same_shape(prediction=prediction, projection=projection, target=target)
        target = target.detach()
        branch = {"online": projection, "prediction": prediction, "target": target}
        h, rows = self._entropy(unit_rows(branch[self.entropy_on]))
        return h, self._reconstruction(unit_rows(prediction), unit_rows(target), rows), rows
