"""What a study's runs say: paired differences, verdicts by a margin fixed before, and costs."""

import csv
import io
import math
import os
import statistics
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from randaug_study.stats import Paired, holm, noninferior, paired_ci, paired_t, seeds_needed, tost
from randaug_study.study import Study
from randaug_study.training import Run

LEVEL = 0.05
BACKWARD = 2  # forwards that a backward costs, by operations counted

Runs = Mapping[tuple[str, int], Run]


class NoGainWarning(UserWarning):
    """The baseline is not shown to be above the control: nothing to be competitive with."""


@dataclass(frozen=True)
class Comparison:
    """An arm against its reference over the seeds that both have, in points of accuracy.

    Attributes:
        arm: its name.
        reference: that of the other.
        difference: arm less reference, 95 % t interval.
        narrow: the same, 90 %: equivalent where it lies inside the margin.
        p_difference: that they are equal, two-sided, Holm.
        p_equivalence: that they differ by the margin or more, TOST, Holm.
        p_reference: that the reference is worse by the margin or more, one-sided, Holm: the
            claim "still competitive" is that it is not.
        margin: equivalence margin.
    """

    arm: str
    reference: str
    difference: Paired
    narrow: Paired
    p_difference: float
    p_equivalence: float
    p_reference: float
    margin: float

    @property
    def verdict(self) -> str:
        """What is shown at a level of .05 over all arms together."""
        parts = []
        if self.p_difference <= LEVEL:
            parts.append("above" if self.difference.mean > 0 else "below")
        if self.p_equivalence <= LEVEL:
            parts.append("equivalent")
        elif self.p_reference <= LEVEL:
            parts.append(f"{self.reference} is not inferior")
        return ", ".join(parts) or "open"

    def __str__(self) -> str:
        return (
            f"{self.arm} - {self.reference}: {self.difference}; TOST p {self.p_equivalence:.2g}, "
            f"margin {self.margin:g}: {self.verdict}"
        )


def compare(runs: Runs, pairs: Sequence[tuple[str, str]], margin: float) -> list[Comparison]:
    """Arms against references, p-values adjusted by Holm over the list.

    Args:
        runs: by arm and seed.
        pairs: arm and reference of each comparison; those with fewer than 2 common seeds are
            left out.
        margin: points.

    Returns:
        A comparison a pair.
    """
    found = []
    for arm, reference in pairs:
        values = differences(runs, arm, reference)
        if len(values) >= 2:
            found.append((arm, reference, values))
    by_difference = holm([paired_t(values) for _, _, values in found])
    by_tost = holm([tost(values, margin) for _, _, values in found])
    by_reference = holm([noninferior([-v for v in values], margin) for _, _, values in found])
    return [
        Comparison(
            arm, reference, paired_ci(values), paired_ci(values, level=0.9),
            by_difference[i], by_tost[i], by_reference[i], margin,
        )
        for i, (arm, reference, values) in enumerate(found)
    ]  # fmt: skip


def differences(runs: Runs, arm: str, reference: str) -> list[float]:
    """Accuracy of an arm less that of another, points, one a seed that both have."""
    return [
        run.accuracy - runs[reference, seed].accuracy
        for (name, seed), run in runs.items()
        if name == arm and (reference, seed) in runs
    ]


@dataclass(frozen=True)
class Cost:
    """What an arm costs a run, in the mean.

    Attributes:
        forwards: images put forward, training included.
        backwards: images put backward.
        augmented: images augmented.
        cpu_s: processor seconds, as measured by whatever machine ran them.
        passes: forwards and twice the backwards, over those of the baseline.
    """

    forwards: float
    backwards: float
    augmented: float
    cpu_s: float
    passes: float


