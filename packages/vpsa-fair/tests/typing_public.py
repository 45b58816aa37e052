"""The public API as a user's type checker sees it."""

from typing import assert_type

import numpy as np
from numpy.typing import NDArray
from vpsa_fair import (
    Comparison,
    Counts,
    Matrix,
    PowerPlan,
    Result,
    Summary,
    Table,
    Targeted,
    benjamini_hochberg,
    compare,
    fdr,
    garbe,
    holm,
    inequity,
    item_response,
    minimum_detectable_gap,
    normalized_auc,
    onset_level,
    wilson,
)

rng = np.random.default_rng(0)
correct = rng.random((40, 3)) < 0.8
res = item_response(correct, [0.0, 1.0, 2.0], ["a", "b"] * 20, n_boot=10)

assert_type(res, Result)
assert_type(res.counts, Counts)
assert_type(res.curves, Table)
assert_type(res.matrix("drop", "best", margins=True), Matrix)
assert_type(res.pairwise("perturbation"), Matrix)
assert_type(res.targeted(top=1), Targeted)
assert_type(res.targeted(top=1)[0].onset, float)
assert_type(res.summary(), Summary)
assert_type(compare(res, res), Comparison)
assert_type(res.matrix().p_adjusted, NDArray[np.float64])

assert_type(normalized_auc([0, 1], [1.0, 0.5]), NDArray[np.float64])
assert_type(onset_level([0, 1], [1.0, 0.5]), float)
assert_type(holm([0.1, 0.2]), NDArray[np.float64])
assert_type(benjamini_hochberg([0.1, 0.2]), NDArray[np.float64])
assert_type(wilson(0.5, 10), tuple[NDArray[np.float64], NDArray[np.float64]])
assert_type(fdr([0.1], [0.2]), NDArray[np.float64])
assert_type(garbe([0.1, 0.2], [0.2, 0.1]), NDArray[np.float64])
assert_type(inequity([0.1, 0.2]), NDArray[np.float64])
assert_type(minimum_detectable_gap((20, 20), spread=0.2), PowerPlan)
