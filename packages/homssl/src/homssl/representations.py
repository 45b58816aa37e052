"""How a group may act on a tensor of which only the shape is known."""

from collections.abc import Callable, Iterator

from torch import Tensor

from homssl.groups import Group

Reading = tuple[str, Tensor, Tensor, Tensor | None]
Unfold = Callable[[Tensor], Tensor]


def moved_by(
    reference: Tensor, got: Tensor, g: int, group: Group, output: str
) -> Iterator[Reading]:
    """Every reading of a layer's output: its name, what is wanted, what came, and where it counts.

    Args:
        reference: the layer's output on the images.
        got: its output on the images moved by ``g``.
        g: the element.
        group: what acts.
        output: ``"any"``, or the only kind of reading that will do: ``"regular"``,
            ``"invariant"``.

    Yields:
        Name, ``Gamma_g reference``, ``got`` in the same layout, and the mask of what is known.

    Raises:
        ValueError: if a grid is not one that the group acts on.

    Source:
        The regular representation ``(Gamma_g z)(s) = z(g^-1 s)``, and the trivial one.

    Example:
        >>> import torch
        >>> from homssl import Cyclic
        >>> z = torch.randn(2, 8, 5, 5)
        >>> [name for name, *_ in moved_by(z, z, 1, Cyclic(4), "any")]
        ['regular (C, |G|)', 'regular (|G|, C)', 'images']
    """
    if output in ("any", "regular"):
        for name, unfold in _regular(reference, group):
            z = unfold(reference)
            came = unfold(got) if got.shape[1] == reference.shape[1] else got
            yield name, group.act_on_features(z, g), came, group.known(g, z)
    if output == "any" and reference.ndim == 4 and group.axis > 1 and group.levels == 1:
        yield "images", group.act(reference, g), got, group.known(g, reference)
    on_the_group = reference.ndim > 3 or reference.shape[2:] == (group.axis,)
    if output == "invariant" or (output == "any" and not on_the_group):
        yield "invariant", reference, got, None


def _regular(z: Tensor, group: Group) -> Iterator[tuple[str, Unfold]]:
    """The ways in which a tensor may be a function on the group."""
    n = group.axis
    if z.ndim in (3, 5) and z.shape[2] == n and (z.ndim == 5 or group.grid is None):
        yield "regular", lambda t: t
    elif z.ndim == 4 and n == 1:
        yield "regular", lambda t: t.unsqueeze(2)
    elif z.ndim in (2, 4) and n > 1 and z.shape[1] % n == 0 and (z.ndim == 4 or group.grid is None):
        yield "regular (C, |G|)", lambda t: t.unflatten(1, (-1, n))
        yield "regular (|G|, C)", lambda t: t.unflatten(1, (n, -1)).transpose(1, 2)
