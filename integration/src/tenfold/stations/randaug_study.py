"""randaug-study: is random augmentation still competitive, by a test that can say no."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.station import Context, Images, Lines, Series, StationResult, Verdict, committed_study

if TYPE_CHECKING:
    from randaug_study.report import Report

STUDY = Path(__file__).parents[3] / "studies" / "randaug_study" / "summary.json"
SPEED_IMAGES = 256
LEVEL = 0.05
RULE = (
    "Reproduced means all of these, of three paired seeds a seed of the tour, margin 2 points. "
    "Random augmentation is above none, its 95 % interval clear of 0: else there is nothing to "
    "compete with. Random is not inferior to the worst of 4: p below .05 of its being worse by "
    "the margin. The same test does not call training without augmentation competitive with the "
    "worst of 4: that is the negative control. Partly: random helps, the rest is open."
)


class Station:
    """None, random and the worst of 4 on a few seeds, and the committed study beside them."""

    claim = (
        "Random augmentation is still competitive with an optimal adversarial approach and with "
        "simple curricula; the success of Adversarial AutoAugment may come from the stochasticity "
        "of its controller, which introduces a mild form of curriculum."
    )
    budget_s = 50
    needs: tuple[str, ...] = ()

    def run(self, context: Context) -> StationResult:
        """Train three arms on every seed, compare, time the augmenter, show the operations."""
        from tenfold.augmentation_runs import (
            GREY,
            examples,
            images_a_second,
            run_small,
            small_study,
        )
        from tenfold.data.images import at_scale

        split = at_scale(context.scale, context.data_root)
        plan = small_study(context.seeds, context.scale, split.train.shape[1])
        report = run_small(plan, split, context.progress)
        speed = images_a_second(split.test[:SPEED_IMAGES])
        study = committed_study(STUDY)
        return StationResult(
            verdict=judge(report),
            headline=headline(report),
            tables={
                "Test accuracy, %, the last epoch": accuracies(report),
                "Images a processor second, N = 2, M = 9": {
                    "augmenter": ["this package, a batch", "torchvision v2, one by one"],
                    "images a second": [round(rate) for rate in speed],
                    "ratio": [round(speed[0] / speed[1], 1), 1.0],
                },
                **study["tables"],
            },
            figures=[
                Images("Every operation at half its range", examples(split.test, 15), GREY),
                *gap_figure(report),
                *study["figures"],
            ],
            notes=[
                RULE,
                f"{split.name}; {plan.recipe.train} images, {plan.recipe.epochs} epochs, seeds 0 "
                f"to {len(plan.seeds) - 1}; another subset, other weights and draws each, the same "
                "for all arms of a seed. The last epoch counts; nothing is chosen on the test "
                "images.",
                *study["headlines"],
            ],
        )


def judge(report: "Report") -> Verdict:
    """The verdict by `RULE`."""
    if not report.gain_is_shown:
        return "not at this scale"
    random, none = (competitive(report, name) for name in ("random", "none"))
    return "reproduced" if random <= LEVEL < none else "partly"


def competitive(report: "Report", name: str, rival: str = "worst-of-4") -> float:
    """P-value of an arm being worse than its rival by the margin or more."""
    from randaug_study.report import differences
    from randaug_study.stats import noninferior

    return noninferior(differences(report.runs, name, rival), report.study.margin)


def headline(report: "Report") -> str:
    """The gain, the difference and the control, with intervals."""
    worst = next(c for c in report.comparisons if c.arm == "worst-of-4")
    return (
        f"random - none {report.control} points; worst-of-4 - random {worst.difference}; "
        f"p that random is worse than the worst of 4 by {report.study.margin:g} points: "
        f"{competitive(report, 'random'):.2g} (without augmentation: "
        f"{competitive(report, 'none'):.2g})"
    )


def accuracies(report: "Report") -> dict[str, list[Any]]:
    """One row an arm: mean, every seed, what it cost."""
    names = [arm.name for arm in report.study.arms]
    each = [report.accuracies(name) for name in names]
    return {
        "arm": names,
        "mean": [round(sum(values) / len(values), 2) for values in each],
        "seeds": [", ".join(f"{value:.1f}" for value in values) for values in each],
        "passes, over random's": [round(report.costs[name].passes, 2) for name in names],
    }


def gap_figure(report: "Report") -> Sequence[Lines]:
    """The adversarial gap over epochs, the mean and the range over seeds."""
    curves = [run.gap for (name, _), run in report.runs.items() if name == "worst-of-4"]
    epochs = [float(n + 1) for n in range(len(curves[0]))]
    columns = list(zip(*curves, strict=True))
    line = Series(
        "worst of 4",
        epochs,
        [sum(column) / len(column) for column in columns],
        [min(column) for column in columns],
        [max(column) for column in columns],
    )
    title = "How adversarial: highest less mean loss of the candidates"
    return [Lines(title, "epoch", "nats", [line], [("random", 0.0)])]
