"""Figures, with the extra ``[plot]``: each function returns a matplotlib Figure and shows none."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ema_scaling.profiles import gamma_to_sigma_rel
from ema_scaling.rules import scale_decay, scale_lr
from ema_scaling.toy import Moments, Parabola

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ema_scaling.diagnose import MatchReport


def _figure(width: float, height: float) -> "Figure":
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("figures need the extra: install ema-scaling[plot]") from error
    return Figure(figsize=(width, height), layout="constrained")


def parabola_figure(
    kappas: Sequence[int],
    parabola: Parabola | None = None,
    *,
    lr: float = 1e-3,
    decay: float = 0.999,
    samples: int = 8192,
) -> "Figure":
    """The EMA's mean and one standard deviation against samples, with the rule and without.

    Args:
        kappas: batches, as multiples of the base batch; a curve each.
        parabola: the problem; the plain one by default.
        lr: learning rate of the base run.
        decay: EMA decay of the base run.
        samples: length of the runs.

    Returns:
        A figure of two panels.

    Raises:
        ImportError: if matplotlib is missing.
    """
    problem = parabola or Parabola()
    figure = _figure(9, 3.6)
    panels = figure.subplots(1, 2, sharey=True)
    for panel, scaled in zip(panels, (True, False), strict=True):
        for kappa in kappas:
            run: Moments = problem.moments(
                lr=scale_lr(lr, kappa, rule="linear"),
                decay=scale_decay(decay, kappa) if scaled else decay,
                samples=samples,
                kappa=kappa,
            )
            mean = run.mean_zeta
            sd = run.to_table()["sd_zeta"]
            (line,) = panel.plot(run.samples, mean, label=f"batch x {kappa}")
            low = [m - s for m, s in zip(mean, sd, strict=True)]
            high = [m + s for m, s in zip(mean, sd, strict=True)]
            panel.fill_between(run.samples, low, high, color=line.get_color(), alpha=0.15, lw=0)
        panel.set_title("decay ** kappa" if scaled else "decay kept")
        panel.set_xlabel("samples seen")
    panels[0].set_ylabel("EMA of the parameter")
    panels[0].legend()
    return figure


def match_figure(report: "MatchReport") -> "Figure":
    """The two mean curves of a comparison, with the spread over seeds around them."""
    figure = _figure(6, 3.6)
    panel = figure.subplots()
    for name, mean in (("first", report.mean_a), ("second", report.mean_b)):
        (line,) = panel.plot(report.samples, mean, label=name)
        low = [m - s for m, s in zip(mean, report.spread, strict=True)]
        high = [m + s for m, s in zip(mean, report.spread, strict=True)]
        panel.fill_between(report.samples, low, high, color=line.get_color(), alpha=0.15, lw=0)
    panel.set_title(f"{report.verdict}: {report.ratio:.2f} seed spreads")
    panel.set_xlabel("samples seen")
    panel.set_ylabel(report.key)
    panel.legend()
    return figure


def profile_figure(gammas: Sequence[float]) -> "Figure":
    """Power-function profiles over the run so far, one curve an exponent."""
    figure = _figure(6, 3.6)
    panel = figure.subplots()
    shares = [i / 200 for i in range(201)]
    for gamma in gammas:
        label = f"sigma_rel {gamma_to_sigma_rel(gamma):.3f}"
        panel.plot(shares, [(gamma + 1) * s**gamma for s in shares], label=label)
    panel.set_xlabel("share of the run")
    panel.set_ylabel("weight of the past")
    panel.legend()
    return figure
