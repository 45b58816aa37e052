"""Whether a network is equivariant, and the first layer that is not."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from homssl.groups import Group
from homssl.representations import moved_by

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4}
COARSE = 5e-2  # of float16 and bfloat16
FEW = 16

OutputKind = Literal["any", "regular", "invariant"]


@dataclass(frozen=True)
class LayerError:
    """How far one layer's output is from equivariance.

    Attributes:
        name: of the module; ``"(output)"`` for the network itself.
        kind: its class.
        shape: of its output.
        representation: how the group was found to act on the output: the reading with the
            smallest error.
        error: the largest over the elements of ``|f(T x) - Gamma f(x)| / |f(x)|``.
        element: where it is largest.
        note: why there is no number, where the error is infinite.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    representation: str
    error: float
    element: int
    note: str = ""


@dataclass(frozen=True)
class Certificate:
    """The errors of all layers, in the order in which they ran.

    Attributes:
        group: its name.
        exact: whether the group acts without approximation.
        tolerance: what passes; None for an approximate group without one.
        layers: one entry a module that returns a tensor; the last is the output.
        elements: the elements that were tried.
    """

    group: str
    exact: bool
    tolerance: float | None
    layers: tuple[LayerError, ...]
    elements: tuple[int, ...] = field(default=())

    @property
    def max_error(self) -> float:
        """The error of the network's output."""
        return self.layers[-1].error

    @property
    def passed(self) -> bool | None:
        """Whether the output is within the tolerance; None where there is none to judge by."""
        return None if self.tolerance is None else self.max_error <= self.tolerance

    @property
    def first_failing(self) -> str | None:
        """The first layer beyond the tolerance, if the output is beyond it."""
        if self.tolerance is None or self.passed:
            return None
        return next(row.name for row in self.layers if not row.error <= self.tolerance)

    def __str__(self) -> str:
        kind = "exact" if self.exact else "approximate"
        width = max(len(row.name) for row in self.layers)
        lines = [f"{self.group} ({kind}), relative error over {len(self.elements)} elements"]
        for row in self.layers:
            mark = " "
            if self.tolerance is not None and not row.error <= self.tolerance:
                mark = "!"
            text = f"{mark} {row.name:{width}}  {row.error:8.1e}  {row.kind}, {row.representation}"
            lines.append(text + (f": {row.note}" if row.note else ""))
        return "\n".join([*lines, self.verdict])

    @property
    def verdict(self) -> str:
        """One line."""
        if self.tolerance is None:
            return f"{self.group} is approximate: error {self.max_error:.1e}, no verdict"
        if self.passed:
            return f"equivariant to {self.tolerance:g}"
        return f"not equivariant: the first layer beyond {self.tolerance:g} is {self.first_failing}"

    def to_table(self) -> dict[str, list[str] | list[float] | list[int]]:
        """One row a layer."""
        return {
            "layer": [row.name for row in self.layers],
            "module": [row.kind for row in self.layers],
            "representation": [row.representation for row in self.layers],
            "error": [row.error for row in self.layers],
            "element": [row.element for row in self.layers],
            "note": [row.note for row in self.layers],
        }


class NotHomomorphicError(AssertionError):
    """A network is not equivariant; ``certificate`` says where."""

    def __init__(self, certificate: Certificate) -> None:
        super().__init__(str(certificate))
        self.certificate = certificate


def equivariance_error(
    module: nn.Module,
    x: Tensor,
    group: Group,
    *,
    elements: Iterable[int] | None = None,
    atol: float | None = None,
    output: OutputKind = "any",
) -> Certificate:
    """Measure how far each layer of a network is from equivariance.

    Any module will do; it need not be built of this package's layers. A tensor's representation
    is read from its shape: ``(B, C, |G|, H, W)`` and ``(B, C, |G|)`` are functions on the group;
    ``(B, C, H, W)`` may be such functions flattened, or images; ``(B, F)`` such functions, or
    invariants. Of several readings the one with the smallest error counts. The network runs in
    the mode it is in; its buffers and the global generator are left as they were.

    Args:
        module: from images to a tensor.
        x: images, ``(B, C, H, W)``.
        group: what acts; with translations its grid is that of the output.
        elements: those to try; all of a small group, the generators of a large one.
        atol: the relative error that passes: 1e-10 in float64, 1e-4 in float32, unless given;
            of an approximate group, nothing passes or fails unless it is given.
        output: what the output must be: ``"regular"``, a function on the group; ``"invariant"``;
            ``"any"`` reading.

    Returns:
        The certificate.

    Raises:
        ValueError: if ``x`` is no batch of images that the group acts on.
        TypeError: if the network returns no tensor.

    Source:
        The definition ``f(T_g x) = Gamma_g f(x)``, layer by layer.

    Example:
        >>> from homssl import Cyclic, group_convnet
        >>> net = group_convnet(Cyclic(4)).double()
        >>> x = torch.randn(4, 1, 28, 28, dtype=torch.float64)
        >>> print(equivariance_error(net, x, Cyclic(4)).verdict)
        equivariant to 1e-10
    """
    if x.ndim != 4 or not x.is_floating_point():
        raise ValueError(f"x must be floating images (B, C, H, W), got {x.dtype} {tuple(x.shape)}")
    if output not in ("any", "regular", "invariant"):
        raise ValueError(f"output must be 'any', 'regular' or 'invariant', got {output!r}")
    group.act(x[:1], 0)  # raises on images that do not fit
    if elements is None:
        elements = range(group.order) if group.order <= FEW else group.generators
    tried = tuple(int(g) for g in elements)
    if atol is None and group.exact:
        atol = TOLERANCE.get(x.dtype, COARSE)
    with _undisturbed(module):
        reference = list(_outputs(module, x))
        table = [_Row(name, kind, z) for name, kind, z in reference]
        for g in tried:
            moved = list(_outputs(module, group.act(x, g)))
            for i, (row, (_, _, got)) in enumerate(zip(table, moved, strict=True)):
                row.add(got, g, group, output if i == len(table) - 1 else "any")
    layers = tuple(row.result() for row in table if row.readings or row is table[-1])
    return Certificate(str(group), group.exact, atol, layers, tried)


