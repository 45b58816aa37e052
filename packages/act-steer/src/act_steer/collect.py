"""Pooled activations of any callable that runs a model."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from act_steer.errors import NoModuleMatched
from act_steer.modules import by_module, output_part, select
from act_steer.pooling import Pool
from act_steer.pooling import pool as pool_output


def collect(
    run: Callable[[], object],
    model: nn.Module,
    modules: str | Sequence[str],
    pool: Pool = "mean",
    *,
    mask: Tensor | None = None,
) -> dict[str, Tensor]:
    """Run something that calls a model, and keep what some of its modules give, pooled.

    Args:
        run: calls the model, once or many times, as a pipeline or a loop over batches does; each
            call appends its rows.
        model: where the modules are; it is as before afterwards, whatever happens.
        modules: preset, pattern or list, as `select`.
        pool: how the tokens or pixels of a row become one number a neuron.
        mask: ``(B, K)``, true for the tokens that count, the same for all calls; None counts all.

    Returns:
        ``{name: (n, D)}``, float32 or float64, on the CPU, in the order of execution.

    Raises:
        NoModuleMatched: if no module is meant, or one is not called.
        TypeError: if an output is no tensor.
        ValueError: if an output cannot be pooled, or is not finite.

    Example:
        >>> net = nn.Sequential(nn.Identity(), nn.Linear(2, 2))
        >>> collect(lambda: net(torch.ones(3, 4, 2)), net, ["0"])["0"]
        tensor([[1., 1.],
                [1., 1.],
                [1., 1.]])
    """
    outputs = select(model, modules)
    kept: dict[str, list[Tensor]] = {}

    handles = []
    for path, names in by_module(outputs).items():

        def hook(module: nn.Module, _: Any, output: Any, names: list[str] = names) -> None:
            for name in names:
                rows = pooled_part(output, name, pool, mask, module).cpu()
                kept.setdefault(name, []).append(rows)

        handles.append(model.get_submodule(path).register_forward_hook(hook))
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    missing = [name for name in outputs if name not in kept]
    if missing:
        raise NoModuleMatched(f"{', '.join(missing[:3])} gave nothing: the model does not call it")
    return {name: torch.cat(rows) for name, rows in kept.items()}


def pooled_part(
    output: Any,
    name: str,
    how: Pool,
    mask: Tensor | None,
    module: nn.Module,
    rows: Sequence[str] = (),
) -> Tensor:
    """Pool what a name means of an output, ``(B, D)``; errors say the name, and which of ``rows``.

    Raises:
        TypeError: if there is no such tensor.
        ValueError: if it cannot be pooled, or is not finite.
    """
    try:
        pooled = pool_output(output_part(output, name), how, mask, module)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    finite = torch.isfinite(pooled).all(dim=1)
    if not finite.all():
        bad = int((~finite).nonzero()[0])
        which = rows[bad] if bad < len(rows) else f"row {bad}"
        raise ValueError(f"{name} gives NaN or infinite activations, first for {which}")
    return pooled
