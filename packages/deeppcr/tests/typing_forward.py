"""The parallel forward as a user's type checker sees it."""

from typing import assert_type

import deeppcr as dp
import torch
from deeppcr.diffusion import Sample, parallel_sample
from torch import Tensor, nn


def step(z: Tensor, x: Tensor, w: Tensor) -> Tensor:
    return torch.tanh(w * z + x)


run = dp.parallel_forward(step, torch.zeros(2), torch.zeros(5, 2), torch.ones(2))
assert_type(run, dp.Trajectory)
assert_type(run.report, dp.Report)
assert_type(run.report.residuals, tuple[float, ...])
assert_type(dp.diagnose(step, torch.zeros(2), torch.zeros(5, 2), torch.ones(2)), dp.Diagnosis)
assert_type(dp.odeint(lambda t, y: -y, torch.ones(1), torch.linspace(0, 1, 5)), dp.Trajectory)
model = dp.DeepPCR(nn.Sequential(nn.Linear(2, 2)), solver=dp.Newton(max_iter=5, window=4))
assert_type(model.last_report, dp.Report | None)
output, final = dp.GRU(2, 3)(torch.zeros(4, 1, 2))


def sample(model: nn.Module, scheduler: object) -> Sample:
    return parallel_sample(model, scheduler, torch.zeros(1, 1, 4, 4), window=5)
