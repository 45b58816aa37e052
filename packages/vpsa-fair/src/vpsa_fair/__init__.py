"""Find which subgroup breaks under which perturbation, with intervals."""

from vpsa_fair.counts import CLEAN, Axis, Cell, Counts, positions
from vpsa_fair.curves import chance_corrected, normalized_auc, onset_level
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
from vpsa_fair.matrix import Matrix
from vpsa_fair.paired import Change, Comparison, compare
from vpsa_fair.result import Result
from vpsa_fair.stats import PowerPlan, benjamini_hochberg, holm, minimum_detectable_gap, power
from vpsa_fair.summary import Spread, Summary
from vpsa_fair.tables import Table
from vpsa_fair.targeted import Failure, Targeted

__all__ = [
    "CLEAN",
    "Axis",
    "Cell",
    "Change",
    "Comparison",
    "Counts",
    "DataError",
    "Failure",
    "LevelError",
    "Matrix",
    "ModelError",
    "PowerPlan",
    "ResolutionWarning",
    "Result",
    "SmallGroupWarning",
    "Spread",
    "Summary",
    "Table",
    "Targeted",
    "basic",
    "bca",
    "benjamini_hochberg",
    "chance_corrected",
    "compare",
    "fdr",
    "garbe",
    "gini",
    "holm",
    "inequity",
    "item_response",
    "max_gap",
    "min_ratio",
    "minimum_detectable_gap",
    "normalized_auc",
    "onset_level",
    "percentile",
    "positions",
    "power",
    "wilson",
]