@dataclass(frozen=True)
class Report:
    """The figures of a study, from its runs alone.

    Attributes:
        study: what was fixed before.
        runs: by arm and seed.
        control: baseline less control, points, 95 %; None below 2 pairs.
        comparisons: at equal epochs, every arm but the control, Holm over them.
        equal_compute: arms against those that cost as much.
        costs: by arm.
        pilot: seeds that the power calculation takes its deviations from.
        needed: arm -> (deviation of the pilot's differences, seeds for 80 % power).
    """

    study: Study
    runs: Runs
    control: Paired | None
    comparisons: Sequence[Comparison]
    equal_compute: Sequence[Comparison]
    costs: Mapping[str, Cost]
    pilot: int
    needed: Mapping[str, tuple[float, int]]

    @classmethod
    def of(cls, study: Study, runs: Runs, *, pilot: int = 3) -> "Report":
        """The report of runs, which may still be incomplete.

        Warns:
            NoGainWarning: if the baseline is not shown to be above the control.
        """
        gains = differences(runs, study.baseline, study.control)
        control = paired_ci(gains) if len(gains) > 1 else None
        if control is not None and control.low <= 0:
            warnings.warn(
                f"{study.baseline} is not shown to be above {study.control}: {control}; "
                "where augmentation does not help, 'competitive' says nothing",
                NoGainWarning,
                stacklevel=2,
            )
        pairs = [
            (arm.name, arm.reference or study.baseline)
            for arm in study.arms
            if arm.name not in (study.control, study.baseline)
        ]
        equal = [(a.name, a.equal_compute) for a in study.arms if a.equal_compute is not None]
        return cls(
            study=study,
            runs=runs,
            control=control,
            comparisons=compare(runs, pairs, study.margin),
            equal_compute=compare(runs, equal, study.margin),
            costs=_costs(study, runs),
            pilot=pilot,
            needed=_needed(study, runs, pairs, pilot),
        )

    @property
    def gain_is_shown(self) -> bool:
        """Whether the baseline is above the control, the interval clear of 0."""
        return self.control is not None and self.control.low > 0

    def accuracies(self, arm: str) -> list[float]:
        """Test accuracies of an arm, percent, one a seed."""
        return [run.accuracy for (name, _), run in self.runs.items() if name == arm]

    def __str__(self) -> str:
        lines = [self.study.name]
        if self.control is not None:
            lines.append(f"{self.study.baseline} - {self.study.control}: {self.control}")
        return "\n".join([*lines, *map(str, self.comparisons), *map(str, self.equal_compute)])

    def to_table(self) -> dict[str, list[Any]]:
        """One row an arm that has runs; nothing is rounded."""
        names = [arm.name for arm in self.study.arms if self.accuracies(arm.name)]
        found = {c.arm: c for c in self.comparisons}
        rows = [found.get(name) for name in names]
        means = [statistics.fmean(self.accuracies(name)) for name in names]
        return {
            "arm": names,
            "seeds": [len(self.accuracies(name)) for name in names],
            "accuracy": means,
            "sd": [_sd(self.accuracies(name)) for name in names],
            "reference": [c.reference if c else "" for c in rows],
            "difference": [c.difference.mean if c else math.nan for c in rows],
            "low": [c.difference.low if c else math.nan for c in rows],
            "high": [c.difference.high if c else math.nan for c in rows],
            "p_difference": [c.p_difference if c else math.nan for c in rows],
            "p_equivalence": [c.p_equivalence if c else math.nan for c in rows],
            "p_reference": [c.p_reference if c else math.nan for c in rows],
            "verdict": [c.verdict if c else "" for c in rows],
            "forwards": [self.costs[name].forwards for name in names],
            "backwards": [self.costs[name].backwards for name in names],
            "cpu_s": [self.costs[name].cpu_s for name in names],
            "passes": [self.costs[name].passes for name in names],
        }

    def to_csv(self) -> str:
        """The table as CSV."""
        table = self.to_table()
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))
        return text.getvalue()

    def write(self, folder: Path) -> list[Path]:
        """Write ``report.md``, ``summary.csv`` and the figures; return their paths.

        Raises:
            ImportError: if matplotlib or scipy is missing.
        """
        from randaug_study import plots
        from randaug_study.markdown import markdown

        figures = {
            "forest.png": plots.forest(self),
            "operations.png": plots.operations(self),
            "curves.png": plots.curves(self),
            "contact.png": plots.contact_sheet(self.study.recipe.augmenter().space.ops),
        }
        written = [replace_file(folder / n, plots.png(f)) for n, f in figures.items()]
        written.append(replace_file(folder / "summary.csv", self.to_csv().encode()))
        written.append(replace_file(folder / "report.md", markdown(self).encode()))
        return written


def replace_file(path: Path, content: bytes) -> Path:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _costs(study: Study, runs: Runs) -> dict[str, Cost]:
    def passes(run: Run) -> int:
        return run.scored + (1 + BACKWARD) * run.trained

    by_arm = {a.name: [r for (name, _), r in runs.items() if name == a.name] for a in study.arms}
    base = [passes(run) for run in by_arm[study.baseline]]
    unit = statistics.fmean(base) if base else math.nan
    return {
        name: Cost(
            forwards=statistics.fmean(r.scored + r.trained for r in some),
            backwards=statistics.fmean(r.trained for r in some),
            augmented=statistics.fmean(r.augmented for r in some),
            cpu_s=statistics.fmean(r.cpu_s for r in some),
            passes=statistics.fmean(passes(r) for r in some) / unit,
        )
        for name, some in by_arm.items()
        if some
    }


def _needed(
    study: Study, runs: Runs, pairs: Sequence[tuple[str, str]], pilot: int
) -> dict[str, tuple[float, int]]:
    """Deviation over the first seeds, and the seeds that it asks for."""
    first = set(study.seeds[:pilot])
    some = {at: run for at, run in runs.items() if at[1] in first}
    needed = {}
    for arm, reference in pairs:
        values = differences(some, arm, reference)
        if len(values) == pilot and _sd(values) > 0:
            needed[arm] = _sd(values), seeds_needed(_sd(values), study.margin)
    return needed


def _sd(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else math.nan
