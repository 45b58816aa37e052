"""What maps do to the samples that they were fitted on, from moments alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from act_steer.transport import Transport


@dataclass(frozen=True)
class ModuleReport:
    """One module's numbers, aggregated over its neurons.

    Args:
        module: its name.
        method: kind of map.
        neurons: their number.
        n: source samples.
        m: target samples.
        before: root of the summed squared Wasserstein-2 distances, before.
        after: the same, after transport at strength 1.
        rho: mean correlation of the sorted samples, neurons that vary only.
        coverage: mean share of source activations inside the support.
        degenerate: neurons whose source is constant, which are only shifted.
        top: the neurons with the largest loss of distance, at most five, best first.
    """

    module: str
    method: str
    neurons: int
    n: int
    m: int
    before: float
    after: float
    rho: float
    coverage: float
    degenerate: int
    top: tuple[int, ...]

    @classmethod
    def of(cls, module: str, transport: Transport) -> "ModuleReport":
        """Aggregate a map.

        Raises:
            ValueError: if it has no moments.
        """
        moments = transport.moments
        if moments is None:
            raise ValueError(f"the {transport.method} map of {module} has no moments to report")
        before, after = transport.w2(0.0).double(), transport.w2(1.0).double()
        varies = ~moments.degenerate
        rho = moments.rho[varies].double().mean().item() if varies.any() else 0.0
        best = (before - after).argsort(descending=True, stable=True)[:5]
        return cls(
            module=module,
            method=transport.method,
            neurons=transport.dim,
            n=moments.n,
            m=moments.m,
            before=_norm(before),
            after=_norm(after),
            rho=rho,
            coverage=moments.coverage.double().mean().item(),
            degenerate=int(moments.degenerate.sum()),
            top=tuple(best.tolist()),
        )


@dataclass(frozen=True)
class Report:
    """A row a module; see `ModuleReport`."""

    rows: tuple[ModuleReport, ...]

    @classmethod
    def of(cls, maps: Mapping[str, Transport]) -> "Report":
        """Aggregate every map."""
        return cls(tuple(ModuleReport.of(name, transport) for name, transport in maps.items()))

    def __str__(self) -> str:
        width = max([6, *(len(row.module) for row in self.rows)])
        head = f"{'module':{width}}  neurons  W2 before  W2 after    rho  coverage  degenerate"
        lines = [
            f"{row.module:{width}}  {row.neurons:7d}  {row.before:9.4g}  {row.after:8.4g}"
            f"  {row.rho:5.3f}  {row.coverage:8.3f}  {row.degenerate:10d}"
            for row in self.rows
        ]
        return "\n".join([head, *lines])

    def to_table(self) -> dict[str, list[Any]]:
        """Columns of equal length, a row a module."""
        names = [name for name in ModuleReport.__dataclass_fields__ if name != "top"]
        table = {name: [getattr(row, name) for row in self.rows] for name in names}
        return {**table, "top": [" ".join(map(str, row.top)) for row in self.rows]}


def _norm(distances: Tensor) -> float:
    return float(distances.square().sum().sqrt())
