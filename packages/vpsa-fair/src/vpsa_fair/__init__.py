"""Find which subgroup breaks under which perturbation, with intervals."""

from vpsa_fair.adapters import dlib_embedder, onnx_embedder, torch_embedder
from vpsa_fair.audit import Audit
from vpsa_fair.bounding import bound
from vpsa_fair.counts import CLEAN, Axis, Cell, Counts, positions
from vpsa_fair.curves import chance_corrected, normalized_auc, onset_level
from vpsa_fair.data import Faces
from vpsa_fair.errors import (
    DataError,
    LevelError,
    ModelError,
    ResolutionWarning,
    SmallGroupWarning,
)
from vpsa_fair.fairness import fdr, garbe, gini, inequity, max_gap, min_ratio
from vpsa_fair.intervals import basic, bca, percentile, wilson
from vpsa_fair.item import item_response
from vpsa_fair.levels import Levels, linear, log
from vpsa_fair.loaders import bfw, celeba, fairface, lfw, lfw_pairs, rfw
from vpsa_fair.matrix import Matrix
from vpsa_fair.models import Precomputed, self_test
from vpsa_fair.paired import Change, Comparison, compare
from vpsa_fair.perturb import (
    contrast,
    downscale,
    exposure,
    gaussian_blur,
    gaussian_noise,
    hue,
    jpeg,
    motion_blur,
    occlusion,
    rotation,
    salt_and_pepper,
    saturation,
    standard,
)
from vpsa_fair.perturbation import Perturbation, custom
from vpsa_fair.protocols import (
    Classification,
    ForcedChoice,
    Identification,
    PairList,
    Verification,
    kafc,
)
from vpsa_fair.result import Result
from vpsa_fair.shepherd import Shepherd, shepherd
from vpsa_fair.stats import PowerPlan, benjamini_hochberg, holm, minimum_detectable_gap, power
from vpsa_fair.summary import Spread, Summary
from vpsa_fair.synthetic import FisherModel, fisher_model, synthetic_faces
from vpsa_fair.tables import Table
from vpsa_fair.targeted import Failure, Targeted

__all__ = [
    "CLEAN",
    "Audit",
    "Axis",
    "Cell",
    "Change",
    "Classification",
    "Comparison",
    "Counts",
    "DataError",
    "Faces",
    "Failure",
    "FisherModel",
    "ForcedChoice",
    "Identification",
    "LevelError",
    "Levels",
    "Matrix",
    "ModelError",
    "PairList",
    "Perturbation",
    "PowerPlan",
    "Precomputed",
    "ResolutionWarning",
    "Result",
    "Shepherd",
    "SmallGroupWarning",
    "Spread",
    "Summary",
    "Table",
    "Targeted",
    "Verification",
    "basic",
    "bca",
    "benjamini_hochberg",
    "bfw",
    "bound",
    "celeba",
    "chance_corrected",
    "compare",
    "contrast",
    "custom",
    "dlib_embedder",
    "downscale",
    "exposure",
    "fairface",
    "fdr",
    "fisher_model",
    "garbe",
    "gaussian_blur",
    "gaussian_noise",
    "gini",
    "holm",
    "hue",
    "inequity",
    "item_response",
    "jpeg",
    "kafc",
    "lfw",
    "lfw_pairs",
    "linear",
    "log",
    "max_gap",
    "min_ratio",
    "minimum_detectable_gap",
    "motion_blur",
    "normalized_auc",
    "occlusion",
    "onnx_embedder",
    "onset_level",
    "percentile",
    "positions",
    "power",
    "rfw",
    "rotation",
    "salt_and_pepper",
    "saturation",
    "self_test",
    "shepherd",
    "standard",
    "synthetic_faces",
    "torch_embedder",
    "wilson",
]
