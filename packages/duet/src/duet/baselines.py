"""What DUET is compared with, in the same harness: SimCLR, and ESSL on top of it."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from duet._checks import full_precision
from duet.encoders import ProjectionHead
from duet.factors import scale
from duet.loss import DuetLossOutput
from duet.model import check_batch, features_of, two_views
from duet.objective import nt_xent
from duet.views import ParamView


class SimCLR(nn.Module):
    """A pair objective on all features of two views; what moved the views is not looked at.

    `Duet` with one bin is this, bit for bit.

    Args:
        encoder: images ``(B, C, H, W)`` to features ``(B, F)``.
        view: draws the views.
        features: F; None takes the encoder's ``num_features``.
        head: features to what the objective takes; None makes a `ProjectionHead`.
        objective: any callable of two ``(B, D)`` batches that returns the mean over the 2B rows.

    Raises:
        ValueError: if the number of features is not known.

    Source:
        Chen et al. 2020.

    Example:
        >>> from duet import rotation
        >>> from duet.encoders import ConvNet
        >>> model = SimCLR(ConvNet(1, features=64), ParamView([rotation()]))
        >>> draws = torch.Generator().manual_seed(0)
        >>> model.step(torch.rand(8, 1, 28, 28), generator=draws).loss > 0
        tensor(True)
    """

    def __init__(
        self,
        encoder: nn.Module,
        view: ParamView,
        *,
        features: int | None = None,
        head: nn.Module | None = None,
        objective: Callable[[Tensor, Tensor], Tensor] = nt_xent,
    ) -> None:
        super().__init__()
        self.encoder, self.view, self.objective = encoder, view, objective
        self.num_features = features_of(encoder, features)
        self.head = head or ProjectionHead(self.num_features)

    def features(self, x: Tensor) -> Tensor:
        """Images ``(B, C, H, W)`` to features ``(B, F)``: what probes and decoders take."""
        return self.encoder(x)

    def forward(self, x: Tensor) -> Tensor:
        """The same as `features`."""
        return self.features(x)

    def step(self, images: Tensor, *, generator: torch.Generator) -> DuetLossOutput:
        """Draw two views of each image, and return the loss on them.

        Args:
            images: ``(B, C, H, W)``.
            generator: of the views.

        Raises:
            ValueError: on one image while training.
        """
        check_batch(images, self.training)
        first, second = two_views(self.view, images, generator)
        z1, z2 = self.head(self.features(torch.cat([first.image, second.image]))).chunk(2)
        content = self.objective(z1, z2)
        return DuetLossOutput(content, content, {}, {})


class ESSL(SimCLR):
    """SimCLR, and a predictor that tells by which quarter turn small views were turned.

    Args:
        encoder: images ``(B, C, H, W)`` of two sizes to features ``(B, F)``.
        view: draws the two large views.
        small: draws the small ones, which must not turn; None crops to half the side of ``view``'s
            first batch and down to a twentieth of the area.
        features: F; None takes the encoder's ``num_features``.
        head: features to what the objective takes; None makes a `ProjectionHead`.
        objective: any callable of two ``(B, D)`` batches that returns the mean over the 2B rows.
        weight: of the prediction, 0.4 as published for CIFAR-10.

    Raises:
        ValueError: if the number of features is not known, or the weight is negative.

    Source:
        Dangovski et al. 2022; the sizes and layers of rdangovs/essl.

    Example:
        >>> from duet import rotation
        >>> from duet.encoders import ConvNet
        >>> model = ESSL(ConvNet(1, features=64), ParamView([rotation()]))
        >>> out = model.step(torch.rand(8, 1, 28, 28), generator=torch.Generator().manual_seed(0))
        >>> out.group["quarter turn"].shape
        torch.Size([])
    """

    def __init__(
        self,
        encoder: nn.Module,
        view: ParamView,
        *,
        small: ParamView | None = None,
        features: int | None = None,
        head: nn.Module | None = None,
        objective: Callable[[Tensor, Tensor], Tensor] = nt_xent,
        weight: float = 0.4,
    ) -> None:
        super().__init__(encoder, view, features=features, head=head, objective=objective)
        if not weight >= 0:
            raise ValueError(f"weight must be at least 0, got {weight}")
        self.small, self.weight = small, weight
        n = self.num_features
        self.predictor = nn.Sequential(
            nn.Linear(n, n), nn.LayerNorm(n), nn.ReLU(), nn.Linear(n, n), nn.LayerNorm(n),
            nn.ReLU(), nn.Linear(n, 4),
        )  # fmt: skip

    def step(self, images: Tensor, *, generator: torch.Generator) -> DuetLossOutput:
        """SimCLR's step, then the prediction on four turns of a small view of each image.

        Args:
            images: ``(B, C, H, W)``.
            generator: of the views.

        Raises:
            ValueError: on one image while training, or if the small views are not square.
        """
        pair = super().step(images, generator=generator)
        with full_precision(images):
            small = (self.small or self._half(images))(images, generator).image
        if small.shape[-1] != small.shape[-2]:
            raise ValueError(f"small views must be square, got {tuple(small.shape[-2:])}")
        turned = torch.cat([small.rot90(k, (2, 3)) for k in range(4)])  # (4B, C, h, h)
        turns = torch.arange(4, device=small.device).repeat_interleave(len(small))
        told = F.cross_entropy(self.predictor(self.features(turned)), turns)
        loss = pair.content + self.weight * told
        name = "quarter turn"
        return DuetLossOutput(loss, pair.content, {name: told}, {name: self.weight})

    def _half(self, images: Tensor) -> ParamView:
        """Crops to half the side of the large views."""
        height, width = self.view.size or images.shape[-2:]
        return ParamView([scale(low=0.05)], size=max(1, min(height, width) // 2))
