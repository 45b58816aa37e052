"""ema-scaling: the same training at another batch, and the average that must follow it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenfold.station import Context, Lines, Series, StationResult, Verdict, committed_study

if TYPE_CHECKING:
    from ema_scaling import MatchReport, RuleGap

    from tenfold.at_batch import Curve

STUDY = Path(__file__).parents[3] / "studies" / "ema_scaling" / "summary.json"
KAPPAS, LARGE = (1, 8, 64), 8  # of the parabola; of the net
PARABOLA = {"lr": 0.001, "decay": 0.999, "samples": 8192}
FEEDBACK = 0.8  # how far the parabola's minimum follows the average
SEEDS = 3  # at least: a spread needs several
NET = {  # blocks of 4,096 samples, width of the first convolution
    "small": {"blocks": 6, "block": 4096, "width": 16},
    "paper": {"blocks": 240, "block": 4096, "width": 64},
}
RULE = (
    "Reproduced means both: on the parabola at kappa 64 the EMA's final spread is within 1 % of "
    "the base run's with the rule and at most a tenth of it without, and with feedback the model "
    "itself drifts by at most 0.03 with the rule and by at least 0.25 without; on the net the "
    "EMA's test loss at equal samples is within one spread of the seeds with the rule (a match) "
    "and at least three away without (apart). Partly: the parabola alone, or the net is apart "
    "without the rule and less than three spreads away with it."
)


class Station:
    """The noisy parabola with exact moments, and a small net that carries several averages."""

    claim = (
        "When the batch grows by kappa, scaling the optimizer by its rule and the model EMA's "
        "decay to decay ** kappa preserves the training dynamics, also where the EMA takes part "
        "in the optimization of the model."
    )
    budget_s = 60
    needs: tuple[str, ...] = ()

    def run(self, context: Context) -> StationResult:
        """Recur the moments, train the net at two batches, and compare at equal samples."""
        from tenfold.at_batch import gap, short

        plain, fed = _gaps(0.0), _gaps(FEEDBACK)
        runs, where = _train(context)
        reports = {
            name: gap(runs[1], runs[LARGE], ("target" if name == "target" else "rule", name))
            for name in ("target", "rule", "corrected", "kept")
        }
        labels = {
            "target": "the model itself",
            "rule": "EMA, with the rule",
            "corrected": "EMA, with the rule, corrected readout",
            "kept": "EMA, decay kept",
        }
        net = {
            f"kappa {LARGE} against 1": list(labels.values()),
            "distance, seed spreads": [round(reports[name].ratio, 3) for name in labels],
            "mean gap, nats (95 % interval)": [short(reports[name]) for name in labels],
        }
        study = committed_study(STUDY)
        return StationResult(
            verdict=judge([*plain, *fed], reports),
            headline=_headline(plain, fed, reports),
            tables={
                "Noisy parabola": _table(plain),
                f"Noisy parabola, its minimum following the EMA by {FEEDBACK}": _table(fed),
                f"Small net, EMA test loss at batch {32 * LARGE} against 32": net,
                **study["tables"],
            },
            figures=[*_curves(), *_net_figures(runs), *study["figures"]],
            notes=[
                RULE,
                f"{where}; plain SGD, learning rate 0.002 at batch 32, decay 0.995; "
                f"{len(runs[1])} seeds a batch, so that there is a spread. One path carries the "
                "averages with the rule and without.",
                "The parabola's moments are exact: nothing is sampled.",
                *study["headlines"],
            ],
        )


def judge(parabola: Sequence["RuleGap"], net: Mapping[str, "MatchReport"]) -> Verdict:
    """The verdict by `RULE`; the parabola without feedback comes first, then with it."""
    at = [gap for gap in parabola if gap.kappa == max(g.kappa for g in parabola)]
    (rule, kept), (fed_rule, fed_kept) = _pair(at[:2]), _pair(at[2:])
    exact = abs(rule.spread - 1) <= 0.01 and kept.spread <= 0.1
    exact = exact and fed_rule.theta <= 0.03 and fed_kept.theta >= 0.25
    without, with_rule = net["kept"].verdict == "apart", net["rule"].verdict
    if exact and without and with_rule == "match":
        return "reproduced"
    return "partly" if exact or (without and with_rule != "apart") else "not at this scale"


def _pair(gaps: Sequence["RuleGap"]) -> tuple["RuleGap", "RuleGap"]:
    first, second = gaps
    return (first, second) if first.scaled else (second, first)


def _gaps(feedback: float) -> list["RuleGap"]:
    """The parabola's distances from its base run: for each kappa with the rule and without."""
    from ema_scaling import Parabola, rule_gap

    problem = Parabola(feedback=feedback)
    arms = [(kappa, scaled) for kappa in KAPPAS[1:] for scaled in (True, False)]
    return [rule_gap(problem, kappa, scaled=scaled, **PARABOLA) for kappa, scaled in arms]


