"""One loss in two ways: fibers of one pass, or one fiber of as many passes as views."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from homssl._scan import refuse_breaking
from homssl.fibers import fibers, sample_elements
from homssl.groups import Group
from homssl.losses import info_nce

Objective = Callable[[Tensor, Tensor], Tensor]
Images = Tensor | Sequence[Tensor]


@dataclass(frozen=True)
class SSLOutput:
    """What one step gives.

    Attributes:
        loss: scalar, the mean over pairs of views.
        views: ``(K, B, D)``, the embeddings.
        elements: ``(K, B)``, what was drawn; pass it on to see the other loss on the same draw.
    """

    loss: Tensor
    views: Tensor
    elements: Tensor

    def __str__(self) -> str:
        views, batch, dim = self.views.shape
        loss = float(self.loss.detach())
        return f"loss {loss:.4f} over {views} views of {batch} images, {dim} numbers each"

    def to_table(self) -> dict[str, list[int]]:
        """Image, view and element, a row each."""
        views, batch = self.elements.shape
        return {
            "image": [b for b in range(batch) for _ in range(views)],
            "view": list(range(views)) * batch,
            "element": self.elements.T.flatten().tolist(),
        }


class _Branch(nn.Module):
    """Encoder, fibers, head: images and elements in, embeddings ``(K, B, D)`` out."""

    def __init__(self, encoder: nn.Module, head: nn.Module, group: Group, base: Tensor) -> None:
        super().__init__()
        self.encoder, self.head, self.group = encoder, head, group
        self.register_buffer("base", base, persistent=False)

    base: Tensor

    def read(self, z: Tensor, g: Tensor) -> Tensor:
        """The embeddings of one view."""
        return self.head(fibers(z, self.group, self.base, g))


class FiberBranch(_Branch):
    """One pass of the encoder, one fiber of it for each view."""

    def forward(self, x: Tensor, elements: Tensor) -> Tensor:
        """Embeddings ``(K, B, D)`` of images ``(B, C, H, W)`` at elements ``(K, B)``."""
        z = self.encoder(x)
        return torch.stack([self.read(z, g) for g in elements])


class AugmentedBranch(_Branch):
    """One pass of the encoder for each view, on the moved images; the fiber at the base."""

    def forward(self, x: Tensor, elements: Tensor) -> Tensor:
        """Embeddings ``(K, B, D)`` of images ``(B, C, H, W)`` moved by elements ``(K, B)``."""
        at_base = torch.zeros_like(elements[0])
        moved = (self.encoder(self.group.act(x, g)) for g in elements)
        return torch.stack([self.read(z, at_base) for z in moved])


class EMATeacher(nn.Module):
    """A copy of a branch that follows it slowly, without gradient: BYOL's target.

    Any callable with a branch's signature will do in its place, as a `ModelEMA` of the branch.

    Args:
        branch: what is followed, ``hssl.branch``.
        decay: weight of the past, 0 to 1.

    Raises:
        ValueError: if ``decay`` is outside.

    Source:
        Grill et al. 2020, section 3.1.

    Example:
        >>> from homssl import HSSL, Cyclic, cosine_regression, group_convnet
        >>> group = Cyclic(4)
        >>> byol = HSSL(group_convnet(group), group, objective=cosine_regression,
        ...             predictor=nn.Linear(20, 20))
        >>> byol.teacher = EMATeacher(byol.branch, decay=0.99)
        >>> out = byol(torch.randn(4, 1, 28, 28), generator=torch.Generator().manual_seed(0))
        >>> byol.teacher.update()  # after each optimizer step
    """

    def __init__(self, branch: nn.Module, decay: float = 0.99) -> None:
        super().__init__()
        if not 0 <= decay <= 1:
            raise ValueError(f"decay must be 0 to 1, got {decay}")
        self.decay = decay
        self._followed = (branch,)  # in a tuple: it is no part of the teacher
        self.inner = copy.deepcopy(branch).requires_grad_(False)

    @torch.no_grad()
    def forward(self, x: Tensor, elements: Tensor) -> Tensor:
        """What the branch gives, with the teacher's weights."""
        return self.inner(x, elements)

    @torch.no_grad()
    def update(self) -> None:
        """Move every weight towards the branch's; other buffers are the teacher's own."""
        for ours, theirs in zip(
            self.inner.parameters(), self._followed[0].parameters(), strict=True
        ):
            ours.lerp_(theirs.to(ours), 1 - self.decay)


