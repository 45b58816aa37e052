"""The loss on fibers and the loss on moved images, on one draw: how far apart they are."""

import copy
from dataclasses import dataclass

import torch
from homssl import (
    ASSL,
    HSSL,
    Cyclic,
    Dihedral,
    EMATeacher,
    Group,
    Translation,
    cosine_regression,
    group_convnet,
    step_seconds,
    unstructured,
)
from torch import Tensor, nn

from tenfold.encoders import mlp
from tenfold.methods import seeded

WIDTH, DIM = 20, 32  # of the encoder's fibers, of the embeddings
OBJECTIVES = ("InfoNCE", "BYOL")


@dataclass(frozen=True)
class Gap:
    """Both losses on one draw.

    Attributes:
        what: network, group and objective.
        images: A-SSL's loss, on moved images.
        fibers: H-SSL's, on fibers of one pass.
        gradient: norm of the difference of their gradients over the norm of A-SSL's.
        equal: whether they ought to be one number.
    """

    what: str
    images: float
    fibers: float
    gradient: float
    equal: bool

    @property
    def loss(self) -> float:
        """``|L_A - L_H|``."""
        return abs(self.images - self.fibers)

    @property
    def holds(self) -> bool:
        """Equal to 1e-12, gradients to 1e-11; or, where they ought to differ, by over 1e-3."""
        if self.equal:
            return self.loss <= 1e-12 and self.gradient <= 1e-11
        return self.loss > 1e-3


def gaps(images: Tensor, *, seed: int = 0) -> list[Gap]:
    """Return the gaps of three groups and two objectives, and of two that ought to be seen.

    These two are C4 with the fibers at ``g base`` in the place of ``g^-1 base``, and the network
    without structure.

    Args:
        images: float64 ``(B, C, H, H)``, H a multiple of 4, about -1 to 1.
        seed: of weights and draws.
    """
    cells = images.shape[-2] // 4, images.shape[-1] // 4  # two poolings
    groups: tuple[Group, ...] = (Cyclic(4), Dihedral(4), Translation(cells))
    found = [
        gap(f"{group}, {objective}", encoder_of(group, images, seed), group, images, objective)
        for group in groups
        for objective in OBJECTIVES
    ]
    group = Cyclic(4)
    encoder = encoder_of(group, images, seed)
    wrong = gap("C4, InfoNCE, fibers at g base", encoder, group, images, invert=True)
    plain = seeded(seed, lambda: unstructured(encoder))
    removed = gap("plain net, InfoNCE", plain, group, images, equal=False)
    return [*found, wrong, removed]


def encoder_of(group: Group, images: Tensor, seed: int) -> nn.Module:
    """A network of three convolutions over the group, in train mode, of the images' type."""
    channels = images.shape[1]
    return seeded(seed, lambda: group_convnet(group, in_channels=channels)).to(images.dtype)


def gap(
    what: str,
    encoder: nn.Module,
    group: Group,
    images: Tensor,
    objective: str = "InfoNCE",
    *,
    invert: bool = False,
    equal: bool = True,
    seed: int = 0,
) -> Gap:
    """Return how far both losses are apart, with one encoder, one head and one draw.

    Args:
        what: the name of the row.
        encoder: from images to features over the group.
        group: what moves the images.
        images: ``(B, C, H, W)``.
        objective: one of `OBJECTIVES`; BYOL with a predictor and a teacher.
        invert: whether H-SSL reads at ``g base``: the wrong sign.
        equal: whether the losses ought to be one number; with ``invert`` never.
        seed: of head, predictor and draw.
    """
    parts = _parts(encoder, images, seed)
    both = [_framework(kind, encoder, group, objective, parts) for kind in (ASSL, HSSL)]
    elements = both[0].sample(len(images), generator=torch.Generator().manual_seed(seed))
    trained = [p for p in both[0].parameters() if p.requires_grad]  # the same ones in both
    losses: list[Tensor] = []
    gradients: list[Tensor] = []
    for framework in both:
        replayed = group.inverse(elements) if invert and framework is both[1] else elements
        loss = framework(images, elements=replayed).loss
        losses.append(loss.detach())
        gradients.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, trained)]))
    apart = float((gradients[0] - gradients[1]).norm() / gradients[0].norm())
    return Gap(what, float(losses[0]), float(losses[1]), apart, equal and not invert)


@dataclass(frozen=True)
class _Parts:
    """What both losses share beside the encoder, and the teacher's own encoder and head."""

    head: nn.Module
    predictor: nn.Module
    teacher: tuple[nn.Module, nn.Module]


def _parts(encoder: nn.Module, images: Tensor, seed: int) -> _Parts:
    def moved(module: nn.Module) -> nn.Module:
        """The same module with other weights, as a teacher has."""
        other = copy.deepcopy(module)
        for p in other.parameters():
            p.data.mul_(1 + 0.1 * torch.rand(p.shape, dtype=p.dtype))
        return other

    head = seeded(seed, lambda: mlp(WIDTH, 64, DIM)).to(images)
    predictor = seeded(seed + 1, lambda: mlp(DIM, 64, DIM)).to(images)
    teacher = seeded(seed, lambda: nn.ModuleList([moved(encoder), moved(head)]))
    return _Parts(head, predictor, (teacher[0], teacher[1]))


def _framework(
    kind: type[HSSL] | type[ASSL],
    encoder: nn.Module,
    group: Group,
    objective: str,
    parts: _Parts,
) -> HSSL | ASSL:
    if objective == "InfoNCE":
        return kind(encoder, group, head=parts.head)
    behind = kind(parts.teacher[0], group, head=parts.teacher[1]).branch
    return kind(
        encoder, group, head=parts.head, objective=cosine_regression,
        predictor=parts.predictor, teacher=EMATeacher(behind),
    )  # fmt: skip


def step_seconds_of(
    images: Tensor, *, views: tuple[int, ...] = (2, 4), turns: int = 7
) -> dict[int, tuple[float, float]]:
    """Return the seconds of a step by number of views: of A-SSL, and of H-SSL.

    A step is the forward and backward pass, in process time, the median of ``turns`` taken in
    turns on one draw.

    Args:
        images: ``(B, C, H, H)``.
        views: numbers of views.
        turns: how often each is timed.
    """
    group = Cyclic(4)
    encoder = encoder_of(group, images, 0)
    head = seeded(0, lambda: mlp(WIDTH, 64, DIM)).to(images)
    taken = {}
    for count in views:
        both = {
            kind.__name__: kind(encoder, group, head=head, views=count) for kind in (ASSL, HSSL)
        }
        seconds = step_seconds(both, images, turns=turns)
        taken[count] = seconds["ASSL"], seconds["HSSL"]
    return taken