def _table(gaps: Sequence["RuleGap"]) -> dict[str, list[Any]]:
    return {
        "kappa": [gap.kappa for gap in gaps],
        "EMA decay": ["decay ** kappa" if gap.scaled else "kept" for gap in gaps],
        "model, largest gap of means": [round(gap.theta, 4) for gap in gaps],
        "EMA, largest gap of means": [round(gap.zeta, 4) for gap in gaps],
        "EMA's final spread over the base run's": [round(gap.spread, 4) for gap in gaps],
    }


def _train(context: Context) -> tuple[dict[int, list["Curve"]], str]:
    """Train the net at both batches for every seed: curves by kappa, and what they are of."""
    from ema_scaling import Recipe

    from tenfold.at_batch import Training, centred, supervised
    from tenfold.classifiers import conv_classifier
    from tenfold.data.images import at_scale
    from tenfold.methods import seeded

    split = at_scale(context.scale, context.data_root)
    size = NET[context.scale]
    samples, device = size["blocks"] * size["block"], context.device
    recipe = Recipe(
        batch=32,
        optimizer="sgd",
        lr=0.002,
        ema_decay=0.995,
        samples=samples,
        warmup_samples=samples // size["blocks"],
    )
    train, test = ((x.to(device), y.to(device)) for x, y in centred(split))
    _, channels, height, _ = split.train.shape
    seeds = range(max(SEEDS, context.seeds))
    jobs = [(kappa, seed) for seed in seeds for kappa in (1, LARGE)]
    runs: dict[int, list[Curve]] = {1: [], LARGE: []}
    for n, (kappa, seed) in enumerate(jobs):
        make = dict(channels=channels, size=height, width=size["width"])
        model = seeded(seed, lambda make=make: conv_classifier(10, **make)).to(device)

        def progress(done: int, total: int, before: int = n) -> None:
            context.progress(before * total + done, len(jobs) * total)

        training = Training(recipe, kappa, points=size["blocks"], seed=seed)
        runs[kappa].append(supervised(training, model, train, test, progress=progress))
    return runs, split.name


def _headline(
    plain: Sequence["RuleGap"], fed: Sequence["RuleGap"], net: Mapping[str, "MatchReport"]
) -> str:
    def text(report: "MatchReport") -> str:
        low, high = report.interval
        return f"{report.mean_gap:+.3f} nats (95 % {low:+.3f} to {high:+.3f})"

    (rule, kept), (fed_rule, fed_kept) = _pair(plain[-2:]), _pair(fed[-2:])
    return (
        f"at {LARGE} times the batch the EMA's test loss is off by {text(net['rule'])} with the "
        f"rule, {text(net['kept'])} without; parabola at kappa {rule.kappa}: spread times "
        f"{rule.spread:.3f} and {kept.spread:.3f}, and with feedback the model drifts by "
        f"{fed_rule.theta:.3f} and {fed_kept.theta:.3f}"
    )


def _curves() -> list[Lines]:
    """The EMA's mean and spread on the parabola, and with feedback the model's own mean."""
    from ema_scaling import Parabola, scale_decay, scale_lr

    lr, decay, samples = PARABOLA["lr"], PARABOLA["decay"], int(PARABOLA["samples"])
    arms = [(1, True), *((kappa, scaled) for scaled in (True, False) for kappa in KAPPAS[1:])]
    figures = []
    for feedback, symbol, what in (
        (0.0, "zeta", "Noisy parabola: mean and spread of the EMA"),
        (FEEDBACK, "theta", "With EMA feedback: mean and spread of the MODEL itself"),
    ):
        series = []
        for kappa, scaled in arms:
            used = scale_decay(decay, kappa) if scaled else decay
            moments = Parabola(feedback=feedback).moments(
                lr=scale_lr(lr, kappa, rule="linear"), decay=used, samples=samples, kappa=kappa
            )
            table = moments.to_table()
            every = max(1, 64 // kappa)
            mean, sd = (table[f"{part}_{symbol}"][::every] for part in ("mean", "sd"))
            label = f"kappa {kappa}"
            if kappa > 1:
                label += ", with the rule" if scaled else ", decay kept"
            low = [m - s for m, s in zip(mean, sd, strict=True)]
            high = [m + s for m, s in zip(mean, sd, strict=True)]
            series.append(Series(label, list(table["samples"][::every]), list(mean), low, high))
        figures.append(Lines(what, "samples", "parameter", series))
    return figures


def _net_figures(runs: Mapping[int, Sequence["Curve"]]) -> list[Lines]:
    from tenfold.at_batch import band

    lines = [
        band("EMA, kappa 1", runs[1], "rule"),
        band(f"EMA, kappa {LARGE}, with the rule", runs[LARGE], "rule"),
        band(f"EMA, kappa {LARGE}, decay kept", runs[LARGE], "kept"),
        band("model, kappa 1", runs[1], "target"),
        band(f"model, kappa {LARGE}", runs[LARGE], "target"),
    ]
    title = "Small net: test loss at equal samples, mean and range over the seeds"
    return [Lines(title, "samples", "nats", lines)]
