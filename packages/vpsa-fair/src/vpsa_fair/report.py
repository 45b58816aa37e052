"""One HTML file with everything: matrices, curves, rankings, images, and what follows from none."""

import base64
import io
import json
import re
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from vpsa_fair.counts import Axis
from vpsa_fair.svg import Curve, chart, heat_map, legend
from vpsa_fair.tables import shown

if TYPE_CHECKING:
    from vpsa_fair.result import Result

__all__ = ["render"]

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#222;background:#fff;max-width:1180px;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.4rem;border-top:1px solid #ddd;
padding-top:1rem}
svg{font-family:system-ui,sans-serif;max-width:none}.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:13px}td,th{padding:.25rem .6rem;text-align:left;
border-bottom:1px solid #e6e6e6}td{white-space:nowrap}
td.w{white-space:normal}td.n{text-align:right;font-variant-numeric:tabular-nums}
.charts{display:flex;flex-wrap:wrap;gap:.6rem}.key{margin-right:1.2rem;white-space:nowrap}
.key svg{margin-right:.4rem}.note{color:#555;font-size:13px;max-width:50rem}
img{max-width:100%;image-rendering:auto}figure{margin:1rem 0}figcaption{font-size:13px}
.small{background:#fff6e0;padding:.5rem .8rem;border-left:3px solid #d9a400}
"""

_CANNOT = (
    "A gap says that a model answered worse for the identities that carry a label, on these images "
    "and under these perturbations. It does not say why: images, capture, pose and label quality "
    "may differ between the groups as well. It does not say what happens in a deployment with "
    "other images or another threshold. No gap found is not the absence of one: look at the "
    "intervals and at n. Labels were taken as given; nothing was inferred about any person."
)


def render(result: "Result") -> str:
    """The report as one self-contained HTML page.

    Args:
        result: of any audit.

    Returns:
        HTML text without scripts and without addresses: it opens offline and looks the same
        anywhere.
    """
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        f"<title>Subgroups under perturbation</title><style>{_STYLE}</style></head><body>",
        "<h1>Which subgroup breaks under which perturbation</h1>",
        f"<p>{escape(str(result.counts))}.</p>",
        _small_note(result),
        _ranking(result),
    ]
    for by in result.grouping_names:
        parts += [_matrices(result, by), _curves(result, by)]
    parts += [_summary(result), _contact_sheet(result), _method(result)]
    return "\n".join([*parts, "</body></html>"])


def _small_note(result: "Result") -> str:
    found: list[str] = []
    for by in result.grouping_names:
        e = result.estimates(by)
        found += [f"{e.rows[r]} (n={e.n[r]})" for r in np.flatnonzero(e.small & e.named)]
    if not found:
        return ""
    return (
        f"<p class='small'>Fewer than {result.min_identities} identities, hatched, left out of "
        f"extremes and rankings: {escape(', '.join(found))}.</p>"
    )


def _ranking(result: "Result") -> str:
    top = result.targeted(10)
    head = (
        "group",
        "perturbation",
        "behind",
        "disparity",
        "interval",
        "adjusted p",
        "n",
        "onset",
        "onset of the other",
    )
    rows = [
        (
            f.group,
            f.perturbation,
            f.reference,
            f"{f.disparity:.3f}",
            f"{f.low:.3f} to {f.high:.3f}",
            _p(f.p_adjusted),
            f.n,
            _level(result, f.perturbation, f.onset),
            _level(result, f.perturbation, f.reference_onset),
        )
        for f in top
    ]
    return (
        "<h2>Widest disparities</h2>"
        + _table(head, rows)
        + "<p class='note'>Disparity: normalised AUC of the best group minus that of the group. "
        "Onset: first level at which 5 % of the clean response is lost; a dash: never.</p>"
    )


def _level(result: "Result", perturbation: str, level: float) -> str:
    unit = result.counts.axes.get(perturbation, Axis()).unit
    return f"{shown(level)} {unit}".strip() if level == level else "-"


def _matrices(result: "Result", by: str) -> str:
    parts = [f"<h2>AUC matrix, by {escape(by)}</h2>"]
    for ref in (None, "best"):
        matrix = result.matrix(by=by, ref=ref, margins=True)
        caption = escape(matrix.title[0].upper() + matrix.title[1:])
        interval = f"{result.confidence:.0%} intervals in the cells"
        p = "; p adjusted by Holm's method among all pairs and perturbations" if ref else ""
        parts.append(
            f"<figure class='wide'><figcaption>{caption}; {interval}{p}.</figcaption>"
            f"{heat_map(matrix)}</figure>"
        )
    return "\n".join(parts)


def _curves(result: "Result", by: str) -> str:
    e, counts = result.estimates(by), result.counts
    several = len(e.rates) > 1
    names = [
        f"{g} (n={n}{', without band' if thin else ''})"
        for g, n, thin in zip(e.rows[:-1], e.n, e.small, strict=False)
    ]
    charts = []
    for name in counts.perturbations:
        at = counts.columns(name)
        where = {
            "position": counts.curve_positions(name),
            "ticks": counts.curve_levels(name).tolist(),
            "unit": counts.axes.get(name, Axis()).unit,
        }
        curves = [
            Curve(g, e.response[r, at], *(() if e.small[r] else (e.low[r, at], e.high[r, at])))
            for r, g in enumerate(e.rows[:-1])
        ]
        charts.append(chart(name, curves=curves, chance=counts.chance, **where))
        if several:
            for measure, rates in e.rates.items():
                lines = [Curve(g, rates[r, at]) for r, g in enumerate(e.rows[:-1])]
                charts.append(chart(f"{name}: {measure} answered right", curves=lines, **where))
    note = (
        "<p class='note'>Beside the response stand its measures: a model whose embeddings "
        "collapse can hold one of them up while the other falls.</p>"
        if several
        else ""
    )
    return (
        f"<h2>Item-response curves, by {escape(by)}</h2>{legend(names)}"
        f"<div class='charts'>{''.join(charts)}</div>{note}"
    )


def _summary(result: "Result") -> str:
    table = result.summary()
    pairs = any(s.fdr == s.fdr for s in table)
    head = ["grouping", "column", "gap", "interval", "adjusted p", "worst (n)", "best (n)", "ratio"]
    head += ["sd"] + (["FDR", "GARBE", "inequity FMR", "inequity FNMR"] if pairs else [])
    rows = []
    for s in table:
        row = [
            s.grouping,
            s.column,
            f"{s.gap:.3f}",
            f"{s.low:.3f} to {s.high:.3f}",
            _p(s.p_adjusted),
            f"{s.worst} ({s.n_worst})",
            f"{s.best} ({s.n_best})",
            f"{s.ratio:.3f}",
            f"{s.sd:.3f}",
        ]
        if pairs:
            row += [
                f"{s.fdr:.3f} ({s.fdr_low:.3f} to {s.fdr_high:.3f})",
                f"{s.garbe:.3f} ({s.garbe_low:.3f} to {s.garbe_high:.3f})",
                shown(s.inequity_fmr),
                shown(s.inequity_fnmr),
            ]
        rows.append(row)
    return f"<h2>Summary</h2><div class='wide'>{_table(head, rows)}</div>"


def _contact_sheet(result: "Result") -> str:
    if not result.examples:
        return ""
    parts = ["<h2>What the model saw</h2>"]
    for name, strip in result.examples.items():
        parts.append(
            f"<figure><figcaption>{escape(name)}, from clean to the strongest level</figcaption>"
            f"<img alt='{escape(name)}' src='{_strip_png(np.asarray(strip))}'></figure>"
        )
    return "".join(parts)


def _strip_png(strip: Any, side: int = 96) -> str:
    """A strip of images side by side, as a data URI."""
    images = [Image.fromarray(frame) for frame in strip]
    scale = side / max(images[0].size)
    width, height = (max(1, round(s * scale)) for s in images[0].size)
    sheet = Image.new("RGB", ((width + 4) * len(images), height), "white")
    for i, image in enumerate(images):
        kind = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS
        sheet.paste(image.convert("RGB").resize((width, height), kind), (i * (width + 4), 0))
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _method(result: "Result") -> str:
    settings = (
        f"{result.n_boot} resamples of identities within groups, seed {result.seed}; intervals of "
        f"values: {result.interval}, of groups under {result.min_identities} identities Wilson's; "
        "of differences: Student's with the standard error of the resamples. Every curve starts "
        "at the same clean evaluation and ends at the same level for all groups."
    )
    rows = [(key, _compact(value)) for key, value in result.meta.items()]
    run = f"<h2>The run</h2>{_table(('what', 'value'), rows)}" if rows else ""
    return (
        f"{run}<h2>How it was computed</h2><p class='note'>{escape(settings)}</p>"
        f"<h2>What this cannot tell</h2><p class='note'>{escape(_CANNOT)}</p>"
    )


def _compact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = []
    for row in rows:
        cells = [escape(str(v)) for v in row]
        kinds = [_kind(c) for c in cells]
        body.append(
            "<tr>"
            + "".join(f"<td{k}>{c}</td>" for c, k in zip(cells, kinds, strict=True))
            + "</tr>"
        )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _kind(text: str) -> str:
    """Numbers stand right, long texts may break."""
    if re.fullmatch(r"-|inf|-?[\d.]+(e-?\d+)?", text):
        return " class='n'"
    return " class='w'" if len(text) > 60 else ""


def _p(value: float) -> str:
    return "-" if value != value else f"{value:.2g}"
