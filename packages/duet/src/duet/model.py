"""DUET whole: an encoder, its features as matrices, a head, the loss; and on disk."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from duet._checks import full_precision
from duet.control import set_parameter, shift
from duet.encoders import ConvNet, ProjectionHead
from duet.factors import Factor
from duet.layer import DuetMatrix, DuetOutput
from duet.loss import DuetLoss, DuetLossOutput
from duet.objective import nt_xent
from duet.store import fill, read_tensors, write_tensors
from duet.views import ParamView, View

FORMAT = "duet model"


class Duet(nn.Module):
    """An encoder whose features are read as content by group, trained on two views of an image.

    Args:
        encoder: images ``(B, C, H, W)`` to features ``(B, F)``; best with a batch norm at its end.
        factors: what is structured.
        features: F; None takes the encoder's ``num_features``.
        view: draws the views and records their parameters, those of the factors among them; None
            is for a model that is not trained.
        head: content to what the objective takes; None makes a `ProjectionHead`.
        objective: any callable of two ``(B, D)`` batches that returns the mean over the 2B rows.
        weights: lambda of the group terms, one for all factors or one for each name.
        relative: names of the factors of which only differences are known; True is all.
        pool: how group logits are made of the content, ``"mean"`` or ``"sum"``.
        split: features of each factor, instead of equal parts.

    Raises:
        ValueError: if the features are not known or cannot be split, or the view does not draw a
            factor.

    Source:
        Suau et al. 2023, figure 1.

    Example:
        >>> from duet import rotation
        >>> view = ParamView([rotation()])
        >>> model = Duet(ConvNet(1, features=64), [rotation()], view=view)
        >>> x = torch.rand(8, 1, 28, 28)
        >>> model.step(x, generator=torch.Generator().manual_seed(0)).loss > 0
        tensor(True)
        >>> model.eval().readout(x)["rotation"].shape
        torch.Size([8])
    """

    def __init__(
        self,
        encoder: nn.Module,
        factors: Sequence[Factor],
        *,
        features: int | None = None,
        view: ParamView | None = None,
        head: nn.Module | None = None,
        objective: Callable[[Tensor, Tensor], Tensor] = nt_xent,
        weights: float | Mapping[str, float] = 500.0,
        relative: bool | Sequence[str] = False,
        pool: str = "mean",
        split: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.view = encoder, view
        self.matrix = DuetMatrix(features_of(encoder, features), factors, pool, split=split)
        self.head = head or ProjectionHead(self.matrix.content_features)
        self.loss = DuetLoss(
            self.matrix.factors, objective, weights=weights, relative=relative, check=False
        )
        if view is not None:
            drawn = {factor.name: factor for factor in view.factors}
            for factor in self.matrix.factors:
                if drawn.get(factor.name) != factor:
                    got = drawn.get(factor.name, "none of that name")
                    raise ValueError(f"view must draw {factor}, it has {got}")

    def features(self, x: Tensor) -> Tensor:
        """Images ``(B, C, H, W)`` to features ``(B, F)``: what probes and decoders take."""
        z = self.encoder(x)
        if z.ndim != 2 or z.shape[1] != self.matrix.features:
            wanted = f"(B, {self.matrix.features})"
            raise ValueError(f"encoder must return {wanted}, got {tuple(z.shape)}")
        return z

    def forward(self, x: Tensor) -> DuetOutput:
        """Images to content, logits and matrices."""
        return self.matrix(self.features(x))

    def readout(self, x: Tensor) -> dict[str, Tensor]:
        """The parameter p of each factor that the images show, ``(B,)`` by name."""
        return self(x).readout()

    def step(self, images: Tensor, *, generator: torch.Generator) -> DuetLossOutput:
        """Draw two views of each image, and return the loss on them.

        Args:
            images: ``(B, C, H, W)``.
            generator: of the views.

        Raises:
            ValueError: if there is no view, or only one image while training.
        """
        if self.view is None:
            raise ValueError("a step needs view=ParamView(...), got none")
        check_batch(images, self.training)
        first, second = two_views(self.view, images, generator)
        z1, z2 = self.features(torch.cat([first.image, second.image])).chunk(2)
        out1, out2 = self.matrix(z1), self.matrix(z2)
        proj1, proj2 = self.head(torch.cat([out1.content, out2.content])).chunk(2)
        return self.loss(out1, out2, proj1, proj2, first.params, second.params)

    def steer(self, z: Tensor, name: str, by: float | Tensor) -> Tensor:
        """Features ``(B, F)`` with the parameter of one factor moved; see `steer`."""
        return steer(self.matrix, z, name, by)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights and structure; objective and view are not kept.

        Args:
            path: a safetensors file; there as a whole or not at all.

        Raises:
            OSError: if it cannot be written.
        """
        known = {"encoder": ConvNet, "head": ProjectionHead}
        parts = {
            name: getattr(self, name).options if type(getattr(self, name)) is kind else None
            for name, kind in known.items()
        }
        write_tensors(
            path,
            self.state_dict(),
            format=FORMAT,
            factors=[factor.to_config() for factor in self.matrix.factors],
            features=self.matrix.features,
            split=list(self.matrix.widths),
            pool=self.matrix.pool,
            weights=self.loss.weights,
            relative=sorted(self.loss.relative),
            **parts,
        )

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        encoder: nn.Module | None = None,
        head: nn.Module | None = None,
        factors: Sequence[Factor] | None = None,
        view: ParamView | None = None,
        objective: Callable[[Tensor, Tensor], Tensor] = nt_xent,
    ) -> "Duet":
        """Return the model of a file, in eval mode.

        Args:
            path: what `save` wrote.
            encoder: of the same architecture; None for a `ConvNet`, whose numbers are in the file.
            head: likewise, None for a `ProjectionHead`.
            factors: None takes the file's; give them where a transformation is yours.
            view: to train on.
            objective: likewise.

        Raises:
            ValueError: if it is a pickle or no such file, or something does not fit.
            OSError: if it cannot be read.
        """
        tensors, header = read_tensors(path, format=FORMAT)
        try:
            made = factors or [Factor.from_config(config) for config in header["factors"]]
            model = cls(
                encoder or _known(ConvNet, header["encoder"], "encoder"),
                made,
                features=header["features"],
                head=head or _known(ProjectionHead, header["head"], "head"),
                objective=objective,
                weights=header["weights"],
                relative=header["relative"],
                pool=header["pool"],
                split=header["split"],
                view=view,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error
        fill(model, tensors, path)
        return model.eval()


def _known(kind: type[Any], options: Mapping[str, Any] | None, name: str) -> nn.Module:
    if options is None:
        raise ValueError(f"the {name} was one of yours: give {name}=")
    with torch.random.fork_rng(devices=[]):  # weights that the file replaces
        return kind(**options)


def features_of(encoder: nn.Module, features: int | None) -> int:
    """How many features an encoder has: as said, or by its ``num_features``."""
    found = getattr(encoder, "num_features", None) if features is None else features
    if not isinstance(found, int):
        kind = type(encoder).__name__
        raise ValueError(f"features must be given, for {kind} has no num_features")
    return found


def two_views(view: ParamView, images: Tensor, generator: torch.Generator) -> tuple[View, View]:
    """Two views of each image, drawn without autocast, which would round where pixels come from.

    Args:
        view: draws them.
        images: ``(B, C, H, W)``.
        generator: of the draws.
    """
    with full_precision(images):
        return view(images, generator), view(images, generator)


def check_batch(images: Tensor, training: bool) -> None:
    """Raise where a batch norm or a contrastive loss has nothing to compare with."""
    if training and len(images) < 2:
        raise ValueError(f"a step in training needs at least 2 images, got {len(images)}")


def steer(matrix: DuetMatrix, z: Tensor, name: str, by: float | Tensor) -> Tensor:
    """Return features with the parameter of one factor moved, everything else left as it is.

    A cyclic factor's matrix is shifted. On a finite range, where a shift would join both ends,
    the marginal is set to the parameter that was read plus ``by``, kept inside the range.

    Args:
        matrix: how the features are read.
        z: ``(B, F)``.
        name: of the factor.
        by: in units of p: turns, or parts of the range; a number or ``(B,)``.

    Returns:
        ``(B, F)``.

    Raises:
        ValueError: if there is no such factor, or the shapes do not fit.

    Source:
        Controlled generation (abstract); what is done on finite ranges is ours.

    Example:
        >>> from duet import rotation
        >>> matrix = DuetMatrix(16, [rotation(bins=8)])
        >>> z = torch.arange(16.0)[None]
        >>> steer(matrix, z, "rotation", 1 / 8)[0, :4]
        tensor([14., 15.,  0.,  1.])
    """
    names = [factor.name for factor in matrix.factors]
    if name not in names:
        raise ValueError(f"factor must be one of {', '.join(names)}, got {name!r}")
    k, parts = names.index(name), list(matrix.split(z))
    factor = matrix.factors[k]
    if factor.cyclic:
        parts[k] = shift(parts[k], factor, by)
    else:
        read = matrix(z).readout()[name]
        parts[k] = set_parameter(parts[k], factor, (read + by).clamp(0, 1), matrix.pool)
    return matrix.join(parts)
