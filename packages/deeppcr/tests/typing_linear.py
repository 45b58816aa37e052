"""The linear core as a user's type checker sees it."""

from collections.abc import Iterator

from deeppcr import (
    Decision,
    DenseStep,
    affine_scan,
    bidiagonal_solve,
    explain,
    pcr_steps,
    sequential_forward,
)
from torch import Tensor


def solve(A: Tensor, b: Tensor, z0: Tensor) -> Tensor:
    with explain() as log:
        z: Tensor = affine_scan(A, b, z0, reverse=True, method="pcr", dim=1)
    decisions: list[Decision] = log.decisions
    print(decisions, log.to_table()["what"])
    steps: Iterator[tuple[int, Tensor, Tensor]] = pcr_steps(A, b)
    print([stride for stride, _, _ in steps])
    return z + bidiagonal_solve(A, b)


def step(z: Tensor, x: Tensor, params: dict[str, Tensor]) -> Tensor:
    return z * params["w"] + x


def run(z0: Tensor, xs: Tensor, w: Tensor) -> Tensor:
    states: Tensor = sequential_forward(step, z0, xs, {"w": w}, length=3)
    layers: Tensor = sequential_forward(DenseStep("tanh"), z0, None, (w, w), per_layer_params=True)
    return states + layers
