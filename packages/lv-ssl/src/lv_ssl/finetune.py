"""Fine-tuning with the stochastic layer kept or replaced by its mean, beside the linear probe."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lv_ssl._checks import check_choice, check_positive
from lv_ssl.heads import StochasticHead
from lv_ssl.posthoc import embed
from lv_ssl.probes import linear_probe

LATENTS = ("sample", "mean")


class LatentLayer(nn.Module):
    """Features to latents: a sample in training and the mean in eval mode, or always the mean.

    Args:
        head: gives the posterior.
        latent: ``sample`` or ``mean``.
        seed: of the layer's own stream of noise.

    Raises:
        ValueError: on another ``latent``.

    Source:
        Both protocols are our choice: the abstract does not say how it fine-tunes.

    Example:
        >>> layer = LatentLayer(StochasticHead(16, 8)).eval()
        >>> x = torch.randn(4, 16)
        >>> torch.equal(layer(x), layer(x))
        True
    """

    def __init__(self, head: StochasticHead, *, latent: str = "sample", seed: int = 0) -> None:
        super().__init__()
        check_choice("latent", latent, LATENTS)
        self.head, self.latent = head, latent
        self._generator = torch.Generator().manual_seed(seed)

    def forward(self, features: Tensor) -> Tensor:
        """Return latents ``(B, dim)``."""
        posterior = self.head(features)
        if self.training and self.latent == "sample":
            return posterior.rsample(generator=self._generator)[0]
        return posterior.mean


def fine_tune(
    encoder: nn.Module,
    head: StochasticHead,
    x: Tensor,
    labels: Tensor,
    *,
    latent: str = "sample",
    prepare: Callable[[Tensor], Tensor] | None = None,
    epochs: int = 10,
    batch: int = 256,
    lr: float = 1e-3,
    seed: int = 0,
) -> nn.Sequential:
    """Return encoder, latent layer and a linear classifier, trained together on labels.

    Args:
        encoder: ``(B, ...) -> (B, in_dim)``; it and the head are copied, and stay as they are.
        head: gives the posterior.
        x: ``(N, ...)`` inputs.
        labels: ``(N,)`` int64 from 0.
        latent: ``sample`` keeps the stochastic layer in training, ``mean`` replaces it.
        prepare: inputs of a batch to what the encoder takes; None changes nothing.
        epochs: passes over the inputs.
        batch: inputs a step.
        lr: of AdamW, on a cosine.
        seed: of the classifier, the order and the noise.

    Returns:
        The classifier ``(B, ...) -> (B, C)`` logits, in eval mode.

    Raises:
        ValueError: on numbers outside their range, or labels that do not fit.

    Source:
        End to end; the protocol is our choice.

    Example:
        >>> x, y = torch.randn(8, 4), torch.arange(8) % 2
        >>> model = fine_tune(nn.Identity(), StochasticHead(4, 6), x, y, epochs=1)
        >>> model(x).shape
        torch.Size([8, 2])
    """
    for name, value in (("epochs", epochs), ("batch", batch), ("lr", lr)):
        check_positive(name, value)
    if labels.shape != x.shape[:1] or labels.dtype != torch.int64 or len(x) < 2:
        got = f"{tuple(labels.shape)} of {labels.dtype}"
        raise ValueError(f"labels must be ({len(x)},) of int64, two or more, got {got}")
    classes = int(labels.max()) + 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        top = nn.Linear(head.dim, classes).to(x.device)
    layer = LatentLayer(copy.deepcopy(head), latent=latent, seed=seed)
    model = nn.Sequential(copy.deepcopy(encoder), layer, top).requires_grad_(True).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    steps = epochs * -(-len(x) // batch)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    g = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        order = torch.randperm(len(x), generator=g).to(x.device)
        for rows in order.split(batch):
            if len(rows) < 2:
                continue  # one row has no batch statistics
            inputs = x[rows] if prepare is None else prepare(x[rows])
            optimizer.zero_grad()
            F.cross_entropy(model(inputs), labels[rows]).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


@dataclass(frozen=True)
class FineTuning:
    """Test accuracy by protocol: these are not one another's numbers."""

    linear: float
    sample: float
    mean: float

    def __str__(self) -> str:
        return (
            f"linear probe of the mean {100 * self.linear:.1f} %; fine-tuned with samples "
            f"{100 * self.sample:.1f} %, with the mean {100 * self.mean:.1f} %"
        )

    def to_table(self) -> dict[str, list[str] | list[float]]:
        """Columns ``protocol`` and ``accuracy``."""
        names = ["linear probe of the mean", "fine-tuned, samples", "fine-tuned, mean"]
        return {"protocol": names, "accuracy": [self.linear, self.sample, self.mean]}


def fine_tuning(
    encoder: nn.Module,
    head: StochasticHead,
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    *,
    prepare: Callable[[Tensor], Tensor] | None = None,
    epochs: int = 10,
    batch: int = 256,
    lr: float = 1e-3,
    seed: int = 0,
) -> FineTuning:
    """Return the three protocols' test accuracies, from one encoder and head.

    Args:
        encoder: ``(B, ...) -> (B, in_dim)``; stays as it is.
        head: stays as it is.
        train: inputs and int64 labels.
        test: inputs and int64 labels.
        prepare: inputs of a batch to what the encoder takes.
        epochs: of fine-tuning.
        batch: inputs a step.
        lr: of AdamW.
        seed: of everything drawn.

    Returns:
        `FineTuning`.

    Raises:
        ValueError: as `fine_tune`.

    Source:
        The protocol is our choice.

    Example:
        >>> data = torch.randn(8, 4), torch.arange(8) % 2
        >>> print(type(fine_tuning(nn.Identity(), StochasticHead(4, 6), data, data, epochs=1)))
        <class 'lv_ssl.finetune.FineTuning'>
    """
    frozen = nn.Sequential(encoder, LatentLayer(head, latent="mean"))
    features = [embed(frozen, x, prepare=prepare) for x, _ in (train, test)]

    def tuned(latent: str) -> float:
        model = fine_tune(
            encoder, head, *train, latent=latent, prepare=prepare,
            epochs=epochs, batch=batch, lr=lr, seed=seed,
        )  # fmt: skip
        answers = embed(model, test[0], prepare=prepare).argmax(1)
        return float((answers == test[1]).double().mean())

    linear = linear_probe(features[0], train[1]).accuracy(features[1], test[1])
    return FineTuning(linear=linear, sample=tuned("sample"), mean=tuned("mean"))