def assert_homomorphic(
    module: nn.Module,
    x: Tensor,
    group: Group,
    *,
    atol: float | None = None,
    output: OutputKind = "regular",
) -> Certificate:
    """Raise unless a network maps moved images to moved functions on the group.

    Args:
        module: from images to a tensor.
        x: images, ``(B, C, H, W)``.
        group: what acts.
        atol: the relative error that passes, as in `equivariance_error`; an approximate group
            needs one.
        output: ``"regular"``, as H-SSL needs; or ``"invariant"``, ``"any"``.

    Returns:
        The certificate that passed.

    Raises:
        NotHomomorphicError: if it does not pass; the message is the whole table.
        ValueError: if an approximate group came without ``atol``.

    Source:
        The definition ``f(T_g x) = Gamma_g f(x)``.

    Example:
        >>> from homssl import Cyclic, group_convnet
        >>> net, x = group_convnet(Cyclic(4)), torch.randn(4, 1, 28, 28)
        >>> assert_homomorphic(net, x, Cyclic(4)).passed
        True
    """
    if atol is None and not group.exact:
        raise ValueError(f"atol must be given: {group} is approximate, and nothing holds exactly")
    certificate = equivariance_error(module, x, group, atol=atol, output=output)
    if not certificate.passed:
        raise NotHomomorphicError(certificate)
    return certificate


class _Row:
    """The errors of one layer so far, by reading: the worst over elements."""

    def __init__(self, name: str, kind: str, reference: Tensor) -> None:
        self.name, self.kind, self.reference = name, kind, reference
        self.readings: dict[str, tuple[float, int]] = {}
        self.note = ""

    def add(self, got: Tensor, g: int, group: Group, output: OutputKind) -> None:
        """Compare with what the reference becomes under g, in every reading."""
        try:
            for reading, want, found, known in moved_by(self.reference, got, g, group, output):
                error = _relative(found, want, known)
                worst, _ = self.readings.get(reading, (-1.0, g))
                if not error <= worst:
                    self.readings[reading] = error, g
        except ValueError as reason:
            self.readings, self.note = {"none": (math.inf, g)}, str(reason)

    def result(self) -> LayerError:
        """The reading with the smallest error."""
        if self.note or not self.readings:
            note = self.note or "no group is seen to act on this shape"
            return self._entry("none", math.inf, 0, note)
        reading = min(self.readings, key=lambda key: self.readings[key][0])
        error, g = self.readings[reading]
        note = "" if math.isfinite(error) else "not finite"
        return self._entry(reading, error, g, note)

    def _entry(self, reading: str, error: float, g: int, note: str) -> LayerError:
        shape = tuple(self.reference.shape)
        return LayerError(self.name, self.kind, shape, reading, error, g, note)


def _relative(got: Tensor, want: Tensor, known: Tensor | None) -> float:
    """``|got - want| / |want|`` where it is known; infinite on what is not finite."""
    if got.shape != want.shape:
        return math.inf
    apart = (got - want).abs()
    if known is not None:
        apart, want = apart * known, want * known
    size, far = float(want.norm()), float(apart.norm())
    if not (math.isfinite(size) and math.isfinite(far)):
        return math.inf
    return far / size if size else (0.0 if far == 0 else math.inf)


@contextmanager
def _undisturbed(module: nn.Module) -> Iterator[None]:
    """Without gradient; buffers and the global generator as they were afterwards."""
    kept = [(buffer, buffer.clone()) for buffer in module.buffers()]
    try:
        with torch.no_grad(), torch.random.fork_rng(enabled=True):
            yield
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                if not torch.equal(buffer, value):  # one that is expanded cannot be written to
                    buffer.copy_(value)


def _outputs(module: nn.Module, x: Tensor) -> list[tuple[str, str, Tensor]]:
    """Name, class and output of every module that returns a tensor, as they finish."""
    seen: list[tuple[str, str, Tensor]] = []
    last: list[Tensor] = []
    counts: dict[str, int] = {}
    handles = []

    def keep(name: str, layer: nn.Module, _: object, out: object) -> None:
        handed_on = bool(last) and out is last[0] and any(True for _ in layer.children())
        if not isinstance(out, Tensor) or (handed_on and name != "(output)"):
            return  # a container's output is that of a layer in it
        last[:] = [out]
        counts[name] = counts.get(name, 0) + 1
        label = name if counts[name] == 1 else f"{name} (call {counts[name]})"
        seen.append((label, type(layer).__name__, out.detach().clone()))

    for name, layer in module.named_modules():
        handles.append(layer.register_forward_hook(partial(keep, name or "(output)")))
    try:
        out = module(x)
    finally:
        for handle in handles:
            handle.remove()
    if not isinstance(out, Tensor):
        raise TypeError(f"the network must return a tensor, got {type(out).__name__}")
    return seen
