"""The objectives that train: entropy and reconstruction, or the contrastive loss they explain."""

import math

import torch
from torch import Tensor, nn

from er_ssl._checks import (
    at_least_float32,
    check_choice,
    check_positive,
    check_same_shape,
    unit_rows,
)
from er_ssl._lse import lse
from er_ssl.bounds import ERTerms, entropy_term, make_terms, reconstruction_term
from er_ssl.distributed import gather_with_start, sum_over_ranks
from er_ssl.vmf import vmf_log_normalizer


class _WithKappa(nn.Module):
    """Holds kappa: a number, or a parameter in log space."""

    def __init__(self, kappa: float, *, learnable: bool, gather_distributed: bool) -> None:
        super().__init__()
        check_positive("kappa", kappa)
        self.gather_distributed = gather_distributed
        self._kappa = float(kappa)
        self.log_kappa = nn.Parameter(torch.tensor(math.log(kappa))) if learnable else None

    @property
    def kappa(self) -> float | Tensor:
        """The concentration: a float, or a 0-d tensor in the graph where it is learnt."""
        return self._kappa if self.log_kappa is None else self.log_kappa.exp()

    @property
    def temperature(self) -> float | Tensor:
        """``1 / kappa``."""
        return 1 / self.kappa

    def _combine(self, entropy: Tensor, reconstruction: Tensor, weight: float, d: int) -> Tensor:
        loss = -(weight * entropy + reconstruction)
        if weight != 1 and self.log_kappa is not None:  # else log C_d cancels, or is a constant
            loss = loss + (weight - 1) * vmf_log_normalizer(d, self.kappa).to(loss)
        return loss


class NTXentLoss(_WithKappa):
    """SimCLR's contrastive loss, streamed: memory grows with the rows, not with their square."""

    def __init__(
        self, temperature: float = 0.5, memory_bank_size: int = 0, gather_distributed: bool = False
    ) -> None:
        check_positive("temperature", temperature)
        if memory_bank_size != 0:
            raise ValueError("memory_bank_size must be 0")
        super().__init__(1 / temperature, learnable=False, gather_distributed=gather_distributed)

    def forward(self, z1: Tensor, z2: Tensor) -> Tensor:
        """Mean over all 2B rows."""
        check_same_shape(z1=z1, z2=z2)
        u1, u2 = unit_rows(z1), unit_rows(z2)
        u = torch.cat([u1, u2])
        everyone, start = gather_with_start(u, None) if self.gather_distributed else (u, 0)
        if len(everyone) < 4:
            raise ValueError(f"at least 2 pairs are needed, got {len(everyone) // 2}")
        alone = len(everyone) == len(u)
        row = lse(u, None if alone else everyone, self.kappa, self_offset=start, unit=True)
        total = row.sum() - 2 * self.kappa * (u1 * u2).sum()
        if self.gather_distributed:
            total = sum_over_ranks(total, None)
        return total / len(everyone)


class ERLoss(_WithKappa):
    """Minus the entropy-reconstruction bound, the same for every view."""

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
            _one_of(kappa, temperature),
            learnable=learnable_kappa,
            gather_distributed=gather_distributed,
        )
        self.entropy_weight = entropy_weight
        self.leave_one_out = leave_one_out

    def forward(self, *views: Tensor) -> Tensor:
        """Scalar, nats."""
        return self._loss(*views)[0]

    def terms(self, *views: Tensor) -> ERTerms:
        """`ERTerms` in the graph."""
        loss, h, r, rows = self._loss(*views)
        d = views[0].shape[1]
        return make_terms(h, r, loss, rows, d, self.kappa, leave_one_out=self.leave_one_out)

    def _loss(self, *views: Tensor) -> tuple[Tensor, Tensor, Tensor, int]:
        if len(views) < 2:
            raise ValueError(f"at least 2 views are needed, got {len(views)}")
        check_same_shape(**{f"view {n}": view for n, view in enumerate(views)})
        kappa, gather = self.kappa, self.gather_distributed
        units = [unit_rows(view) for view in views]
        hs = [
            entropy_term(u, kappa, leave_one_out=self.leave_one_out, gather=gather) for u in units
        ]
        pairs = [(a, b) for n, a in enumerate(units) for b in units[:n]]
        rs = [reconstruction_term(a, b, kappa, gather=gather) for a, b in pairs]
        h = torch.stack([h for h, _ in hs]).mean()
        r = torch.stack(rs).mean()
        return self._combine(h, r, self.entropy_weight, views[0].shape[1]), h, r, hs[0][1]


