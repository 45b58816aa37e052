"""Latent variables in contrastive learning: heads, losses, codes and uncertainty."""

from lv_ssl.changes import Factors, blur, crop, with_factors
from lv_ssl.codes import CodeBook, Neighbours, hamming_knn, pack_bits, unpack_bits
from lv_ssl.compression import CompressionReport, RateAccuracy, rate_accuracy_curve
from lv_ssl.directions import PowerSpherical, VonMisesFisher
from lv_ssl.finetune import FineTuning, LatentLayer, fine_tune, fine_tuning
from lv_ssl.heads import StochasticHead
from lv_ssl.information import InformationSplit, information_split
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
    sample_disagreement,
)
from lv_ssl.posthoc import FitReport, embed, fit_head, infer
from lv_ssl.probes import (
    LinearProbe,
    RegressionProbe,
    cosine_neighbours,
    linear_probe,
    regression_probe,
    vote,
)
from lv_ssl.schedule import anneal, warm_up
from lv_ssl.store import load_head, save_head
from lv_ssl.uncertainty import (
    Calibration,
    Monotonicity,
    RiskCurve,
    calibration,
    monotonicity,
    r_auroc,
    risk_curve,
    scores_over,
    spearman,
)

__all__ = [
    "Bernoulli",
    "Calibration",
    "Categorical",
    "CodeBook",
    "CollapseWarning",
    "CompressionReport",
    "Factors",
    "FineTuning",
    "FitReport",
    "InformationSplit",
    "LatentLayer",
    "LinearProbe",
    "LossTerms",
    "Monotonicity",
    "Neighbours",
    "Normal",
    "Posterior",
    "PowerSpherical",
    "RateAccuracy",
    "RegressionProbe",
    "RiskCurve",
    "StochasticContrastiveLoss",
    "StochasticHead",
    "VonMisesFisher",
    "anneal",
    "blur",
    "calibration",
    "cosine_neighbours",
    "crop",
    "embed",
    "fine_tune",
    "fine_tuning",
    "fit_head",
    "hamming_knn",
    "infer",
    "information_split",
    "linear_probe",
    "load_head",
    "mc_infonce",
    "monotonicity",
    "nt_xent",
    "pack_bits",
    "r_auroc",
    "rate_accuracy_curve",
    "regression_probe",
    "risk_curve",
    "row_log_probs",
    "sample_disagreement",
    "save_head",
    "scores_over",
    "spearman",
    "unpack_bits",
    "vote",
    "warm_up",
    "with_factors",
]
