"""The public API as a user's type checker sees it."""

from typing import assert_type

import torch
from er_ssl import (
    DiscreteERLoss,
    DistillationERLoss,
    EntropyQueue,
    ERLoss,
    ERMonitor,
    ERTerms,
    NTXentLoss,
    entropy_limits,
    er_bound,
    gather_rows,
    kde_entropy,
    plot_trace,
    plugin_entropy,
    read_trace,
    row_logsumexp,
    vmf_log_normalizer,
    vmf_log_prob,
)
from torch import Tensor

z1, z2 = torch.randn(8, 4), torch.randn(8, 4)

assert_type(er_bound(z1, z2, kappa=10.0), ERTerms)
assert_type(er_bound(z1, z2).bound, Tensor)
assert_type(er_bound(z1, z2).ceiling, float)
assert_type(er_bound(z1, z2).to_table(), dict[str, list[str] | list[float]])
assert_type(kde_entropy(z1, kappa=torch.tensor(5.0), estimator="plugin"), Tensor)
assert_type(plugin_entropy(z1, logits=True), Tensor)
assert_type(entropy_limits(8, 4, kappa=10.0), tuple[float, float])
assert_type(row_logsumexp(z1, z2, scale=2.0), Tensor)
assert_type(gather_rows(z1), Tensor)
assert_type(vmf_log_normalizer(4, 10.0), Tensor)
assert_type(vmf_log_prob(z1, z2, kappa=10.0), Tensor)

NTXentLoss(0.1, 0, False)
NTXentLoss(temperature=0.1, gather_distributed=True)
assert_type(ERLoss(10.0, learnable_kappa=True).terms(z1, z2, z1), ERTerms)
assert_type(ERLoss(temperature=0.1).kappa, float | Tensor)
assert_type(DistillationERLoss(entropy_on="prediction").terms(z1, z1, z2), ERTerms)
assert_type(DiscreteERLoss(symmetric=True).terms(z1, z2), ERTerms)

monitor = ERMonitor(kappa=10.0, patience=3)
monitor.update(z1, z2)
assert_type(monitor.compute(), dict[str, float])
assert_type(monitor.record("trace.jsonl", step=0)["bound"], float)
assert_type(read_trace("trace.jsonl")["bound"], list[float])
plot_trace(read_trace("trace.jsonl")).savefig("trace.svg")
assert_type(EntropyQueue(100, 4).reference, Tensor)
