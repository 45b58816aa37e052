"""The bound over soft clusters, as clustering and DINO have them."""

import math

import torch
from torch import Tensor, nn

from er_ssl._checks import at_least_float32, check_positive, check_same_shape
from er_ssl.bounds import ERTerms
from er_ssl.distributed import sum_over_ranks


class DiscreteERLoss(nn.Module):
    """Minus the bound over soft clusters: use all clusters alike, and let the views agree.

    By default the second argument is a teacher's, as in DINO + ER: no gradient, sharpened by its
    lower temperature, and not centred. With ``symmetric`` both are online branches, and the loss
    is the mean of the two directions.

    Args:
        student_temperature: divisor of the logits that predict, and whose mean's entropy is taken.
        target_temperature: divisor of the logits that are predicted.
        entropy_weight: factor of the entropy; 1 is the bound.
        symmetric: let each view predict the other, both with gradient.
        gather_distributed: take the mean assignment over every rank's rows.

    Raises:
        ValueError: on values out of range.

    Source:
        ``-(H(mean_i q_i) + (1/k) sum_i sum_c p_i(c) log q_i(c))``. That the entropy is the
        student's is our choice.

    Example:
        >>> import torch
        >>> agree = 20 * torch.eye(4)
        >>> DiscreteERLoss()(agree, agree)  # four clusters, used evenly: -log 4
        tensor(-1.3863)
    """

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
        if not 0 <= entropy_weight < math.inf:
            raise ValueError(f"entropy_weight must be at least 0 and finite, got {entropy_weight}")
        self.student_temperature = student_temperature
        self.target_temperature = target_temperature
        self.entropy_weight = entropy_weight
        self.symmetric = symmetric
        self.gather_distributed = gather_distributed

    def forward(self, student_logits: Tensor, target_logits: Tensor) -> Tensor:
        """Return the loss.

        Args:
            student_logits: ``(B, M)``, before softmax and temperature.
            target_logits: ``(B, M)``; row i is another view of row i of ``student_logits``.

        Returns:
            Scalar, nats, float32 or the inputs' float64.

        Raises:
            ValueError: if the shapes differ or no row came.
            TypeError: on tensors that are not floating.
        """
        h, r, _ = self._entropy_and_reconstruction(student_logits, target_logits)
        return -(self.entropy_weight * h + r)

    def terms(self, student_logits: Tensor, target_logits: Tensor) -> ERTerms:
        """Return `ERTerms` in the graph; ``bound`` is one if both views use the clusters alike."""
        h, r, rows = self._entropy_and_reconstruction(student_logits, target_logits)
        clusters = student_logits.shape[1]
        return ERTerms(
            loss=-(self.entropy_weight * h + r),
            entropy=h,
            reconstruction=r,
            bound=h + r,
            ceiling=math.log(min(rows, clusters)),
            entropy_floor=0.0,
            entropy_ceiling=math.log(clusters),
        )

    def extra_repr(self) -> str:
        """The arguments, for ``print``."""
        return (
            f"student_temperature={self.student_temperature}, "
            f"target_temperature={self.target_temperature}, "
            f"entropy_weight={self.entropy_weight}, symmetric={self.symmetric}, "
            f"gather_distributed={self.gather_distributed}"
        )

    def _entropy_and_reconstruction(
        self, student_logits: Tensor, target_logits: Tensor
    ) -> tuple[Tensor, Tensor, int]:
        check_same_shape(student_logits=student_logits, target_logits=target_logits)
        student, target = at_least_float32(student_logits), at_least_float32(target_logits)
        rows = len(student)
        if self.gather_distributed:
            rows = int(sum_over_ranks(torch.tensor(rows, device=student.device), None))
        if rows < 1:
            raise ValueError(f"the batch must have at least 1 row, got {tuple(student.shape)}")
        if not self.symmetric:
            return *self._one_way(student, target.detach(), rows), rows
        h1, r1 = self._one_way(student, target, rows)
        h2, r2 = self._one_way(target, student, rows)
        return (h1 + h2) / 2, (r1 + r2) / 2, rows

    def _one_way(self, student: Tensor, target: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        log_q = torch.log_softmax(student / self.student_temperature, 1)  # (B, M)
        p = torch.softmax(target / self.target_temperature, 1)  # (B, M)
        use = self._mean(log_q.exp(), rows)  # (M,)
        return torch.special.entr(use).sum(), self._mean((p * log_q).sum(1), rows)

    def _mean(self, x: Tensor, rows: int) -> Tensor:
        total = x.sum(0)
        return (sum_over_ranks(total, None) if self.gather_distributed else total) / rows
