"""All analyses of a table at once, as columns that a page understands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from symphony_ui.analysis._table import columns, pick, vectors
from symphony_ui.analysis.confusion import Confusion, confusion
from symphony_ui.analysis.duplicates import Duplicates, Metric, Threshold, duplicates
from symphony_ui.analysis.familiarity import Familiarity, familiarity
from symphony_ui.analysis.project import Method, project


@dataclass(frozen=True)
class Analysis:
    """A table with the columns of its analyses, and the analyses themselves, layer by layer."""

    table: dict[str, Any]
    duplicates: dict[str, Duplicates]
    familiarity: dict[str, Familiarity]
    by_label: dict[str, Familiarity]  #: familiarity within each label; empty without labels
    confusion: Confusion | None

    def __str__(self) -> str:
        lines: list[str] = []
        for layer, found in self.duplicates.items():
            lines += [f"{layer}: {found}", f"{layer}: {self.familiarity[layer]}"]
        if self.confusion is not None:
            lines.append(str(self.confusion))
        return "\n".join(lines)

    def to_table(self) -> dict[str, Any]:
        """The table's columns, then the added ones."""
        return dict(self.table)


def analyze(
    table: Any,
    *,
    embedding: str | Sequence[str],
    label: str | None = None,
    pred: str | None = None,
    method: Method = "pca",
    threshold: Threshold | None = None,
    metric: Metric = "cosine",
    components: int = 5,
    seed: int = 0,
) -> Analysis:
    """A table with the columns of its analyses added, for each embedding named.

    Added for a layer ``emb``: ``projection_emb_x`` and ``projection_emb_y``, ``familiarity_emb``,
    ``duplicates_emb`` (group number, -1 is none), and with labels
    ``splitFamiliarity_emb_byAttr_<label>``, the familiarity within the row's own label (NaN for
    labels of fewer than 50 rows). These are the names that ml-symphony reads.

    Args:
        table: a mapping of columns, a data frame, or an object with ``to_table()``.
        embedding: the column, or columns, that hold one vector a row.
        label: the column of true classes.
        pred: the column of predicted classes; with ``label`` it gives a confusion matrix.
        method: as in ``project``.
        threshold: as in ``duplicates``.
        metric: as in ``duplicates``.
        components: as in ``familiarity``.
        seed: of the mixture and the projection.

    Returns:
        The table (``to_table()``) and the results.

    Raises:
        ColumnError: if a column is not there, or an embedding does not hold vectors.

    Example:
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(60, 4))
        >>> found = analyze({"emb": X}, embedding="emb")
        >>> [name for name in found.to_table() if name != "emb"]
        ['projection_emb_x', 'projection_emb_y', 'familiarity_emb', 'duplicates_emb']
    """
    out = columns(table)
    layers = (embedding,) if isinstance(embedding, str) else tuple(embedding)
    truth = pick(out, label) if label is not None else None
    called = pick(out, pred) if pred is not None else None
    pairs: dict[str, Duplicates] = {}
    usual: dict[str, Familiarity] = {}
    split: dict[str, Familiarity] = {}
    for layer in layers:
        X = vectors(out, layer)
        points = project(X, method=method, seed=seed)
        out[f"projection_{layer}_x"], out[f"projection_{layer}_y"] = points.T.copy()
        usual[layer] = familiarity(X, components=components, seed=seed)
        out[f"familiarity_{layer}"] = usual[layer].score
        if truth is not None:
            split[layer] = familiarity(X, components=components, by=truth, seed=seed)
            out[f"splitFamiliarity_{layer}_byAttr_{label}"] = split[layer].score
        pairs[layer] = duplicates(X, threshold=threshold, metric=metric)
        out[f"duplicates_{layer}"] = pairs[layer].group
    matrix = confusion(truth, called) if truth is not None and called is not None else None
    return Analysis(out, pairs, usual, split, matrix)
