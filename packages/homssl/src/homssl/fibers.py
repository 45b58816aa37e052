"""Fibers of a feature map, and the draw of the places where they are read."""

import torch
from torch import Tensor

from homssl.groups import Group

REDRAWS = 100


def fibers(z: Tensor, group: Group, base: Tensor, g: Tensor) -> Tensor:
    """Gather what a head sees of each image: the fibers at ``g^-1 base``.

    For an equivariant network f it is what the head would see at ``base`` of the moved image:
    ``fibers(f(x), group, base, g) == fibers(f(group.act(x, g)), group, base, identity)``.

    Args:
        z: features, ``(B, C, |G|, H, W)``, or ``(B, C, |G|)`` without space. Space that no
            translation of the group moves is averaged.
        group: what ``z`` is a function of.
        base: places of the base space, int64 ``(m,)``; see `Group.base`.
        g: one element an image, int64 ``(B,)``.

    Returns:
        ``(B, m C)``, place by place.

    Raises:
        ValueError: if the shapes do not fit, or an element reads what cannot be read: beyond the
            last level, or nearer to the border than the margin.

    Source:
        The index ``g^-1 base`` of the loss on fibers (design notes, 1.2).

    Example:
        >>> from homssl import Cyclic
        >>> z = torch.arange(8.0).view(1, 2, 4)  # two channels, four orientations
        >>> fibers(z, Cyclic(4), torch.tensor([0]), torch.tensor([1]))
        tensor([[3., 7.]])
    """
    flat = group.flat(z)  # (B, C, order)
    if g.shape != flat.shape[:1]:
        raise ValueError(f"g must be one element an image, ({len(flat)},), got {tuple(g.shape)}")
    _check_elements("g", g, group)
    _check_elements("base", base, group)
    if group.partial and not bool(group.admissible(base.cpu())[g.cpu()].all()):
        raise ValueError(f"an element of g reads base from where {group} cannot be read")
    places = group.pull(base.to(z.device).unsqueeze(0), g.to(z.device).unsqueeze(1))  # (B, m)
    where = places.unsqueeze(1).expand(-1, flat.shape[1], -1)  # (B, C, m)
    return flat.gather(2, where).transpose(1, 2).flatten(1)


def sample_elements(
    group: Group,
    batch: int,
    *,
    generator: torch.Generator,
    views: int = 2,
    base_size: int = 1,
    max_distance: int | None = None,
    distinct: bool = True,
) -> Tensor:
    """Draw the elements of each view: uniform among those whose places are near enough.

    The distance of two views is that of the places where they read the first of the base. All
    pairs of views obey it; with two views, every pair that does is equally likely.

    Args:
        group: what is drawn from.
        batch: B, the number of images.
        generator: where the draws come from.
        views: K, how many elements an image.
        base_size: side of the window that must be readable.
        max_distance: the topographic distance, 1 to the group's diameter; None: no limit.
        distinct: draw no element twice for an image.

    Returns:
        int64 ``(views, batch)``, on the CPU.

    Raises:
        ValueError: if a number is out of range, or so many views do not fit so near.

    Source:
        Base size and topographic distance of the paper; the metric and the law are our choice.

    Example:
        >>> from homssl import Cyclic
        >>> sample_elements(Cyclic(4), 5, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([2, 5])
    """
    if batch < 1 or views < 1:
        raise ValueError(f"batch and views must be at least 1, got {batch} and {views}")
    base = group.base(base_size)
    usable = group.elements()[group.admissible(base)]
    places = group.pull(base[:1], usable)
    if max_distance is not None and not 1 <= max_distance <= group.diameter:
        raise ValueError(
            f"max_distance of {group} must be 1 to {group.diameter}, got {max_distance}"
        )
    if distinct and views > len(usable):
        raise ValueError(f"views must be at most {len(usable)} where all differ, got {views}")
    drawn = torch.zeros(views, batch, dtype=torch.int64)
    pending = torch.arange(batch)
    for _ in range(REDRAWS):
        picks, stuck = _draw(group, places, views, len(pending), max_distance, distinct, generator)
        drawn[:, pending] = usable[picks]
        pending = pending[stuck]
        if not len(pending):
            return drawn
    raise ValueError(
        f"{views} different views do not fit within max_distance {max_distance} of {group}"
    )


def _draw(
    group: Group,
    places: Tensor,
    views: int,
    batch: int,
    max_distance: int | None,
    distinct: bool,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Indices into ``places``, ``(views, batch)``, and which images found no place for a view."""
    weights = torch.ones(batch, len(places), device=generator.device)
    stuck = torch.zeros(batch, dtype=torch.bool)
    picks = []
    for _ in range(views):
        pick = torch.multinomial(weights, 1, generator=generator).squeeze(1).cpu()
        picks.append(pick)
        apart = group.distance(places[pick].unsqueeze(1), places.unsqueeze(0))  # (B, order)
        allowed = torch.ones_like(apart, dtype=torch.bool)
        if max_distance is not None:
            allowed = apart <= max_distance
        if distinct:
            allowed = allowed.scatter(1, pick.unsqueeze(1), False)
        weights = weights * allowed.to(weights.device)
        if len(picks) < views:
            empty = (weights.sum(1) == 0).cpu()
            stuck |= empty
            weights[empty] = 1  # drawn anew by the caller
    return torch.stack(picks), stuck


def _check_elements(name: str, g: Tensor, group: Group) -> None:
    if g.ndim != 1 or g.is_floating_point():
        raise ValueError(f"{name} must be integers of one axis, got {g.dtype} {tuple(g.shape)}")
    if g.device.type == "cpu" and len(g) and not (0 <= int(g.min()) <= int(g.max()) < group.order):
        raise ValueError(
            f"{name} must hold 0 to {group.order - 1}, got {int(g.min())} to {int(g.max())}"
        )