class DistillationERLoss(_WithKappa):
    """The bound with a teacher: BYOL's reconstruction and an entropy that holds it up."""

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
            _one_of(kappa, temperature),
            learnable=learnable_kappa,
            gather_distributed=gather_distributed,
        )
        self.entropy_on = entropy_on
        self.entropy_weight = entropy_weight
        self.leave_one_out = leave_one_out

    def forward(self, prediction: Tensor, projection: Tensor, target: Tensor) -> Tensor:
        """Scalar, nats."""
        return self._loss(prediction, projection, target)[0]

    def terms(self, prediction: Tensor, projection: Tensor, target: Tensor) -> ERTerms:
        """`ERTerms` in the graph."""
        loss, h, r, rows = self._loss(prediction, projection, target)
        d = prediction.shape[1]
        return make_terms(h, r, loss, rows, d, self.kappa, leave_one_out=self.leave_one_out)

    def _loss(
        self, prediction: Tensor, projection: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, int]:
        check_same_shape(prediction=prediction, projection=projection, target=target)
        kappa, gather = self.kappa, self.gather_distributed
        teacher = unit_rows(target.detach())
        student = unit_rows(prediction)
        chosen = {"online": projection, "prediction": prediction, "target": target.detach()}
        spread = unit_rows(chosen[self.entropy_on])
        h, rows = entropy_term(spread, kappa, leave_one_out=self.leave_one_out, gather=gather)
        r = reconstruction_term(student, teacher, kappa, gather=gather)
        return self._combine(h, r, self.entropy_weight, prediction.shape[1]), h, r, rows


class DiscreteERLoss(nn.Module):
    """The bound over soft clusters: even use of the clusters, and agreement of the views."""

    def __init__(
        self,
        student_temperature: float = 0.1,
        target_temperature: float = 0.04,
        *,
        entropy_weight: float = 1.0,
        symmetric: bool = False,
        gather_distributed: bool = False,
    ) -> None:
        super().__init__()
        check_positive("student_temperature", student_temperature)
        check_positive("target_temperature", target_temperature)
        self.student_temperature = student_temperature
        self.target_temperature = target_temperature
        self.entropy_weight = entropy_weight
        self.symmetric = symmetric
        self.gather_distributed = gather_distributed

    def forward(self, student_logits: Tensor, target_logits: Tensor) -> Tensor:
        """Scalar, nats."""
        check_same_shape(student_logits=student_logits, target_logits=target_logits)
        student, target = at_least_float32(student_logits), at_least_float32(target_logits)
        if not self.symmetric:
            return self._one_way(student, target.detach())
        return (self._one_way(student, target) + self._one_way(target, student)) / 2

    def _one_way(self, student: Tensor, target: Tensor) -> Tensor:
        log_q = torch.log_softmax(student / self.student_temperature, 1)
        p = torch.softmax(target / self.target_temperature, 1)
        mean, r = self._mean(log_q.exp()), self._mean((p * log_q).sum(1))
        return -(self.entropy_weight * torch.special.entr(mean).sum() + r)

    def _mean(self, x: Tensor) -> Tensor:
        if not self.gather_distributed:
            return x.mean(0)
        count = sum_over_ranks(x.new_tensor(float(len(x))), None)
        return sum_over_ranks(x.sum(0), None) / count


def _one_of(kappa: float | None, temperature: float | None) -> float:
    if kappa is not None and temperature is not None:
        raise ValueError(f"give kappa or temperature, got both: {kappa} and {temperature}")
    if temperature is not None:
        check_positive("temperature", temperature)
        return 1 / temperature
    return 10.0 if kappa is None else kappa
