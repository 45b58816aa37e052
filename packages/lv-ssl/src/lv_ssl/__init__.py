"""Latent variables in contrastive learning: heads, losses, codes and uncertainty."""

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
    "CollapseWarning",
    "LossTerms",
    "Normal",
    "Posterior",
    "PowerSpherical",
    "StochasticContrastiveLoss",
    "StochasticHead",
    "VonMisesFisher",
    "anneal",
    "mc_infonce",
    "nt_xent",
    "row_log_probs",
    "sample_disagreement",
    "warm_up",
]
