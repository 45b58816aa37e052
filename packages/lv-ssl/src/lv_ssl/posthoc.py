"""Post hoc: a frozen encoder's features, and a head that is trained on them alone."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lv_ssl._checks import check_at_least, check_positive, check_rows
from lv_ssl.heads import StochasticHead
from lv_ssl.losses import StochasticContrastiveLoss
from lv_ssl.posteriors import Posterior
from lv_ssl.schedule import warm_up


@torch.no_grad()
def embed(
    encoder: nn.Module,
    x: Tensor,
    *,
    batch: int = 512,
    prepare: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Return a frozen encoder's features; its weights, statistics and modes stay as they are.

    Args:
        encoder: ``(B, ...) -> (B, F)``, run in eval mode.
        x: ``(N, ...)`` inputs, N at least 1.
        batch: inputs at a time.
        prepare: inputs of a batch to what the encoder takes; None changes nothing.

    Returns:
        ``(N, F)``, without gradient.

    Raises:
        ValueError: if there is no input or ``batch < 1``.

    Source:
        Ours.

    Example:
        >>> embed(nn.Flatten(), torch.zeros(3, 2, 2)).shape
        torch.Size([3, 4])
    """
    check_at_least("batch", batch, 1)
    check_at_least("len(x)", len(x), 1)
    modes = {module: module.training for module in encoder.modules()}
    encoder.eval()
    try:
        parts = [encoder(part if prepare is None else prepare(part)) for part in x.split(batch)]
    finally:
        for module, mode in modes.items():
            module.training = mode
    return torch.cat(parts)


@torch.no_grad()
def infer(head: StochasticHead, features: Tensor, *, batch: int = 4096) -> Posterior:
    """Return the posterior of saved features, in eval mode.

    Args:
        head: stays as it is.
        features: ``(N, in_dim)``.
        batch: rows at a time.

    Returns:
        A posterior of N rows, without gradient.

    Raises:
        ValueError: if the features do not fit.

    Source:
        Ours.

    Example:
        >>> len(infer(StochasticHead(16, 8), torch.randn(5, 16)))
        5
    """
    check_rows("features", features)
    modes = {module: module.training for module in head.modules()}
    head.eval()
    try:
        parts = [head(part) for part in features.split(batch)]
    finally:
        for module, mode in modes.items():
            module.training = mode
    return type(parts[0]).cat(parts)


@dataclass(frozen=True)
class FitReport:
    """A head's training: one entry an epoch, the means of its steps."""

    contrastive: list[float]
    rate_bits: list[float]

    def __str__(self) -> str:
        return (
            f"{len(self.contrastive)} epochs: contrastive {self.contrastive[0]:.3f} to "
            f"{self.contrastive[-1]:.3f} nats, rate {self.rate_bits[-1]:.1f} bits an input"
        )

    def to_table(self) -> dict[str, list[int] | list[float]]:
        """Columns ``epoch``, ``contrastive`` and ``rate_bits``."""
        epochs = list(range(1, len(self.contrastive) + 1))
        return {"epoch": epochs, "contrastive": self.contrastive, "rate_bits": self.rate_bits}


def fit_head(
    head: StochasticHead,
    view1: Tensor,
    view2: Tensor,
    *,
    loss: StochasticContrastiveLoss | None = None,
    epochs: int = 20,
    batch: int = 256,
    lr: float = 1e-3,
    warm_up_share: float = 0.2,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FitReport:
    """Train a head on two views' saved features, and return how it went.

    Args:
        head: trained in place, and left in eval mode.
        view1: ``(N, in_dim)`` features of one view of each instance.
        view2: ``(N, in_dim)``; row i is another view of row i.
        loss: None takes `StochasticContrastiveLoss` with its defaults, and ``seed``.
        epochs: passes over the instances.
        batch: instances a step, at most N; an uneven rest is left out.
        lr: of AdamW, on a cosine.
        warm_up_share: of the steps in which beta rises to the loss's own.
        seed: of the order, and of the loss where none is given.
        progress: called with steps done and steps in all.

    Returns:
        `FitReport`.

    Raises:
        ValueError: if the views differ in shape, or a number is outside its range.

    Source:
        The frozen encoder is not here: nothing of it can change.

    Example:
        >>> x = torch.randn(64, 16)
        >>> report = fit_head(StochasticHead(16, 8), x, x, epochs=2, batch=32)
        >>> len(report.rate_bits)
        2
    """
    for name, view in (("view1", view1), ("view2", view2)):
        check_rows(name, view, at_least=2)
    if view1.shape != view2.shape:
        got = f"{tuple(view1.shape)} and {tuple(view2.shape)}"
        raise ValueError(f"view1 and view2 must have one shape (row i is one instance), got {got}")
    for name, value in (("epochs", epochs), ("lr", lr)):
        check_positive(name, value)
    if not 2 <= batch <= len(view1):
        raise ValueError(f"batch must be in 2 to {len(view1)}, got {batch}")
    if not 0 <= warm_up_share <= 1:
        raise ValueError(f"warm_up_share must be in [0, 1], got {warm_up_share}")
    objective = StochasticContrastiveLoss(seed=seed) if loss is None else loss
    a_pass = len(view1) // batch
    steps, target = epochs * a_pass, objective.beta
    optimizer = torch.optim.AdamW(head.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    g = torch.Generator().manual_seed(seed)
    history = torch.zeros(2, steps)
    order = torch.arange(len(view1))
    head.train(), objective.train()
    for step in range(steps):
        if step % a_pass == 0:
            order = torch.randperm(len(view1), generator=g)
        rows = order[step % a_pass * batch :][:batch].to(view1.device)
        objective.beta = warm_up(step, target=target, steps=round(warm_up_share * steps))
        terms = objective(head(view1[rows]), head(view2[rows]))
        optimizer.zero_grad()
        terms.loss.backward()
        optimizer.step()
        schedule.step()
        history[0, step] = terms.contrastive.detach()
        history[1, step] = terms.kl.detach() / math.log(2)
        progress(step + 1, steps)
    objective.beta = target
    head.eval()
    means = history.view(2, epochs, a_pass).mean(2).tolist()
    return FitReport(*means)
