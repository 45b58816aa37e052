"""The public API as a user's type checker sees it."""

from typing import assert_type

import numpy as np
import torch
from lv_ssl import (
    Bernoulli,
    CodeBook,
    CompressionReport,
    FineTuning,
    FitReport,
    LossTerms,
    Monotonicity,
    Neighbours,
    Posterior,
    StochasticContrastiveLoss,
    StochasticHead,
    blur,
    embed,
    fine_tuning,
    fit_head,
    hamming_knn,
    infer,
    information_split,
    linear_probe,
    load_head,
    monotonicity,
    nt_xent,
    pack_bits,
    r_auroc,
    rate_accuracy_curve,
    regression_probe,
    risk_curve,
    sample_disagreement,
    save_head,
    unpack_bits,
    warm_up,
)
from torch import Tensor, nn

x, g = torch.randn(8, 16), torch.Generator()
head = StochasticHead(16, 32, "bernoulli", gain=True)
posterior = head.forward(x)
assert_type(posterior, Posterior)
assert_type(posterior.rsample(3, generator=g), Tensor)
assert_type(posterior.kl(), Tensor)
assert_type(posterior[:2].detach(), Posterior)
assert_type(Bernoulli.cat([Bernoulli(x), Bernoulli(x)]), Bernoulli)
assert_type(Bernoulli(x)[:2], Bernoulli)
assert_type(sample_disagreement(posterior, generator=g), Tensor)
assert_type(information_split(posterior).information, Tensor)

loss = StochasticContrastiveLoss(nt_xent, beta=warm_up(3, target=1e-3, steps=10))
StochasticContrastiveLoss(lambda z1, z2: (z1 - z2).square().mean())
assert_type(loss.forward(posterior, posterior, projector=nn.Linear(32, 8), generator=g), LossTerms)
assert_type(loss.forward(posterior, posterior).rate_bits, Tensor)

codes = pack_bits(posterior.mode)
assert_type(hamming_knn(codes, codes, 3), Neighbours)
assert_type(unpack_bits(codes, 32), np.ndarray)
assert_type(CodeBook.load("codes.npz"), CodeBook)
assert_type(CompressionReport((224, 224, 3), 8, 2048).ratio, float)
curve = rate_accuracy_curve(np.zeros((2, 3)), np.ones(3), lambda kept: 1.0)
assert_type(curve.accuracy, list[float])

save_head("head.safetensors", head)
assert_type(load_head("head.safetensors"), StochasticHead)
assert_type(embed(nn.Flatten(), x), Tensor)
assert_type(infer(head, x), Posterior)
assert_type(fit_head(head, x, x, loss=loss), FitReport)
labels = torch.zeros(8, dtype=torch.int64)
assert_type(fine_tuning(nn.Identity(), head, (x, labels), (x, labels)), FineTuning)
assert_type(linear_probe(x, labels).marginal(x[None]), Tensor)
assert_type(regression_probe(x, x[:, 0]).r2(x, x[:, 0]), list[float])
assert_type(r_auroc(np.zeros(3), np.zeros(3)), float)
assert_type(risk_curve(np.zeros(3), np.zeros(3)).area, float)
assert_type(monotonicity([0, 1, 2], np.zeros((3, 4))), Monotonicity)
assert_type(blur(x[None, None], 1.0), Tensor)
