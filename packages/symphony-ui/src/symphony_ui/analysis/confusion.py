"""The confusion matrix, its metrics, and its collapse along a hierarchy of classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from symphony_ui.analysis._checks import column
from symphony_ui.analysis._labels import encode, in_order
from symphony_ui.errors import SymphonyError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Metrics:
    """Metrics of a confusion matrix; per class first, then averages.

    Where a ratio has no denominator it is ``zero_division``, and ``undefined_precision`` (never
    predicted) or ``undefined_recall`` (never true) marks the class.
    """

    classes: tuple[Any, ...]
    precision: Floats  #: (C,)
    recall: Floats  #: (C,)
    f1: Floats  #: (C,)
    support: NDArray[Any]  #: (C,) rows (or weight) of each class
    undefined_precision: NDArray[np.bool_]  #: (C,)
    undefined_recall: NDArray[np.bool_]  #: (C,)
    accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float  #: mean of the classes' F1, as scikit-learn has it
    f1_of_macros: float  #: harmonic mean of macro precision and recall, as ml-symphony has it
    weighted_precision: float
    weighted_recall: float
    weighted_f1: float

    def __str__(self) -> str:
        averages = f"macro F1 {self.macro_f1:.4f}, precision {self.macro_precision:.4f}"
        lines = [f"accuracy {self.accuracy:.4f}, {averages}, recall {self.macro_recall:.4f}"]
        marks = (
            ("never predicted", self.undefined_precision),
            ("never true", self.undefined_recall),
        )
        for what, mark in marks:
            names = [str(name) for name, hit in zip(self.classes, mark, strict=True) if hit]
            if names:
                more = f" and {len(names) - 5} more" if len(names) > 5 else ""
                lines.append(f"  {what}: {', '.join(names[:5])}{more}")
        return "\n".join(lines)

    def to_table(self) -> dict[str, Any]:
        """One row a class."""
        return {
            "class": list(self.classes),
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "support": self.support,
            "undefined_precision": self.undefined_precision,
            "undefined_recall": self.undefined_recall,
        }


@dataclass(frozen=True)
class Confusion:
    """Counts of label and prediction; ``counts[a, p]`` rows are a and were called p."""

    counts: NDArray[Any]  #: (C, C), rows are labels; integers, or floats if weighted
    classes: tuple[Any, ...]
    sep: str | None = None  #: what parts the levels of a class name
    missing: int = 0  #: rows left out because label or prediction is missing

    def __str__(self) -> str:
        total = self.counts.sum()
        correct = np.trace(self.counts)
        left = f", {self.missing} rows without label or prediction left out" if self.missing else ""
        lines = [f"{len(self.classes)} classes, {correct:g} of {total:g} correct{left}"]
        if 0 < len(self.classes) <= 12:
            names = [str(name) for name in self.classes]
            cells = [[f"{v:g}" for v in row] for row in self.counts]
            wide = max(len(text) for row in [names, *cells] for text in row)
            lines.append(
                " ".join(["label \\ pred".rjust(max(wide, 12)), *(n.rjust(wide) for n in names)])
            )
            lines += [
                " ".join([name.rjust(max(wide, 12)), *(text.rjust(wide) for text in row)])
                for name, row in zip(names, cells, strict=True)
            ]
        return "\n".join(lines)

    @property
    def depth(self) -> int:
        """The most levels that a class name has; 1 without ``sep``."""
        return max((len(self._parts(name)) for name in self.classes), default=0)

    def _parts(self, name: Any) -> list[str]:
        return str(name).split(self.sep) if self.sep is not None else [str(name)]

    def collapse(self, depth: int) -> "Confusion":
        """The matrix of the ancestors at ``depth``: classes that share the first levels are one.

        The total stays, and accuracy never falls. Depth 0 is the root, a single class.

        Args:
            depth: levels to keep, at least 0; shorter names stay as they are.

        Source:
            ``M_d = P^T M P`` with the indicator P from classes to ancestors.
        """
        if self.sep is None:
            raise SymphonyError(
                "collapse needs a hierarchy: pass sep=':' (or another) to confusion"
            )
        if depth < 0:
            raise SymphonyError(f"depth must be at least 0, got {depth}")
        ancestor = [
            self.sep.join(self._parts(name)[:depth]) if depth else "all" for name in self.classes
        ]
        kept = list(dict.fromkeys(ancestor))
        indicator = np.zeros((len(self.classes), len(kept)), dtype=self.counts.dtype)  # (C, A)
        indicator[np.arange(len(ancestor)), [kept.index(name) for name in ancestor]] = 1
        counts = indicator.T @ self.counts @ indicator
        return Confusion(counts, tuple(kept), self.sep, self.missing)

    def metrics(self, *, zero_division: float = 0.0) -> Metrics:
        """Accuracy, and precision, recall and F1 of each class with their averages.

        Args:
            zero_division: the value of a ratio without a denominator.
        """
        hit = np.diag(self.counts).astype(np.float64)
        support = self.counts.sum(axis=1)
        called = self.counts.sum(axis=0)
        total = float(support.sum())
        precision = _ratio(hit, called, zero_division)
        recall = _ratio(hit, support, zero_division)
        f1 = _ratio(2 * hit, support + called, zero_division)
        macro_precision, macro_recall, macro_f1 = map(_mean, (precision, recall, f1))
        both = macro_precision + macro_recall
        weighted = [
            float(values @ support / total) if total else float("nan")
            for values in (precision, recall, f1)
        ]
        return Metrics(
            classes=self.classes,
            precision=precision,
            recall=recall,
            f1=f1,
            support=support,
            undefined_precision=called == 0,
            undefined_recall=support == 0,
            accuracy=float(hit.sum() / total) if total else float("nan"),
            macro_precision=macro_precision,
            macro_recall=macro_recall,
            macro_f1=macro_f1,
            f1_of_macros=2 * macro_precision * macro_recall / both if both else 0.0,
            weighted_precision=weighted[0],
            weighted_recall=weighted[1],
            weighted_f1=weighted[2],
        )

    def to_table(self) -> dict[str, Any]:
        """One row a cell: label, prediction and count, empty cells included."""
        size = len(self.classes)
        return {
            "label": [name for name in self.classes for _ in range(size)],
            "pred": list(self.classes) * size,
            "count": self.counts.ravel(),
        }


def confusion(
    label: Any,
    pred: Any,
    *,
    classes: Sequence[Any] | None = None,
    weights: ArrayLike | None = None,
    sep: str | None = None,
) -> Confusion:
    """The confusion matrix of labels and predictions.

    Args:
        label: the true class of each row, ``(N,)``: text, whole numbers or bools.
        pred: the predicted class of each row, ``(N,)``.
        classes: the classes in the order wanted; by default those of both columns, sorted.
        weights: a weight for each row, ``(N,)``, finite and not negative.
        sep: what parts the levels of a class name, such as ``":"`` in ``animal:cat``; needed to
            ``collapse``.

    Returns:
        The counts. Rows where label or prediction is missing are left out, and counted.

    Raises:
        SymphonyError: if lengths differ, a class is not in ``classes``, the two columns hold
            different kinds, or predictions are fractions.

    Example:
        >>> found = confusion(["cat", "dog", "dog"], ["cat", "cat", "dog"])
        >>> found.counts.tolist(), round(found.metrics().accuracy, 3)
        ([[1, 0], [1, 1]], 0.667)
    """
    truth = column(label, "label")
    called = column(pred, "pred", len(truth))
    given, truth_codes = encode(truth)
    guessed, called_codes = encode(called)
    for name, levels in (("label", given), ("pred", guessed)):
        if any(isinstance(level, float) and not level.is_integer() for level in levels):
            raise SymphonyError(f"{name} holds fractions, not classes: round or threshold it first")
    if {isinstance(v, str) for v in given} | {isinstance(v, str) for v in guessed} == {True, False}:
        kinds = (
            f"{type(given[0]).__name__} and {type(guessed[0]).__name__}"
            if guessed and given
            else "mixed"
        )
        raise SymphonyError(f"label and pred must hold the same kind of class, got {kinds}")
    if classes is None:
        classes = in_order(set(given) | set(guessed))
    elif len(set(classes)) != len(classes):
        raise SymphonyError("classes must be distinct")
    _, truth_codes = encode(truth, classes, "label")
    _, called_codes = encode(called, classes, "pred")
    here = (truth_codes >= 0) & (called_codes >= 0)
    size = len(classes)
    cell = truth_codes[here] * size + called_codes[here]
    if weights is None:
        counts = np.bincount(cell, minlength=size * size)
    else:
        counts = np.bincount(cell, _weights(weights, len(truth))[here], minlength=size * size)
    return Confusion(counts.reshape(size, size), tuple(classes), sep, int((~here).sum()))


def _weights(weights: ArrayLike, rows: int) -> Floats:
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (rows,):
        raise SymphonyError(f"weights must have shape ({rows},), got {values.shape}")
    if not (values >= 0).all() or not np.isfinite(values).all():
        raise SymphonyError("weights must be finite and not negative")
    return values


def _ratio(above: Floats, below: NDArray[Any], otherwise: float) -> Floats:
    """``above / below``, and ``otherwise`` where ``below`` is 0."""
    return np.divide(above, below, out=np.full(len(above), float(otherwise)), where=below != 0)


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")
