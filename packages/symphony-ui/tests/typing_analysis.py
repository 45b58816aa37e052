"""The analyses as a user would call them; checked by basedpyright, never run."""

import numpy as np
from symphony_ui.analysis import (
    analyze,
    confusion,
    duplicates,
    exact_duplicates,
    familiarity,
    project,
    subgroups,
)

X = np.zeros((10, 3), dtype=np.float32)
pairs: np.ndarray = duplicates(X, threshold="slope", metric="euclidean").pairs
group: np.ndarray = duplicates(X, threshold=("percentile", 98.5)).group
text: str = str(duplicates(X, threshold=0.98))
same: np.ndarray = exact_duplicates([b"a", "b.png"])
score: np.ndarray = familiarity(X, by=["a"] * 10).score
points: np.ndarray = project(X, method="umap")
own: np.ndarray = project(X, method=lambda rows: rows[:, :2])
macro: float = confusion(["a:b"], ["a:c"], sep=":").collapse(1).metrics().macro_f1
gap: float = subgroups({"g": [1]}, "g", "y", "p", metrics=["recall"]).gaps["recall"].value
table: dict[str, object] = analyze({"emb": X}, embedding="emb").to_table()
