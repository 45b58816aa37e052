"""Latent variables in contrastive learning: heads, losses, codes and uncertainty."""

from lv_ssl.codes import CodeBook, Neighbours, hamming_knn, pack_bits, unpack_bits
from lv_ssl.compression import CompressionReport, RateAccuracy, rate_accuracy_curve
from lv_ssl.heads import StochasticHead
from lv_ssl.losses import (
    CollapseWarning,
    LossTerms,
    StochasticContrastiveLoss,
    mc_infonce,
    nt_xent,
    row_log_probs,
)
from lv_ssl.posteriors import (
    Bernoulli,
    Categorical,
    Normal,
    Posterior,
    PowerSpherical,
    VonMisesFisher,
    sample_disagreement,
)
from lv_ssl.schedule import anneal, warm_up

__all__ = [
    "Bernoulli",
    "Categorical",
    "CodeBook",
    "CollapseWarning",
    "CompressionReport",
    "LossTerms",
    "Neighbours",
    "Normal",
    "Posterior",
    "PowerSpherical",
    "RateAccuracy",
    "StochasticContrastiveLoss",
    "StochasticHead",
    "VonMisesFisher",
    "anneal",
    "hamming_knn",
    "mc_infonce",
    "nt_xent",
    "pack_bits",
    "rate_accuracy_curve",
    "row_log_probs",
    "sample_disagreement",
    "unpack_bits",
    "warm_up",
]