class _Framework(nn.Module):
    """What `HSSL` and `ASSL` share: everything but the branch."""

    branch_type: type[_Branch]

    def __init__(
        self,
        encoder: nn.Module,
        group: Group,
        *,
        head: nn.Module | None = None,
        objective: Objective = info_nce,
        predictor: nn.Module | None = None,
        teacher: Callable[[Tensor, Tensor], Tensor] | None = None,
        base_size: int = 1,
        max_distance: int | None = None,
        views: int = 2,
        distinct: bool = True,
        allow_approximate: bool = False,
    ) -> None:
        super().__init__()
        if views < 2:
            raise ValueError(f"views must be at least 2, got {views}")
        if not allow_approximate:
            refuse_breaking(encoder, group)
        self.group = group
        self.branch = self.branch_type(encoder, head or nn.Identity(), group, group.base(base_size))
        self.objective, self.predictor, self.teacher = objective, predictor, teacher
        self.base_size, self.max_distance = base_size, max_distance
        self.views, self.distinct = views, distinct
        self.sample(1, generator=torch.Generator().manual_seed(0))  # the settings fit together

    def sample(self, batch: int, *, generator: torch.Generator) -> Tensor:
        """Draw elements ``(views, batch)`` for one version of the images."""
        return sample_elements(
            self.group, batch, generator=generator, views=self.views, base_size=self.base_size,
            max_distance=self.max_distance, distinct=self.distinct,
        )  # fmt: skip

    def forward(
        self,
        x: Images,
        *,
        elements: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> SSLOutput:
        """Return loss, embeddings and the draw.

        Args:
            x: images ``(B, C, H, W)``; or several, each another augmentation of the same images:
                every version is encoded, and gives ``views`` views.
            elements: a draw to replay, ``(versions views, B)``.
            generator: where the draw comes from, if none is replayed.

        Returns:
            The mean of the objective over all pairs of views, and what it was made of.

        Raises:
            ValueError: if there is neither draw nor generator, or shapes do not fit.
        """
        versions = [x] if isinstance(x, Tensor) else list(x)
        if not versions or any(len(v) != len(versions[0]) for v in versions):
            raise ValueError(f"x must hold versions of one batch, got {[len(v) for v in versions]}")
        batch, rows = len(versions[0]), self.views * len(versions)
        if elements is None:
            if generator is None:
                raise ValueError(
                    "generator must be given, for the draw: torch.Generator().manual_seed(0); "
                    "or elements, to replay one"
                )
            elements = torch.cat([self.sample(batch, generator=generator) for _ in versions])
        if elements.shape != (rows, batch):
            raise ValueError(f"elements must be ({rows}, {batch}), got {tuple(elements.shape)}")
        parts = list(zip(versions, elements.split(self.views), strict=True))
        views = torch.cat([self.branch(v, g) for v, g in parts])  # (K, B, D)
        targets = views
        if self.teacher is not None:
            with torch.no_grad():
                targets = torch.cat([self.teacher(v, g) for v, g in parts])
        return SSLOutput(self.loss(views, targets), views, elements)

    def loss(self, views: Tensor, targets: Tensor) -> Tensor:
        """The mean of the objective over pairs of views.

        Without predictor and teacher the pairs are unordered; with one of them, each view in turn
        is predicted from each other, and no gradient goes through the target.
        """
        count = range(len(views))
        if self.predictor is None and self.teacher is None:
            pairs = [(views[i], views[j]) for i in count for j in count if i < j]
        else:
            left = views if self.predictor is None else [self.predictor(view) for view in views]
            pairs = [(left[i], targets[j].detach()) for i in count for j in count if i != j]
        return torch.stack([self.objective(a, b) for a, b in pairs]).mean()

    def extra_repr(self) -> str:
        """The settings, for ``print``."""
        text = f"group={self.group}, views={self.views}, base_size={self.base_size}"
        return text + f", max_distance={self.max_distance}"

    def __call__(self, *args: Any, **kwargs: Any) -> SSLOutput:
        """As `forward`."""
        return super().__call__(*args, **kwargs)


class HSSL(_Framework):
    """Homomorphic self-supervision: one pass of the encoder, whatever the number of views.

    Each view is the head's output on the fibers at ``g^-1 base`` of the one feature map. With an
    equivariant encoder the loss is that of `ASSL` for the same draw, gradients included.

    Args:
        encoder: ``(B, C, H, W)`` to features ``(B, C', |G|, H', W')`` or ``(B, C', |G|)``.
        group: what the features are a function of.
        head: ``(B, m C')`` to ``(B, D)``; by default the fibers themselves.
        objective: ``objective(z1, z2) -> scalar``, on ``(B, D)``; `info_nce` unless given.
        predictor: ``(B, D)`` to ``(B, D)``, on the side that learns; SimSiam, BYOL.
        teacher: callable with the signature of ``branch``, as `EMATeacher`: gives the targets.
        base_size: side of the window of fibers that the head sees.
        max_distance: topographic distance of two views at most; None: no limit.
        views: K, fibers an image.
        distinct: no element twice for an image.
        allow_approximate: take an encoder that visibly breaks equivariance.

    Raises:
        ValueError: if the settings do not fit together, or the encoder has a batch normalisation
            with a scale for each orientation.

    Source:
        The paper's loss on fibers (design notes, 1.2).

    Example:
        >>> from homssl import Cyclic, group_convnet
        >>> group = Cyclic(4)
        >>> hssl = HSSL(group_convnet(group), group, views=4)
        >>> out = hssl(torch.randn(8, 1, 28, 28), generator=torch.Generator().manual_seed(0))
        >>> out.views.shape
        torch.Size([4, 8, 20])
    """

    branch_type = FiberBranch


class ASSL(_Framework):
    """Self-supervision by augmentation: the encoder sees each image moved, once for each view.

    The twin of `HSSL`, same arguments: the head reads the fibers at the base itself.

    Args:
        encoder: ``(B, C, H, W)`` to features ``(B, C', |G|, H', W')`` or ``(B, C', |G|)``.
        group: what moves the images.
        head: ``(B, m C')`` to ``(B, D)``; by default the fibers themselves.
        objective: ``objective(z1, z2) -> scalar``, on ``(B, D)``; `info_nce` unless given.
        predictor: ``(B, D)`` to ``(B, D)``, on the side that learns; SimSiam, BYOL.
        teacher: callable with the signature of ``branch``, as `EMATeacher`: gives the targets.
        base_size: side of the window of fibers that the head sees.
        max_distance: topographic distance of two views at most; None: no limit.
        views: K, passes of the encoder.
        distinct: no element twice for an image.
        allow_approximate: take an encoder that visibly breaks equivariance.

    Raises:
        ValueError: as `HSSL`.

    Source:
        The paper's loss on augmented inputs (design notes, 1.2).

    Example:
        >>> from homssl import HSSL, Cyclic, group_convnet
        >>> group, x = Cyclic(4), torch.randn(8, 1, 28, 28, dtype=torch.float64)
        >>> encoder = group_convnet(group).double()
        >>> h = HSSL(encoder, group)(x, generator=torch.Generator().manual_seed(0))
        >>> a = ASSL(encoder, group)(x, elements=h.elements)
        >>> bool((a.loss - h.loss).abs() < 1e-12)
        True
    """

    branch_type = AugmentedBranch
